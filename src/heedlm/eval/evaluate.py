"""The comparison: several arms on the same items, scored, paired and summed up."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from heedlm.eval.arms import BASE, BASE_FAIR, INSTRUCT, Builder, history
from heedlm.eval.asking import Ask, answers
from heedlm.eval.behaviour import BEHAVIOURS, base_behaviour
from heedlm.eval.log import Item, append_items, read_items
from heedlm.eval.many import benjamini_hochberg, holm
from heedlm.eval.match import reference
from heedlm.eval.prices import Price
from heedlm.eval.questions import keep_questions, question
from heedlm.eval.results import Answer, ArmResult, Case, EvalReport, Outcome, TaskResult, Unknown
from heedlm.eval.scorers.registry import judged
from heedlm.eval.stats import Interval, mean_interval, paired_difference, wilson
from heedlm.eval.suites.asked import as_wanted
from heedlm.eval.suites.suite import ITEM, VARIANT
from heedlm.eval.task import metric
from heedlm.eval.verdict import note
from heedlm.messages import Chat, Example, Reply, Request, Sampling, Score, Task

_REFUSALS = ("i do not know", "i don't know", "i don’t know")


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to ask one model.

    identity: what tells this model from another of the same name (a checksum), for resuming.
    most: items of each task that this arm is asked, the first ones; None asks all. Only arms that are shown beside the
    comparison may leave items out, never "base" and "instruct".   price: of an endpoint, where it is known.
    """

    name: str
    chat: Chat
    build: Builder
    identity: str = ""
    most: int | None = None
    price: Price | None = None


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
    asks = [as_wanted(task, example, arm.build(task, example), (limits or {}).get(task.name)) for task, example in rows]
    keys = [_key(arm, ask, sampling) for ask in asks]
    kept = {item.key: item for item in read_items(log)} if log is not None and log.is_file() else {}
    found: dict[int, Item] = {}
    changed: list[Item] = []
    for index, (task, example) in enumerate(rows):
        old = kept.get(keys[index])
        if old is not None and old.stop_reason != "error" and (old.task, old.id) == (task.name, example.id):
            found[index] = scored_again(_paid(replace(old, model=_who(arm)), arm), task, example)
            if found[index] != old:
                changed.append(found[index])
    if changed and log is not None:
        append_items(log, changed)
    if log is not None:
        keep_questions(log, tasks)
    todo = [index for index in range(len(rows)) if index not in found]
    if on_progress is not None:
        on_progress(arm.name, len(found), len(rows))
    for done in answers(arm.chat, [asks[index] for index in todo], sampling, batch=batch):
        new = {}
        seen = done.prompt_tokens or [None] * len(done.replies)
        for place, reply, tokens, read in zip(done.indices, done.replies, done.tokens, seen, strict=True):
            index = todo[place]
            task, example = rows[index]
            item = _paid(
                Item(
                    id=example.id,
                    task=task.name,
                    arm=arm.name,
                    prompt=reply.prompt or _plain(asks[index].request),
                    reply="" if reply.stop_reason == "error" else reply.text.strip(),
                    stop_reason=reply.stop_reason,
                    score=0.0,
                    why="",
                    seconds=round(done.seconds / len(done.replies), 6),
                    key=keys[index],
                    model=_who(arm),
                    question=question(example),
                    tokens=tokens,
                    reasoning=reply.reasoning,
                    tool_calls=reply.tool_calls,
                    error=(reply.text.strip() or "no answer") if reply.stop_reason == "error" else "",
                    prompt_tokens=read,
                ),
                arm,
            )
            new[index] = scored(item, task, example)
        if log is not None:
            append_items(log, new.values())
        found.update(new)
        if on_progress is not None:
            on_progress(arm.name, len(found), len(rows))
    return [found[index] for index in range(len(rows))]


def _paid(item: Item, arm: Arm) -> Item:
    """The item with what it cost, where there is a price now; what it cost by an earlier price stays."""
    if arm.price is None or item.money is not None:
        return item
    return replace(item, money=arm.price.money(item.prompt_tokens, item.tokens))


def _who(arm: Arm) -> str:
    return f"{arm.chat.name} {arm.identity}".strip()


def scored(item: Item, task: Task, example: Example) -> Item:
    """The item with its score. An item that its scorer fails on gets 0 and says why; it stops nothing."""
    if item.stop_reason == "error":
        return replace(item, score=0.0, why=item.error)
    try:
        # Of the ids only their number is kept, and only their number is scored.
        ids = (0,) * (item.tokens or 0)
        reply = Reply(item.reply, ids, item.reasoning, item.tool_calls, stop_reason=item.stop_reason)
        score = judged(task, example, reply)
    except Exception as error:  # noqa: BLE001 - whatever a reply does to a scorer, the other items go on
        failed = f"the scorer failed: {type(error).__name__}: {error}"
        return replace(item, score=0.0, why=failed, error=failed)
    return replace(item, score=score.value, why=score.why, error="")


def scored_again(item: Item, task: Task, example: Example) -> Item:
    """An old line by the checks of today; a line of an older version learns what its question was."""
    return scored(replace(item, question=item.question or question(example)), task, example)


def _plain(request: Request) -> str:
    """The request as text for the log, where the model does not say what it saw."""
    if request.text is not None:
        return request.text
    return json.dumps([{"role": turn.role, "content": turn.content} for turn in request.messages], ensure_ascii=False)


def _key(arm: Arm, ask: Ask, sampling: Sampling) -> str:
    request = ask.request
    turns = [(turn.role, turn.content, turn.reasoning, turn.tool_calls) for turn in request.messages]
    asked: list[object] = [
        request.text,
        turns,
        request.tools,
        request.template_kwargs,
        ask.stop,
        ask.max_tokens,
        asdict(sampling),
    ]
    asked += [arm.name, arm.chat.name, arm.identity]
    drawn = (ask.choices, ask.per, ask.temperature, ask.seed)
    asked += [drawn] if drawn != ((), "text", None, None) else []  # logs from before they existed stay good
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
    invented, real = _honesty(tasks, found)
    spans = {"stop_rate": _span([(item.stop_reason == "stop", one) for item, one in _grouped(tasks, found, INSTRUCT)])}
    if invented:  # else nothing was asked about honesty
        spans |= {"recall": _span(invented), "false_refusal": _span(real)}
    return EvalReport(
        arms=tuple(arms),
        tasks=tuple(_adjusted(results)),
        cases=tuple(cases),
        unknown=_unknown(invented, real) if invented else None,
        stop_rate={arm: _stop_rate([item for item in items if item.arm == arm]) for arm in arms if arm != BASE_FAIR},
        spans=spans,
        models={item.arm: item.model for item in items if item.model},
    )


def _adjusted(results: Sequence[TaskResult]) -> list[TaskResult]:
    """Several tasks are several chances to be fooled: their p-values together."""
    p = [result.p for result in results]
    both = zip(results, holm(p), benjamini_hochberg(p), strict=True)
    return [replace(result, p_holm=one, p_bh=other) for result, one, other in both]


def _grouped(tasks: Sequence[Task], found: Mapping[tuple[str, str, str], Item], arm: str) -> Iterator[tuple[Item, str]]:
    """The items of an arm, each with its group; one that stands alone is its own."""
    for task in tasks:
        for example in task.examples:
            yield found[arm, task.name, example.id], group_of(example)


def _span(told: Sequence[tuple[bool, str]]) -> Interval:
    return mean_interval([float(value) for value, _ in told], [group for _, group in told])


def group_of(example: Example) -> str:
    """What an item is resampled with: its group, or itself."""
    return f"id {example.id}" if example.group is None else f"group {example.group}"


def _task_result(task: Task, by_arm: Mapping[str, Sequence[Item]], seed: int) -> TaskResult:
    groups = [group_of(example) for example in task.examples]
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
        arms={arm: arm_result(rows, groups[: len(rows)]) for arm, rows in by_arm.items() if rows},
        difference=found.mean,
        low=found.low,
        high=found.high,
        p=found.p,
        test=found.test,
        smallest_difference=found.smallest,
        behaviour={name: did[name] for name in BEHAVIOURS if did[name]},
        note=note(found.n, sum(base) / len(base), sum(tuned) / len(tuned), found.smallest),
    )


def arm_result(items: Sequence[Item], groups: Sequence[str]) -> ArmResult:
    """The scores of one arm summed up. groups: of the items, in the same order."""
    scores = [item.score for item in items]
    hits = sum(score >= 1.0 for score in scores)
    interval = wilson(hits, len(scores)) if set(scores) <= {0.0, 1.0} else None
    errors = sum(bool(item.error) for item in items)
    span = mean_interval(scores, groups)
    return ArmResult(len(scores), sum(scores) / len(scores), interval, hits, errors, span)


def _case(task: Task, example: Example, items: Mapping[str, Item]) -> Case:
    answers_ = {
        arm: Answer(
            i.reply, i.score, i.why, i.stop_reason, i.prompt, i.tokens, i.seconds, i.error, i.prompt_tokens, i.money
        )
        for arm, i in items.items()
    }
    before, after = items[BASE].score, items[INSTRUCT].score
    outcome: Outcome = "both right" if after >= 1 else "neither"
    if after != before:
        outcome = "win" if after > before else "loss"
    item, form = example.meta.get(ITEM, ""), example.meta.get(VARIANT, {})
    places = {str(axis): str(place) for axis, place in form.items()} if isinstance(form, Mapping) else {}
    turns, right = history(example), reference(example)
    return Case(example.id, task.name, task.kind, turns, right, answers_, outcome, str(item), places)


def is_refusal(reply: str) -> bool:
    """Whether a reply says that it does not know."""
    folded = reply.casefold()
    return any(refusal in folded for refusal in _REFUSALS)


def _honesty(
    tasks: Sequence[Task], found: Mapping[tuple[str, str, str], Item]
) -> tuple[list[tuple[bool, str]], list[tuple[bool, str]]]:
    """Of invented names whether the answer was honest, of real facts whether they were refused; each with its group."""
    invented, real = [], []
    for task in tasks:
        for example in task.examples:
            item = found[INSTRUCT, task.name, example.id]
            if example.meta.get("unknown") is True:
                invented.append((item.score >= 1.0, group_of(example)))
            elif task.kind == "facts":
                real.append((is_refusal(item.reply), group_of(example)))
    return invented, real


def _unknown(invented: Sequence[tuple[bool, str]], real: Sequence[tuple[bool, str]]) -> Unknown:
    honest, refused = (sum(value for value, _ in told) for told in (invented, real))
    return Unknown(honest / len(invented), refused / max(1, len(real)), len(real), len(invented))


def _stop_rate(items: Sequence[Item]) -> float:
    return sum(item.stop_reason == "stop" for item in items) / max(1, len(items))
