"""The comparison of several models as one page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from heedlm.eval import plots, words
from heedlm.eval.arms import BASE, INSTRUCT
from heedlm.eval.conduct import conduct, reference_lengths
from heedlm.eval.grid import WITH, Grid
from heedlm.eval.html_cases import Sides, side_by_side
from heedlm.eval.html_parts import Section, legend, name, page, span_points, table, text, tiles
from heedlm.eval.html_sections import badge, formats, judged, of_weights, replies, reproduce, spent, verdict
from heedlm.eval.pairs import Pair, PairsReport
from heedlm.eval.pairs_words import pairs_headline, sure
from heedlm.eval.plots import Estimate, Series
from heedlm.eval.results import Case, Outcome

_LONG = 160  # characters of a headline from which on it is set smaller
_OPEN = 3  # models whose answers stand open side by side; of more, the first two


def pairs_page(report: PairsReport) -> str:
    """The whole page."""
    series = {model: _series(model, number) for number, model in enumerate(report.models)}
    cases = merged(report)
    found = conduct(cases)
    pairs = [(pair.first, pair.second) for pair in report.pairs]
    main = len(series) if len(series) <= _OPEN else 2
    sides = Sides(series, main, pairs, _ways(report), "items.jsonl")
    asking = spent(found, series) if found else ""
    sections = [
        verdict(report.decision),
        _grid(report.grid),
        _gains(report),
        _scores(report, series),
        _luck(report),
        formats(report.suites, series),
        judged(report.judged),
        side_by_side(cases, sides),
        replies(found, reference_lengths(cases), series),
        Section("cost", "cost", "What asking cost", asking) if asking else None,
        _numbers(report),
        reproduce(report.about, _commands(report), of_weights(_answered(report)), apart=bool(report.judged)),
    ]
    return page(pairs_headline(report), _header(report), sections)


def merged(report: PairsReport) -> list[Case]:
    """Every item once, with the answers of all models by their names."""
    found: dict[tuple[str, str], Case] = {}
    for pair in report.pairs:
        for case in pair.report.cases:
            answers = {pair.first: case.answers[BASE], pair.second: case.answers[INSTRUCT]}
            old = found.get((case.task, case.id))
            outcome = case.outcome if old is None else _worse(old.outcome, case.outcome)
            both = {**(old.answers if old is not None else {}), **answers}
            found[case.task, case.id] = replace(case, answers=both, outcome=outcome)
    return list(found.values())


def _worse(one: Outcome, other: Outcome) -> Outcome:
    """What is rarer to see, of two outcomes against the same first model."""
    order: tuple[Outcome, ...] = ("loss", "win", "neither", "both right")
    return min(one, other, key=order.index)


def _series(model: str, number: int) -> Series:
    return Series(model, f"arm-{number % 8}", plots.SHAPES[number % len(plots.SHAPES)])


def _ways(report: PairsReport) -> dict[str, tuple[str, ...]]:
    """By model the names under which it was asked: of a grid, without and with the system text."""
    found: dict[str, tuple[str, ...]] = {}
    for model in report.models:
        plain = model.removesuffix(WITH) if report.grid is not None else model
        found[plain] = (*found.get(plain, ()), model)
    return found


def _header(report: PairsReport) -> str:
    said = pairs_headline(report)
    styles = ["caveat"] * bool(report.caveats) + ["long"] * (len(said) > _LONG)
    style = f' class="{" ".join(styles)}"' if styles else ""
    date = f" · {name(report.about['date'][:10])}" if report.about.get("date") else ""
    kind = "prompt or tune?" if report.grid is not None else f"{len(report.models)} models on the same items"
    big = [] if report.grid is not None or len(report.pairs) > 4 else [_tile(pair) for pair in report.pairs]
    return (
        f'<header><p class="eyebrow">heed: {kind}{date}{badge(report.decision)}</p>'
        f"<h1{style}><bdi>{text(said)}</bdi></h1>{tiles(big)}</header>"
    )


def _tile(pair: Pair) -> tuple[str, str]:
    found = pair.all
    told = f"points, {pair.second} against {pair.first} ({span_points(found.low, found.high)})"
    return words.points(found.mean), told


def _grid(grid: Grid | None) -> Section | None:
    """Four cells, and the steps between them."""
    if grid is None:
        return None
    cells = list(grid.scores.items())
    best = max(grid.scores.values())
    rows = [
        [f"{name(cells[at][0])}", *(_grid_cell(score, best) for _, score in cells[at : at + 2])]
        for at in range(0, len(cells), 2)
    ]
    steps = [
        Estimate(one.what, one.difference.mean, one.difference.low, one.difference.high, one.sure, one.difference.n)
        for one in grid.effects.values()
    ]
    body = (
        table(("", "as it is", "with the system text"), rows, "Mean scores", "cells")
        + plots.forest(steps, "percentage points")
        + legend(plots.sure_keys())
    )
    lead = "Mean score of each cell over all items, and the six steps between them, tested together."
    return Section("grid", "grid", "Prompt or tune?", body, lead)


def _grid_cell(score: float, best: float) -> str:
    return f'<td class="{"best" if score == best else "cell"}">{words.percent(score)}</td>'


def _gains(report: PairsReport) -> Section | None:
    shown = [(pair, plots.of_tasks(pair.report.tasks)) for pair in report.pairs if pair.report.tasks]
    shown = [(pair, [*rows, _whole(pair)] if len(rows) > 1 else rows) for pair, rows in shown]
    if not shown:
        return None
    ends = plots.reach(row for _, rows in shown for row in rows)
    parts = [
        f"<h3>{name(pair.second)} against {name(pair.first)}</h3>"
        + plots.forest(rows, f"percentage points, {name(pair.second)} minus {name(pair.first)}", ends)
        for pair, rows in shown
    ]
    lead = (
        "Each model minus the first on the same items. The line is the 95 % interval: where it stays clear of zero, "
        "luck hardly explains the difference. A task’s name leads to its examples."
    )
    return Section("gains", "gains", "What differs", "".join(parts) + legend(plots.sure_keys()), lead)


def _whole(pair: Pair) -> Estimate:
    found = pair.all
    side = (1 if found.mean > 0 else -1) if sure(found) else 0
    return Estimate("all items", found.mean, found.low, found.high, side, found.n, whole=True)


def _scores(report: PairsReport, series: Mapping[str, Series]) -> Section | None:
    """Every model's score on every task."""
    scores: dict[str, dict[str, float]] = {}
    for pair in report.pairs:
        for task in pair.report.tasks:
            of = scores.setdefault(task.name, {})
            of |= {pair.first: task.arms[BASE].score, pair.second: task.arms[INSTRUCT].score}
    if not scores:
        return None
    means = [(one, sum(of[model] for of in scores.values()) / len(scores)) for model, one in series.items()]
    rows = [(words.task_title(task), task, [of.get(model) for model in series]) for task, of in scores.items()]
    told = legend(
        (
            (plots.key(one), f"<b>{name(model)}</b> asked in {text(report.asked.get(model, 'messages'))}")
            for model, one in series.items()
        ),
        tall=True,
    )
    body = told + plots.bars(means) + "<h3>Task by task</h3>" + plots.dots(list(series.values()), rows)
    return Section("arms", "scores", "Scores", body, "Mean score over all tasks, each task counted once.")


def _luck(report: PairsReport) -> Section | None:
    """What seeds and asking again say of how far a figure can be believed."""
    rows = []
    if report.seeds is not None:
        seeds = report.seeds
        rows.append(Estimate(f"the recipe, {seeds.seeds} seeds", seeds.mean, *seeds.interval, 0, seeds.seeds))
        side = 0 if seeds.p >= words.SURE or seeds.interval.low <= 0 <= seeds.interval.high else 1
        rows[0] = replace(rows[0], sure=side if seeds.mean > 0 else -side, whole=True)
        rows = [Estimate(f"seed {n}", one, one, one, 0, 1) for n, one in enumerate(seeds.by_seed, 1)] + rows
    if report.noise is not None:
        noise = report.noise
        rows.append(Estimate("the last model, asked twice", noise.difference, noise.low, noise.high, 0, noise.n))
    if not rows:
        return None
    lead = "How much a difference is worth: the same recipe trained again, the same model asked again."
    if report.noise is not None:
        lead += f" Asked twice, {report.noise.changed:,} of {report.noise.n:,} items scored otherwise."
    return Section("luck", "luck", "What luck alone does", plots.forest(rows, "percentage points"), lead)


def _numbers(report: PairsReport) -> Section:
    parts = []
    for pair in report.pairs:
        head = ["task", "n", name(pair.first), name(pair.second), "difference", "95 % interval", "p, Holm", "can show"]
        rows = [
            [
                name(words.task_title(task.name)),
                f"{task.n:,}",
                words.percent(task.arms[BASE].score),
                words.percent(task.arms[INSTRUCT].score),
                f"<b>{words.points(task.difference)}</b>",
                span_points(task.low, task.high),
                text(words.p_value(task.p_holm)),
                words.points(task.smallest_difference).lstrip("+"),
            ]
            for task in pair.report.tasks
        ]
        title = f"{pair.second} against {pair.first}"
        parts.append(f"<h3>{name(title)}</h3>{table(head, rows, title)}")
    lead = (
        "Difference and interval in percentage points; p is adjusted over all tasks of all pairs. The last column is the "
        "smallest true difference that so many items would show four times out of five."
    )
    return Section("numbers", "numbers", "All the numbers", "".join(parts), lead)


def _commands(report: PairsReport) -> list[str]:
    command = report.about.get("command", "")
    return [command] if command else []


def _answered(report: PairsReport) -> list[str]:
    """Who answered: name and checksum of every model."""
    return [who for pair in report.pairs for who in pair.report.models.values()]
