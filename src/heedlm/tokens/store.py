"""Encoded splits on disk: memory-mapped arrays and an index that says what they were made from.

Layout of a folder: `index.json` (version, key, facts) and per split `NAME.ids.npy` int32 [tokens],
`NAME.weights.npy` float32 [tokens], `NAME.starts.npy` int64 [stored + 1], `NAME.rows.npy` int32 [stored]; where a stored
sequence comes more than once in an epoch, `NAME.order.npy` int32 [sequences] says which comes where (all of them once, in
order, before any comes again).
The folder appears whole or not at all (tokens.write); training only opens it.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from heedlm.errors import HeedError
from heedlm.messages import Encoded

if TYPE_CHECKING:
    import numpy as np

VERSION = 1


class _Sequences(Sequence[Encoded]):
    """Indexing that both kinds of split share; `_at` reads one sequence, its index already in 0..len - 1."""

    @overload
    def __getitem__(self, index: int) -> Encoded: ...
    @overload
    def __getitem__(self, index: slice) -> list[Encoded]: ...
    def __getitem__(self, index: int | slice) -> Encoded | list[Encoded]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._at(index)

    @abstractmethod
    def _at(self, index: int) -> Encoded: ...


class TokenFile(_Sequences):
    """The sequences of one epoch of a split, read from memory-mapped arrays as they are asked for."""

    def __init__(self, folder: Path, name: str) -> None:
        import numpy as np

        def array(part: str) -> np.ndarray[Any, Any]:
            loaded: np.ndarray[Any, Any] = np.load(folder / f"{name}.{part}.npy", mmap_mode="r", allow_pickle=False)
            return loaded

        self._ids, self._weights = array("ids"), array("weights")
        self._starts, self._rows = array("starts"), array("rows")
        repeated = (folder / f"{name}.order.npy").is_file()
        self._order = array("order") if repeated else np.arange(len(self._rows), dtype=np.int32)

    def __len__(self) -> int:
        return len(self._order)

    def _at(self, index: int) -> Encoded:
        at = self.stored(index)
        part = slice(int(self._starts[at]), int(self._starts[at + 1]))
        return Encoded(tuple(self._ids[part].tolist()), tuple(self._weights[part].tolist()))

    def stored(self, index: int) -> int:
        """The stored sequence that comes at `index`: the same for every time that it comes."""
        return int(self._order[index])

    def row_of(self, index: int) -> int:
        """The row of the split's file that a sequence came from, from 0; -1 for documents to replay."""
        return int(self._rows[self._order[index]])

    def units(self) -> list[int]:
        """Equal for neighbours that came from one row, once: a conversation that had to be split."""
        import numpy as np

        rows = self._rows[self._order]
        same = (rows[1:] == rows[:-1]) & (rows[1:] >= 0) & (self._order[1:] == self._order[:-1] + 1)
        units: list[int] = np.concatenate([np.zeros(min(1, len(rows)), int), np.cumsum(~same)]).tolist()
        return units

    def lengths(self) -> list[int]:
        """Tokens per sequence."""
        found: list[int] = (self._starts[1:] - self._starts[:-1])[self._order].tolist()
        return found


class Joined(_Sequences):
    """Several splits as one, still read only as they are asked for."""

    def __init__(self, parts: Sequence[TokenFile]) -> None:
        self._parts = tuple(parts)

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def _at(self, index: int) -> Encoded:
        for part in self._parts:
            if 0 <= index < len(part):
                return part[index]
            index -= len(part)
        raise IndexError(index)

    def units(self) -> list[int]:
        """As of one split, counted on from part to part."""
        units: list[int] = []
        for part in self._parts:
            first = units[-1] + 1 if units else 0
            units.extend(unit + first for unit in part.units())
        return units

    def lengths(self) -> list[int]:
        """Tokens per sequence."""
        return [length for part in self._parts for length in part.lengths()]


def read_index(folder: Path) -> dict[str, Any]:
    """The index of a store. Raises HeedError when there is none, or one of another version."""
    path = folder / "index.json"
    if not path.is_file():
        raise HeedError("The data is not tokenised yet.", str(folder), "run `heed train`, which does it first")
    index: dict[str, Any] = json.loads(path.read_text("utf8"))
    if index.get("version") != VERSION:
        raise HeedError(
            f"These tokens have version {index.get('version')}, this heed reads {VERSION}.",
            str(path),
            "delete the folder",
        )
    return index


def open_split(folder: Path, name: str) -> TokenFile | None:
    """A split of the store, or None where it holds no such split."""
    return TokenFile(folder, name) if name in read_index(folder)["splits"] else None
