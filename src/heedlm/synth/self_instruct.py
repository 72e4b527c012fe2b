"""New instructions from a few that are shown, then answers to them.

Source: Wang et al. 2022, "Self-Instruct", arXiv 2212.10560. As there, each asking shows some seeds and a few of the tasks
that were made before, and what is like an earlier task is left out; near-likeness is that of `synth.novelty`.

A run that is resumed must ask the same again, so an asking depends on nothing but its number, the seeds and what came of
the askings before its block: blocks double in size, so the first ones, which show the model's own tasks early, are small.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from heedlm.data.words import words
from heedlm.errors import HeedError
from heedlm.messages import Example, Message, Request
from heedlm.synth import made, marks
from heedlm.synth.desk import BUDGET, Answer, Call
from heedlm.synth.inputs import Prompt
from heedlm.synth.made import Drop, Made
from heedlm.synth.novelty import Like, Pool
from heedlm.synth.rate import rated
from heedlm.synth.wording import TASK, ask_for_tasks
from heedlm.synth.work import Work, guided, question

MALFORMED, NOT_NEW, TOO_SHORT, TOO_LONG, SEED_MARK, SEED_LONG = (
    "malformed reply",
    "not new",
    "task too short",
    "task too long",
    "seed holds a mark",
    "seed too long",
)
_SIMILARITY = 0.5
_OWN = 2  # tasks of the model's own that are shown beside the seeds
_FIRST_BLOCK, _LAST_BLOCK = 4, 32
_FEWEST, _MOST = 2, 400  # words of a task
_TOKENS = 128  # room for one task in a reply
_BARREN = 12  # askings in a row without a new task: the model has no more
_VAIN = 40  # tasks in a row without an answer that is kept: the model cannot do what it invents
_ASKINGS = 10  # times the askings that would do, if every task were new: then it ends


@dataclass(frozen=True, slots=True)
class _Task:
    """A new instruction. asking: the call that it came from.   synth: the provenance of that call."""

    text: str
    synth: dict[str, Any]


@dataclass(slots=True)
class _State:
    """tasks: all that are new, in order.   shown: how many of them each block of askings may show, by its first number."""

    pool: Pool
    seeds: list[str]
    tasks: list[_Task] = field(default_factory=list)
    shown: dict[int, int] = field(default_factory=lambda: {0: 0})
    askings: int = 0
    barren: int = 0


def self_instruct(work: Work, seeds: Sequence[Prompt]) -> Made:
    """`options.rows` rows, or as many as the budget and the model give."""
    found = Made()
    state = _begin(work, seeds, found)
    most = _ASKINGS * -(-work.options.rows // work.options.tasks) + _BARREN
    answered = vain = 0
    while True:
        missing = work.options.rows - len(found.rows)
        while (
            len(state.tasks) - answered < missing
            and state.askings < most
            and state.barren < _BARREN
            and work.desk.stopped is None
        ):
            _ask(work, state, found, missing - (len(state.tasks) - answered))
        fresh = state.tasks[answered : answered + missing]
        if not fresh:
            break
        answered += len(fresh)
        before = len(found.rows)
        _answer(work, fresh, found)
        vain = 0 if len(found.rows) > before else vain + len(fresh)
        if vain >= _VAIN:
            break
    found.facts = {"askings": state.askings, "tasks": len(state.tasks), "tasks_not_needed": len(state.tasks) - answered}
    if len(found.rows) < work.options.rows and work.desk.stopped is None:
        nothing_new = f"{_BARREN} askings in a row gave nothing new"
        in_vain = f"{vain} tasks in a row brought no row"
        found.facts["ended"] = (
            in_vain
            if vain >= _VAIN
            else nothing_new
            if state.barren >= _BARREN
            else f"{state.askings} askings were made"
        )
    return found


def _begin(work: Work, seeds: Sequence[Prompt], found: Made) -> _State:
    usable = []
    for seed in seeds:
        if marks.holds(seed.asked, TASK):
            found.drops.append(Drop(SEED_MARK, f"<{TASK}> stands in it", seed.example.source))
        elif len(words(seed.asked)) > _MOST:
            found.drops.append(Drop(SEED_LONG, f"a seed has at most {_MOST} words", seed.example.source))
        elif seed.asked.strip():
            usable.append(seed.asked.strip())
    if not usable:
        where = seeds[0].example.source
        raise HeedError(
            "No seed can be shown to the model.", where, f"seeds of at most {_MOST} words, without <{TASK}>"
        )
    usable = list(dict.fromkeys(usable))
    return _State(Pool(usable, work.options.similarity or _SIMILARITY), usable)


def _ask(work: Work, state: _State, found: Made, missing: int) -> None:
    """A few askings at once, at most to the end of their block, and what is new of what they gave."""
    options = work.options
    start, end = block_of(state.askings)
    state.shown.setdefault(start, len(state.tasks))
    hoped = max(
        1.0, min(options.tasks, (len(state.tasks) + options.tasks) / (state.askings + 1))
    )  # new ones per asking
    count = min(end - state.askings, max(1, round(missing / hoped)))
    numbers = range(state.askings, state.askings + count)
    sampling = options.sampling(work.mode, max_tokens=max(options.max_tokens, _TOKENS * options.tasks))
    own = [task.text for task in state.tasks[: state.shown[start]]]
    calls = [Call(Request(messages=question(_prompt(work, state.seeds, own, n))), sampling, once=True) for n in numbers]
    told = work.ask("inventing tasks", calls, state.askings)
    texts = [_texts(one, found) for one in told]
    likes = iter(state.pool.take([text for its in texts for text in its]))
    for call, one, its in zip(calls, told, texts, strict=True):
        synth = made.record(work.origin, one.key, call.request.messages, sampling)
        new = [_new(text, next(likes), synth, state, found) for text in its]
        state.barren = 0 if any(new) else state.barren + 1
    state.askings += count


def block_of(number: int) -> tuple[int, int]:
    """The first asking of the block that asking `number` is in, and the first one behind it."""
    start, size = 0, _FIRST_BLOCK
    while number >= start + size:
        start, size = start + size, min(2 * size, _LAST_BLOCK)
    return start, start + size


def _prompt(work: Work, seeds: Sequence[str], own: Sequence[str], number: int) -> str:
    chance = random.Random(f"{work.options.seed}:{number}")
    shown = chance.sample(list(seeds), min(work.options.shown, len(seeds)))
    shown += chance.sample(list(own), min(_OWN, len(own)))
    chance.shuffle(shown)
    return ask_for_tasks(shown, work.options.tasks, work.options.about)


def _texts(told: Answer, found: Made) -> list[str]:
    """The tasks of one reply; everything else in it is dropped with a reason."""
    where = f"journal.jsonl, key {told.key}"
    if told.reply is None:
        if told.problem != BUDGET:  # nothing is lost by an asking that was not made
            found.drops.append(Drop(told.problem, told.why, where))
        return []
    texts, malformed = marks.parse(told.reply.text, TASK)
    found.drops += [Drop(MALFORMED, why, where, {"reply": told.reply.text}) for why in malformed]
    sound = []
    for text in texts:
        long = len(words(text))
        if _FEWEST <= long <= _MOST:
            sound.append(text)
        else:
            reason = TOO_SHORT if long < _FEWEST else TOO_LONG
            found.drops.append(Drop(reason, f"{long:,} words, expected {_FEWEST} to {_MOST}", where, {"task": text}))
    return sound


def _new(text: str, like: Like | None, synth: dict[str, Any], state: _State, found: Made) -> bool:
    """Whether a task is new; then it is one of the state, else it is dropped."""
    if like is None:
        state.tasks.append(_Task(text, synth))
        return True
    why = f"{like.similarity:.0%} the same as {like.text[:80]!r}"
    found.drops.append(Drop(NOT_NEW, why, f"journal.jsonl, key {synth['key']}", {"task": text}))
    return False


def _answer(work: Work, tasks: Sequence[_Task], found: Made) -> None:
    sampling = work.options.sampling(work.mode)
    calls = [Call(Request(messages=guided(question(task.text), work.options.guide)), sampling) for task in tasks]
    answers = work.ask("answering them", calls, len(found.rows), work.options.rows)
    rows: list[Example] = []
    for task, call, told in zip(tasks, calls, answers, strict=True):
        where = f"journal.jsonl, key {told.key}"
        wrong = (told.problem, told.why) if told.reply is None else made.unfit(told.reply)
        if told.reply is None or wrong is not None:
            assert wrong is not None
            text = "" if told.reply is None else told.reply.text
            found.drops.append(Drop(*wrong, where, {"task": task.text, "answer": text}))
            continue
        synth = made.record(work.origin, told.key, call.request.messages, sampling, task=task.synth)
        asked = Example("", (Message("user", task.text),), where)
        rows.append(made.row(work.origin, asked, made.answer_of(told.reply), synth, id=f"self-{told.key[:12]}"))
    found.rows += rated(work, rows, found)
