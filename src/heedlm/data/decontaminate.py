"""Contamination: rows that hold an item of an evaluation, found by the words that both have.

An item of fewer than eight words is found where a turn of the user, or a line of one, is nothing else; from five words on
a sentence will do. A longer one is found whole anywhere in a row. One of 20 words or more is also found when it was edited: at least 70 % of its words must stand in the
row in sequences of five. What four or more items have in common is the wording of a form and counts for nothing there,
or every row of that form would be taken for every item.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from heedlm.data.items import Item
from heedlm.data.words import WordFile, numbered, words

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Numbers = npt.NDArray[np.uint64]
    Places = npt.NDArray[np.int64]

_SIZE = 5  # words of a sequence
_WHOLE = 8  # words below which an item inside a longer sentence is chance, or another question
_EDITED = 20  # words from which an item is also found when it was edited
_SHARE = 0.7  # of the words of an item; one changed word leaves at least 15 of 20 in sequences of five
_REACHED = 13  # words of an item that its own sequences must reach, for an edited item to be told by them
_FORM = 4  # items that share a sequence make it part of a form
_LINE = 120  # characters of a line that may be a short item
_SENTENCES = re.compile(r"[.?!।。？！]+")
_MIX = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5, 0x85EBCA77C2B2AE63)
_BITS = 22

Kind = Literal["prompt", "prompt and answer"]


class Hit(NamedTuple):
    """row holds an item. kind: whether its answer stands there as well.   share: of the item's words, in 0..1.

    matched: the words that were found, runs parted by " ... ".
    """

    row: int
    item: Item
    kind: Kind
    share: float
    matched: str


class Items:
    """The items to look for: of those that ask the same words one is searched, and all are found."""

    def __init__(self, items: Iterable[Item]) -> None:
        import numpy as np

        self._short: dict[tuple[str, ...], list[Item]] = {}
        self._items: list[list[Item]] = []
        self._starts, line = array("q"), array("q")  # where the words of each begin in the line of all
        known: dict[str, int] = {}
        for item in items:
            found = words(item.asked)
            if len(found) >= _SIZE:
                number = known.setdefault(" ".join(found), len(known))
                if number == len(self._items):
                    self._items.append([])
                    self._starts.append(len(line))
                    line.extend(numbered(found))
                    line.append(0)
                self._items[number].append(item)
            if 0 < len(found) < _WHOLE:
                self._short.setdefault(tuple(found), []).append(item)
        self._line = np.array(line, np.int64).view(np.uint64)
        starts = np.append(np.array(self._starts, np.int64), len(self._line))
        self._own = np.zeros(len(self._line), bool)  # whether a sequence that begins here belongs to few items
        grams = _grams(self._line)
        places = np.flatnonzero(grams)
        owners = np.searchsorted(starts, places, side="right") - 1
        pairs = np.unique(np.stack((grams[places], owners.astype(np.uint64))), axis=1)
        values, often = np.unique(pairs[0], return_counts=True)
        self._own[places] = often[np.searchsorted(values, grams[places])] < _FORM
        lone = np.bincount(owners[self._own[places]], minlength=len(self._items)) > 0
        self._own[places] |= ~lone[owners]  # where all of an item is form, all of it must do
        places = np.flatnonzero(self._own)
        owners = np.searchsorted(starts, places, side="right") - 1
        pairs = np.unique(np.stack((grams[places], owners.astype(np.uint64))), axis=1)
        self._grams, self._owners = pairs[0], pairs[1].astype(np.int64)
        self._reached = self._reach(starts)
        sizes = np.diff(starts) - 1
        distinct = np.bincount(self._owners, minlength=len(self._items))
        # Sequences that a row must have before it is worth a closer look.
        few = np.maximum(1, (_SHARE * self._reached / _SIZE).astype(np.int64))
        self._needed = np.where(sizes < _EDITED, distinct, few)
        self._there = np.zeros(1 << _BITS, bool)
        self._there[self._grams >> np.uint64(64 - _BITS)] = True

    def __len__(self) -> int:
        return len(self._items) + len(self._short)

    def _reach(self, starts: Places) -> Places:
        """How many words of each item stand in one of its own sequences."""
        import numpy as np

        reached = np.zeros(len(self._line) + _SIZE, bool)
        for step in range(_SIZE):
            reached[step : step + len(self._own)] |= self._own
        places = np.flatnonzero(reached[: len(self._line)])
        return np.bincount(np.searchsorted(starts, places, side="right") - 1, minlength=len(self._items))

    def short(self, texts: Iterable[str]) -> Iterator[Item]:
        """Items of a few words that one of the texts, or a line or sentence of it, consists of."""
        if not self._short:
            return
        seen: set[tuple[str, ...]] = set()
        for text in texts:
            lines = dict.fromkeys((text, *text.split("\n")))
            pieces = {line: 0 for line in lines if len(line) <= _LINE}
            for line in list(pieces):
                label, colon, rest = line.partition(":")
                if colon and len(label) < 20:
                    pieces[rest] = 0
            for line in lines:  # fewer words than five may be a sentence by chance
                pieces.update(
                    (piece, _SIZE) for piece in _SENTENCES.split(line) if len(piece) <= _LINE and piece not in pieces
                )
            for piece, least in pieces.items():
                found = tuple(words(piece)) if piece.count(" ") <= 2 * _WHOLE else ()
                if len(found) >= least and found in self._short and found not in seen:
                    seen.add(found)
                    yield from self._short[found]

    def find(self, file: WordFile, wanted: Callable[[int], bool]) -> Iterator[Hit]:
        """Every wanted row of the file that holds an item of five words or more, with the item."""
        import numpy as np

        if not self._items:
            return
        for chunk in file.chunks():
            line = file.read(chunk.start, chunk.stop)
            ends = np.array(file.ends[chunk.start : chunk.stop], np.int64)
            ends -= file.ends[chunk.start - 1] if chunk.start else 0
            for row, owner in self._candidates(_grams(line), ends):
                if wanted(chunk.start + row):
                    part = line[int(ends[row - 1]) if row else 0 : int(ends[row])]
                    yield from self._verified(chunk.start + row, part, file.asked[chunk.start + row], owner)

    def _candidates(self, grams: Numbers, ends: Places) -> Iterator[tuple[int, int]]:
        """Pairs of a row and an item with enough sequences in common."""
        import numpy as np

        at = np.flatnonzero(self._there[grams >> np.uint64(64 - _BITS)])
        first = np.searchsorted(self._grams, grams[at], side="left")
        number = np.searchsorted(self._grams, grams[at], side="right") - first
        rows = np.repeat(np.searchsorted(ends, at, side="right"), number)
        # Each sequence leads to as many items as have it: places first, first + 1, ...
        steps = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
        places = np.repeat(first, number) + steps
        once = np.unique(np.stack((rows, places)), axis=1)  # a sequence may stand several times in a row
        keys, counts = np.unique(once[0] * len(self._items) + self._owners[once[1]], return_counts=True)
        enough = counts >= self._needed[keys % len(self._items)]
        for key in keys[enough].tolist():
            yield divmod(key, len(self._items))

    def _verified(self, row: int, line: Numbers, asked: int, owner: int) -> Iterator[Hit]:
        same = self._items[owner]
        found = words(same[0].asked)
        start = self._starts[owner]
        part = slice(start, start + len(found))
        there = set(_grams(line).tolist())
        if _holds(line, self._line[part], alone=len(found) < _WHOLE):
            share, matched = 1.0, " ".join(found)
        else:
            covered = [False] * len(found)
            for place, gram in enumerate(_grams(self._line[part]).tolist()):
                if self._own[start + place] and gram in there:
                    covered[place : place + _SIZE] = [True] * _SIZE
            reached = int(self._reached[owner])
            share, matched = sum(covered) / reached, _runs(found, covered)
            if len(found) < _EDITED or reached < _REACHED or share < _SHARE:
                return
        for item in same:
            kind: Kind = "prompt and answer" if _answered(line, asked, item.answer, there) else "prompt"
            yield Hit(row, item, kind, round(share, 4), matched)


def _runs(found: Sequence[str], covered: Sequence[bool]) -> str:
    pieces: list[list[str]] = []
    for place, (word, there) in enumerate(zip(found, covered, strict=True)):
        if there:
            if not pieces or not covered[place - 1]:
                pieces.append([])
            pieces[-1].append(word)
    return " ... ".join(" ".join(piece) for piece in pieces)


def _answered(line: Numbers, asked: int, answer: str, there: set[int]) -> bool:
    """Whether the row holds the answer: a short one among the words answered, of a long one most."""
    import numpy as np

    numbers = np.frombuffer(numbered(words(answer)), np.uint64)
    if not len(numbers):
        return False
    if _holds(line[asked:], numbers):
        return True
    grams = _grams(numbers).tolist()
    return len(numbers) >= _EDITED and sum(gram in there for gram in grams) >= _SHARE * len(grams)


def _holds(line: Numbers, part: Numbers, *, alone: bool = False) -> bool:
    """Whether the numbers of `part` stand in `line`, one after the other; alone: between two gaps."""
    text, wanted = line.tobytes(), part.tobytes()
    at = text.find(wanted)
    while at >= 0:
        if at % 8 == 0:
            first, last = at // 8, at // 8 + len(part)
            if not alone or ((first == 0 or line[first - 1] == 0) and line[last] == 0):
                return True
        at = text.find(wanted, at + 1)
    return False


def _grams(line: Numbers) -> Numbers:
    """Numbers of the sequences of five words, one for each place they begin at; those that reach into a gap are 0."""
    import numpy as np

    count = max(len(line) - _SIZE + 1, 0)
    grams = np.zeros(count, np.uint64)
    inside = np.ones(count, bool)
    for step, factor in enumerate(_MIX):
        part = line[step : step + count]
        grams += part * np.uint64(factor)
        inside &= part != 0
    grams *= np.uint64(_MIX[0])
    grams[~inside] = 0
    return grams
