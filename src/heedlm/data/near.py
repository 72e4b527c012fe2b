"""Near-duplicates: rows that ask and answer nearly the same, found exactly, one kept of each verified pair.

Two rows are near-duplicates when all of this holds; none of it depends on other rows:

- they have the same facts (numbers, names, negations), system text, order of roles and tools;
- of the three-word sequences of question and answer together, and of the answer alone, at least the share `similarity`
  is common (Jaccard: common / all distinct ones);
- the questions part company nowhere for more than three words in a row;
- where the answer is shorter than 15 words, the question has the same words and the answer the same text.

The last three keep templated rows: in a form filled in with something else, a whole slot or the answer differs.

Candidates come from a prefix filter (Chaudhuri et al., 2006; Xiao et al., 2008): in any fixed order of all sequences, two
similar rows share one among the first few of each. With rare ones first, nearly all rows have no candidate at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from heedlm.data.words import GAP, WordFile

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Grams = npt.NDArray[np.uint64]

_SIZE = GAP + 1  # words of a sequence
_APART = 3 + _SIZE - 1  # a run of three other words touches so many sequences
_MIX = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)  # odd, so that multiplication loses nothing
_ANSWER = 0x27D4EB2F165667C5
_POSTED = 256  # rows remembered per sequence; what more than these share tells little
_COMPARED = 64  # rows that one row is compared with at most, those with the most in common first
_CACHED = 4096  # rows whose sequences stay in memory


class Pair(NamedTuple):
    """row is a near-duplicate of `other`, an earlier one. similarity: Jaccard of question and answer together."""

    row: int
    other: int
    similarity: float


class Found(NamedTuple):
    """pairs: in the order of rows.   unsure: rows that look like more others than they were, or will be, compared with."""

    pairs: list[Pair]
    unsure: int


def representatives(
    words: WordFile, similarity: float, sides: Sequence[str | None], *, skip: Callable[[int], bool] = lambda row: False
) -> Found:
    """One pair for each row that repeats an earlier one that is itself kept: what to leave out, and in favour of which.

    sides: the fixed side of a row, or None. Rows of one fixed side are not compared with each other: the file is the
    user's.   skip: rows that are not there.
    """
    join = _Join(words, similarity, lambda row, other: sides[row] is None or sides[row] != sides[other])
    pairs = []
    for row in join.rows():
        if skip(row.number):
            continue
        match = next(join.similar(row), None)
        if match is None:
            join.insert(row)
        else:
            pairs.append(match)
    return Found(pairs, join.unsure)


def linked(words: WordFile, similarity: float) -> Found:
    """Pairs that tie all near-duplicates together: rows joined by a chain of pairs form one cluster."""
    root: dict[int, int] = {}

    def find(row: int) -> int:
        while (above := root.get(row, row)) != row:
            root[row] = root.get(above, above)
            row = root[row]
        return row

    join = _Join(words, similarity, lambda row, other: find(row) != find(other))
    pairs = []
    for row in join.rows():
        for pair in join.similar(row):
            root[find(pair.row)] = find(pair.other)
            pairs.append(pair)
        join.insert(row)
    return Found(pairs, join.unsure)


def across(words: WordFile, similarity: float, sides: Sequence[str | None]) -> Found:
    """Every pair whose rows stand on different sides; a row with side None is not there."""
    join = _Join(words, similarity, lambda row, other: sides[row] != sides[other])
    pairs: list[Pair] = []
    for row in join.rows():
        if sides[row.number] is not None:
            pairs += join.similar(row)
            join.insert(row)
    return Found(pairs, join.unsure)


class _Row(NamedTuple):
    """A row that may have near-duplicates. whole: for a short answer; else size and prefix: sequences in the order."""

    number: int
    whole: int
    size: int
    prefix: list[int]


class _Sequences(NamedTuple):
    """The sequences of one row, in the order of its words."""

    asked: list[int]
    answered: list[int]
    asked_set: frozenset[int]
    answered_set: frozenset[int]


class _Join:
    """The rows taken in so far, by the sequences they can be found with.   wanted: which pairs are worth a comparison."""

    def __init__(self, words: WordFile, similarity: float, wanted: Callable[[int, int], bool]) -> None:
        self._words, self._similarity, self._wanted = words, similarity, wanted
        self._posted: dict[int, list[tuple[int, int, int]]] = {}  # sequence -> (row, its place in the order, size)
        self._wholes: dict[int, list[int]] = {}
        self._cache: dict[int, _Sequences] = {}
        self.unsure = 0

    def rows(self) -> Iterator[_Row]:
        """Every row that may have a near-duplicate, in order: those of which enough sequences occur twice anywhere."""
        import numpy as np

        counts = _counts(self._words)
        shift = 64 - (len(counts).bit_length() - 1)
        wholes = np.frombuffer(self._words.wholes, dtype=np.uint64) if len(self._words) else np.zeros(0, np.uint64)
        values, times = np.unique(wholes, return_counts=True)
        repeated = set(values[(times > 1) & (values > 0)].tolist())
        for chunk in self._words.chunks():
            grams, owner, _ = _grams(self._words, chunk)
            seen = counts[grams >> np.uint64(shift)]
            size = np.bincount(owner, minlength=len(chunk))
            shared = np.bincount(owner, weights=seen > 1, minlength=len(chunk))
            chosen = (size > 0) & (shared >= self._similarity * size - 1e-9)
            inside = chosen[owner]
            ordered = _in_order(grams[inside], seen[inside], owner[inside])
            at = np.searchsorted(ordered.owner, np.arange(len(chunk) + 1))
            for place, index in enumerate(chunk):
                whole = self._words.wholes[index]
                if whole:
                    if whole in repeated:
                        yield _Row(index, whole, 0, [])
                elif chosen[place]:
                    first, last = int(at[place]), int(at[place + 1])
                    reach = first + _prefix(last - first, self._similarity)
                    prefix, often = ordered.grams[first:reach].tolist(), ordered.seen[first:reach].tolist()
                    # What occurs once leads nowhere, but keeps its place in the order.
                    yield _Row(index, 0, last - first, [g if n > 1 else -1 for g, n in zip(prefix, often, strict=True)])

    def similar(self, row: _Row) -> Iterator[Pair]:
        """Pairs of this row with earlier ones, verified."""
        if row.whole:
            for other in self._wholes.get(row.whole, ()):
                if self._wanted(row.number, other):
                    yield Pair(row.number, other, 1.0)
            return
        candidates: dict[int, int] = {}
        share = self._similarity
        for place, gram in enumerate(row.prefix):
            for other, there, size in self._posted.get(gram, ()):
                if min(size, row.size) < share * max(size, row.size) - 1e-9:
                    continue
                already = candidates.get(other, 0)
                # At most this much can still be common behind two equal places; less than needed is no candidate.
                most = already + 1 + min(row.size - place, size - there) - 1
                if most < share / (1 + share) * (row.size + size) - 1e-9:
                    candidates.pop(other, None)
                    continue
                candidates[other] = already + 1
        ranked = sorted(candidates, key=lambda other: (-candidates[other], other))
        compared = 0
        for other in ranked:
            if not self._wanted(row.number, other):
                continue
            if compared == _COMPARED:
                self.unsure += 1
                return
            compared += 1
            similarity = _similarity(self._sequences(row.number), self._sequences(other), share)
            if similarity is not None:
                yield Pair(row.number, other, round(similarity, 4))

    def insert(self, row: _Row) -> None:
        """Let later rows find this one."""
        if row.whole:
            self._wholes.setdefault(row.whole, []).append(row.number)
        entries = [(place, self._posted.setdefault(gram, [])) for place, gram in enumerate(row.prefix) if gram >= 0]
        for place, posted in entries:
            if len(posted) < _POSTED:
                posted.append((row.number, place, row.size))
        self.unsure += any(len(posted) == _POSTED for _, posted in entries)

    def _sequences(self, index: int) -> _Sequences:
        found = self._cache.get(index)
        if found is None:
            if len(self._cache) >= _CACHED:
                self._cache.clear()
            grams, _, answered = _grams(self._words, range(index, index + 1))
            asked, said = grams[~answered].tolist(), grams[answered].tolist()
            found = self._cache[index] = _Sequences(asked, said, frozenset(asked), frozenset(said))
        return found


def _similarity(one: _Sequences, other: _Sequences, share: float) -> float | None:
    """Jaccard of question and answer together, or None where the rows are no near-duplicates."""
    asked, answered = len(one.asked_set & other.asked_set), len(one.answered_set & other.answered_set)
    all_answered = len(one.answered_set) + len(other.answered_set) - answered
    everything = all_answered + len(one.asked_set) + len(other.asked_set) - asked
    if answered < share * all_answered or asked + answered < share * everything:
        return None
    if max(_longest(one.asked, other.asked_set), _longest(other.asked, one.asked_set)) > _APART:
        return None
    return (asked + answered) / everything


def _longest(grams: Sequence[int], there: frozenset[int]) -> int:
    """The longest run of sequences that the other text does not have."""
    longest = run = 0
    for gram in grams:
        run = 0 if gram in there else run + 1
        longest = max(longest, run)
    return longest


def _prefix(size: int, similarity: float) -> int:
    """How many of the first of `size` sequences a similar row must share one of."""
    return size - math.ceil(similarity * size - 1e-9) + 1


class _Ordered(NamedTuple):
    grams: Grams
    seen: npt.NDArray[np.uint8]
    owner: npt.NDArray[np.int64]


def _in_order(grams: Grams, seen: npt.NDArray[np.uint8], owner: npt.NDArray[np.int64]) -> _Ordered:
    """The distinct sequences of each row, rare ones first."""
    import numpy as np

    order = np.lexsort((grams, seen, owner))
    grams, seen, owner = grams[order], seen[order], owner[order]
    new = np.ones(len(grams), bool)
    new[1:] = (grams[1:] != grams[:-1]) | (owner[1:] != owner[:-1])
    return _Ordered(grams[new], seen[new], owner[new])


def _counts(words: WordFile) -> npt.NDArray[np.uint8]:
    """How often sequences occur, up to 255, under the first bits of their number: never too few, sometimes too many."""
    import numpy as np

    total = words.ends[-1] if len(words) else 1
    counts = np.zeros(1 << min(max(total.bit_length() + 1, 10), 27), np.uint8)
    shift = np.uint64(64 - (len(counts).bit_length() - 1))
    for chunk in words.chunks():
        grams, _, _ = _grams(words, chunk)
        places, times = np.unique((grams >> shift).astype(np.uint32), return_counts=True)
        counts[places] = np.minimum(counts[places] + times, 255)
    return counts


def _grams(words: WordFile, chunk: range) -> tuple[Grams, npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The sequences of rows with a long answer, in order: their numbers, place of the row in `chunk`, whether answered.

    A part of n words gives n sequences: the last ones run into the gap, so that they know where the text ends. The key
    of the row goes into every number, so that rows with other facts have nothing in common.
    """
    import numpy as np

    line = words.read(chunk.start, chunk.stop)
    rows = slice(chunk.start, chunk.stop)
    ends = np.array(words.ends[rows], np.int64)
    ends -= words.ends[chunk.start - 1] if chunk.start else 0
    starts = np.concatenate((np.zeros(1, np.int64), ends[:-1]))
    owner = np.repeat(np.arange(len(chunk)), ends - starts)
    mix = [np.uint64(value) for value in _MIX]
    grams = line[:-2] * mix[0] + line[1:-1] * mix[1] + line[2:] * mix[2]
    there = line[:-2] != 0
    long = np.array(words.wholes[rows], np.uint64) == 0
    owner = owner[: len(grams)]
    there &= long[owner]
    asked = starts + np.array(words.asked[rows], np.int64)
    answered = np.arange(len(grams)) >= asked[owner]
    grams = (grams + answered * np.uint64(_ANSWER)) ^ np.array(words.keys[rows], np.uint64)[owner]
    grams *= mix[0]
    return grams[there], owner[there], answered[there]
