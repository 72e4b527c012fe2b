"""The nouns of a suite, and how one item becomes several that ask the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from heedlm.errors import HeedError, Problem
from heedlm.messages import Example, Task

ITEM, VARIANT = "item", "variant"  # where an example's meta holds which item it is of, and in which form
AXES: Mapping[str, str] = {"format": "formats", "wording": "wordings", "sample": "samples", "turn": "turns"}


@dataclass(frozen=True, slots=True)
class SuiteTask:
    """One task of a suite. baseline: the score that guessing, or whatever the writer compares with, reaches.

    num_items: items before they were varied.
    """

    task: Task
    baseline: float | None = None
    num_items: int = 0


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite as read. rows: the split of a run whose rows are its items ("test"), or "" where it has items of its own."""

    name: str
    about: str
    tasks: tuple[SuiteTask, ...]
    file: str
    rows: str = ""


class Form(NamedTuple):
    """One way to ask an item: the names of the axes on which it differs from the others, and its place on each."""

    places: Mapping[str, str]

    @property
    def ending(self) -> str:
        return "".join(f"/{axis}={place}" for axis, place in self.places.items())


def in_form(example: Example, form: Form) -> Example:
    """The example as one of several of its item: an id of its own, the group of the item."""
    if not form.places:
        return replace(example, meta={**example.meta, ITEM: example.id, VARIANT: {}})
    meta = {**example.meta, ITEM: example.id, VARIANT: dict(form.places)}
    return replace(example, id=example.id + form.ending, group=example.group or example.id, meta=meta)


def by_turn(example: Example) -> Iterator[tuple[Example, int]]:
    """The conversation up to each answer that it holds, with the number of the turn, from 1."""
    number = 0
    for end, turn in enumerate(example.messages, start=1):
        if turn.role == "assistant":
            number += 1
            yield replace(example, messages=example.messages[:end]), number


def axes(task: Task) -> list[str]:
    """On which axes the items of a task vary, in the order of AXES."""
    found = {axis for example in task.examples for axis in example.meta.get(VARIANT, {})}
    return [axis for axis in AXES if axis in found]


def first_items(task: Task, most: int | None) -> Task:
    """The task with its first `most` items, each in all its forms; None keeps all."""
    if most is None:
        return task
    kept = set(list(dict.fromkeys(example.meta.get(ITEM, example.id) for example in task.examples))[:most])
    rows = tuple(example for example in task.examples if example.meta.get(ITEM, example.id) in kept)
    return replace(task, examples=rows)


def refuse_same_names(tasks: Sequence[tuple[str, str]]) -> None:
    """tasks: name and place. Raises HeedError where two tasks would be one in the report."""
    first: dict[str, str] = {}
    problems = []
    for name, where in tasks:
        if name in first:
            problems.append(
                Problem(f"two tasks are called {name!r}", f"{first[name]} and {where}", "rename one of them")
            )
        first.setdefault(name, where)
    if problems:
        raise HeedError.of(problems)
