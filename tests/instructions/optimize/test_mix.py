"""Moves tried together: the draw is balanced, effects are told apart, and what helps only in company is found."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.instructions.bench import Candidate
from heedlm.instructions.optimize.ledger import Budget, Ledger, fingerprint
from heedlm.instructions.optimize.mix import _design, best_of_mix, best_ways, fitted
from heedlm.instructions.optimize.moves import moves_of
from tests.instructions.optimize.planted import SEED, features, model

MOVES = moves_of("mix", Candidate(SEED))
TOGETHER = ("xml", "clerk", "no tone")


def test_moves_of_all_kinds_that_need_no_data_are_mixed_and_orders_are_not() -> None:
    kinds = {move.slot.split(":")[0] for move in MOVES}
    assert kinds >= {"notation", "placement", "repeat", "block", "add", "edit"}
    assert "order" not in kinds
    assert "shots" not in kinds


@given(st.lists(st.integers(2, 6), min_size=1, max_size=8), st.integers(12, 60), st.integers(0, 99))
def test_each_level_comes_equally_often(levels: list[int], count: int, seed: int) -> None:
    ways = _design(levels, count, random.Random(seed))
    assert len(ways) == len(set(ways)) <= count
    if len(ways) == count:  # no two were alike
        for slot, many in enumerate(levels):
            often = Counter(way[slot] for way in ways)
            assert set(often) == set(range(many))
            assert max(often.values()) - min(often.values()) <= 1


@given(st.integers(0, 99))
def test_effects_of_a_sum_are_found(seed: int) -> None:
    draw = random.Random(seed)
    levels = [2, 4, 3, 2]
    true = [[0.0, *(draw.choice((-0.2, 0.0, 0.3)) for _ in range(many - 1))] for many in levels]
    ways = _design(levels, 96, draw)
    gains = [sum(own[level] for own, level in zip(true, way, strict=True)) for way in ways]
    for own, told in zip(true, fitted(ways, gains, levels), strict=True):
        assert told[0] == 0
        for effect, seen in zip(own, told, strict=True):
            assert abs(effect - seen) < 0.12  # drawn towards none


@given(st.lists(st.lists(st.floats(-1, 1), min_size=2, max_size=3), min_size=1, max_size=4), st.integers(1, 9))
def test_the_best_ways_are_those_with_the_largest_sums(effects: list[list[float]], count: int) -> None:
    total = lambda way: sum(own[level] for own, level in zip(effects, way, strict=True))  # noqa: E731
    every = sorted((total(way) for way in product(*(range(len(own)) for own in effects))), reverse=True)
    assert [total(way) for way in best_ways(effects, count)] == pytest.approx(every[:count])


def test_what_helps_only_in_company_is_found() -> None:
    """No single move is worth anything here: the clerk helps only where the tone is gone and the notation is XML."""

    def evaluate(candidates: Sequence[Candidate], items: Sequence[int]) -> list[list[float]]:
        told = [features(one) for one in candidates]
        return [[float(item % 5 == 0 or all(one[name] for name in TOGETHER)) for item in items] for one in told]

    hits = 0
    for seed in range(10):
        ledger = Ledger(evaluate, Budget(2000))
        best = best_of_mix(ledger, Candidate(SEED), MOVES, range(200), 2000, random.Random(seed))
        hits += best is not None and all(features(best)[name] for name in TOGETHER)
        assert ledger.calls <= 2000
    assert hits >= 9


@pytest.mark.parametrize("calls", [0, 1, 150, 311, 312, 700, 3000])
def test_no_more_is_spent_than_is_given(calls: int) -> None:
    ledger = Ledger(model({"xml": 0.3, "clerk": 0.3}, 0.2, 1), Budget(100_000))
    best = best_of_mix(ledger, Candidate(SEED), MOVES, range(300), calls, random.Random(1))
    assert ledger.calls <= calls
    assert (ledger.calls > 0) == (
        calls >= 312
    )  # twelve combinations and the seat on twelve items, and half for the race
    assert calls < 3000 or (best is not None and features(best)["xml"] and features(best)["clerk"])


def test_without_moves_or_where_nothing_compiles_the_seat_stays() -> None:
    seat = Candidate(SEED)
    ledger = Ledger(model({"xml": 0.5}, 0.2, 1), Budget(9000))
    assert best_of_mix(ledger, seat, [], range(300), 3000, random.Random(1)) is None
    assert best_of_mix(ledger, seat, MOVES, range(300), 3000, random.Random(1), lambda one: False) is None
    assert set(ledger.candidates) <= {fingerprint(seat)}
