"""What was measured while a model was trained, as curves over its steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from heedlm.eval import words
from heedlm.eval.html_parts import legend, name, swatch
from heedlm.eval.plots import ticks_between

_POINTS = 600  # of a curve that are drawn
_SMOOTH = 60  # points from which on a curve is drawn smoothed as well
_STYLES = {"training": "arm-0", "validation": "arm-1"}
_MOST_SCORES = 8  # tasks whose scores are drawn beside their mean


@dataclass(frozen=True, slots=True)
class Curve:
    """A line over training steps. points: (step, value), ascending in step.   share: a score in 0..1, not a loss."""

    name: str
    points: tuple[tuple[float, float], ...]
    share: bool = False


def curves_from(rows: Iterable[Mapping[str, object]]) -> list[Curve]:
    """Training and validation loss, and scores on the way, from the lines of metrics.jsonl: those with a `step` and a
    finite `loss`, `val_loss` or `score`; with `tasks`, the score of each where there are several."""
    kept = list(rows)
    found = [
        Curve("training", _points((row, row.get("loss")) for row in kept)),
        Curve("validation", _points((row, row.get("val_loss")) for row in kept)),
        Curve("task score", _points((row, row.get("score")) for row in kept), share=True),
    ]
    tasks = list(dict.fromkeys(task for row in kept for task in _tasks(row)))
    if 1 < len(tasks) <= _MOST_SCORES:
        by_task = {task: _points((row, _tasks(row).get(task)) for row in kept) for task in tasks}
        found += [Curve(words.task_title(task), points, share=True) for task, points in by_task.items()]
    return [curve for curve in found if curve.points]


def _points(values: Iterable[tuple[Mapping[str, object], object]]) -> tuple[tuple[float, float], ...]:
    """Step and value of the lines that have both, as finite numbers."""
    return tuple(
        (float(step), float(value))
        for row, value in values
        if isinstance(step := row.get("step"), int | float) and isinstance(value, int | float) and math.isfinite(value)
    )


def _tasks(row: Mapping[str, object]) -> Mapping[str, object]:
    found = row.get("tasks")
    return found if isinstance(found, Mapping) and "score" in row else {}


def loss_plot(curves: Sequence[Curve]) -> str:
    """Curves over the steps: losses, or scores, as the first of them is."""
    steps = [step for curve in curves for step, _ in curve.points]
    values = [value for curve in curves for _, value in curve.points]
    first, last = min(steps), max(max(steps), min(steps) + 1)
    low, high = min(0.0, min(values)), max(values) * 1.05 or 1.0
    if curves[0].share:
        low, high = 0.0, 1.0

    def place(step: float, value: float) -> str:
        return f"{1000 * (step - first) / (last - first):.1f},{1000 - 1000 * (value - low) / (high - low):.1f}"

    level, along = ticks_between(low, high, 4), ticks_between(first, last)
    lines = "".join(f'<path class="grid" d="M{place(first, tick)}L{place(last, tick)}"/>' for tick in level)
    for number, curve in enumerate(curves):
        style = _style(curve, number)
        thin, bold = _drawn(curve)
        if bold is not thin:
            lines += f'<polyline class="curve faint {style}" points="{" ".join(place(*at) for at in thin)}"/>'
        lines += f'<polyline class="curve {style}" points="{" ".join(place(*at) for at in bold)}"/>'
        if len(thin) <= 40:
            lines += f'<path class="spots {style}" d="{"".join(f"M{place(*at)}h0" for at in thin)}"/>'
    by, unit, what = (100, " %", "Scores") if curves[0].share else (1, "", "Loss")
    ys = "".join(f'<span style="bottom:{100 * (t - low) / (high - low):.2f}%">{by * t:g}{unit}</span>' for t in level)
    xs = "".join(f'<span style="left:{100 * (t - first) / (last - first):.2f}%">{t:,g}</span>' for t in along)
    return (
        f'<div class="chart" role="group" aria-label="{what} over the training steps">'
        f'<div class="ys" aria-hidden="true">{ys}</div>'
        f'<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" aria-hidden="true">{lines}</svg>'
        f'<div class="xs" aria-hidden="true">{xs}</div></div>{_keys(curves)}'
    )


def _style(curve: Curve, number: int) -> str:
    return _STYLES.get(curve.name, f"arm-{(number + 2) % 8}")


def _drawn(curve: Curve) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """The points that are drawn, and those of the bold line: the same, or smoothed where there are many."""
    thin = thinned(curve.points, _POINTS)
    return (thin, smoothed(thin, len(thin) // 25)) if len(thin) >= _SMOOTH else (thin, thin)


def _keys(curves: Sequence[Curve]) -> str:
    """Which curve is which, with the last value of its bold line."""
    items = []
    for number, curve in enumerate(curves):
        step, value = _drawn(curve)[1][-1]
        last = words.percent(value) if curve.share else f"{value:.3f}"
        told = f"<b>{name(curve.name)}</b> {last} at step {step:,.0f}"
        items.append((swatch(_style(curve, number)), told))
    return legend(items)


def thinned(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most so many points, each the mean of its neighbours, the first and last step kept."""
    if len(points) <= most:
        return list(points)
    edges = [round(index * len(points) / most) for index in range(most + 1)]
    groups = [points[start:end] for start, end in pairwise(edges)]
    means = [(group[0][0], sum(value for _, value in group) / len(group)) for group in groups]
    return [*means[:-1], (points[-1][0], means[-1][1])]


def smoothed(points: Sequence[tuple[float, float]], wide: int) -> list[tuple[float, float]]:
    """The mean of the points up to `wide` before and after each; at the beginning, where curves are steep, as many after
    as before."""
    sums = [0.0]
    for _, value in points:
        sums.append(sums[-1] + value)
    found = []
    for index, (step, _) in enumerate(points):
        reach = min(wide, index)
        end = min(len(points), index + reach + 1)
        found.append((step, (sums[end] - sums[index - reach]) / (end - index + reach)))
    return found
