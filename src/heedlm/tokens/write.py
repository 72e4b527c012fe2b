"""A token store, written whole or not at all; `tokens.store` reads it and names its files."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from heedlm.errors import HeedError
from heedlm.runs import disk_errors, write_json
from heedlm.tokens.flat import Flat
from heedlm.tokens.store import VERSION

_COPIED = 4096  # sequences copied at once
_KEY = "key"  # the file that says what is being made


class Split(NamedTuple):
    """times: how often each of the sequences comes in an epoch; None: once."""

    sequences: Flat
    times: Sequence[int] | None = None


@contextlib.contextmanager
def workshop(folder: Path, key: str) -> Iterator[Path]:
    """A place beside the store for what is being made: gone once that stands or is refused, and kept when it is cut short.

    key: of what is made; who comes with the same one finds what was there, another one finds nothing.
    Raises HeedError in place of OSError, and where another process is at work there.
    """
    place = _making(folder)
    with disk_errors(folder):
        place.mkdir(parents=True, exist_ok=True)
        with _alone(place, folder):
            if not _is_for(place, key):
                for entry in place.iterdir():
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
                (place / _KEY).write_text(key)
            try:
                yield place
            except BaseException as error:
                # Refused for what it is: nobody goes on with that, unlike after a full disk.
                if isinstance(error, HeedError) and not isinstance(error.__cause__, OSError):
                    shutil.rmtree(place, ignore_errors=True)
                raise
            shutil.rmtree(place, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Delete what a process left that was killed when the store stood already, unless another one is at work there."""
    with contextlib.suppress(HeedError, OSError):
        if _making(folder).is_dir():
            with _alone(_making(folder), folder):
                shutil.rmtree(_making(folder), ignore_errors=True)
                shutil.rmtree(_writing(folder), ignore_errors=True)


def _making(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.making")


def _writing(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.writing")


def _is_for(place: Path, key: str) -> bool:
    try:
        return (place / _KEY).read_text("utf8") == key
    except (OSError, UnicodeDecodeError):
        return False


@contextlib.contextmanager
def _alone(place: Path, folder: Path) -> Iterator[None]:
    """A lock on a folder, which ends with the process. Raises HeedError where another one has it, or has just deleted it."""
    try:
        import fcntl
    except ImportError:  # Windows: nothing is locked there
        yield
        return
    handle = os.open(place, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = place.is_dir() and os.path.samestat(os.fstat(handle), place.stat())
        except BlockingIOError:
            free = False
        except OSError:  # a file system that knows no locks
            free = True
        if not free:
            what = "Another heed is making these tokens."
            raise HeedError(what, str(folder), "wait for it, or name another folder: --run FOLDER")
        yield
    finally:
        os.close(handle)


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
    temporary = _writing(folder)
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
        _save(folder / f"{name}.{part}.npy", values.dtype, len(values), [values])
    for part, values in zip(("ids", "weights"), made.arrays(), strict=True):
        stretches = (values[begins[kept[first]] : begins[kept[last] + 1]] for first, last in _runs(kept))
        _save(folder / f"{name}.{part}.npy", values.dtype, int(starts[-1]), stretches)


def _save(path: Path, dtype: Any, count: int, pieces: Iterable[Any]) -> None:
    """Pieces of a one-dimensional array as np.save writes the whole. Raises OSError.

    Written, not mapped: on a full disk the system kills who stores into a map; np.save tells of it without saying what.
    """
    import numpy as np

    head = {"descr": dtype.str, "fortran_order": False, "shape": (count,)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, head)  # type: ignore[no-untyped-call]
        for piece in pieces:
            file.write(np.ascontiguousarray(piece).data)


def _runs(kept: Any) -> Iterator[tuple[int, int]]:
    """First and last place of each run of neighbours in a rising list of numbers, no run too long to be held."""
    import numpy as np

    breaks = np.flatnonzero(np.diff(kept) != 1) + 1
    bounds = np.unique(np.concatenate([[0], breaks, np.arange(0, len(kept), _COPIED), [len(kept)]]))
    for first, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        yield first, end - 1
