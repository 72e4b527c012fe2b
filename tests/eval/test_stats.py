from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.eval.many import benjamini_hochberg, holm, seeds_difference
from heedlm.eval.stats import (
    mcnemar,
    mean_interval,
    paired_difference,
    smallest_difference,
    smallest_mean_difference,
    tango,
    wilson,
)

RUNS = 1000


def _arms(rng: np.random.Generator, n: int, gain: float = 0.0) -> tuple[list[float], list[float]]:
    """Two arms that find the same items hard; the second is right by chance on a share `gain` of what it would miss."""
    easy = rng.beta(1, 1, n)
    first = rng.random(n) < easy
    second = (rng.random(n) < easy) | (rng.random(n) < gain)
    return first.astype(float).tolist(), second.astype(float).tolist()


def test_equal_arms_are_rarely_called_different() -> None:
    rng = np.random.default_rng(11)
    by_p = by_interval = 0
    for seed in range(RUNS):
        found = paired_difference(*_arms(rng, 80), seed=seed, resamples=500)
        by_p += found.p < 0.05
        by_interval += not found.low <= 0 <= found.high
    assert by_p <= 0.06 * RUNS
    assert by_interval <= 0.06 * RUNS


def test_equal_arms_in_groups_are_rarely_called_different() -> None:
    """Items of a group answer alike: an interval over items would be too narrow, one over groups is not."""
    rng = np.random.default_rng(12)
    by_p = by_interval = naive = 0
    groups = [index // 5 for index in range(200)]
    for seed in range(RUNS):
        first, second = (np.repeat(side, 5).tolist() for side in _arms(rng, 40))
        found = paired_difference(first, second, groups=groups, seed=seed, resamples=500)
        by_p += found.p < 0.05
        by_interval += not found.low <= 0 <= found.high
        naive += paired_difference(first, second, seed=seed, resamples=50).p < 0.05
    assert by_p <= 0.06 * RUNS
    assert by_interval <= 0.06 * RUNS
    assert naive > 0.2 * RUNS


def test_a_clean_sweep_still_has_a_width() -> None:
    found = paired_difference([0.0] * 60, [1.0] * 60)
    assert found.mean == found.high == 1.0
    assert 0.85 < found.low < 1.0
    assert found.p < 1e-9
    assert found.test == "mcnemar"


def test_identical_arms_differ_by_nothing() -> None:
    found = paired_difference([0.0, 1.0, 1.0] * 20, [0.0, 1.0, 1.0] * 20)
    assert (found.mean, found.p) == (0.0, 1.0)
    assert found.low <= 0 <= found.high


def test_one_item_or_one_group_tells_nothing() -> None:
    one = paired_difference([0.0], [1.0])
    assert (one.low, one.high, one.p) == (-1.0, 1.0, 1.0)
    group = paired_difference([0.0] * 9, [1.0] * 9, groups=["a"] * 9)
    assert (group.clusters, group.low, group.high, group.p) == (1, -1.0, 1.0, 1.0)


def test_no_item_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError):
        paired_difference([], [])


def test_the_same_seed_gives_the_same_interval() -> None:
    rng = np.random.default_rng(1)
    arms = rng.random(50).tolist(), rng.random(50).tolist()
    assert paired_difference(*arms, seed=4) == paired_difference(*arms, seed=4)
    assert paired_difference(*arms, seed=4) != paired_difference(*arms, seed=5)


def test_sign_flips_are_exact_for_few_groups() -> None:
    """Five groups that all gain: 2 of 32 sign patterns are as extreme."""
    found = paired_difference([0.0] * 5, [0.5] * 5)
    assert found.test == "sign-flip"
    assert found.p == pytest.approx(2 / 32)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40), st.integers(0, 99))
def test_the_interval_holds_the_mean_and_turns_with_the_arms(pairs: list[tuple[float, float]], seed: int) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    found = paired_difference(first, second, seed=seed, resamples=200)
    assert found.low <= found.mean <= found.high
    assert 0 < found.p <= 1
    assert paired_difference(second, first, seed=seed, resamples=200).mean == pytest.approx(-found.mean)


def test_mcnemar_by_hand() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(6, 0) == pytest.approx(2 / 64)
    assert mcnemar(5, 5) == 1.0
    assert mcnemar(2, 7) == mcnemar(7, 2)


def test_wilson_by_hand() -> None:
    """Ten of ten: the lower end is 10 / (10 + z^2)."""
    low, high = wilson(10, 10)
    assert low == pytest.approx(10 / (10 + 1.959964**2), abs=1e-6)
    assert high == 1.0
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.integers(1, 500), st.data())
def test_wilson_holds_the_share(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    low, high = wilson(hits, n)
    assert 0 <= low <= hits / n <= high <= 1
    assert high - low < 1


def test_more_items_show_smaller_differences() -> None:
    found = [smallest_difference(n) for n in (1, 10, 60, 200, 1000, 100_000)]
    assert found == sorted(found, reverse=True)
    assert found[0] == 1.0
    assert all(0 < value <= 1 and math.isfinite(value) for value in found)
    assert smallest_difference(60, discordant=0.05) >= 0.1


def test_tango_by_hand() -> None:
    """Without a loss and a win the interval is that of z^2 / (n + z^2)."""
    z2 = 1.959964**2
    low, high = tango(0, 0, 60)
    assert (high, -low) == pytest.approx((z2 / (60 + z2), z2 / (60 + z2)), abs=1e-4)
    assert tango(12, 3, 50) == pytest.approx(tuple(-end for end in reversed(tango(3, 12, 50))))
    low, high = tango(60, 0, 60)
    assert high == 1.0
    assert low > 0.85


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_tango_holds_the_finding(wins: int, losses: int, same: int) -> None:
    n = max(1, wins + losses + same)
    low, high = tango(wins, losses, n)
    assert -1 <= low <= (wins - losses) / n <= high <= 1
    assert low < high


def test_a_group_that_outweighs_the_others_widens_the_interval() -> None:
    groups = [0] * 30 + list(range(1, 11))
    first, second = [0.0] * 40, [1.0] * 30 + [0.0] * 10
    together = paired_difference(first, second, groups=groups)
    apart = paired_difference(first, second)
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_holm_and_benjamini_hochberg_by_hand() -> None:
    p = [0.01, 0.04, 0.03, 0.5]
    assert holm(p) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert benjamini_hochberg(p) == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])
    assert holm([]) == benjamini_hochberg([]) == []
    assert holm([0.2]) == benjamini_hochberg([0.2]) == [0.2]


@given(st.lists(st.floats(0, 1), max_size=20))
def test_adjusted_p_values_keep_the_order_and_never_shrink(p: list[float]) -> None:
    for adjusted in (holm(p), benjamini_hochberg(p)):
        assert all(0 <= before <= after + 1e-12 and after <= 1 for before, after in zip(p, adjusted, strict=True))
        order = sorted(range(len(p)), key=lambda index: p[index])
        assert [adjusted[index] for index in order] == sorted(adjusted)
    assert all(low <= high + 1e-12 for low, high in zip(benjamini_hochberg(p), holm(p), strict=True))


def test_one_recipe_under_several_seeds() -> None:
    found = seeds_difference([0.0, 1.0, 0.0, 0.0], [[1.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0]])
    assert (found.seeds, found.n, found.mean, found.by_seed) == (2, 4, 0.25, (0.5, 0.0))
    assert found.interval.low < 0.25 < found.interval.high
    same = seeds_difference([0.0, 1.0], [[0.0, 1.0], [0.0, 1.0]])
    assert (same.mean, same.p) == (0.0, 1.0)
    one_group = seeds_difference([0.0, 0.0], [[1.0, 1.0], [1.0, 1.0]], groups=["a", "a"])
    assert one_group.interval == (-1.0, 1.0)
    with pytest.raises(AssertionError):
        seeds_difference([0.0], [[1.0]])


def test_the_interval_of_a_mean() -> None:
    assert mean_interval([]) == (0.0, 1.0)
    assert mean_interval([1.0] * 10) == wilson(10, 10)
    assert mean_interval([1.0] * 10, ["a"] * 5 + ["b"] * 5) == wilson(2, 2)
    low, high = mean_interval([0.4, 0.5, 0.6] * 10)
    assert 0.4 < low < 0.5 < high < 0.6


def test_graded_differences_show_what_their_spread_allows() -> None:
    assert smallest_mean_difference(1, 0.1) == 1.0
    assert smallest_mean_difference(30, 0.0) == smallest_difference(30)
    assert smallest_mean_difference(400, 0.2) == pytest.approx(2.8 * 0.2 / 20, rel=0.02)
    assert paired_difference([0.1] * 30, [0.2, 0.3, 0.4] * 10).smallest < 0.1
    assert paired_difference([0.0] * 30, [1.0] * 30).smallest == smallest_difference(30)
