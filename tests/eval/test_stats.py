from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.eval.stats import mcnemar, paired_difference, smallest_difference, wilson

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


@pytest.mark.parametrize("gain", [0.0, 0.4])
def test_the_interval_of_shares_covers_the_truth(gain: float) -> None:
    rng = np.random.default_rng(13)
    truth = gain / 2  # the mean of (1 - easy) x gain, easy uniform
    covered = sum(
        found.low <= truth <= found.high
        for seed in range(RUNS)
        for found in [paired_difference(*_arms(rng, 100, gain), seed=seed, resamples=500)]
    )
    assert 0.93 * RUNS <= covered <= 0.98 * RUNS


def test_the_interval_of_graded_scores_covers_the_truth() -> None:
    rng = np.random.default_rng(14)
    covered = 0
    for seed in range(RUNS):
        first = rng.uniform(0.2, 0.7, 50)
        second = first + rng.normal(0.05, 0.08, 50)
        found = paired_difference(first.tolist(), second.tolist(), seed=seed, resamples=500)
        covered += found.low <= 0.05 <= found.high
    assert 0.93 * RUNS <= covered <= 0.97 * RUNS


def test_the_smallest_difference_is_found_as_often_as_promised() -> None:
    rng = np.random.default_rng(15)
    n, discordant = 200, 0.4
    gain = smallest_difference(n, discordant=discordant)
    wins = rng.binomial(n, (discordant + gain) / 2, 2000)
    losses = rng.binomial(n - wins, (discordant - gain) / 2 / (1 - (discordant + gain) / 2))
    shown = np.mean([mcnemar(int(w), int(lost)) < 0.05 for w, lost in zip(wins, losses, strict=True)])
    assert 0.72 <= shown <= 0.85


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
    arms = _arms(np.random.default_rng(1), 50, 0.3)
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
