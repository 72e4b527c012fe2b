"""Sequences end to end in two files, as they are made: a few numbers about each stay in memory, its tokens do not."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heedlm.messages import Encoded

if TYPE_CHECKING:
    import numpy as np

    Numbers = np.ndarray[Any, Any]

TOKEN = 4  # bytes of an id, and of a weight
_HELD = 1 << 18  # tokens kept before they are written


class Flat:
    """Sequences of a split. lengths, learned: tokens of each, and how many of them are learned.   rows: the row of each.

    held: these numbers of each sequence that the files hold already; what they hold behind those is cut off.
    """

    def __init__(self, folder: Path, name: str, held: Iterable[tuple[int, int, int]] = ()) -> None:
        self._paths = self.paths(folder, name)
        self._ids, self._weights = array("i"), array("f")  # of tokens that are not written yet
        self._sums = _sums()  # of tokens that came since the last `settle`
        self.lengths, self.learned, self.rows = array("q"), array("q"), array("q")
        for length, learned, row in held:
            self.lengths.append(length)
            self.learned.append(learned)
            self.rows.append(row)
        for path in self._paths:
            path.touch()
            os.truncate(path, TOKEN * sum(self.lengths))

    @staticmethod
    def paths(folder: Path, name: str) -> tuple[Path, Path]:
        """The files of ids and weights."""
        return folder / f"{name}.ids", folder / f"{name}.weights"

    def __len__(self) -> int:
        return len(self.lengths)

    def add(self, row: int, one: Encoded) -> None:
        """Take in a sequence of a row; -1 for one of no row."""
        self._ids.extend(one.ids)
        self._weights.extend(one.weights)
        self.lengths.append(len(one.ids))
        self.learned.append(len(one.weights) - one.weights.count(0.0))
        self.rows.append(row)
        if len(self._ids) >= _HELD:
            self._flush()

    def arrays(self) -> tuple[Numbers, Numbers]:
        """Ids (int32) and weights (float32) of all tokens, end to end, read as they are asked for."""
        import numpy as np

        self._flush()
        kinds = (np.int32, np.float32)
        if not sum(self.lengths):  # nothing cannot be mapped
            return np.zeros(0, kinds[0]), np.zeros(0, kinds[1])
        ids, weights = (np.memmap(path, kind, mode="r") for path, kind in zip(self._paths, kinds, strict=True))
        return ids, weights

    def settle(self) -> str:
        """Write what is held; the checksum of the tokens that came since this was last called (see `sum_of`)."""
        self._flush()
        told = _told(self._sums)
        self._sums = _sums()
        return told

    def _flush(self) -> None:
        for path, held, found in zip(
            self._paths, (self._ids.tobytes(), self._weights.tobytes()), self._sums, strict=True
        ):
            found.update(held)
            with path.open("ab") as file:
                file.write(held)
        self._ids, self._weights = array("i"), array("f")


def flat_of(folder: Path, name: str, sequences: Iterable[Encoded], rows: Iterable[int]) -> Flat:
    """These sequences, each with its row, as a `Flat` in a folder."""
    made = Flat(folder, name)
    for row, one in zip(rows, sequences, strict=True):
        made.add(row, one)
    return made


def sum_of(ids: bytes, weights: bytes) -> str:
    """The checksum of some tokens: of their ids, and of their weights."""
    sums = _sums()
    for found, part in zip(sums, (ids, weights), strict=True):
        found.update(part)
    return _told(sums)


def _sums() -> tuple[hashlib.blake2b, hashlib.blake2b]:
    return hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)


def _told(sums: tuple[hashlib.blake2b, hashlib.blake2b]) -> str:
    return "".join(found.hexdigest() for found in sums)
