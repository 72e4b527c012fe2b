"""Whether a judge can be believed: does place decide, or length?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from heedlm.eval.judge.asking import PairVerdict
from heedlm.eval.judge.wording import FIRST, SECOND
from heedlm.eval.stats import mcnemar, mean_interval, paired_difference

SURE = 0.05
_FLIPS = 0.25  # share of contradictions from which a judge is said to contradict itself
_EACH_WAY = 10  # items in which the one, and in which the other reply is the longer: fewer say nothing of length


@dataclass(frozen=True, slots=True)
class Position:
    """Items on which both orders chose. chosen: how many they are.   contradicted: of them those on which the two orders
    chose different replies.   first, last: of those, whose reply shown first, or last, was chosen both times.   p: of first
    and last by a fair coin."""

    chosen: int
    contradicted: int
    first: int
    last: int
    p: float


@dataclass(frozen=True, slots=True)
class Length:
    """Items with a winner whose replies differ in length. longer: how often the longer one won.   share, low, high: of that.

    even: the share of wins of `second` were it as often the longer as the shorter one, a tie counting half, with even_low
    and even_high.   worth: what being the longer one adds to that share.   None where either is the longer one on too few
    items.
    """

    n: int
    longer: int
    share: float
    low: float
    high: float
    p: float
    even: float | None = None
    even_low: float | None = None
    even_high: float | None = None
    worth: float | None = None


def position_of(verdicts: Sequence[PairVerdict]) -> Position:
    """What swapping the two replies changed."""
    chosen = [one.orders for one in verdicts if set(one.orders) <= {FIRST, SECOND}]
    first, last = chosen.count((FIRST, FIRST)), chosen.count((SECOND, SECOND))
    return Position(len(chosen), first + last, first, last, mcnemar(first, last))


def length_of(verdicts: Sequence[PairVerdict], seed: int = 0) -> Length:
    """How far length goes with winning, in characters."""
    decided = [(one, times(one)) for one in verdicts if one.outcome in ("first", "second")]
    decided = [(one, longer) for one, longer in decided if longer]
    won = [float((longer > 0) == (one.outcome == "second")) for one, longer in decided]
    groups = [one.case.group for one, _ in decided]
    if not won:
        return Length(0, 0, 0.0, 0.0, 1.0, 1.0)
    span = mean_interval(won, groups, seed=seed)
    p = paired_difference([1 - value for value in won], won, groups=groups, seed=seed).p
    found = Length(len(won), int(sum(won)), sum(won) / len(won), span.low, span.high, p)
    judged = [one for one in verdicts if one.outcome is not None]
    balanced = _balanced(judged, seed)
    if balanced is None:
        return found
    even, even_low, even_high, worth = balanced
    return replace(found, even=even, even_low=even_low, even_high=even_high, worth=worth)


def times(verdict: PairVerdict) -> float:
    """log2 of how many times as long the second reply is as the first: 1 is twice as long, -1 half."""
    first, second = (max(1, len(verdict.case.replies[name])) for name in (verdict.first, verdict.second))
    return math.log2(second / first)


def caveats(position: Position, length: Length) -> list[str]:
    """What a headline of such a judge has to begin with."""
    found = []
    if position.contradicted and (
        position.p < SURE or (position.chosen >= 5 and position.contradicted > _FLIPS * position.chosen)
    ):
        share = position.contradicted / position.chosen
        which = "first" if position.first >= position.last else "last"
        liking = f" It prefers what is shown {which} (p {_p(position.p)})." if position.p < SURE else ""
        found.append(
            f"POSITION: the judge contradicts itself on {position.contradicted:,} of {position.chosen:,} items "
            f"({share:.0%}) when the two replies change places; these count as ties.{liking}"
        )
    if length.p < SURE and not length.low <= 0.5 <= length.high:
        which = "longer" if length.share > 0.5 else "shorter"
        count = length.longer if length.share > 0.5 else length.n - length.longer
        told = f"LENGTH: the {which} reply won {count:,} of {length.n:,} items that have a winner"
        if length.even is not None:
            found.append(f"{told}.")
        elif length.share > 0.5:  # brevity that wins is no known failing of judges, and may be the better answers'
            found.append(f"{told}; nearly always the same one replies at more length, so the two cannot be told apart.")
    return found


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _balanced(judged: Sequence[PairVerdict], seed: int) -> tuple[float, float, float, float] | None:
    """Share of wins were the second as often the longer as the shorter one, with its interval, and what being the longer
    one is worth: the mean of, and the difference between, the shares on either side.

    The two intervals are put together as those of independent figures (Zou & Donner 2008, doi 10.1002/sim.3095).
    """
    points = {"second": 1.0, "tie": 0.5, "first": 0.0}
    sides = []
    for side in (1, -1):
        found = [(points[str(one.outcome)], one.case.group) for one in judged if side * times(one) > 0]
        if len(found) < _EACH_WAY:
            return None
        scores, groups = [score for score, _ in found], [group for _, group in found]
        sides.append((sum(scores) / len(scores), mean_interval(scores, groups, seed=seed)))
    (longer, one), (shorter, other) = sides
    middle = (longer + shorter) / 2
    down = math.hypot(longer - one.low, shorter - other.low) / 2
    up = math.hypot(one.high - longer, other.high - shorter) / 2
    return middle, max(0.0, middle - down), min(1.0, middle + up), longer - shorter
