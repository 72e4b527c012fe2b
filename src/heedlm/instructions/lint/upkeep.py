"""Rules 70x: whether test cases are enough, and whether a lock file still speaks of this file and of this model."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from heedlm.instructions.lint.examples import cases_of
from heedlm.instructions.lint.rule import Hit, Rule, Subject

FEW = 100  # cases under which only large differences can be told
LOCK = "lock.json"  # what a search leaves beside the file that won


class Lock(NamedTuple):
    """What a lock file says of the file beside it. source: the text that won.   model: on which."""

    source: str
    model: str


def lock_beside(subject: Subject) -> Lock | None:
    """The lock file of the search that wrote this file; None where there is none."""
    file = Path(subject.instruction.file)
    place = file.parent / LOCK
    if not file.is_file() or not place.is_file():
        return None
    try:
        held: Any = json.loads(place.read_text(encoding="utf-8"))
        best = held["best"]
        sources = [one["source"] for one in held["candidates"] if one["fingerprint"] == best["fingerprint"]]
        if best["file"] != file.name or not sources:
            return None
        return Lock(str(sources[0]), str(held["model"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def few_cases(subject: Subject) -> Iterator[Hit]:
    count = len(cases_of(subject))
    if 0 < count < FEW:
        points = math.ceil(196 * math.sqrt(0.5 / count))
        what = f"{count} case{'s' * (count != 1)}: a difference of less than about {points} points looks like luck"
        yield Hit(subject.at("heed", "tests"), what)


def stale_lock(subject: Subject) -> Iterator[Hit]:
    lock = lock_beside(subject)
    if lock is not None and lock.source.strip() != subject.source.strip():
        yield Hit(f"{subject.instruction.file}:1", f"the text is not the one that {LOCK} beside it has scores for")


def other_model(subject: Subject) -> Iterator[Hit]:
    lock, frame = lock_beside(subject), subject.frame
    if lock is None or frame is None or not frame.model:
        return
    name = lock.model.rpartition(" ")[0] or lock.model  # behind the name stands what tells its weights apart
    if Path(frame.model).name not in (Path(name).name, Path(lock.model).name):
        yield Hit(f"{subject.instruction.file}:1", f"it was chosen on {name}, and is looked at for {frame.model}")


_HEAD = "---\ninputs: [{name: text, kind: string}]\nheed: {trust: {text: data}, tests: TESTS}\n---\n"
_BODY = "system:\n# Task\nName the mood in one word.\n\nuser:\n{{ text }}\n"

RULES = (
    Rule(
        id="HD702",
        name="few test cases",
        severity="info",
        grade="C",
        about=f"A file of tests with fewer than {FEW} cases.",
        why="With so few, the better of two equal instructions is decided by luck.",
        mend="Add cases; heed prompt test says how many a difference needs.",
        source="heed: two standard errors, where every second case flips",
        find=few_cases,
        bad=_HEAD.replace("TESTS", "mood.matrix.yaml") + _BODY,
        good=_HEAD.replace("TESTS", "many.matrix.yaml") + _BODY,
    ),
    Rule(
        id="HD705",
        name="changed behind its lock file",
        severity="warning",
        grade="C",
        about="A file that a search wrote, and that is no longer what the lock file beside it has scores for.",
        why="Its figures speak of another text.",
        mend="Search again, or copy the file away from the lock file.",
        source="heed",
        find=stale_lock,
        bad=_HEAD.replace(", tests: TESTS", "") + _BODY.replace("mood", "tone"),
        good=_HEAD.replace(", tests: TESTS", "") + _BODY,
    ),
    Rule(
        id="HD706",
        name="chosen on another model",
        severity="warning",
        grade="X",
        about="A file that a search wrote, looked at for a model other than the one it was searched on.",
        why="What is best on one model says little about the next: formats hardly carry over.",
        mend="Search on this model, or compare it with the text as it was: heed prompt test.",
        source="Sclar et al. 2023, arXiv 2310.11324",
        find=other_model,
        needs="model",
        bad=_HEAD.replace(", tests: TESTS", "") + _BODY,
        good=_HEAD.replace(", tests: TESTS", "") + _BODY,
    ),
)
