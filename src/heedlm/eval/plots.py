"""The plots of a report: rows of text with a lane of SVG each, which fit any width and take colours from the page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from heedlm.eval import words
from heedlm.eval.behaviour import BEHAVIOURS
from heedlm.eval.conduct import Lengths
from heedlm.eval.html_parts import name, span_points, text
from heedlm.eval.results import TaskResult

# Marks differ in shape as well as in colour, so that they can be told apart in grey and by everybody.
_SHAPES = {
    "ring": "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z",
    "disc": "M-5.5 0a5.5 5.5 0 1 0 11 0a5.5 5.5 0 1 0-11 0z",
    "square": "M-4.5-4.5h9v9h-9z",
    "triangle": "M0-5.5L5.5 4.5H-5.5z",
    "diamond": "M0-6L6 0L0 6L-6 0z",
    "drop": "M0 5.5L5.5-4.5H-5.5z",
}
SHAPES = tuple(_SHAPES)
_TOLD = {1: "better for sure", 0: "may be luck", -1: "worse for sure"}
_SURE = {1: ("better", "disc"), 0: ("unsure", "ring"), -1: ("worse", "diamond")}


@dataclass(frozen=True, slots=True)
class Estimate:
    """One row of a forest plot, as shares. sure: 1 better, -1 worse, 0 neither.   link: the task that a click shows
    examples of; "" for none.   whole: of all items together."""

    name: str
    mean: float
    low: float
    high: float
    sure: int
    n: int
    link: str = ""
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """An arm or a model in a plot. style: class with its colour.   shape: of its mark.   small: beside the others."""

    name: str
    style: str
    shape: str
    small: bool = False


def of_tasks(tasks: Iterable[TaskResult]) -> list[Estimate]:
    return [
        Estimate(words.task_title(one.name), one.difference, one.low, one.high, words.sure(one), one.n, one.name)
        for one in tasks
    ]


def reach(rows: Iterable[Estimate]) -> tuple[float, float]:
    """From where to where an axis for these rows goes: zero is on it, and its ends are round."""
    ends = [(row.low, row.high) for row in rows]
    low = min(0.0, math.floor(min(low for low, _ in ends) * 5) / 5)
    return low, max(0.0, math.ceil(max(high for _, high in ends) * 5) / 5, low + 0.2)


def forest(rows: Sequence[Estimate], unit: str, ends: tuple[float, float] | None = None) -> str:
    """Differences with their intervals around a line at zero. unit: what the axis counts, safe.   ends: of the axis, where
    several plots are to be compared."""
    low, high = ends or reach(rows)
    ticks = ticks_between(low, high)

    def x(value: float) -> float:
        return 100 * (value - low) / (high - low)

    grid = _grid(x(tick) for tick in ticks if tick)
    zero = f'<line class="zero" x1="{x(0):.2f}%" x2="{x(0):.2f}%" y1="0" y2="100%"/>'
    shown = []
    for row in rows:
        style, shape = _SURE[row.sure]
        whisker = f'<line class="whisker" x1="{x(row.low):.2f}%" x2="{x(row.high):.2f}%" y1="50%" y2="50%"/>'
        said = (
            f"{words.points(row.mean)} points, 95 % interval {span_points(row.low, row.high)}, n = {row.n:,}: {style}"
        )
        label = _task_link(row.name, row.link) + f'<span class="hidden">: {_TOLD[row.sure]}</span>'
        value = f'<b>{words.points(row.mean)}</b> <span class="quiet">{span_points(row.low, row.high)}</span>'
        marks = f"<title>{name(row.name)}: {said}</title>{whisker}{mark(shape, x(row.mean))}"
        whole = " whole" if row.whole else ""
        shown.append(_row(label, grid + zero + f'<g class="{style}">{marks}</g>', value, f"{style}{whole}"))
    axis = _axis([(x(tick), words.points(tick) if tick else "0") for tick in ticks], unit)
    return _plot("Differences with their 95 % intervals", [*shown, axis], "forest")


def bars(scores: Sequence[tuple[Series, float]]) -> str:
    """One score in 0..1 per series."""
    shown = []
    for series, score in scores:
        lane = '<rect class="track" width="100%" height="100%" rx="3"/>'
        lane += f'<rect class="bar {series.style}" width="{max(100 * score, 0.3):.2f}%" height="100%" rx="3"/>'
        shown.append(_row(name(series.name), lane, f"<b>{words.percent(score)}</b>", "thick"))
    return _plot("Mean scores", shown, "bars")


def dots(series: Sequence[Series], rows: Sequence[tuple[str, str, Sequence[float | None]]]) -> str:
    """Scores in 0..1 of several series: (name, task that a click shows, score of each series; None: not asked)."""
    ticks = (0, 25, 50, 75, 100)
    grid = _grid(ticks)
    shown = []
    for title, link, scores in rows:
        there = [score for score in scores if score is not None]
        lane = f'<line class="span" x1="{100 * min(there):.2f}%" x2="{100 * max(there):.2f}%" y1="50%" y2="50%"/>'
        # The big marks are drawn last, so that they are never hidden.
        for one, score in sorted(zip(series, scores, strict=True), key=lambda pair: not pair[0].small):
            if score is not None:
                told = f"{name(title)}, {name(one.name)}: {words.percent(score)}"
                lane += mark(one.shape, 100 * score, one.style, told, one.small)
        said = "".join(
            f'<span class="hidden">{name(s.name)} {_share(v)}, </span>' for s, v in zip(series, scores, strict=True)
        )
        shown.append(_row(_task_link(title, link) + said, grid + lane, "", ""))
    return _plot("Scores", [*shown, _axis([(tick, f"{tick} %") for tick in ticks], "")], "dots")


def behaviour_bars(tasks: Sequence[TaskResult]) -> str:
    """What the base model did with the items of each task, as shares of one bar."""
    shown = []
    for task in tasks:
        at, total, lane = 0.0, sum(task.behaviour.values()), ""
        for number, what in enumerate(BEHAVIOURS):
            count = task.behaviour.get(what, 0)
            if count:
                width = 100 * count / total
                lane += (
                    f'<rect class="did-{number}" x="{at:.2f}%" width="{width:.2f}%" height="100%">'
                    f"<title>{text(what)}: {count} of {total}</title></rect>"
                )
                at += width
        shown.append(_row(name(words.task_title(task.name)), lane, "", "thick"))
    return _plot("What the base model does with each task", shown, "stacked")


def strips(rows: Sequence[tuple[Series, Lengths]]) -> str:
    """How long texts are: a thin line for nine in ten, a thick one for half of them, a mark at the median."""
    most = max((found.p95 for _, found in rows), default=0) or 1
    ticks = ticks_between(0, most)
    top = max(most, ticks[-1])
    grid = _grid(100 * tick / top for tick in ticks)
    shown = []
    for series, found in rows:
        lane = f'<g class="{series.style}">'
        for style, first, last in (("whisker", found.p5, found.p95), ("box", found.p25, found.p75)):
            ends = f'x1="{100 * first / top:.2f}%" x2="{100 * last / top:.2f}%"'
            lane += f'<line class="{style}" {ends} y1="50%" y2="50%"/>'
        lane += f"</g>{mark(series.shape, 100 * found.median / top, series.style)}"
        value = f'<b>{found.median:,}</b> <span class="quiet">{found.p5:,} to {found.p95:,}</span>'
        shown.append(_row(name(series.name), grid + lane, value, ""))
    return _plot("Words in a reply", [*shown, _axis([(100 * t / top, f"{t:g}") for t in ticks], "words")], "strips")


def spreads(rows: Sequence[tuple[str, Series, Mapping[str, float]]]) -> str:
    """The same items in several formats: (name, series, mean score by format); one tick for each, a mark at their mean."""
    ticks = (0, 25, 50, 75, 100)
    grid, shown = _grid(ticks), []
    for title, series, scores in rows:
        mean = sum(scores.values()) / len(scores)
        low, high = min(scores.values()), max(scores.values())
        lane = f'<g class="{series.style}"><line class="whisker" x1="{100 * low:.2f}%" x2="{100 * high:.2f}%" y1="50%" '
        lane += 'y2="50%"/>'
        for layout, score in scores.items():
            told = f"{name(layout)}: {words.percent(score)}"
            at = f"{100 * score:.2f}%"
            lane += f'<line class="stroke" x1="{at}" x2="{at}" y1="22%" y2="78%"><title>{told}</title></line>'
        lane += f"</g>{mark(series.shape, 100 * mean, series.style, f'mean {words.percent(mean)}')}"
        value = f"<b>{words.percent(mean)}</b> <span class=quiet>{words.percent(low)} to {words.percent(high)}</span>"
        shown.append(_row(f"{name(title)}, {name(series.name)}", grid + lane, value, ""))
    return _plot("Scores in each format", [*shown, _axis([(tick, f"{tick} %") for tick in ticks], "")], "spreads")


def mark(shape: str, x: float, style: str = "", told: str = "", small: bool = False) -> str:
    """A mark at x percent of a lane."""
    title = f"<title>{told}</title>" if told else ""
    size = ' transform="scale(.85)"' if small else ""
    path = f'<path class="mark {shape} {style}" d="{_SHAPES[shape]}"{size}>{title}</path>'
    return f'<svg x="{x:.2f}%" y="50%" overflow="visible">{path}</svg>'


def key(series: Series) -> str:
    """The mark of a series for a legend."""
    path = f'<path class="mark {series.shape} {series.style}" d="{_SHAPES[series.shape]}"/>'
    return f'<svg class="key" viewBox="-7 -7 14 14" aria-hidden="true">{path}</svg>'


def sure_keys() -> list[tuple[str, str]]:
    """What the marks of a forest mean, for a legend."""
    return [(key(Series("", *_SURE[sure])), _TOLD[sure]) for sure in (1, 0, -1)]


def _plot(label: str, rows: Iterable[str], style: str) -> str:
    return f'<div class="plot {style}" role="group" aria-label="{text(label)}">{"".join(rows)}</div>'


def _row(label: str, lane: str, value: str, style: str) -> str:
    """label, lane, value: safe."""
    figure = f'<span class="value">{value}</span>' if value else ""
    css = f" {style}" if style else ""
    return f'<div class="row{css}"><span class="label">{label}</span><svg class="lane" aria-hidden="true">{lane}</svg>{figure}</div>'


def _axis(ticks: Iterable[tuple[float, str]], unit: str) -> str:
    marks = "".join(f'<span style="left:{at:.2f}%">{label}</span>' for at, label in ticks)
    below = f'<span class="unit">{unit}</span>' if unit else ""
    return f'<div class="row axis" aria-hidden="true"><div class="ticks">{marks}</div>{below}</div>'


def _grid(places: Iterable[float]) -> str:
    return "".join(f'<line class="grid" x1="{x:.2f}%" x2="{x:.2f}%" y1="0" y2="100%"/>' for x in places)


def _task_link(title: str, task: str) -> str:
    return f'<a href="#cases" data-filter="{text(task)}">{name(title)}</a>' if task else name(title)


def _share(score: float | None) -> str:
    return "not asked" if score is None else words.percent(score)


def ticks_between(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from low to high, about five of them."""
    raw = (high - low) / about
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]
