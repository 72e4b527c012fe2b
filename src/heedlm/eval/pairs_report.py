"""What a comparison of several models found, for programs, pull requests and terminals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from heedlm.eval import words
from heedlm.eval.arms import BASE, INSTRUCT
from heedlm.eval.conduct import conduct, conduct_json
from heedlm.eval.grid import Grid
from heedlm.eval.html_pairs import merged, pairs_page
from heedlm.eval.html_parts import plain
from heedlm.eval.pairs import Pair, PairsReport
from heedlm.eval.pairs_words import pairs_headline
from heedlm.eval.prices import money_text
from heedlm.eval.report import as_text, cell, decision_lines, decision_text, folded_table, judged_lines, notes
from heedlm.eval.results import TaskResult
from heedlm.eval.stats import Difference
from heedlm.eval.suites.measure import sentences
from heedlm.messages import JSON
from heedlm.runs import write_text

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

VERSION = 1
_DIGITS = 6


def write_pairs(report: PairsReport, folder: Path) -> tuple[Path, Path, Path]:
    """report.json, report.md and report.html in a folder, each written whole or not at all."""
    json_, markdown, page = (folder / f"report.{ending}" for ending in ("json", "md", "html"))
    write_text(json_, as_text(pairs_json(report)))
    write_text(markdown, plain(pairs_markdown(report)))
    write_text(page, pairs_page(report))
    return json_, markdown, page


def pairs_json(report: PairsReport) -> dict[str, JSON]:
    """All of it; `difference` is second minus first."""
    return {
        "version": VERSION,
        "headline": pairs_headline(report),
        "models": [{"name": name, "asked": report.asked[name]} for name in report.models],
        "pairs": [_pair_json(pair) for pair in report.pairs],
        "seeds": None if report.seeds is None else asdict(report.seeds),
        "noise": None if report.noise is None else asdict(report.noise),
        "caveats": list(report.caveats),
        "decision": None if report.decision is None else asdict(report.decision),
        "grid": None if report.grid is None else _grid_json(report.grid),
        "suites": [asdict(one) for one in report.suites],
        "replies": conduct_json(conduct(merged(report))),
        "judged": [asdict(one) for one in report.judged],
        "about": dict(report.about),
    }


def _grid_json(grid: Grid) -> dict[str, JSON]:
    effects = {
        name: {
            "what": one.what,
            "first": one.first,
            "second": one.second,
            **_numbers(one.difference),
            "p_holm": one.p_holm,
        }
        for name, one in grid.effects.items()
    }
    scores = {name: round(score, _DIGITS) for name, score in grid.scores.items()}
    return {"advice": grid.advice, "scores": scores, "effects": effects}


def _numbers(found: Difference) -> dict[str, JSON]:
    return {name: round(v, _DIGITS) if isinstance(v, float) else v for name, v in asdict(found).items()}


def _pair_json(pair: Pair) -> dict[str, JSON]:
    return {
        "first": pair.first,
        "second": pair.second,
        "all": _numbers(pair.all),
        "tasks": [_task_json(task) for task in pair.report.tasks],
        "weights": {
            "first": pair.report.models.get(BASE, ""),
            "second": pair.report.models.get(INSTRUCT, ""),
        },
        "stop_rate": {"first": pair.report.stop_rate[BASE], "second": pair.report.stop_rate[INSTRUCT]},
        "outcomes": {name: sum(case.outcome == name for case in pair.report.cases) for name in ("win", "loss")},
    }


def _task_json(task: TaskResult) -> dict[str, JSON]:
    first, second = task.arms[BASE], task.arms[INSTRUCT]
    numbers = {
        "first": first.score,
        "second": second.score,
        "difference": task.difference,
        "low": task.low,
        "high": task.high,
        "smallest_difference": task.smallest_difference,
    }
    return {
        "name": task.name,
        "kind": task.kind,
        "n": task.n,
        "groups": task.clusters,
        "metric": task.metric,
        **{name: round(value, _DIGITS) for name, value in numbers.items()},
        "p": task.p,
        "p_holm": task.p_holm,
        "p_bh": task.p_bh,
        "test": task.test,
        "errors": {"first": first.errors, "second": second.errors},
        "note": task.note,
    }


def pairs_markdown(report: PairsReport) -> str:
    """The comparison for a pull request."""
    lines = [f"**{pairs_headline(report)}**", ""]
    for pair in report.pairs:
        lines += [f"### {pair.second} against {pair.first}", ""]
        head = ("task", "n", "can show", pair.first, pair.second, "difference, points", "95 % interval", "p, Holm")
        rows = ["| " + " | ".join(map(cell, cells)) + " |" for cells in (head, *_rows(pair))]
        lines += folded_table([rows[0], "|---|--:|--:|--:|--:|--:|:-:|--:|", *rows[1:]])
        lines += ["", *(f"- {line}" for line in _facts(pair)), ""]
    lines += [*(f"- {line}" for line in _shared(report)), ""]
    lines += judged_lines(report.judged)
    lines += decision_lines(report.decision)
    lines += ["| how to reproduce | |", "|---|---|"]
    lines += [f"| {name} | {cell(value)} |" for name, value in report.about.items()]
    return "\n".join(lines) + "\n"


def _rows(pair: Pair) -> Iterator[list[str]]:
    """The cells of each task, then of all together."""
    for task in pair.report.tasks:
        yield [
            words.task_title(task.name),
            f"{task.n:,}",
            words.points(task.smallest_difference).lstrip("+"),
            words.percent(task.arms[BASE].score),
            words.percent(task.arms[INSTRUCT].score),
            words.points(task.difference),
            f"{words.points(task.low)} to {words.points(task.high)}",
            words.p_value(task.p_holm),
        ]
    found, n = pair.all, sum(task.n for task in pair.report.tasks)
    first, second = (sum(t.arms[arm].score * t.n for t in pair.report.tasks) / n for arm in (BASE, INSTRUCT))
    if len(pair.report.tasks) > 1:
        yield [
            "all items",
            f"{found.n:,}",
            words.points(found.smallest).lstrip("+"),
            words.percent(first),
            words.percent(second),
            words.points(found.mean),
            f"{words.points(found.low)} to {words.points(found.high)}",
            words.p_value(found.p),
        ]


def _facts(pair: Pair) -> list[str]:
    stops = pair.report.stop_rate
    wins, losses = (sum(case.outcome == name for case in pair.report.cases) for name in ("win", "loss"))
    found = [
        f"Items won {wins:,}, lost {losses:,}; replies that end by themselves: {words.percent(stops[BASE])} and "
        f"{words.percent(stops[INSTRUCT])}."
    ]
    errors = [sum(task.arms[arm].errors for task in pair.report.tasks) for arm in (BASE, INSTRUCT)]
    if any(errors):
        found.append(f"Items without an answer or a score, counted as wrong: {errors[0]:,} and {errors[1]:,}.")
    return found + notes(pair.report.tasks)


def _shared(report: PairsReport) -> list[str]:
    asked = [f"{name} was asked in {report.asked[name]}" for name in report.models]
    found = ["; ".join(asked) + "."]
    paid = {model: one.money for model, one in conduct(merged(report)).items() if one.money is not None}
    if paid:
        told = "; ".join(f"{model}: {money_text(money)}" for model, money in paid.items())
        found.append(f"Asking cost, by the prices given: {told}.")
    measured = [(one, " ".join(sentences(one))) for one in report.suites]
    found += [f"{words.task_title(one.task)}, {one.arm}: {said}" for one, said in measured if said]
    if report.grid is not None:
        cells = "; ".join(f"{name}: {words.percent(score)}" for name, score in report.grid.scores.items())
        found.append(f"Mean scores: {cells}.")
        for one in report.grid.effects.values():
            d, p = one.difference, words.p_value(one.p_holm)
            span = f"{words.points(d.low)} to {words.points(d.high)}"
            found.append(f"{one.what.capitalize()}: {words.points(d.mean)} points ({span}; p, Holm: {p}).")
    if report.seeds is not None:
        seeds = report.seeds
        by_seed = ", ".join(f"{100 * one:+.1f}" for one in seeds.by_seed)
        found.append(
            f"The recipe over {seeds.seeds} seeds: {100 * seeds.mean:+.1f} points ({100 * seeds.interval.low:+.1f} to "
            f"{100 * seeds.interval.high:+.1f}, p {words.p_value(seeds.p)}; by seed {by_seed})."
        )
    if report.noise is not None:
        noise = report.noise
        found.append(f"The last model asked twice: {noise.changed:,} of {noise.n:,} items scored otherwise.")
    return found


def pairs_terminal(report: PairsReport) -> Group:
    """The comparison for a terminal (a rich renderable)."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Text | Table] = [Text(pairs_headline(report), style="bold red" if report.caveats else "bold")]
    for pair in report.pairs:
        parts += [Text(), Text(f"{pair.second} against {pair.first}", style="bold"), _table(pair)]
        parts += [Text(line) for line in _facts(pair)]
    parts += [Text(), *(Text(line, style="dim") for line in _shared(report))]
    return Group(*parts, *decision_text(report.decision))


def _table(pair: Pair) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("task", overflow="fold", min_width=12)
    for name in ("n", "can\nshow", "first", "second", "points", "95 %\ninterval", "p,\nHolm"):
        table.add_column(name, justify="right", no_wrap=True)
    for cells in _rows(pair):
        table.add_row(*cells)
    return table
