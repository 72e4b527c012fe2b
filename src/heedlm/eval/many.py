"""What several tasks, or several seeds, allow to be said together."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from heedlm.eval.stats import Interval


def holm(p: Sequence[float]) -> list[float]:
    """P-values adjusted so that among all tasks a false alarm is as rare as the level says.

    Source: Holm 1979, Scandinavian Journal of Statistics 6, 65-70.   >>> holm([0.01, 0.04]) -> [0.02, 0.04]
    """
    order = sorted(range(len(p)), key=lambda index: p[index])
    adjusted = [0.0] * len(p)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = highest
    return adjusted


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """P-values adjusted so that of the tasks that are called different the level's share is so by luck, at most.

    Source: Benjamini & Hochberg 1995, doi 10.1111/j.2517-6161.1995.tb02031.x.
    """
    order = sorted(range(len(p)), key=lambda index: -p[index])
    adjusted = [0.0] * len(p)
    lowest = 1.0
    for passed, index in enumerate(order):
        lowest = min(lowest, p[index] * len(p) / (len(p) - passed))
        adjusted[index] = lowest
    return adjusted


@dataclass(frozen=True, slots=True)
class SeedsDifference:
    """Several trainings of one recipe against one arm. mean: over seeds and items.   by_seed: of each seed.

    low, high: 95 %, of another seed on other items of the kind.   p: two-sided.
    """

    seeds: int
    n: int
    mean: float
    interval: Interval
    p: float
    by_seed: tuple[float, ...]


def seeds_difference(
    first: Sequence[float],
    seconds: Sequence[Sequence[float]],
    *,
    groups: Sequence[Hashable] | None = None,
    level: float = 0.95,
) -> SeedsDifference:
    """The difference that a recipe makes, whatever its seed: items and seeds are both a draw from many.

    first: scores of the arm compared with.   seconds: for each seed its scores of the same items.
    The variances of the two draws are added, which counts what they share twice, and so errs on the side of a wide
    interval; degrees of freedom after Satterthwaite (1946, doi 10.2307/3002019). Two seeds at least.
    """
    import numpy as np
    from scipy import stats

    assert len(seconds) > 1, "one seed tells nothing about seeds"
    assert all(len(one) == len(first) > 0 for one in seconds), "the same items for every seed"
    delta = np.asarray(seconds, dtype=np.float64) - np.asarray(first, dtype=np.float64)  # [seeds, items]
    by_seed = delta.mean(axis=1)
    mean = float(by_seed.mean())
    order = {group: index for index, group in enumerate(dict.fromkeys(groups or range(len(first))))}
    owner = np.asarray([order[group] for group in (groups or range(len(first)))])
    rest = np.bincount(owner, delta.mean(axis=0) - mean)
    clusters, seeds = len(rest), len(by_seed)
    if clusters == 1:
        return SeedsDifference(seeds, len(first), mean, Interval(-1.0, 1.0), 1.0, tuple(by_seed.tolist()))
    of_items = float(np.square(rest).sum()) * clusters / (clusters - 1) / len(first) ** 2
    of_seeds = float(by_seed.var(ddof=1)) / seeds
    both = of_items + of_seeds
    if both <= 0:
        return SeedsDifference(
            seeds, len(first), mean, Interval(mean, mean), 1.0 if mean == 0 else 0.0, tuple(by_seed.tolist())
        )
    freedom = both**2 / (of_items**2 / (clusters - 1) + of_seeds**2 / (seeds - 1))
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * math.sqrt(both)
    p = float(2 * stats.t.sf(abs(mean) / math.sqrt(both), freedom))
    return SeedsDifference(
        seeds,
        len(first),
        mean,
        Interval(max(-1.0, mean - half), min(1.0, mean + half)),
        p,
        tuple(by_seed.tolist()),
    )
