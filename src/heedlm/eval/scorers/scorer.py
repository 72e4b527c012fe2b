"""What a scorer is: a kind, its options, and the judgement of one reply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from heedlm.errors import Problem
from heedlm.eval.match import reference
from heedlm.messages import JSON, Example, Reply, Score

Options: TypeAlias = Mapping[str, JSON]
Judge: TypeAlias = Callable[[Example, Reply, Options], Score]


@dataclass(frozen=True, slots=True)
class Option:
    """One setting of a scorer. wanted: what a value has to be, in words.   holds: whether a value is that."""

    about: str
    default: JSON
    wanted: str
    holds: Callable[[JSON], bool]


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One kind of scorer.

    metric: what its mean is, in the field's word; "accuracy" where each item is right or wrong.   target: whether an item
    has to hold the answer that is right.
    problems: what an item or the options lack for it, as texts with their mend.   extra: whether it needs the libraries
    of `pip install 'heedlm[eval]'`.   example: a spec and an item, a reply that scores 1.0 there, for help and docs.
    """

    name: str
    about: str
    metric: str
    judge: Judge
    options: Mapping[str, Option] = field(default_factory=dict)
    problems: Callable[[Example, Options], list[tuple[str, str]]] | None = None
    target: bool = True
    extra: bool = False
    example: tuple[JSON, JSON, str] = ("", {}, "")


@dataclass(frozen=True, slots=True, eq=False)
class Scorer:
    """A kind with its options: what a task is scored by."""

    kind: Kind
    options: Options

    @property
    def metric(self) -> str:
        return self.kind.metric

    def __call__(self, example: Example, reply: str) -> Score:
        """Judge a text alone: what a model said when nothing else of its reply is known."""
        return self.judge(example, Reply(reply))

    def judge(self, example: Example, reply: Reply) -> Score:
        return self.kind.judge(example, reply, self.options)

    def item_problems(self, example: Example) -> list[Problem]:
        """What an item lacks for this scorer, with the place of the item."""
        where = f"{example.source} (id {example.id})"
        if self.kind.target and not any(target.strip() for target in targets(example)):
            return [Problem("the item has no target", where, 'add "target": "the answer that is right"')]
        found = self.kind.problems(example, self.options) if self.kind.problems is not None else []
        return [Problem(what, where, mend) for what, mend in found]


def targets(example: Example) -> tuple[str, ...]:
    """The texts that count as right: `meta.targets` where an item has several, else the answer of the row."""
    several = example.meta.get("targets")
    return tuple(map(str, several)) if several else (reference(example),)


def best(scores: list[Score]) -> Score:
    """The highest of several, the first of those that are equal."""
    return max(scores, key=lambda score: score.value)


def a_switch(about: str, default: bool) -> Option:
    return Option(about, default, "true or false", lambda value: isinstance(value, bool))


def one_of(about: str, default: str, *names: str) -> Option:
    return Option(about, default, "one of " + ", ".join(names), lambda value: value in names)


def a_number(about: str, default: float | None) -> Option:
    """A number of 0 or more."""

    def holds(value: JSON) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf")

    return Option(
        about, default, "a number of 0 or more", lambda value: (value is None and default is None) or holds(value)
    )
