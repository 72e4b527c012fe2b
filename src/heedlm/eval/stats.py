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

POWER = 0.8  # with which a difference of the size called smallest is found
_DRAWS = 1_000_000  # numbers drawn at once at most: 2,000 resamples of 100,000 groups fit into any memory


class Interval(NamedTuple):
    """The two ends of a confidence interval, low <= high."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """Second arm minus first arm on the same items.

    n: items.   clusters: independent groups among them (n when every item stands alone).
    mean: of the item differences, in -1..1.   low, high: the interval at the level asked for.
    p: two-sided, of "the arms are the same".   test: how p was computed.   smallest: the smallest true difference that
    so many items would show with a power of 0.8.
    """

    n: int
    clusters: int
    mean: float
    low: float
    high: float
    p: float
    test: Test
    smallest: float


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
    Where all scores are 0 or 1 and every item stands alone: Tango's score interval and McNemar's exact p-value. Else a
    bootstrap over clusters and a sign-flip permutation of the cluster sums. On a handful of items the interval can leave out
    0 where the exact p does not (four wins, no loss): who calls a difference sure asks both.
    """
    import numpy as np

    assert len(first) == len(second) > 0, "a paired difference needs the same items, one at least"
    assert groups is None or len(groups) == len(first), "one group for each item"
    delta = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    sums, counts = _clusters(delta, groups)
    binary = set(first) <= {0, 1} and set(second) <= {0, 1}
    generator = np.random.default_rng(seed)
    mean = float(delta.mean())
    test: Test
    if binary and len(sums) == len(delta):
        wins, losses = int((delta > 0).sum()), int((delta < 0).sum())
        test, p, found = "mcnemar", mcnemar(wins, losses), tango(wins, losses, len(delta), level)
    else:
        test, p = "sign-flip", _sign_flip(sums, generator)
        found = _bootstrap(sums, counts, level, resamples, generator)
    low, high = Interval(-1.0, 1.0) if len(sums) == 1 else found  # one observation tells nothing about its spread
    if binary:
        smallest = smallest_difference(len(sums), level=level)
    else:
        smallest = smallest_mean_difference(len(sums), _spread(sums, counts), level=level)
    return Difference(len(delta), len(sums), mean, min(low, mean), max(high, mean), p, test, smallest)


def _clusters(delta: Floats, groups: Sequence[Hashable] | None) -> tuple[Floats, Floats]:
    """Sum and number of the differences of each cluster, in order of first appearance."""
    import numpy as np

    if groups is None:
        return delta, np.ones_like(delta)
    order = {group: index for index, group in enumerate(dict.fromkeys(groups))}
    owner = np.asarray([order[group] for group in groups])
    return np.bincount(owner, delta).astype(np.float64), np.bincount(owner).astype(np.float64)


def tango(wins: int, losses: int, n: int, level: float = 0.95) -> Interval:
    """The score interval of a difference of two shares of the same `n` items, of which `wins` only the second arm gets
    right and `losses` only the first.

    It keeps its level from about ten items on, where a bootstrap of so few wins and losses does not.
    Source: Tango 1998, doi 10.1002/(SICI)1097-0258(19980430)17:8<891::AID-SIM780>3.0.CO;2-B.
    """
    from scipy import optimize, stats

    reach = float(stats.norm.ppf((1 + level) / 2))
    mean = (wins - losses) / n

    def surprise(difference: float) -> float:
        """How many standard errors the finding is above the one expected at a true difference."""
        linear = (2 * n - wins + losses) * difference - wins - losses
        root = math.sqrt(max(0.0, linear**2 + 8 * n * losses * difference * (1 - difference)))
        share = (root - linear) / (4 * n)  # of losses, most likely at this difference
        variance = n * (2 * share + difference * (1 - difference))
        above = wins - losses - n * difference
        return above / math.sqrt(variance) if variance > 1e-12 else math.copysign(math.inf, above) if above else 0.0

    edge = 1 - 1e-9
    low = -1.0 if mean <= -edge else optimize.brentq(lambda d: min(surprise(d), 1e6) - reach, -edge, mean)
    high = 1.0 if mean >= edge else optimize.brentq(lambda d: max(surprise(d), -1e6) + reach, mean, edge)
    return Interval(float(low), float(high))


def _bootstrap(sums: Floats, counts: Floats, level: float, resamples: int, generator: np.random.Generator) -> Interval:
    """The percentile interval of the mean over clusters, made to hold for few and for seldom ones."""
    import numpy as np
    from scipy import stats

    clusters, size = len(sums), counts.mean()
    if clusters == 1:
        return Interval(-1.0, 1.0)
    # Two imagined clusters, one above and one below: sixty wins of sixty would else get the interval [1, 1], as if a 61st
    # item could not be lost, and scores that seldom differ one that holds in 70 runs of 100 (Bonett & Price 2012, doi
    # 10.3102/1076998611411915, have it for shares). Their size, and the middle they stand round, are those with which
    # 95 % hold for 10 to 100 clusters of seven kinds (tests/eval/test_coverage.py).
    middle = float(np.median(sums / counts))
    off = sums - middle * counts
    off = off[np.abs(off) > 1e-12]
    far = math.sqrt(3 * float(np.square(off).mean())) if len(off) else size
    middle = middle * size if len(off) else 0.0
    sums, counts = np.append(sums, [middle + far, middle - far]), np.append(counts, [size, size])
    step = max(1, _DRAWS // len(sums))
    means = []
    for start in range(0, resamples, step):
        drawn = generator.integers(0, len(sums), size=(min(step, resamples - start), len(sums)), dtype=np.int32)
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    # The percentile interval is too narrow for few clusters: its tails are moved out to those of Student's t
    # (Hesterberg 2015, doi 10.1080/00031305.2015.1089789, section 5).
    reach = stats.t.ppf((1 + level) / 2, clusters - 1) * math.sqrt(clusters / (clusters - 1))
    tail = float(stats.norm.cdf(-reach))
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return Interval(max(-1.0, float(low)), min(1.0, float(high)))


def _spread(sums: Floats, counts: Floats) -> float:
    """Standard deviation of the cluster means round the mean, each weighted by its items; 0 for one cluster."""
    import numpy as np

    if len(sums) == 1:
        return 0.0
    rest = sums - sums.sum() / counts.sum() * counts
    return float(math.sqrt(np.square(rest).sum() / (len(sums) - 1)) / counts.mean())


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
    step = max(1, min(1000, _DRAWS // len(sums)))
    for start in range(0, flips, step):
        signs = generator.integers(0, 2, size=(min(step, flips - start), len(sums)), dtype=np.int8) * 2 - 1
        at_least += int((np.abs(signs @ sums) >= observed).sum())
    return (at_least + 1) / (flips + 1)


def wilson(hits: float, n: float, level: float = 0.95) -> Interval:
    """Wilson's interval for a share of `hits` in `n` independent items. n = 0 gives [0, 1]."""
    from scipy import stats

    if n == 0:
        return Interval(0.0, 1.0)
    z = float(stats.norm.ppf((1 + level) / 2))
    share, z2 = hits / n, z * z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return Interval(max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))


def mean_interval(
    scores: Sequence[float], groups: Sequence[Hashable] | None = None, *, seed: int = 0, level: float = 0.95
) -> Interval:
    """The interval of one arm's mean score, in 0..1.

    Shares of right answers: Wilson's, with as many items as the groups are worth (Korn & Graubard 1998, Survey
    Methodology 24, 193-201). Other scores: the bootstrap of `paired_difference`.
    """
    import numpy as np

    if not scores:
        return Interval(0.0, 1.0)
    values = np.asarray(scores, dtype=np.float64)
    sums, counts = _clusters(values, groups)
    mean = float(values.mean())
    if set(scores) <= {0, 1}:
        worth = float(len(sums)) if len(sums) < len(values) and mean in (0.0, 1.0) else float(len(values))
        if len(sums) < len(values) and 0 < mean < 1:
            variance = (_spread(sums, counts) ** 2) / len(sums)
            worth = min(worth, max(1.0, mean * (1 - mean) / variance)) if len(sums) > 1 and variance > 0 else 1.0
        return wilson(mean * worth, worth, level)
    low, high = _bootstrap(sums, counts, level, 2000, np.random.default_rng(seed)) if len(sums) > 1 else (0.0, 1.0)
    return Interval(max(0.0, min(low, mean)), min(1.0, max(high, mean)))


def smallest_difference(n: int, *, discordant: float = 0.5, power: float = POWER, level: float = 0.95) -> float:
    """The smallest true difference that `n` independent paired items show with the given power; 1.0 when none is sure
    to.

    discordant: share of items on which the arms disagree, at least; 0.5 is what two unrelated arms of middling score have.
    Source: the normal approximation of McNemar's test (Connor 1987, doi 10.2307/2531961), solved for the difference,
    and never below the 6 wins without a loss that the exact test needs at 95 %.
    """
    from scipy import optimize, stats

    assert n > 0, "no items show nothing"
    alpha, beta = float(stats.norm.ppf((1 + level) / 2)), float(stats.norm.ppf(power))

    def short_by(difference: float) -> float:
        share = max(discordant, difference)  # arms that differ by more than that disagree on more than that
        spread = math.sqrt(max(share - difference**2, 0.0))
        return difference * math.sqrt(n) - alpha * math.sqrt(share) - beta * spread

    if short_by(1.0) < 0:
        return 1.0
    found = float(optimize.brentq(short_by, 0.0, 1.0))
    fewest = math.ceil(math.log2(2 / (1 - level)))
    return min(1.0, max(found, fewest / n))


def smallest_mean_difference(n: int, spread: float, *, power: float = POWER, level: float = 0.95) -> float:
    """The same for graded scores whose differences have the standard deviation `spread`; 1.0 where n tells nothing.

    Student's t with n - 1 degrees of freedom. Where no difference was seen there is no spread to go by, and the answer
    is that of shares.
    """
    from scipy import stats

    if n < 2:
        return 1.0
    if spread <= 1e-9:
        return smallest_difference(n, power=power, level=level)
    reach = float(stats.t.ppf((1 + level) / 2, n - 1) + stats.t.ppf(power, n - 1))
    return min(1.0, reach * spread / math.sqrt(n))
