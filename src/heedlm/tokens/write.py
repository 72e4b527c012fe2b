"""A token store, written whole or not at all; `tokens.store` reads it and names its files."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from heedlm.runs import disk_errors, write_json
from heedlm.tokens.flat import Flat
from heedlm.tokens.store import VERSION

_COPIED = 4096  # sequences copied at once


class Split(NamedTuple):
    """times: how often each of the sequences comes in an epoch; None: once."""

    sequences: Flat
    times: Sequence[int] | None = None


@contextlib.contextmanager
def workshop(folder: Path) -> Iterator[Path]:
    """A place beside the store for what is being made, gone afterwards. Raises HeedError in place of OSError."""
    place = folder.with_name(f".{folder.name}.making")
    with disk_errors(folder):
        shutil.rmtree(place, ignore_errors=True)
        try:
            place.mkdir(parents=True)
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)


def write_store(
    folder: Path,
    key: str,
    facts: Mapping[str, Any],
    splits: Mapping[str, Split],
    pages: Mapping[str, str] | None = None,
) -> None:
    """Write all splits and the index; the old folder stays until the new one stands.

    key: of everything the tokens depend on (see `store.read_index`).   pages: file name -> text, for people.
    """
    temporary = folder.with_name(f".{folder.name}.writing")
    with disk_errors(folder):
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir(parents=True)
            for name, split in splits.items():
                _write_split(temporary, name, split)
            for file, text in (pages or {}).items():
                (temporary / file).write_text(text, encoding="utf8", errors="backslashreplace")
            write_json(temporary / "index.json", {"version": VERSION, "key": key, "splits": sorted(splits), **facts})
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _write_split(folder: Path, name: str, split: Split) -> None:
    import numpy as np

    made = split.sequences
    times = np.ones(len(made), np.int32) if split.times is None else np.array(split.times, np.int32)
    kept = np.flatnonzero(times)
    lengths = np.array(made.lengths, dtype=np.int64)
    begins = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
    starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths[kept])])
    parts = {"starts": starts, "rows": np.array(made.rows, dtype=np.int32)[kept]}
    most = int(times.max(initial=0))
    if most > 1:  # all of them once, then again those that come twice, and so on
        again = [np.flatnonzero(times[kept] > seen) for seen in range(most)]
        parts["order"] = np.concatenate(again).astype(np.int32)
    for part, values in parts.items():
        np.save(folder / f"{name}.{part}.npy", values, allow_pickle=False)
    for part, values in zip(("ids", "weights"), made.arrays(), strict=True):
        if not int(starts[-1]):  # nothing cannot be mapped
            np.save(folder / f"{name}.{part}.npy", values[:0], allow_pickle=False)
            continue
        shape = (int(starts[-1]),)
        file: Any = np.lib.format.open_memmap(folder / f"{name}.{part}.npy", "w+", values.dtype, shape)  # type: ignore[no-untyped-call]
        for first, last in _runs(kept):  # neighbours are copied at once
            begin = int(starts[first])
            stretch = values[begins[kept[first]] : begins[kept[last] + 1]]
            file[begin : begin + len(stretch)] = stretch
        file.flush()


def _runs(kept: Any) -> Iterator[tuple[int, int]]:
    """First and last place of each run of neighbours in a rising list of numbers, no run too long to be held."""
    import numpy as np

    breaks = np.flatnonzero(np.diff(kept) != 1) + 1
    bounds = np.unique(np.concatenate([[0], breaks, np.arange(0, len(kept), _COPIED), [len(kept)]]))
    for first, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        yield first, end - 1
