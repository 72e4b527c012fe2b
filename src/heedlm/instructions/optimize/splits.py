"""Train, dev and sealed test: no case, and nothing that belongs to it, in two of them."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

from heedlm.errors import HeedError, Problem
from heedlm.instructions.cases import Case

SHARES = (0.4, 0.25, 0.35)  # of train, dev, test
FEWEST = 8  # cases of a part below which nothing at all can be said
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Split:
    """Indices into the cases.

    pool: where demonstrations come from; never scored.   race: on which stages race.   dev: on which a stage's winner is
    confirmed.   test: sealed, for the gate.
    """

    pool: tuple[int, ...]
    race: tuple[int, ...]
    dev: tuple[int, ...]
    test: tuple[int, ...]


def split(cases: Sequence[Case], sealed: Sequence[Case] | None = None, *, seed: int = 0) -> tuple[list[Case], Split]:
    """All cases in one list, and where each belongs.

    sealed: the test, where it is a file of its own; None takes a share of `cases`. Cases of one group, with the same
    values, or of which one puts the other in other words, stay together. Raises HeedError where the test overlaps the
    rest, or where a part is too small.
    """
    every = [*cases, *(sealed or ())]
    owner = _families(every)
    if sealed is not None:
        _refuse_overlap(every, owner, len(cases))
    families: dict[int, list[int]] = {}
    for index in range(len(cases)):
        families.setdefault(owner[index], []).append(index)
    order = list(families.values())
    random.Random(seed).shuffle(order)
    shares = SHARES if sealed is None else (SHARES[0] + SHARES[2] / 2, SHARES[1] + SHARES[2] / 2, 0.0)
    parts: list[list[int]] = [[], [], []]
    for family in order:
        short = [share * len(cases) - len(part) for share, part in zip(shares, parts, strict=True)]
        parts[short.index(max(short))] += family
    train, dev, test = parts
    if sealed is not None:
        test = list(range(len(cases), len(every)))
    pool, race = _pooled(train, owner)
    for name, part in (("train", race), ("dev", dev), ("test", test)):
        if len(part) < FEWEST:
            what = f"only {len(part)} cases for {name}, and {FEWEST} are the fewest"
            raise HeedError(what, "--data", "more cases: 300 for dev and 1,000 for the test show a gain of 5 points")
    return every, Split(tuple(pool), tuple(race), tuple(dev), tuple(test))


def _pooled(train: Sequence[int], owner: Sequence[int]) -> tuple[list[int], list[int]]:
    """A quarter of the train cases, 40 at most, as the source of demonstrations; their families leave the race."""
    size = min(40, len(train) // 4)
    families = {owner[index] for index in train[:size]}
    return [one for one in train if owner[one] in families], [one for one in train if owner[one] not in families]


def _families(cases: Sequence[Case]) -> list[int]:
    """For each case the number of its family: what is linked by group, values or paraphrase."""
    parent = list(range(len(cases)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[tuple[str, str], int] = {}
    for index, case in enumerate(cases):
        same = json.dumps(case.values, sort_keys=True, default=str)
        links = [("values", " ".join(same.split()).casefold())]
        links += [("group", case.group)] if case.group is not None else []
        links += [("words", case.paraphrase_of or case.id)]
        for link in links:
            parent[root(index)] = root(first.setdefault(link, index))
    return [root(index) for index in range(len(cases))]


def _refuse_overlap(cases: Sequence[Case], owner: Sequence[int], seen: int) -> None:
    known: dict[int, Case] = {}
    for index in range(seen):
        known.setdefault(owner[index], cases[index])
    problems = [
        Problem(
            f"the test case {cases[index].id!r} overlaps the data: same values, group, or words as {known[owner[index]].id!r}",
            cases[index].source,
            "take it out of one of the two files",
        )
        for index in range(seen, len(cases))
        if owner[index] in known
    ]
    if problems:
        raise HeedError.of(problems[:_SHOWN])
