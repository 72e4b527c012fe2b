"""What was found in files, on one screen for people and as one object for programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from heedlm.data.fields import visible
from heedlm.data.inspect import Inspection, Lengths, Piece
from heedlm.data.store import to_line
from heedlm.tokens.show import CLOSE, OPEN

VERSION = 1
_BAR = 32  # characters of the longest bar
_LISTED = 8  # names shown of each kind; --json tells more
_CUT = 2000  # characters of an example that are shown
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_COLOURS = {"certain": "green", "likely": "yellow", "doubtful": "red"}


def page(found: Inspection, *, plain: bool) -> list[RenderableType]:
    """The whole screen, from the top down.   plain: no colours, so what is learned stands between [[ and ]]."""
    parts: list[RenderableType] = [Text(verdict(found), style="bold")]
    parts += [_shapes(found)] if found.shapes else []
    parts.append(_facts(found))
    for name, lengths in found.lengths.items():
        parts.append(
            _histogram(name, [(_span(low, high), count) for low, high, count in lengths.bins], _three(lengths))
        )
    if found.languages:
        named = [(name or "not told", count) for name, count in found.languages.items()]
        parts.append(_histogram("language of the answer", named[:_LISTED], ""))
    for example, pieces in zip(found.shown, found.rendered, strict=True):
        parts += [Text(f"example {example.source}", style="bold"), _body(pieces, plain)]
    for trouble in found.problems[:_LISTED]:
        parts.append(Text(f"{trouble.rows:,} x {trouble.reason}", style="bold red"))
        for number, problem in enumerate(trouble.examples):
            what = visible(problem.what.partition(": ")[2] or problem.what)
            parts.append(Text(f"  {problem.where}: {what}", no_wrap=True))
            if not number or problem.mend != trouble.examples[number - 1].mend:
                parts.append(Text(f"    mend {visible(problem.mend)}", style="dim", no_wrap=True))
    if len(found.problems) > _LISTED:
        parts.append(Text(f"and {len(found.problems) - _LISTED} more reasons (--json tells all)", style="dim"))
    parts.append(Text("next", style="bold"))
    parts += [Text(f"  {line}", no_wrap=True) for line in found.next]  # unbroken: commands are there to be copied
    return parts


def verdict(found: Inspection) -> str:
    """The answer in one sentence."""
    files = f"{len(found.files):,} files" if len(found.files) > 1 else found.files[0].path if found.files else "no file"
    if not found.examples:
        return f"{files}: none of {found.rows:,} rows can be learnt from."
    examples = "" if found.examples == found.rows - found.broken else f", {found.examples:,} examples"
    broken = f", {found.broken:,} of them broken" if found.broken else ", all of them readable"
    return f"{files}: {found.rows:,} rows{broken}{examples}."


def as_json(found: Inspection) -> dict[str, Any]:
    """All that was found, for one JSON object; the examples as rows of a split file and as text."""
    plain = {
        field.name: getattr(found, field.name)
        for field in dataclasses.fields(found)
        if field.name not in ("shown", "rendered", "next")
    }
    lengths = {
        name: {**dataclasses.asdict(one), "bins": [{"from": a, "to": b, "rows": n} for a, b, n in one.bins]}
        for name, one in found.lengths.items()
    }
    shown = [
        {
            "row": json.loads(to_line(example)),
            "rendered": [{"text": text, "learned": learned} for text, learned in pieces],
        }
        for example, pieces in zip(found.shown, found.rendered, strict=True)
    ]
    return {"version": VERSION, **plain, "lengths": lengths, "shown": shown, "next": list(found.next)}


def _body(pieces: Sequence[Piece], plain: bool) -> Text:
    """A rendered example, cut where it is long."""
    body, left = Text(), _CUT
    for text, learned in pieces:
        cut = visible(text[:left])
        left -= len(cut)
        body.append(f"{OPEN}{cut}{CLOSE}" if plain and learned and cut else cut, "green" if learned else "dim")
    more = sum(len(text) for text, _ in pieces) - _CUT
    body.rstrip()
    return body.append(f" ... ({more:,} more characters)\n" if more > 0 else "\n", "default")


def _shapes(found: Inspection) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("shape", no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("sure", no_wrap=True)
    table.add_column("why", overflow="fold")
    for shape in sorted(found.shapes, key=lambda one: -one.rows):
        table.add_row(shape.name, f"{shape.rows:,}", Text(shape.sure, style=_COLOURS[shape.sure]), shape.why)
    unknown = found.rows - sum(shape.rows for shape in found.shapes)
    if unknown:
        table.add_row("none", f"{unknown:,}", "", "of no known shape, or not to be read at all")
    return table


def _facts(found: Inspection) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 1), pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    systems = {text: count for text, count in found.systems.items() if text}
    lines = [
        ("files", "; ".join(f"{file.path} ({file.rows:,} rows)" for file in found.files[:_LISTED])),
        ("turns", _counted({f"{name} turns": count for name, count in found.turns.items()})),
        ("roles", _counted(found.roles)),
        ("holds", _counted(found.features)),
        ("licences", _counted(found.licences)),
        ("not used", _counted(found.unused)),
    ]
    for name, text in lines:
        if text and (name != "files" or len(found.files) > 1):
            table.add_row(name, Text(text))
    if found.examples:
        without = found.systems.get("", 0)
        table.add_row("system", f"{without:,} examples without a system text, {len(systems):,} different texts")
    for text, count in list(systems.items())[:3]:
        line = visible(" ".join(text.split()))
        table.add_row("", Text(f"{count:,} x {line if len(line) <= 100 else line[:99] + '…'}", style="dim"))
    return table


def _counted(counts: Mapping[str, int]) -> str:
    shown = [visible(f"{name} {count:,}") for name, count in list(counts.items())[:_LISTED]]
    return ", ".join(shown) + (f" and {len(counts) - _LISTED} more" if len(counts) > _LISTED else "")


def _histogram(title: str, rows: Sequence[tuple[str, int]], note: str) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, show_header=True)
    table.add_column(title, justify="right", no_wrap=True)
    table.add_column(note, no_wrap=True)
    most = max((count for _, count in rows), default=0) or 1
    for name, count in rows:
        table.add_row(name, Text(_bar(count / most), style="blue").append(f" {count:,}", "default"))
    return table


def _bar(share: float) -> str:
    """A bar of block characters, in eighths; what is there at all is seen."""
    eighths = max(1, round(8 * _BAR * share)) if share else 0
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")


def _span(low: int, high: int | None) -> str:
    return f"{low:,} and more" if high is None else f"{low:,}" if low == high else f"{low:,}-{high:,}"


def _three(lengths: Lengths) -> str:
    return f"median {lengths.median:,}, 95 % {lengths.p95:,}, most {lengths.max:,}"
