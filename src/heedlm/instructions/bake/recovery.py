"""How much of what a text brings about the weights bring about without it: a ratio of two paired gains, with its interval."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

LEVEL = 0.95
RESAMPLES = 4000


@dataclass(frozen=True, slots=True)
class Recovery:
    """value: (baked - plain) / (told - plain), 1 where all is recovered; above 1 where baking does better than the text.

    low, high: the interval at 95 %, over items, or over groups of them where they have groups.
    """

    value: float
    low: float
    high: float


def recovery_of(
    plain: Sequence[float],
    told: Sequence[float],
    baked: Sequence[float],
    *,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> Recovery | None:
    """The recovery on items that all three were asked; None where the text gains nothing on them, for nothing can be recovered.

    plain, baked: scores in 0..1 without the text, of the two models.   told: of the plain model with it.
    The interval is a percentile bootstrap of the ratio over groups. Two groups of mean size are imagined beside them, one that
    only the text gets right and one that only baking gets right: without them a bake that misses no item of sixty would get
    the interval [1, 1], as if a 61st could not be lost.
    """
    import numpy as np

    assert len(plain) == len(told) == len(baked) > 0, "all three answer the same items"
    names = list(range(len(plain))) if groups is None else list(groups)
    order = {name: number for number, name in enumerate(dict.fromkeys(names))}
    owner = np.asarray([order[name] for name in names])
    none = np.asarray(plain, dtype=np.float64)
    gained = np.bincount(owner, np.asarray(told, dtype=np.float64) - none)
    kept = np.bincount(owner, np.asarray(baked, dtype=np.float64) - none)
    if gained.sum() <= 1e-12:
        return None
    value = float(kept.sum() / gained.sum())
    size = len(plain) / len(order)
    gained, kept = np.append(gained, [size, 0.0]), np.append(kept, [0.0, size])
    drawn = np.random.default_rng(seed).integers(0, len(gained), size=(RESAMPLES, len(gained)), dtype=np.int32)
    above, below = kept[drawn].sum(axis=1), gained[drawn].sum(axis=1)
    # Where a resample shows no gain the ratio tells nothing: it may be anything on the side of its numerator.
    ratios = np.where(below > 1e-12, above / np.where(below > 1e-12, below, 1.0), np.copysign(np.inf, above))
    low, high = np.quantile(ratios, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="nearest")
    return Recovery(value, min(float(low), value), max(float(high), value))
