"""Sequences end to end in two files, as they are made: a few numbers about each stay in memory, its tokens do not."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heedlm.messages import Encoded

if TYPE_CHECKING:
    import numpy as np

    Numbers = np.ndarray[Any, Any]

_HELD = 1 << 18  # tokens kept before they are written


class Flat:
    """Sequences of a split. lengths, learned: tokens of each, and how many of them are learned.   rows: the row of each."""

    def __init__(self, folder: Path, name: str) -> None:
        self._paths = (folder / f"{name}.ids", folder / f"{name}.weights")
        self._ids, self._weights = array("i"), array("f")  # of tokens that are not written yet
        self.lengths, self.learned, self.rows = array("q"), array("q"), array("q")
        for path in self._paths:
            path.write_bytes(b"")

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

    def _flush(self) -> None:
        for path, held in zip(self._paths, (self._ids.tobytes(), self._weights.tobytes()), strict=True):
            with path.open("ab") as file:
                file.write(held)
        self._ids, self._weights = array("i"), array("f")


def flat_of(folder: Path, name: str, sequences: Iterable[Encoded], rows: Iterable[int]) -> Flat:
    """These sequences, each with its row, as a `Flat` in a folder."""
    made = Flat(folder, name)
    for row, one in zip(rows, sequences, strict=True):
        made.add(row, one)
    return made
