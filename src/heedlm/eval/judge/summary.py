"""What the verdicts of a judge come to: win rates and points with their intervals, and how far to believe them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from heedlm.eval.judge.agreement import Agreement
from heedlm.eval.judge.asking import NOT_ASKED, PairVerdict, PointsVerdict
from heedlm.eval.judge.bias import Length, Position, caveats, length_of, position_of
from heedlm.eval.judge.rubric import Rubric
from heedlm.eval.many import holm
from heedlm.eval.stats import mcnemar, mean_interval, paired_difference

SURE = 0.05
_NONSENSE = 0.05  # share of verdicts without a meaning from which the headline says so


@dataclass(frozen=True, slots=True)
class Rate:
    """Wins of the second over the first. n: items judged.   rate: share of items won, a tie counting half, with low and high
    at 95 %.   p: two-sided, of "neither is better".   smallest: the smallest true difference from a half that n could show
    with a power of 80 %."""

    n: int
    wins: int
    losses: int
    ties: int
    rate: float
    low: float
    high: float
    p: float
    p_holm: float
    smallest: float


@dataclass(frozen=True, slots=True)
class Checked:
    """Items of which checks say that one reply is right and the other is not. n: of them, judged.   sided: the judge chose
    the right one.   against: the other."""

    n: int
    sided: int
    against: int


@dataclass(frozen=True, slots=True)
class PairSummary:
    """Two contenders. items: to which both replied.   all: of the judged ones; None where there are none.   ties: by how
    they came about.   missing: items without a verdict, by reason; an item is counted once.   tasks: by name."""

    first: str
    second: str
    items: int
    all: Rate | None
    ties: Mapping[str, int]
    missing: Mapping[str, int]
    tasks: Mapping[str, Rate]
    position: Position
    length: Length
    checked: Checked | None
    agreement: Agreement | None = None


@dataclass(frozen=True, slots=True)
class PointsSummary:
    """One contender alone. n: replies with points.   mean: of the points, with low and high.   counts: by points.
    difference: of the mean to that of the one compared with, on the same items, in points, with p; None for that one itself.
    length: correlation of points with the logarithm of the length, None where either is always the same."""

    name: str
    replies: int
    n: int
    mean: float
    low: float
    high: float
    counts: Mapping[int, int]
    missing: Mapping[str, int]
    difference: tuple[float, float, float, float] | None
    length: float | None


@dataclass(frozen=True, slots=True)
class JudgeReport:
    """All that a judge was asked. judge: its name.   spent: requests and tokens in all runs over the folder.   stopped: the
    limit of the budget that was reached.   notes: what else has to be known."""

    judge: str
    rubric: Rubric
    reference: bool
    names: tuple[str, ...]
    pairs: tuple[PairSummary, ...] = ()
    points: tuple[PointsSummary, ...] = ()
    points_agreement: Agreement | None = None
    spent: Mapping[str, Any] = field(default_factory=dict)
    reused: int = 0
    stopped: str | None = None
    notes: tuple[str, ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)


def sum_pair(verdicts: Sequence[PairVerdict], *, agreement: Agreement | None = None, seed: int = 0) -> PairSummary:
    """One pair of contenders; there is one verdict at least."""
    judged = [one for one in verdicts if one.outcome is not None]
    by_task: dict[str, list[PairVerdict]] = {}
    for one in judged:
        by_task.setdefault(one.case.task, []).append(one)
    rates = {task: _rate(members, seed) for task, members in by_task.items()}
    adjusted = holm([rate.p for rate in rates.values()])
    tasks = {name: replace(rate, p_holm=p) for (name, rate), p in zip(rates.items(), adjusted, strict=True)}
    return PairSummary(
        first=verdicts[0].first,
        second=verdicts[0].second,
        items=len(verdicts),
        all=_rate(judged, seed) if judged else None,
        ties=dict(Counter(str(one.how) for one in judged if one.outcome == "tie").most_common()),
        missing=dict(Counter(_reason(one) for one in verdicts if one.outcome is None).most_common()),
        tasks=tasks,
        position=position_of(judged),
        length=length_of(judged, seed),
        checked=_checked(judged),
        agreement=agreement,
    )


def sum_points(
    verdicts: Sequence[PointsVerdict], names: Sequence[str], rubric: Rubric, *, seed: int = 0
) -> list[PointsSummary]:
    """Every contender, each against the first on the items that both have points for."""
    by_name = {name: [one for one in verdicts if one.name == name] for name in names}
    first = {(one.case.task, one.case.id): one.points for one in by_name[names[0]] if one.points is not None}
    reach = rubric.most - 1
    found = []
    for name, members in by_name.items():
        given = [one for one in members if one.points is not None]
        scores = [(int(one.points or 0) - 1) / reach for one in given]
        span = mean_interval(scores, [one.case.group for one in given], seed=seed)
        mean = sum(scores) / max(1, len(scores))
        found.append(
            PointsSummary(
                name=name,
                replies=len(members),
                n=len(given),
                mean=1 + reach * mean,
                low=1 + reach * span.low,
                high=1 + reach * span.high,
                counts=dict(sorted(Counter(int(one.points or 0) for one in given).items())),
                missing=dict(Counter(one.problem for one in members if one.points is None).most_common()),
                difference=None if name == names[0] else _difference(given, first, reach, seed),
                length=_correlation(given),
            )
        )
    return found


def pair_caveats(pair: PairSummary) -> list[str]:
    """What the headline of a pair has to begin with."""
    nonsense = {why: count for why, count in pair.missing.items() if why != NOT_ASKED}
    asked = pair.items - pair.missing.get(NOT_ASKED, 0)
    found = caveats(pair.position, pair.length)
    checked = pair.checked
    if checked is not None and checked.against > checked.sided and mcnemar(checked.sided, checked.against) < SURE:
        found.append(
            f"CHECKS: of {checked.n:,} items they tell apart, the judge sides against them on {checked.against:,}."
        )
    if sum(nonsense.values()) > _NONSENSE * asked:
        said = "; ".join(f"{why}: {count:,}" for why, count in nonsense.items())
        found.append(f"NO VERDICT on {sum(nonsense.values()):,} of {asked:,} items ({said}).")
    return found


def _reason(one: PairVerdict) -> str:
    """One reason for an item: that it was not asked, where that is so, else the first thing that was wrong."""
    return NOT_ASKED if NOT_ASKED in one.problems else one.problems[0]


def _rate(judged: Sequence[PairVerdict], seed: int) -> Rate:
    """A win is 1 for the second and a loss 1 for the first; a tie is 0 for both: paired statistics do the rest."""
    wins = [float(one.outcome == "second") for one in judged]
    losses = [float(one.outcome == "first") for one in judged]
    groups = [one.case.group for one in judged]
    found = paired_difference(losses, wins, groups=groups, seed=seed)
    won, lost = int(sum(wins)), int(sum(losses))
    rate, low, high = ((1 + end) / 2 for end in (found.mean, found.low, found.high))
    n = len(judged)
    return Rate(n, won, lost, n - won - lost, rate, low, high, found.p, found.p, found.smallest / 2)


def _checked(judged: Sequence[PairVerdict]) -> Checked | None:
    """Where checks tell the two apart for sure: the one has all of its score, the other none."""
    told = []
    for one in judged:
        first, second = one.case.scores[one.first], one.case.scores[one.second]
        if {first, second} == {0.0, 1.0}:
            told.append((one.outcome, "second" if second else "first"))
    if not told:
        return None
    sided = sum(outcome == right for outcome, right in told)
    return Checked(len(told), sided, sum(outcome != right and outcome != "tie" for outcome, right in told))


def _difference(
    given: Sequence[PointsVerdict], first: Mapping[tuple[str, str], int | None], reach: int, seed: int
) -> tuple[float, float, float, float] | None:
    both = [one for one in given if (one.case.task, one.case.id) in first]
    if not both:
        return None
    before = [(int(first[one.case.task, one.case.id] or 0) - 1) / reach for one in both]
    after = [(int(one.points or 0) - 1) / reach for one in both]
    found = paired_difference(before, after, groups=[one.case.group for one in both], seed=seed)
    return reach * found.mean, reach * found.low, reach * found.high, found.p


def _correlation(given: Sequence[PointsVerdict]) -> float | None:
    import numpy as np

    points = np.asarray([float(one.points or 0) for one in given])
    lengths = np.log2([max(1, len(one.case.replies[one.name])) for one in given]) if given else points
    if len(given) < 3 or points.std() == 0 or lengths.std() == 0:
        return None
    return float(np.corrcoef(points, lengths)[0, 1])
