"""What is there to be judged: the replies that evaluations have kept, item by item."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from heedlm.errors import HeedError, Problem, nearest
from heedlm.eval.arms import BASE, INSTRUCT, INSTRUCT_AGAIN
from heedlm.eval.log import Item, read_items
from heedlm.eval.questions import Question, read_questions

LOG = "items.jsonl"
_AGAIN = " again"  # behind the name of a model that was asked a second time, for the noise floor


@dataclass(frozen=True, slots=True)
class Case:
    """One item with what several contenders replied.

    group: what the item is resampled with.   replies: by contender, of those that gave one.   scores: what checks gave them.
    """

    task: str
    id: str
    group: str
    question: Question
    replies: Mapping[str, str]
    scores: Mapping[str, float]


class Gathered(NamedTuple):
    """cases: in the order of the log.   names: of the contenders, the one compared with first.   models: who replied, by
    contender.   lost: replies without their question, which cannot be judged."""

    cases: list[Case]
    names: list[str]
    models: dict[str, str]
    lost: int


class _Source(NamedTuple):
    """One contender: an arm of a log."""

    name: str
    log: Path
    arm: str


def gather(places: Sequence[str], tasks: Sequence[str] = ()) -> Gathered:
    """The kept replies of contenders.

    places: one folder of an evaluation, all of whose arms contend (of a run: base and instruct); or several, one arm of
    each, FOLDER (of a run: instruct) or FOLDER#ARM.   tasks: to keep; none keeps all.
    Raises HeedError for a folder without a log, an arm or a task that is not there, an arm that several models answered,
    and where no item has a reply of two contenders.
    """
    sources = _sources(places)
    found: dict[tuple[str, str, str], dict[str, Item]] = {}
    questions: dict[tuple[str, str, str], Question] = {}
    models: dict[str, str] = {}
    logs = {source.log: read_items(source.log) for source in sources}
    for source in sources:
        questions |= read_questions(source.log)
        items = [item for item in logs[source.log] if item.arm == source.arm]
        who = sorted({item.model for item in items if item.model})
        if len(who) > 1:
            what = f"Arm {source.arm!r} was answered by several models: {', '.join(who)}."
            raise HeedError(what, str(source.log), "evaluate again, in a new folder")
        models[source.name] = who[0] if who else ""
        for item in items:
            if not item.error and item.stop_reason != "error":
                found.setdefault((item.task, item.id, item.question), {})[source.name] = item
    there = list(dict.fromkeys(task for task, _, _ in found))
    unknown = [task for task in tasks if task not in there]
    if unknown:
        raise HeedError.of([Problem(f"There is no task {task!r}.", "--task", nearest(task, there)) for task in unknown])
    found = {place: items for place, items in found.items() if not tasks or place[0] in tasks}
    cases = [_case(questions[place], items) for place, items in found.items() if place in questions]
    lost = sum(len(items) for place, items in found.items() if place not in questions)
    if not cases:
        what = "The log has no questions beside it." if lost else "There are no replies to judge."
        raise HeedError(what, ", ".join(places), f"heed eval {places[0].partition('#')[0]} --rescore writes them")
    return Gathered(cases, [source.name for source in sources], models, lost)


def drawn(cases: Iterable[Case], most: int | None, seed: int) -> list[Case]:
    """Cases in an order by chance, so that whatever a budget leaves of them is a fair sample; of each task `most` at most."""
    order = list(cases)
    random.Random(seed).shuffle(order)
    counts: dict[str, int] = {}
    kept = []
    for case in order:
        counts[case.task] = counts.get(case.task, 0) + 1
        if most is None or counts[case.task] <= most:
            kept.append(case)
    return kept


def log_of(folder: str) -> Path:
    """The log of a run, or of a comparison. Raises HeedError where there is none."""
    for path in (Path(folder) / "eval" / LOG, Path(folder) / LOG):
        if path.is_file():
            return path
    mend = f"heed eval {folder}" if (Path(folder) / "run.json").is_file() else "heed eval RUN, then name the run"
    raise HeedError("Nothing was evaluated here yet, so there are no replies to judge.", folder, mend)


def _sources(places: Sequence[str]) -> list[_Source]:
    if len(set(places)) < len(places):
        twice = next(place for place in places if places.count(place) > 1)
        raise HeedError(f"{twice} is named twice.", twice, "name each once")
    if len(places) == 1 and "#" not in places[0]:
        log = log_of(places[0])
        arms = _arms(log)
        chosen = [arm for arm in (BASE, INSTRUCT) if arm in arms]
        if len(chosen) < 2:  # a comparison of models: they are the arms
            last = [name for name in _compared(log.with_name("report.json")) if name in arms]
            chosen = last or [arm for arm in arms if not arm.endswith(_AGAIN) and arm != INSTRUCT_AGAIN]
        return [_Source(arm, log, arm) for arm in chosen]
    return [_source(place) for place in places]


def _compared(report: Path) -> list[str]:
    """The models of the comparison that was made last in a folder: its log may hold others of earlier ones."""
    try:
        return [str(model["name"]) for model in json.loads(report.read_text("utf8"))["models"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _source(place: str) -> _Source:
    folder, _, arm = place.partition("#")
    log = log_of(folder)
    arms = _arms(log)
    if not arm and INSTRUCT not in arms:
        mend = f"for example {folder}#{arms[-1]}" if arms else f"heed eval {folder}"
        raise HeedError("Several models have answered there; which one is meant?", folder, mend)
    arm = arm or INSTRUCT
    if arm not in arms:
        raise HeedError(f"The log has no arm {arm!r}.", str(log), nearest(arm, arms))
    return _Source(place, log, arm)


def _arms(log: Path) -> list[str]:
    return list(dict.fromkeys(item.arm for item in read_items(log)))


def _case(question: Question, items: Mapping[str, Item]) -> Case:
    group = f"id {question.id}" if question.group is None else f"group {question.group}"
    replies = {name: item.reply for name, item in items.items()}
    return Case(
        question.task, question.id, group, question, replies, {name: item.score for name, item in items.items()}
    )
