"""Encoded splits on disk: memory-mapped arrays and an index that says what they were made from.

Layout of a folder: `index.json` (version, key, facts) and per split `NAME.ids.npy` int32 [tokens],
`NAME.weights.npy` float32 [tokens], `NAME.starts.npy` int64 [sequences + 1], `NAME.rows.npy` int32 [sequences].
The folder appears whole or not at all; training only opens it.
"""

from __future__ import annotations

import json
import shutil
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from heedlm.errors import HeedError
from heedlm.messages import Encoded
from heedlm.runs import disk_errors, write_json

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
    """The sequences of one split, read from memory-mapped arrays as they are asked for.

    row_of(i): the row of the split's file that sequence i came from, counted from 0.
    """

    def __init__(self, folder: Path, name: str) -> None:
        import numpy as np

        def array(part: str) -> np.ndarray[Any, Any]:
            loaded: np.ndarray[Any, Any] = np.load(folder / f"{name}.{part}.npy", mmap_mode="r", allow_pickle=False)
            return loaded

        self._ids, self._weights = array("ids"), array("weights")
        self._starts, self._rows = array("starts"), array("rows")

    def __len__(self) -> int:
        return len(self._rows)

    def _at(self, index: int) -> Encoded:
        part = slice(int(self._starts[index]), int(self._starts[index + 1]))
        return Encoded(tuple(self._ids[part].tolist()), tuple(self._weights[part].tolist()))

    def row_of(self, index: int) -> int:
        return int(self._rows[index])

    def rows(self) -> list[int]:
        """The row of each sequence; -1 where it came from no row (documents to replay)."""
        return [int(row) for row in self._rows]

    def lengths(self) -> list[int]:
        """Tokens per sequence."""
        return [int(n) for n in self._starts[1:] - self._starts[:-1]]


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

    def rows(self) -> list[int]:
        """The row of each sequence, counted on from part to part; -1 where it came from no row."""
        rows: list[int] = []
        for part in self._parts:
            first = max(rows, default=-1) + 1
            rows.extend(row + first if row >= 0 else -1 for row in part.rows())
        return rows

    def lengths(self) -> list[int]:
        """Tokens per sequence."""
        return [length for part in self._parts for length in part.lengths()]


def write_store(
    folder: Path, key: str, facts: Mapping[str, Any], splits: Mapping[str, tuple[Sequence[Encoded], Sequence[int]]]
) -> None:
    """Write all splits (sequences, and the row each came from) and the index; the old folder stays until the new one stands.

    key: of everything the tokens depend on (see `read_index`).
    """
    temporary = folder.with_name(f".{folder.name}.writing")
    with disk_errors(folder):
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir(parents=True)
            for name, (sequences, rows) in splits.items():
                _write_split(temporary, name, sequences, rows)
            write_json(temporary / "index.json", {"version": VERSION, "key": key, "splits": sorted(splits), **facts})
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _write_split(folder: Path, name: str, sequences: Sequence[Encoded], rows: Sequence[int]) -> None:
    import numpy as np

    assert len(sequences) == len(rows), "every sequence comes from a row"
    lengths = np.array([len(one.ids) for one in sequences], dtype=np.int64)
    starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
    ids = np.fromiter((i for one in sequences for i in one.ids), dtype=np.int32, count=int(starts[-1]))
    weights = np.fromiter((w for one in sequences for w in one.weights), dtype=np.float32, count=int(starts[-1]))
    parts = {"ids": ids, "weights": weights, "starts": starts, "rows": np.array(rows, dtype=np.int32)}
    for part, values in parts.items():
        np.save(folder / f"{name}.{part}.npy", values, allow_pickle=False)


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
