"""How sure a difference between two arms on the same items is."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]


Test = Literal["mcnemar", "sign-flip"]


class Interval(NamedTuple):
    """The two ends of a confidence interval, low <= high."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """Second arm minus first arm on the same items.

    n: items.   clusters: independent groups among them (n when every item stands alone).
    mean: of the item differences, in -1..1.   low, high: the interval at the level asked for.
    p: two-sided, of "the arms are the same".   test: how p was computed.
    """

    n: int
    clusters: int
    mean: float
    low: float
    high: float
    p: float
    test: Test


def paired_difference(
    first: Sequence[float],
    second: Sequence[float],
    *,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
    level: float = 0.95,
    resamples: int = 2000,
) -> Difference:
    """The difference of two arms that answered the same items, with its interval and p-value.

    first, second: scores in 0..1, item by item.   groups: items of one group are resampled and flipped together;
    None: each item stands alone.   seed: of the resampling; the same seed gives the same interval.
    The interval is a bootstrap over clusters. The p-value is McNemar's exact one when all scores are 0 or 1 and every
    item stands alone, else a sign-flip permutation of the cluster sums.
    """
    import numpy as np

    assert len(first) == len(second) > 0, "a paired difference needs the same items, one at least"
    assert groups is None or len(groups) == len(first), "one group for each item"
    delta = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    sums, counts = _clusters(delta, groups)
    binary = set(first) <= {0, 1} and set(second) <= {0, 1}
    generator = np.random.default_rng(seed)
    low, high = _interval(sums, counts, binary, level, resamples, generator)
    mean = float(delta.mean())
    test: Test
    if binary and len(sums) == len(delta):
        test, p = "mcnemar", mcnemar(int((delta > 0).sum()), int((delta < 0).sum()))
    else:
        test, p = "sign-flip", _sign_flip(sums, generator)
    return Difference(len(delta), len(sums), mean, min(low, mean), max(high, mean), p, test)


def _clusters(delta: Floats, groups: Sequence[Hashable] | None) -> tuple[Floats, Floats]:
    """Sum and number of the differences of each cluster, in order of first appearance."""
    import numpy as np

    if groups is None:
        return delta, np.ones_like(delta)
    order = {group: index for index, group in enumerate(dict.fromkeys(groups))}
    owner = np.asarray([order[group] for group in groups])
    return np.bincount(owner, delta).astype(np.float64), np.bincount(owner).astype(np.float64)


def _interval(
    sums: Floats, counts: Floats, binary: bool, level: float, resamples: int, generator: np.random.Generator
) -> Interval:
    import numpy as np
    from scipy import stats

    clusters = len(sums)
    if clusters == 1:
        return Interval(-1.0, 1.0)  # one independent observation tells nothing about its spread
    if binary:
        # One imagined win and one imagined loss (Bonett & Price 2012, doi 10.3102/1076998611411915): without them 60
        # wins of 60 would get the interval [1, 1], as if a 61st item could not be lost.
        size = counts.mean()
        sums, counts = np.append(sums, [size, -size]), np.append(counts, [size, size])
    drawn = generator.integers(0, len(sums), size=(resamples, len(sums)), dtype=np.int32)
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    # The percentile interval is too narrow for few clusters: its tails are moved out to those of Student's t
    # (Hesterberg 2015, doi 10.1080/00031305.2015.1089789, section 5).
    reach = stats.t.ppf((1 + level) / 2, clusters - 1) * math.sqrt(clusters / (clusters - 1))
    tail = float(stats.norm.cdf(-reach))
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(low), float(high))


def mcnemar(wins: int, losses: int) -> float:
    """Exact two-sided p-value that so many wins and losses come from a fair coin; items that are equal do not count."""
    from scipy import stats

    if wins + losses == 0:
        return 1.0
    return float(stats.binomtest(wins, wins + losses, 0.5).pvalue)


def _sign_flip(sums: Floats, generator: np.random.Generator, flips: int = 9999) -> float:
    """Two-sided p-value of the sum when each cluster may as well have had the other sign; exact up to 12 clusters."""
    import numpy as np

    sums = sums[np.abs(sums) > 1e-12]
    if len(sums) == 0:
        return 1.0
    observed = abs(float(sums.sum())) - 1e-9  # the same sum in another order may differ in the last bits
    if len(sums) <= 12:
        signs = 1 - 2 * ((np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums))) & 1)
        return float((np.abs(signs @ sums) >= observed).mean())
    at_least = 0
    for start in range(0, flips, 1000):
        signs = generator.integers(0, 2, size=(min(1000, flips - start), len(sums)), dtype=np.int8) * 2 - 1
        at_least += int((np.abs(signs @ sums) >= observed).sum())
    return (at_least + 1) / (flips + 1)


def wilson(hits: float, n: int, level: float = 0.95) -> Interval:
    """Wilson's interval for a share of `hits` in `n` independent items. n = 0 gives [0, 1]."""
    from scipy import stats

    if n == 0:
        return Interval(0.0, 1.0)
    z = float(stats.norm.ppf((1 + level) / 2))
    share, z2 = hits / n, z * z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return Interval(max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))


def smallest_difference(n: int, *, discordant: float = 0.5, power: float = 0.8, level: float = 0.95) -> float:
    """The smallest true difference that `n` independent paired items show with the given power; 1.0 when none is sure
    to.

    discordant: share of items on which the arms disagree; 0.5 is what two unrelated arms of middling score have.
    Source: the normal approximation of McNemar's test (Connor 1987, doi 10.2307/2531961), solved for the difference,
    and never below the 6 wins without a loss that the exact test needs at 95 %.
    """
    from scipy import optimize, stats

    assert n > 0, "no items show nothing"
    alpha, beta = float(stats.norm.ppf((1 + level) / 2)), float(stats.norm.ppf(power))

    def short_by(difference: float) -> float:
        spread = math.sqrt(max(discordant - difference**2, 0.0))
        return difference * math.sqrt(n) - alpha * math.sqrt(discordant) - beta * spread

    if short_by(discordant) < 0:
        return 1.0
    found = float(optimize.brentq(short_by, 0.0, discordant))
    fewest = math.ceil(math.log2(2 / (1 - level)))
    return min(1.0, max(found, fewest / n))
