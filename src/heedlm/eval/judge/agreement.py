"""How far a judge agrees with people: the share, and Cohen's kappa, with intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heedlm.data.sources import read_rows
from heedlm.errors import HeedError, Problem, nearest
from heedlm.eval.judge.asking import PairVerdict, PointsVerdict
from heedlm.eval.judge.sheet import in_order
from heedlm.eval.stats import mean_interval

TIE = "tie"
_RESAMPLES = 2000
_DRAWN = 1_000_000  # counts drawn at once at most
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Label:
    """What a person said of an item: the `winner` of two (or "tie"), or the `points` of the one called `name`.

    names: the two contenders, or the one; empty where the file does not say.
    """

    id: str
    task: str | None
    names: tuple[str, ...]
    winner: str | None
    points: int | None
    where: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """n: labelled items with a verdict.   unread: labelled items without one, in no figure.   share: on which both say the
    same.   kappa: what is left of that when luck is taken off; of points, weighted by the square of the distance.

    low, high: 95 %, groups minded.   table: how often people said this and the judge that, "this / that".
    """

    n: int
    unread: int
    share: float
    share_low: float
    share_high: float
    kappa: float
    kappa_low: float
    kappa_high: float
    table: Mapping[str, int]


def read_labels(path: Path, names: Sequence[str], ids: Mapping[str, set[str]], most: int) -> list[Label]:
    """The labels of a file of rows: `id`, and `winner` (a contender's name, or tie) or `points`.

    Also read are sheets of `write_sheet`, whose winner is 1 or 2; rows that nobody has filled in are passed over.
    Further columns are `task` (needed where an id stands in several), `first` and `second` (needed with `winner` where there are
    more than two contenders) and `name` (needed with `points`).   names: of the contenders.   ids: the tasks of every
    item's id.   most: points of the scale.   Raises HeedError with everything that is wrong.
    """
    found: list[Label] = []
    problems: list[Problem] = []
    for row in read_rows(path):
        if not isinstance(row, Problem) and "reply_1" in row.value and row.value.get("winner") in (None, ""):
            continue  # of a sheet, and not said yet
        one = row if isinstance(row, Problem) else _label(row.value, row.where, names, ids, most)
        if isinstance(one, Problem):
            problems.append(one)
        else:
            found.append(one)
    if problems:
        raise HeedError.of(problems[:_SHOWN])
    if not found:
        raise HeedError("There is no label in it.", str(path), 'rows such as {"id": "x-1", "winner": "instruct"}')
    return found


def _label(
    row: Mapping[str, Any], where: str, names: Sequence[str], ids: Mapping[str, set[str]], most: int
) -> Label | Problem:
    id_, task = str(row.get("id", "")), row.get("task") or None
    if id_ not in ids:
        return Problem(f"There is no judged item {id_!r}.", where, nearest(id_, ids) if len(ids) < 2000 else "")
    if (task is None and len(ids[id_]) > 1) or (task is not None and task not in ids[id_]):
        return Problem(f"Item {id_!r} stands in {', '.join(sorted(ids[id_]))}.", where, "say which, in `task`")
    pair = tuple(str(row[key]) for key in ("first", "second", "name") if row.get(key))
    unknown = [name for name in pair if name not in names]
    if unknown:
        return Problem(f"{unknown[0]!r} is none of the judged.", where, nearest(unknown[0], names))
    winner, points = row.get("winner") or None, row.get("points")
    if (winner is None) == (points in (None, "")):
        return Problem("A label has a `winner` or `points`.", where, '{"id": "x-1", "winner": "tie"}')
    if winner is not None:
        winner = str(winner).strip()
        if winner in ("1", "2") and len(pair) == 2:
            winner = in_order(task or next(iter(ids[id_])), id_, pair[0], pair[1])[int(winner) - 1]
        if winner != TIE and winner not in (pair or names):
            return Problem(f"{winner!r} is none of the judged.", where, nearest(str(winner), [*(pair or names), TIE]))
        if len(names) > 2 and len(pair) != 2:
            return Problem(f"Of {len(names)} contenders, which two?", where, "name them in `first` and `second`")
        return Label(id_, task, pair or tuple(names), str(winner), None, where)
    if len(pair) != 1:
        return Problem("Whose points are these?", where, f"say it in `name`: {', '.join(names)}")
    if not str(points).isdecimal() or not 1 <= int(str(points)) <= most:
        return Problem(f"Points {points!r}: a whole number from 1 to {most}.", where, "as the rubric's scale has it")
    return Label(id_, task, pair, None, int(str(points)), where)


def pairs_agree(labels: Iterable[Label], verdicts: Sequence[PairVerdict], seed: int = 0) -> Agreement | None:
    """Against labels that name a winner; None where there are none of these two."""
    said = {(one.case.task, one.case.id): one for one in verdicts}
    both: list[tuple[str, str, str]] = []
    unread = 0
    for label in labels:
        one = _of(label, said)
        if label.winner is None or one is None or {one.first, one.second} != set(label.names):
            continue
        if one.outcome is None:
            unread += 1
            continue
        judge = {"first": one.first, "second": one.second, "tie": TIE}[one.outcome]
        both.append((label.winner, judge, one.case.group))
    return _agreement(both, unread, lambda one, other: float(one != other), seed) if both or unread else None


def points_agree(labels: Iterable[Label], verdicts: Sequence[PointsVerdict], seed: int = 0) -> Agreement | None:
    """Against labels that give points; None where there are none."""
    said = {(one.case.task, one.case.id, one.name): one for one in verdicts}
    both: list[tuple[str, str, str]] = []
    unread = 0
    for label in labels:
        if label.points is None:
            continue
        one = next(
            (
                verdict
                for (task, id_, name), verdict in said.items()
                if (id_, name) == (label.id, label.names[0]) and label.task in (None, task)
            ),
            None,
        )
        if one is None:
            continue
        if one.points is None:
            unread += 1
            continue
        both.append((str(label.points), str(one.points), one.case.group))
    return (
        _agreement(both, unread, lambda one, other: float((int(one) - int(other)) ** 2), seed)
        if both or unread
        else None
    )


def _of(label: Label, said: Mapping[tuple[str, str], PairVerdict]) -> PairVerdict | None:
    if label.task is not None:
        return said.get((label.task, label.id))
    return next((one for (_, id_), one in said.items() if id_ == label.id), None)


def _agreement(
    both: Sequence[tuple[str, str, str]], unread: int, distance: Callable[[str, str], float], seed: int
) -> Agreement:
    if not both:
        return Agreement(0, unread, 0.0, 0.0, 1.0, 0.0, -1.0, 1.0, {})
    same = [float(one == other) for one, other, _ in both]
    span = mean_interval(same, [group for *_, group in both], seed=seed)
    kappa = cohen([(one, other) for one, other, _ in both], distance)
    low, high = kappa_interval(both, distance, seed)
    table = Counter(f"{one} / {other}" for one, other, _ in both)
    return Agreement(
        len(both),
        unread,
        sum(same) / len(same),
        span.low,
        span.high,
        kappa,
        min(low, kappa),
        max(high, kappa),
        dict(table.most_common()),
    )


def kappa_interval(
    both: Sequence[tuple[str, str, str]], distance: Callable[[str, str], float], seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of kappa over labels, verdicts and groups: groups are drawn with replacement.

    Two imagined ones are added, one that agrees and one that does not, so that five of five is not called certain. -1 to 1
    where there is one group, or one label only: nothing can be said then.
    """
    import numpy as np
    from scipy import stats

    common = [label for label, _ in Counter(label for one, other, _ in both for label in (one, other)).most_common()]
    groups = {group: place for place, group in enumerate(dict.fromkeys(group for *_, group in both))}
    if len(common) == 1 or len(groups) == 1:
        return -1.0, 1.0
    place = {label: number for number, label in enumerate(common)}
    size = len(both) / len(groups)
    counts = np.zeros((len(groups) + 2, len(common), len(common)))
    for one, other, group in both:
        counts[groups[group], place[one], place[other]] += 1
    counts[-2, 0, 0], counts[-1, 0, 1] = size, size
    apart = np.asarray([[distance(one, other) for other in common] for one in common])
    generator = np.random.default_rng(seed)
    step = max(1, _DRAWN // len(counts))
    kappas = []
    for start in range(0, _RESAMPLES, step):
        drawn = generator.multinomial(
            len(counts), np.full(len(counts), 1 / len(counts)), size=min(step, _RESAMPLES - start)
        )
        tables = np.tensordot(drawn, counts, axes=1)  # [draws, labels, labels]
        n = tables.sum(axis=(1, 2))
        found = (tables * apart).sum(axis=(1, 2)) / n
        by_luck = np.einsum("dl,lm,dm->d", tables.sum(axis=2), apart, tables.sum(axis=1)) / n**2
        kappas.append(np.where(by_luck > 0, 1 - found / np.where(by_luck > 0, by_luck, 1.0), 1.0))
    # Tails as wide as Student's t has them for so many groups, as in eval/stats.py.
    reach = float(stats.t.ppf(0.975, len(groups) - 1)) * math.sqrt(len(groups) / (len(groups) - 1))
    tail = float(stats.norm.cdf(-reach))
    low, high = np.quantile(np.concatenate(kappas), [tail, 1 - tail])
    return float(low), float(high)


def cohen(pairs: Sequence[tuple[str, str]], distance: Callable[[str, str], float]) -> float:
    """Cohen's kappa: 1 less the disagreement found over the one that luck would make, each weighted by its distance.

    1 where both always say one and the same, for then there is nothing to disagree on. Sources: Cohen 1960, doi
    10.1177/001316446002000104; weighted: Cohen 1968, doi 10.1037/h0026256.
    """
    n = len(pairs)
    ones: dict[str, int] = {}
    others: dict[str, int] = {}
    for one, other in pairs:
        ones[one] = ones.get(one, 0) + 1
        others[other] = others.get(other, 0) + 1
    found = sum(distance(one, other) for one, other in pairs) / n
    by_luck = sum(distance(a, b) * ones[a] * others[b] for a in ones for b in others) / n**2
    return 1 - found / by_luck if by_luck > 0 else 1.0
