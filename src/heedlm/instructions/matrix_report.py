"""A matrix in words: its headline, and the report as JSON, Markdown and for a terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from heedlm.eval.html_parts import plain
from heedlm.eval.report import decision_text
from heedlm.eval.results import Decision
from heedlm.eval.words import p_value, percent, points
from heedlm.instructions.matrix import Cell, Matrix, Worth

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

VERSION = 1
_SURE = {1: "better for sure", 0: "may be luck", -1: "worse for sure"}
_SHOWN = 20  # flips of a cell in Markdown; the page and the JSON hold more


@dataclass(frozen=True, slots=True)
class Report:
    """A matrix, what a gate says of it, and how it was made. about: facts by name.   calls: made now; cached: not."""

    matrix: Matrix
    decision: Decision | None = None
    calls: int = 0
    cached: int = 0
    about: Mapping[str, str] = field(default_factory=dict)


def headline(matrix: Matrix) -> str:
    """One sentence that holds for all cells, with its numbers."""
    cells = matrix.compared
    if not cells:
        return "Nothing was compared."
    best = max(cells, key=lambda cell: cell.score)
    base = next(
        one
        for one in matrix.cells
        if (one.instruction, one.model, one.format) == (best.baseline, best.model, best.format)
    )
    found = best.difference
    assert found is not None, "a compared cell has a difference"
    told = {1: "a sure gain", 0: "which may be luck", -1: "a sure loss"}[best.sure]
    gain = f"{points(found.mean)} points, {told}"
    where = f" ({best.model}, {best.format})" if len({(one.model, one.format) for one in cells}) > 1 else ""
    best_word = "best, " if len(cells) > 1 else ""
    return (
        f"{best.instruction}{where}: {best_word}{percent(best.score)} of {cases_in_words(best.n)}, {base.instruction} "
        f"{percent(base.score)}: {gain}."
    )


def second_line(matrix: Matrix) -> str:
    """What the headline alone would hide."""
    cells = matrix.compared
    worse = [one for one in cells if one.sure < 0]
    unsure = sum(one.sure == 0 for one in cells)
    parts = []
    if worse:
        parts.append(f"Worse than the baseline for sure: {len(worse)} of {len(cells)} cells.")
    if unsure and len(cells) > 1:
        parts.append(f"No sure difference: {unsure} of {len(cells)} cells.")
    smallest = max((one.difference.smallest for one in cells if one.difference is not None), default=0.0)
    if cells and unsure:
        shows = "shows" if cells[0].n == 1 else "show"
        parts.append(f"{cases_in_words(cells[0].n)} {shows} differences from about {100 * smallest:.0f} points on.")
    widest = max(matrix.spreads, key=lambda one: one.spread, default=None)
    if widest is not None:
        parts.append(f"Formats alone move {widest.instruction} by {100 * widest.spread:.0f} points ({widest.model}).")
    return " ".join(parts)


def told(report: Report) -> dict[str, Any]:
    """All of it as JSON."""
    matrix = report.matrix
    return {
        "version": VERSION,
        "headline": headline(matrix),
        "decision": None if report.decision is None else asdict(report.decision),
        "cells": [asdict(cell) | {"sure": cell.sure, "causes": dict(cell.causes)} for cell in matrix.cells],
        "spread": [
            {"instruction": one.instruction, "model": one.model, "formats": dict(one.by_format)}
            | {"mean": one.mean, "worst": one.worst, "spread": one.spread}
            for one in matrix.spreads
        ],
        "blocks": [asdict(one) | {"sure": one.sure} for one in matrix.worth],
        "samples": matrix.samples,
        "notes": list(matrix.notes),
        "calls": report.calls,
        "cached": report.cached,
        "about": dict(report.about),
    }


def markdown(report: Report) -> str:
    """The report as Markdown, with the flips of each cell."""
    matrix = report.matrix
    lines = [f"# {_cell(headline(matrix))}", "", second_line(matrix), ""]
    if report.decision is not None:
        lines += [f"**Verdict: {report.decision.call}**", ""]
        rows = [[one.state, one.what, one.found, one.asked, one.why] for one in report.decision.figures]
        lines += [*_grid(["", "figure", "found", "asked", ""], rows), ""]
    lines += [*_grid(HEAD, [row_of(cell) for cell in matrix.cells]), ""]
    if matrix.spreads:
        lines += ["## Formats", "", *_grid(SPREAD_HEAD, spread_rows(matrix)), ""]
    if matrix.worth:
        lines += ["## What each block is worth", "", *_grid(WORTH_HEAD, [worth_row(one) for one in matrix.worth]), ""]
    for cell in matrix.compared:
        if cell.flips:
            name = f"{cell.instruction}, {cell.model}, {cell.format}"
            lines += [f"## Flips against {cell.baseline}: {_cell(name)}", ""]
            rows = [
                ["won" if one.won else "lost", one.item, one.why_before, one.why_after] for one in cell.flips[:_SHOWN]
            ]
            lines += [*_grid(["", "case", "before", "after"], rows)]
            more = len(cell.flips) - _SHOWN
            lines += [f"... and {more} more in report.json", ""] if more > 0 else [""]
    lines += [f"- {_cell(note)}" for note in matrix.notes]
    lines += [f"- {name}: {_cell(value)}" for name, value in report.about.items() if value]
    return "\n".join(lines) + "\n"


def cases_in_words(n: int) -> str:
    return f"{n} case" if n == 1 else f"{n} cases"


HEAD = ["instruction", "model", "format", "n", "score", "95 %", "gain", "95 %", "p, Holm", "won", "lost", "tokens", ""]
SPREAD_HEAD = ["instruction", "model", "mean", "worst", "spread", "formats"]
WORTH_HEAD = ["instruction", "model", "format", "block", "worth, points", "95 %", "p, Holm", "tokens", ""]


def row_of(cell: Cell) -> list[str]:
    """The figures of a cell in words; those of a difference are empty for a baseline."""
    found = cell.difference
    gain = [""] * 5
    if found is not None:
        won = sum(one.won for one in cell.flips)
        gain = [points(found.mean), f"{points(found.low)} to {points(found.high)}", p_value(cell.p_holm)]
        gain += [f"{won}", f"{len(cell.flips) - won}"]
    remarks = [_SURE[cell.sure]] if found is not None else ["baseline"]
    remarks += [f"{cell.errors} without an answer"] if cell.errors else []
    remarks += [f"{cell.cut} cut off"] if cell.cut else []
    remarks += [f"consistent {percent(cell.consistent)}"] if cell.consistent is not None else []
    remarks += [f"paraphrases agree {percent(cell.agreeing)}"] if cell.agreeing is not None else []
    score = [f"{cell.n}", percent(cell.score), f"{percent(cell.low)} to {percent(cell.high)}"]
    return [cell.instruction, cell.model, cell.format, *score, *gain, f"{cell.tokens_in:.0f}", ", ".join(remarks)]


def spread_rows(matrix: Matrix) -> list[list[str]]:
    rows = []
    for one in matrix.spreads:
        best_first = sorted(one.by_format.items(), key=lambda pair: -pair[1])
        formats = ", ".join(f"{name} {percent(score)}" for name, score in best_first)
        figures = [percent(one.mean), percent(one.worst), f"{100 * one.spread:.0f} points"]
        rows.append([one.instruction, one.model, *figures, formats])
    return rows


def worth_row(one: Worth) -> list[str]:
    found = one.difference
    span = f"{points(found.low)} to {points(found.high)}"
    said = {1: "helps for sure", 0: "may be luck", -1: "harms for sure"}[one.sure]
    figures = [points(found.mean), span, p_value(one.p_holm), f"{one.tokens:.0f}", said]
    return [one.instruction, one.model, one.format, one.block, *figures]


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(map(_cell, row)) + " |"


def _cell(value: str) -> str:
    flat = " ".join(plain(value).split()).replace("|", "\\|").replace("<", "&lt;")
    return flat if len(flat) <= 200 else flat[:199] + "…"


def terminal(report: Report, said: Collection[str] = ()) -> Group:
    """The matrix for a terminal (a rich renderable). said: notes that a person has read already."""
    from rich.console import Group
    from rich.text import Text

    matrix = report.matrix
    parts: list[Any] = [Text(headline(matrix), style="bold"), Text(second_line(matrix), style="dim"), Text()]
    same = [name for name in ("model", "format") if len({getattr(cell, name) for cell in matrix.cells}) == 1]
    told_once = ", ".join(getattr(matrix.cells[0], name) for name in same)
    count = cases_in_words(matrix.cells[0].n)
    parts.append(Text(f"{told_once}; {count}" if told_once else count))
    left = {*same, "n", "won", "lost", "p, Holm"}
    kept = [number for number, name in enumerate(HEAD) if name not in left]
    rows = [[row[number] for number in kept] for row in map(row_of, matrix.cells)]
    parts.append(_table([HEAD[number] for number in kept], rows))
    if matrix.spreads:
        parts.append(_table(SPREAD_HEAD, spread_rows(matrix)))
    if matrix.worth:
        parts.append(_table(WORTH_HEAD, [worth_row(one) for one in matrix.worth]))
    parts += [Text(note, style="yellow") for note in matrix.notes if note not in said]
    return Group(*parts, *decision_text(report.decision))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for number, name in enumerate(head):
        words = name in ("instruction", "model", "format", "block", "formats", "")
        least = min(14, max((len(row[number]) for row in rows), default=0))
        table.add_column(
            name, justify="left" if words else "right", overflow="fold", no_wrap=not words, min_width=least
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
