"""The comparison: several arms on the same items, scored, paired and summed up."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from heedlm.eval.arms import BASE, BASE_FAIR, INSTRUCT, Builder, history
from heedlm.eval.asking import Ask, answers
from heedlm.eval.behaviour import BEHAVIOURS, base_behaviour
from heedlm.eval.log import Item, append_items, read_items
from heedlm.eval.match import reference
from heedlm.eval.results import Answer, ArmResult, Case, EvalReport, Outcome, TaskResult, Unknown
from heedlm.eval.stats import paired_difference, smallest_difference, wilson
from heedlm.eval.task import metric
from heedlm.messages import Chat, Example, Reply, Request, Sampling, Score, Task

_REFUSALS = ("i do not know", "i don't know", "i don’t know")


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to ask one model.

    identity: what tells this model from another of the same name (a checksum), for resuming.
    most: items of each task that this arm is asked, the first ones; None asks all. Only arms that are shown beside the
    comparison may leave items out, never "base" and "instruct".
    """

    name: str
    chat: Chat
    build: Builder
    identity: str = ""
    most: int | None = None


def evaluate(
    tasks: Sequence[Task],
    arms: Sequence[Arm],
    sampling: Sampling,
    *,
    limits: Mapping[str, int] | None = None,
    batch: int = 64,
    log: Path | None = None,
    seed: int = 0,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> EvalReport:
    """Ask every arm every item, score the replies, compare "instruct" with "base".

    limits: new tokens at most, by task name.   log: where items are kept as they come; what is there already, with
    the same question to the same model, is scored again but not asked again.   seed: of the intervals.
    on_progress: hears (arm, items done, items in all). Nothing else is read or written.
    """
    items: list[Item] = []
    for arm in arms:
        items += run_arm(tasks, arm, sampling, limits=limits, batch=batch, log=log, on_progress=on_progress)
    return compare(tasks, items, seed=seed)


def run_arm(
    tasks: Sequence[Task],
    arm: Arm,
    sampling: Sampling,
    *,
    limits: Mapping[str, int] | None = None,
    batch: int = 64,
    log: Path | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> list[Item]:
    """One scored item per example, in the order of the tasks. See `evaluate`."""
    rows = [(task, example) for task in tasks for example in task.examples[: arm.most]]
    asks = [replace(arm.build(task, example), max_tokens=(limits or {}).get(task.name)) for task, example in rows]
    keys = [_key(arm, ask, sampling) for ask in asks]
    kept = {item.key: item for item in read_items(log)} if log is not None and log.is_file() else {}
    found: dict[int, Item] = {}
    changed: list[Item] = []
    for index, (task, example) in enumerate(rows):
        old = kept.get(keys[index])
        if old is not None and old.stop_reason != "error" and (old.task, old.id) == (task.name, example.id):
            score = task.scorer(example, old.reply)
            found[index] = replace(old, score=score.value, why=score.why)
            if found[index] != old:
                changed.append(found[index])
    if changed and log is not None:
        append_items(log, changed)
    todo = [index for index in range(len(rows)) if index not in found]
    if on_progress is not None:
        on_progress(arm.name, len(found), len(rows))
    for done in answers(arm.chat, [asks[index] for index in todo], sampling, batch=batch):
        new = {}
        for place, reply, error in zip(done.indices, done.replies, done.errors, strict=True):
            index = todo[place]
            task, example = rows[index]
            prompt = reply.prompt or _plain(asks[index].request)
            new[index] = _item(arm, task, example, prompt, reply, error, done.seconds / len(done.replies), keys[index])
        if log is not None:
            append_items(log, new.values())
        found.update(new)
        if on_progress is not None:
            on_progress(arm.name, len(found), len(rows))
    return [found[index] for index in range(len(rows))]


def _item(
    arm: Arm, task: Task, example: Example, prompt: str, reply: Reply, error: str, seconds: float, key: str
) -> Item:
    answer = reply.text.strip()
    score = Score(0.0, "", error or "no answer") if reply.stop_reason == "error" else task.scorer(example, answer)
    return Item(
        id=example.id,
        task=task.name,
        arm=arm.name,
        prompt=prompt,
        reply=answer,
        stop_reason=reply.stop_reason,
        score=score.value,
        why=score.why,
        seconds=round(seconds, 6),
        key=key,
    )


def _plain(request: Request) -> str:
    """The request as text for the log, where the model does not say what it saw."""
    if request.text is not None:
        return request.text
    return json.dumps([{"role": turn.role, "content": turn.content} for turn in request.messages], ensure_ascii=False)


def _key(arm: Arm, ask: Ask, sampling: Sampling) -> str:
    request = ask.request
    turns = [(turn.role, turn.content, turn.reasoning, turn.tool_calls) for turn in request.messages]
    asked = [request.text, turns, request.tools, request.template_kwargs, ask.stop, ask.max_tokens, asdict(sampling)]
    asked += [arm.name, arm.chat.name, arm.identity]
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:16]


def compare(tasks: Sequence[Task], items: Sequence[Item], *, seed: int = 0) -> EvalReport:
    """The report of items that were asked before: every arm's means, and instruct against base on the same items.

    Base and instruct have answered every example: they are compared on equal items or not at all.
    """
    arms = list(dict.fromkeys(item.arm for item in items))
    assert {BASE, INSTRUCT} <= set(arms), "a comparison needs the arms base and instruct"
    found = {(item.arm, item.task, item.id): item for item in items}
    results, cases = [], []
    for task in (task for task in tasks if task.examples):
        by_row = [
            {arm: found[arm, task.name, example.id] for arm in arms if (arm, task.name, example.id) in found}
            for example in task.examples
        ]
        assert all({BASE, INSTRUCT} <= set(answered) for answered in by_row), "base and instruct answer every item"
        by_arm = {arm: [answered[arm] for answered in by_row if arm in answered] for arm in arms}
        results.append(_task_result(task, by_arm, seed))
        cases += [_case(task, example, answered) for example, answered in zip(task.examples, by_row, strict=True)]
    return EvalReport(
        arms=tuple(arms),
        tasks=tuple(results),
        cases=tuple(cases),
        unknown=_unknown(tasks, found),
        stop_rate={arm: _stop_rate([item for item in items if item.arm == arm]) for arm in arms if arm != BASE_FAIR},
    )


def _task_result(task: Task, by_arm: Mapping[str, Sequence[Item]], seed: int) -> TaskResult:
    groups = [example.id if example.group is None else example.group for example in task.examples]
    base, tuned = ([item.score for item in by_arm[arm]] for arm in (BASE, INSTRUCT))
    found = paired_difference(base, tuned, groups=groups, seed=seed)
    did = Counter(
        base_behaviour(item.reply, example, Score(item.score, item.reply, item.why))
        for item, example in zip(by_arm[BASE], task.examples, strict=True)
    )
    return TaskResult(
        name=task.name,
        kind=task.kind,
        n=found.n,
        clusters=found.clusters,
        metric=metric(task),
        gated=task.gated,
        invented=sum(example.meta.get("unknown") is True for example in task.examples),
        arms={arm: _arm_result(rows) for arm, rows in by_arm.items() if rows},
        difference=found.mean,
        low=found.low,
        high=found.high,
        p=found.p,
        test=found.test,
        smallest_difference=smallest_difference(found.clusters),
        behaviour={name: did[name] for name in BEHAVIOURS if did[name]},
    )


def _arm_result(items: Sequence[Item]) -> ArmResult:
    scores = [item.score for item in items]
    hits = sum(score >= 1.0 for score in scores)
    interval = wilson(hits, len(scores)) if set(scores) <= {0.0, 1.0} else None
    errors = sum(item.stop_reason == "error" for item in items)
    return ArmResult(len(scores), sum(scores) / len(scores), interval, hits, errors)


def _case(task: Task, example: Example, items: Mapping[str, Item]) -> Case:
    answers_ = {arm: Answer(i.reply, i.score, i.why, i.stop_reason, i.prompt) for arm, i in items.items()}
    before, after = items[BASE].score, items[INSTRUCT].score
    outcome: Outcome = "both right" if after >= 1 else "neither"
    if after != before:
        outcome = "win" if after > before else "loss"
    return Case(example.id, task.name, task.kind, history(example), reference(example), answers_, outcome)


def is_refusal(reply: str) -> bool:
    """Whether a reply says that it does not know."""
    folded = reply.casefold()
    return any(refusal in folded for refusal in _REFUSALS)


def _unknown(tasks: Sequence[Task], found: Mapping[tuple[str, str, str], Item]) -> Unknown | None:
    """None when the items hold no invented name, because then nothing was asked about honesty."""
    invented, real = [], []
    for task in tasks:
        for example in task.examples:
            item = found[INSTRUCT, task.name, example.id]
            if example.meta.get("unknown") is True:
                invented.append(item.score >= 1.0)
            elif task.kind == "facts":
                real.append(is_refusal(item.reply))
    if not invented:
        return None
    return Unknown(sum(invented) / len(invented), sum(real) / max(1, len(real)), len(real), len(invented))


def _stop_rate(items: Sequence[Item]) -> float:
    return sum(item.stop_reason == "stop" for item in items) / max(1, len(items))
