"""What is new: texts of which no earlier one shares most three-word sequences.

The search is the one of `data.near`. There, rows with other numbers or names are different rows; here "three tips" and
"five tips" ask for the same, so nothing but the sequences counts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from heedlm.data.near import representatives
from heedlm.data.words import GAP, Line, WordFile, numbered, words

_KNOWN = "known"


class Like(NamedTuple):
    """The earlier text that one repeats. similarity: share of the sequences of both that is common."""

    text: str
    similarity: float


class Pool:
    """Texts taken in so far, none of which is looked at as new again."""

    def __init__(self, known: Sequence[str], similarity: float) -> None:
        self._similarity = similarity
        self._texts: list[str] = list(known)
        self._lines = [_line(text) for text in known]

    def take(self, fresh: Sequence[str]) -> list[Like | None]:
        """For each text what it repeats, or None: then it is in the pool, and later ones are compared with it."""
        lines = [_line(text) for text in fresh]
        texts = [*self._texts, *fresh]
        first = len(self._texts)
        with tempfile.TemporaryDirectory() as folder:
            file = WordFile(Path(folder) / "words")
            try:
                for line in (*self._lines, *lines):
                    file.add(line)
                sides = [_KNOWN] * first + [None] * len(fresh)
                found = representatives(file, self._similarity, sides)
            finally:
                file.close()
        like = {pair.row - first: Like(texts[pair.other], pair.similarity) for pair in found.pairs if pair.row >= first}
        for index, (text, line) in enumerate(zip(fresh, lines, strict=True)):
            if index not in like:
                self._texts.append(text)
                self._lines.append(line)
        return [like.get(index) for index in range(len(fresh))]


def _line(text: str) -> Line:
    """The words of a text as the search reads them; key 1: nothing but the sequences tells texts apart."""
    return Line(numbered([*words(text), *([""] * GAP)]), 0, 1, 0)
