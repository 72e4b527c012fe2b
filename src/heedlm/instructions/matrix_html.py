"""A matrix as one page that needs nothing but itself."""

from __future__ import annotations

from heedlm.eval import plots
from heedlm.eval.html_parts import Section, cut, facts, folded, legend, name, page, table, text, tiles
from heedlm.eval.html_sections import badge, verdict
from heedlm.eval.plots import Estimate, Series
from heedlm.eval.words import percent
from heedlm.instructions.matrix import Cell, Matrix
from heedlm.instructions.matrix_report import (
    HEAD,
    SPREAD_HEAD,
    WORTH_HEAD,
    Report,
    headline,
    row_of,
    second_line,
    spread_rows,
    worth_row,
)

_FLIPS = 100  # of a cell on the page; the JSON holds all
_LONG = 1500  # characters of a reply


def page_of(report: Report) -> str:
    """The whole page."""
    matrix = report.matrix
    sections = [
        verdict(report.decision),
        _gains(matrix),
        _cells(matrix),
        _formats(matrix),
        _blocks(matrix),
        _flips(matrix),
        _causes(matrix),
        _made(report),
    ]
    return page(headline(matrix), _header(report), sections)


def _header(report: Report) -> str:
    second = second_line(report.matrix)
    date = f" · {name(report.about['date'][:10])}" if report.about.get("date") else ""
    return (
        f'<header><p class="eyebrow">heed: test of instructions{date}{badge(report.decision)}</p>'
        f"<h1><bdi>{text(headline(report.matrix))}</bdi></h1>"
        f"{f'<p class=second>{text(second)}</p>' if second else ''}{_tiles(report)}</header>"
    )


def _tiles(report: Report) -> str:
    cells = report.matrix.compared
    sure = sum(cell.sure > 0 for cell in cells)
    shown = [
        (f"{sure} of {len(cells)}", "cells are better than their baseline for sure (interval, and p over all cells)")
    ]
    if cells:
        low, high = min(cell.score for cell in cells), max(cell.score for cell in cells)
        shown.append((f"{percent(low)} to {percent(high)}", "scores of the cells"))
    if report.matrix.spreads:
        widest = max(one.spread for one in report.matrix.spreads)
        shown.append((f"{100 * widest:.0f}", "points between best and worst format of one instruction, at most"))
    return tiles(shown)


def _title(cell: Cell) -> str:
    return f"{cell.instruction} · {cell.model} · {cell.format}"


def _gains(matrix: Matrix) -> Section | None:
    rows = [
        Estimate(_title(cell), found.mean, found.low, found.high, cell.sure, cell.n)
        for cell in matrix.compared
        if (found := cell.difference) is not None
    ]
    if not rows:
        return None
    lead = (
        f"Each instruction minus {name(matrix.compared[0].baseline)}, on the same cases, with the same model and format. The "
        "line is the 95 % interval: where it stays clear of zero, luck hardly explains the difference."
    )
    body = plots.forest(rows, "percentage points") + legend(plots.sure_keys())
    return Section("gains", "gains", "What the instructions gain", body, lead)


def _cells(matrix: Matrix) -> Section:
    rows = [[name(one) if one else "" for one in row_of(cell)] for cell in matrix.cells]
    lead = (
        "Score: the mean over the cases. Gain: in percentage points, against the baseline. P-values are Holm’s over all "
        "cells. Tokens: of what is sent, the mean."
    )
    return Section("cells", "numbers", "All cells", table(HEAD, rows, "All cells"), lead)


def _formats(matrix: Matrix) -> Section | None:
    if not matrix.spreads:
        return None
    models = list(dict.fromkeys(one.model for one in matrix.spreads))
    series = {
        model: Series(model, f"arm-{number % 8}", plots.SHAPES[number % len(plots.SHAPES)])
        for number, model in enumerate(models, start=1)
    }
    rows = [(one.instruction, series[one.model], one.by_format) for one in matrix.spreads]
    inner = table(SPREAD_HEAD, [[name(one) for one in row] for row in spread_rows(matrix)], "Scores by format")
    lead = "The same words in other frames and notations. Ticks are single formats, the mark is their mean."
    return Section("formats", "formats", "What formats change", plots.spreads(rows) + inner, lead)


def _blocks(matrix: Matrix) -> Section | None:
    if not matrix.worth:
        return None
    several = len({(one.instruction, one.model, one.format) for one in matrix.worth}) > 1
    rows = [
        Estimate(
            f"{one.instruction} · {one.model} · {one.format}: {one.block}" if several else one.block,
            one.difference.mean,
            one.difference.low,
            one.difference.high,
            one.sure,
            one.difference.n,
        )
        for one in matrix.worth
    ]
    inner = table(
        WORTH_HEAD, [[name(cell) if cell else "" for cell in worth_row(one)] for one in matrix.worth], "Blocks"
    )
    lead = "The score with a block minus the score without it. A block at zero costs tokens and shows no use on these cases."
    body = plots.forest(rows, "percentage points lost without the block") + legend(plots.sure_keys())
    return Section("blocks", "blocks", "What each block is worth", body + folded("all numbers", inner), lead)


def _flips(matrix: Matrix) -> Section | None:
    body = "".join(_flips_of(cell) for cell in matrix.compared if cell.flips)
    if not body:
        return None
    lead = "Cases on which an instruction and its baseline part: where the mean comes from."
    return Section("flips", "flips", "Won and lost", body, lead)


def _flips_of(cell: Cell) -> str:
    won = sum(one.won for one in cell.flips)
    shown = sorted(cell.flips, key=lambda one: one.won)[:_FLIPS]  # losses first: they are what one has to look at
    rows = [
        [
            f'<td class="{"right" if one.won else "wrong"}">{"won" if one.won else "lost"}</td>',
            f'<th scope="row">{name(one.item)}</th>',
            f'<td class="said">{cut(one.before, _LONG)}<br><small>{cut(one.why_before, 300)}</small></td>',
            f'<td class="said">{cut(one.after, _LONG)}<br><small>{cut(one.why_after, 300)}</small></td>',
        ]
        for one in shown
    ]
    summary = f"{name(_title(cell))}: {won} won, {len(cell.flips) - won} lost"
    summary += f" ({len(shown)} shown)" if len(shown) < len(cell.flips) else ""
    inner = table(("", "case", name(cell.baseline), name(cell.instruction)), rows, _title(cell), "words")
    return folded(summary, inner)


def _causes(matrix: Matrix) -> Section | None:
    rows = [
        [name(_title(cell)), name(cause), f"{count:,}"] for cell in matrix.cells for cause, count in cell.causes[:5]
    ]
    if not rows:
        return None
    lead = "Which assertion an answer failed first."
    return Section(
        "causes", "failures", "Why answers fail", table(("cell", "assertion", "answers"), rows, "Failures"), lead
    )


def _made(report: Report) -> Section:
    notes = "".join(f"<li>{cut(note, 600)}</li>" for note in report.matrix.notes)
    body = facts({**report.about, "requests made": f"{report.calls:,}", "answers that were kept": f"{report.cached:,}"})
    body += f'<ul class="notes">{notes}</ul>' if notes else ""
    lead = (
        "Intervals: Wilson’s for a score of right and wrong answers, Tango’s for a difference of such; else a paired bootstrap "
        "over groups, seeded. P-values: McNemar’s exact test, else sign flips of the groups. No judge: every score comes from "
        "assertions that a program can run."
    )
    return Section("reproduce", "reproduce", "How it was made", body, lead)
