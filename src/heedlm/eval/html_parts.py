"""What pages are made of: text made safe, sections, tables, and the frame around them."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from heedlm.eval import words

# Marks that reorder the text around them are shown by their numbers: with them a reply can look like what it does not
# say. The marks of plain right-to-left text (U+200E, U+200F, U+061C) stay as they are.
_REORDER = {code: f"‹U+{code:04X}›" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
# Control characters are shown by their pictures; HTML allows none but tab and line feed.
_PICTURES = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"} | {127: "\u2421"}
_UNSEEN = str.maketrans(_REORDER | _PICTURES | dict.fromkeys(range(0x80, 0xA0), "\ufffd"))
_NO_TEXT = re.compile("[\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")  # halves of characters, and what is none
_NAME = 200  # characters of a name (of a task, an item, a model) on a page


def plain(value: str) -> str:
    """The text with what cannot be seen, or must not be written, made visible."""
    return writable(value.replace("\r\n", "\n").translate(_UNSEEN))


def writable(value: str) -> str:
    """The text without halves of characters, which no file takes."""
    return _NO_TEXT.sub("\ufffd", value)


def text(value: str) -> str:
    """Text for a page, in an element or in an attribute."""
    return escape(plain(value))


def name(value: str) -> str:
    """A name for a page: on one line, not longer than names are."""
    flat = " ".join(value.split())
    return text(flat if len(flat) <= _NAME else flat[: _NAME - 1] + "…")


def cut(value: str, most: int) -> str:
    """Text for a page, cut where it is too long for one; what was left out is said."""
    left = len(value) - most
    return text(value) if left <= 0 else f"{text(value[:most])}<small> … {left:,} more characters</small>"


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a page. id: where links lead to.   short: as the list of contents has it.   title, lead: text, safe
    already, as is body.   style: a class of its own."""

    id: str
    short: str
    title: str
    body: str
    lead: str = ""
    style: str = ""


def section(one: Section) -> str:
    lead = f'<p class="lead">{one.lead}</p>' if one.lead else ""
    style = f' class="{one.style}"' if one.style else ""
    return (
        f'<section id="{one.id}"{style} aria-labelledby="{one.id}-title">'
        f'<h2 id="{one.id}-title">{one.title}</h2>{lead}{one.body}</section>'
    )


def page(title: str, header: str, sections: Sequence[Section | None]) -> str:
    """The whole page: style and script inside, nothing fetched from anywhere. title: plain text.   header: safe."""
    folder = files("heedlm.eval") / "page"
    style, script = ((folder / file).read_text("utf-8") for file in ("report.css", "report.js"))
    shown = [one for one in sections if one is not None]
    links = "".join(f'<a href="#{one.id}">{one.short}</a>' for one in shown)
    body = "\n".join(map(section, shown))
    # No script but ours runs, and nothing is fetched, even if a text should ever break out of its place.
    digest = base64.b64encode(hashlib.sha256(f"\n{script}".encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="generator" content="heed">\n'
        f"<title>{name(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f'<body>\n<main>\n{header}\n<nav aria-label="Contents">{links}</nav>\n{body}\n</main>\n'
        f"<script>\n{script}</script>\n</body>\n</html>\n"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], label: str, style: str = "") -> str:
    """A table of numbers that scrolls by itself where it is too wide. Cells are safe already.

    A cell that begins with `<t` is a cell with its own tag.
    """
    first = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(f"<tr>{''.join(_cell(cell, at == 0) for at, cell in enumerate(row))}</tr>" for row in rows)
    top = f"<thead><tr>{first}</tr></thead>" if head else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(label)}">'
        f'<table class="numbers {style}">{top}<tbody>{body}</tbody></table></div>'
    )


def _cell(cell: str, first: bool) -> str:
    if cell.startswith(("<th", "<td")):
        return cell
    return f'<th scope="row">{cell}</th>' if first else f"<td>{cell}</td>"


def tiles(pairs: Iterable[tuple[str, str]]) -> str:
    """Big figures, each with what it means; plain text."""
    inner = "".join(f'<div class="tile"><b>{text(big)}</b><span>{text(small)}</span></div>' for big, small in pairs)
    return f'<div class="tiles">{inner}</div>' if inner else ""


def facts(pairs: Mapping[str, str]) -> str:
    """Names with what they stand for; plain text."""
    rows = "".join(f"<dt>{name(key)}</dt><dd>{cut(value, 2000)}</dd>" for key, value in pairs.items() if value)
    return f"<dl>{rows}</dl>" if rows else ""


def legend(entries: Iterable[tuple[str, str]], *, tall: bool = False) -> str:
    """What marks mean: (the mark, safe; its meaning, safe). tall: one under the other."""
    items = "".join(f"<li>{mark}<span>{label}</span></li>" for mark, label in entries)
    return f'<ul class="legend{" tall" if tall else ""}">{items}</ul>'


def swatch(style: str) -> str:
    """A spot of the colour of a class."""
    return f'<i class="{style}"></i>'


def folded(summary: str, body: str) -> str:
    """What is shown when it is asked for."""
    return f"<details><summary>{summary}</summary>{body}</details>"


def span_points(low: float, high: float) -> str:
    """An interval in points."""
    return f"{words.points(low)} to {words.points(high)}"
