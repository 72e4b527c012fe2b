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
_COMMON = 10  # rows, likewise, where rows and items come from one source
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


class ShortItems(NamedTuple):
    """Items of a few words, by their words."""

    by_words: dict[tuple[str, ...], list[Item]]

    def find(self, texts: Iterable[str]) -> Iterator[Item]:
        """Items of a few words that one of the texts, or a line or sentence of it, consists of."""
        if not self.by_words:
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
                if len(found) >= least and found in self.by_words and found not in seen:
                    seen.add(found)
                    yield from self.by_words[found]


class Items:
    """The items to look for: of those that ask the same words one is searched, and all are found.   short: the short ones."""

    def __init__(self, items: Iterable[Item]) -> None:
        import numpy as np

        self.short = ShortItems({})
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
                self.short.by_words.setdefault(tuple(found), []).append(item)
        self._line = np.array(line, np.int64).view(np.uint64)
        grams = _grams(self._line)
        places = np.flatnonzero(grams)
        values, often = np.unique(_pairs(grams[places], self._owners_of(places))[0], return_counts=True)
        self._forms = values[often >= _FORM]  # sequences that count for nothing
        self._index()

    def _owners_of(self, places: Places) -> Places:
        """The item that each place in the line of all belongs to."""
        import numpy as np

        return np.searchsorted(np.array(self._starts, np.int64), places, side="right") - 1

    def _index(self) -> None:
        """Make the tables by which rows are searched."""
        import numpy as np

        number = len(self._items)
        grams = _grams(self._line)
        places = np.flatnonzero(grams)
        self._own = np.zeros(len(self._line), bool)  # whether the sequence that begins here is the item's own
        self._own[places] = ~np.isin(grams[places], self._forms)
        has_own = np.bincount(self._owners_of(np.flatnonzero(self._own)), minlength=number) > 0
        self._own[places] |= ~has_own[self._owners_of(places)]  # of an item that is all form, all must be there
        places = np.flatnonzero(self._own)
        self._grams, self._owners = _pairs(grams[places], self._owners_of(places))
        reached = np.zeros(len(self._line) + _SIZE, bool)
        for step in range(_SIZE):
            reached[step : step + len(self._own)] |= self._own
        reached_places = np.flatnonzero(reached[: len(self._line)])
        self._reached = np.bincount(self._owners_of(reached_places), minlength=number) * has_own
        distinct = np.bincount(self._owners, minlength=number)
        sizes = np.diff(np.append(np.array(self._starts, np.int64), len(self._line))) - 1
        edited = (sizes >= _EDITED) & (self._reached >= _REACHED)
        # Sequences that a row must have before it is worth a closer look.
        self._needed = np.where(edited, np.maximum(1, (_SHARE * self._reached / _SIZE).astype(np.int64)), distinct)
        self._there = np.zeros(1 << _BITS, bool)
        self._there[self._grams >> np.uint64(64 - _BITS)] = True

    def discount(self, file: WordFile, wanted: Callable[[int], bool]) -> None:
        """Take what many of the wanted rows have in common for a form as well: for items from the same source as the rows."""
        import numpy as np

        if not self._items:
            return
        having = np.zeros(len(self._grams), np.int64)
        for chunk in file.chunks():
            rows, places = self._found(file, chunk)
            there = np.array([wanted(row) for row in chunk], bool)
            having += np.bincount(places[there[rows]], minlength=len(having))
        self._forms = np.union1d(self._forms, self._grams[having > _COMMON])
        self._index()

    def __len__(self) -> int:
        return len(self._items) + len(self.short.by_words)

    def find(self, file: WordFile, wanted: Callable[[int], bool]) -> Iterator[Hit]:
        """Every wanted row of the file that holds an item of five words or more, with the item."""
        import numpy as np

        if not self._items:
            return
        for chunk in file.chunks():
            rows, places = self._found(file, chunk)
            keys, counts = np.unique(rows * len(self._items) + self._owners[places], return_counts=True)
            enough = counts >= self._needed[keys % len(self._items)]
            for row, owner in (divmod(key, len(self._items)) for key in keys[enough].tolist()):
                index = chunk.start + row
                if wanted(index):
                    yield from self._verified(index, file.read(index, index + 1), file.asked[index], owner)

    def _found(self, file: WordFile, chunk: range) -> tuple[Places, Places]:
        """Places of rows in the chunk, and of the sequences of items that they hold, each pair once."""
        import numpy as np

        ends = np.array(file.ends[chunk.start : chunk.stop], np.int64)
        ends -= file.ends[chunk.start - 1] if chunk.start else 0
        grams = _grams(file.read(chunk.start, chunk.stop))
        at = np.flatnonzero(self._there[grams >> np.uint64(64 - _BITS)])
        first = np.searchsorted(self._grams, grams[at], side="left")
        number = np.searchsorted(self._grams, grams[at], side="right") - first
        rows = np.repeat(np.searchsorted(ends, at, side="right"), number)
        # Each sequence leads to as many items as have it: places first, first + 1, ...
        steps = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
        once = np.unique(rows * len(self._grams) + np.repeat(first, number) + steps)
        return once // len(self._grams), once % len(self._grams)

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
            if len(found) < _EDITED or reached < _REACHED or sum(covered) < _SHARE * reached:
                return
            share, matched = sum(covered) / reached, _runs(found, covered)
        for item in same:
            kind: Kind = "prompt and answer" if _answered(line, asked, item.answer, there) else "prompt"
            yield Hit(row, item, kind, round(share, 4), matched)


def _pairs(grams: Numbers, owners: Places) -> tuple[Numbers, Places]:
    """The distinct pairs of a sequence and its owner, by sequence."""
    import numpy as np

    order = np.lexsort((owners, grams))
    grams, owners = grams[order], owners[order]
    new = np.ones(len(grams), bool)
    new[1:] = (grams[1:] != grams[:-1]) | (owners[1:] != owners[:-1])
    return grams[new], owners[new]


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
