"""The plots of a report as inline SVG that takes its colours from the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from heedlm.eval import words
from heedlm.eval.arms import BASE, INSTRUCT
from heedlm.eval.behaviour import BEHAVIOURS
from heedlm.eval.results import EvalReport, TaskResult

_WIDTH = 880
_LABEL = 210  # where plots begin, right of the task names


@dataclass(frozen=True, slots=True)
class Curve:
    """A line over training steps. points: (step, value), ascending in step."""

    name: str
    points: tuple[tuple[float, float], ...]


def curves_from(rows: Iterable[Mapping[str, object]]) -> list[Curve]:
    """Training and validation loss from the lines of metrics.jsonl: those with a `step` and a finite `loss` or
    `val_loss`."""
    kept = list(rows)
    curves = []
    for name, title in (("loss", "training"), ("val_loss", "validation")):
        points = []
        for row in kept:
            step, value = row.get("step"), row.get(name)
            if isinstance(step, int | float) and isinstance(value, int | float) and math.isfinite(value):
                points.append((float(step), float(value)))
        if points:
            curves.append(Curve(title, tuple(points)))
    return curves


def forest(tasks: Sequence[TaskResult]) -> str:
    """Difference of each task with its interval, around a line at zero."""
    left, right, row = _LABEL, _WIDTH - 170, 26
    low = min(0.0, math.floor(min(task.low for task in tasks) * 4) / 4)
    high = max(0.0, math.ceil(max(task.high for task in tasks) * 4) / 4, low + 0.25)
    height = row * len(tasks) + 44

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    parts = [_axis(x, _ticks(low, high), 8, height - 36, lambda tick: words.points(tick) if tick else "0")]
    parts.append(f'<line class="zero" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="8" y2="{height - 36}"/>')
    for index, task in enumerate(tasks):
        y = 8 + row * index + row / 2
        side = {1: "better", -1: "worse", 0: "unsure"}[words.sure(task)]
        span = f"{words.points(task.low)} to {words.points(task.high)}"
        parts.append(
            f'<g class="{side}"><title>{escape(words.task_title(task.name))}: {words.points(task.difference)} points, '
            f"95 % interval {span}, n = {task.n}</title>"
            f"{_label(words.task_title(task.name), y)}"
            f'<line class="whisker" x1="{x(task.low):.1f}" x2="{x(task.high):.1f}" y1="{y}" y2="{y}"/>'
            f'<circle class="point" cx="{x(task.difference):.1f}" cy="{y}" r="5"/>'
            f'<text class="value" x="{right + 22}" y="{y + 4}">{words.points(task.difference)}'
            f'<tspan class="quiet" dx="8">{span}</tspan></text></g>'
        )
    parts.append(f'<text class="quiet" x="{left}" y="{height - 2}">percentage points gained by tuning</text>')
    return _svg(height, "Gain of each task with its 95 % interval", parts)


def arm_bars(report: EvalReport) -> str:
    """Mean score of every arm over the tasks, one bar each."""
    arms = list(report.arms)
    row, left, right = 34, _LABEL, _WIDTH - 60
    parts = []
    for index, arm in enumerate(arms):
        score = sum(task.arms[arm].score for task in report.tasks) / len(report.tasks)
        y, width = 4 + row * index, score * (right - left)
        parts.append(
            f'<g class="arm-{escape(arm)}"><title>{escape(words.arm_name(arm))}: {words.percent(score)}</title>'
            f"{_label(words.arm_name(arm), y + 12)}"
            f'<rect class="track" x="{left}" y="{y}" width="{right - left}" height="22" rx="4"/>'
            f'<rect class="bar" x="{left}" y="{y}" width="{max(width, 2):.1f}" height="22" rx="4"/>'
            f'<text class="value" x="{right + 10}" y="{y + 16}">{words.percent(score)}</text></g>'
        )
    return _svg(row * len(arms) + 4, "Mean score of each arm over all tasks", parts)


def arm_dots(report: EvalReport) -> str:
    """Score of every arm on every task: one line per task, from base to instruct."""
    arms = list(report.arms)
    row, left, right = 26, _LABEL, _WIDTH - 60
    height = row * len(report.tasks) + 30

    def x(value: float) -> float:
        return left + value * (right - left)

    parts = [_axis(x, (0, 0.25, 0.5, 0.75, 1), 8, height - 22, words.percent)]
    for index, task in enumerate(report.tasks):
        y = 8 + row * index + row / 2
        start, end = sorted((task.arms[BASE].score, task.arms[INSTRUCT].score))
        parts.append(_label(words.task_title(task.name), y))
        parts.append(f'<line class="span" x1="{x(start):.1f}" x2="{x(end):.1f}" y1="{y}" y2="{y}"/>')
        # The tuned arm is drawn last, so that it is never hidden.
        for arm in sorted(arms, key=lambda name: (name == INSTRUCT, name == BASE)):
            score = task.arms[arm].score
            size = 6 if arm in (BASE, INSTRUCT) else 4.5
            parts.append(
                f'<g class="arm-{escape(arm)}"><circle class="dot" cx="{x(score):.1f}" cy="{y}" r="{size}">'
                f"<title>{escape(words.task_title(task.name))}, {escape(words.arm_name(arm))}: {words.percent(score)}"
                "</title></circle></g>"
            )
    return _svg(height, "Score of every arm on every task", parts)


def behaviour_bars(tasks: Sequence[TaskResult]) -> str:
    """What the base model did with the items of each task, as shares of one bar."""
    row, left, right = 26, _LABEL, _WIDTH - 20
    parts = []
    for index, task in enumerate(tasks):
        y, at, title = 4 + row * index, float(left), escape(words.task_title(task.name))
        parts.append(_label(words.task_title(task.name), y + 9))
        total = sum(task.behaviour.values())
        for number, name in enumerate(BEHAVIOURS):
            count = task.behaviour.get(name, 0)
            if count:
                width = count / total * (right - left)
                parts.append(
                    f'<rect class="did-{number}" x="{at:.1f}" y="{y}" width="{max(width - 1.5, 0.5):.1f}" height="17" '
                    f'rx="2"><title>{title}: {escape(name)}, {count} of {total}</title></rect>'
                )
                at += width
    return _svg(row * len(tasks) + 2, "What the base model does with each task", parts)


def loss_plot(curves: Sequence[Curve]) -> str:
    """Training and validation loss over the steps."""
    left, right, top, bottom = 56, _WIDTH - 130, 10, 230
    steps = [step for curve in curves for step, _ in curve.points]
    values = [value for curve in curves for _, value in curve.points]
    first, last = min(steps), max(max(steps), min(steps) + 1)
    low, high = min(0.0, min(values)), max(values) * 1.05 or 1.0

    def x(step: float) -> float:
        return left + (step - first) / (last - first) * (right - left)

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    parts = []
    for tick in _ticks(low, high):
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text class="tick end" x="{left - 8}" y="{y(tick) + 4:.1f}">{tick:g}</text>')
    parts += [f'<text class="tick" x="{x(tick):.1f}" y="{bottom + 18}">{tick:g}</text>' for tick in _ticks(first, last)]
    labels: list[float] = []
    for number, curve in enumerate(curves):
        thin = curve.points[:: max(1, len(curve.points) // 600)]
        path = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in thin)
        at = y(curve.points[-1][1])
        while any(abs(at - other) < 15 for other in labels):
            at -= 15
        labels.append(at)
        marks = "".join(f'<circle class="mark" cx="{x(s):.1f}" cy="{y(v):.1f}" r="3"/>' for s, v in thin)
        parts.append(
            f'<g class="curve-{number}"><polyline class="curve" points="{path}"/>{marks if len(thin) <= 40 else ""}'
            f'<text class="value" x="{right + 10}" y="{at + 4:.1f}">{escape(curve.name)} '
            f"{curve.points[-1][1]:.3f}</text></g>"
        )
    parts.append(f'<text class="quiet" x="{left}" y="{bottom + 36}">training steps</text>')
    return _svg(bottom + 42, "Loss over the training steps", parts)


def _svg(height: float, name: str, parts: Iterable[str]) -> str:
    inner = "".join(parts)
    return f'<svg role="img" aria-label="{escape(name)}" viewBox="0 0 {_WIDTH} {height:.0f}">{inner}</svg>'


def _label(name: str, y: float) -> str:
    shown = name if len(name) <= 30 else name[:29] + "…"
    return f'<text class="label" x="{_LABEL - 16}" y="{y + 4}">{escape(shown)}</text>'


def _axis(
    x: Callable[[float], float], ticks: Iterable[float], top: float, bottom: float, name: Callable[[float], str]
) -> str:
    return "".join(
        f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{top}" y2="{bottom}"/>'
        f'<text class="tick" x="{x(tick):.1f}" y="{bottom + 16}">{name(tick)}</text>'
        for tick in ticks
    )


def _ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from low to high, about five of them."""
    raw = (high - low) / about
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]
