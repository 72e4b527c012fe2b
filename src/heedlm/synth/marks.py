"""Texts between marks in a reply: whole ones, and nothing guessed where a mark is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

NO_MARK, UNCLOSED, NESTED, STRAY, EMPTY = (
    "no mark in the reply",
    "mark not closed",
    "mark inside a mark",
    "mark closed that was not opened",
    "nothing between the marks",
)


class Parsed(NamedTuple):
    """texts: in order, stripped.   malformed: what else the reply held, one reason per place."""

    texts: list[str]
    malformed: list[str]


def parse(reply: str, mark: str) -> Parsed:
    """What stands between ``<mark>`` and ``</mark>``; words outside of marks are passed over.

    Where an opening mark follows another, nobody knows where the first text ends: all up to the next closing one is
    malformed. The beginning of a reply never holds a text that the whole does not.
    >>> parse("Sure! <task>Sing.</task> <task>Dan", "task")   ->  Parsed(["Sing."], ["mark not closed"])
    """
    texts: list[str] = []
    malformed: list[str] = []
    for text, problem in _pieces(reply, mark):
        if problem:
            malformed.append(problem)
        elif text:
            texts.append(text)
        else:
            malformed.append(EMPTY)
    return Parsed(texts, malformed if texts or malformed else [NO_MARK])


def _pieces(reply: str, mark: str) -> Iterator[tuple[str, str]]:
    """Each text, or the problem in its place."""
    begin: int | None = None
    nested = False
    for found in re.finditer(rf"<(/?){re.escape(mark)}>", reply):
        if not found[1]:
            nested = nested or begin is not None
            begin = found.end()
        elif begin is None:
            yield "", STRAY
        else:
            yield ("", NESTED) if nested else (reply[begin : found.start()].strip(), "")
            begin, nested = None, False
    if begin is not None:
        yield "", UNCLOSED


def marked(texts: Sequence[str], mark: str) -> str:
    """Texts as `parse` reads them."""
    return "\n\n".join(f"<{mark}>\n{text}\n</{mark}>" for text in texts)


def holds(text: str, mark: str) -> bool:
    """Whether a text holds the mark itself, so that it cannot be put between two."""
    return f"<{mark}>" in text or f"</{mark}>" in text
