"""An append-only file of events, one JSON object per line: what is written is on the disk, whole, before it counts.

Writers wait for each other (a lock on the file), so lines never mix. A line that a killed writer left half-written is put
aside by the next writer, who says so; a line that only lost its end is kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from heedlm.errors import HeedError, Problem

_LINE_ENDS = {"\u2028": "\\u2028", "\u2029": "\\u2029", "\x85": "\\u0085"}  # line ends to some readers, not to JSON
_CHUNK = 1 << 16


class Appended(NamedTuple):
    """What was written. line: its number in the file, from 1.   notes: what was repaired before."""

    value: Mapping[str, Any]
    line: int
    notes: tuple[str, ...]


class Event(NamedTuple):
    """A line as it was read. offset: where it begins, in bytes.   value: its object, or what is wrong with it."""

    line: int
    offset: int
    value: dict[str, Any] | Problem


def append(path: Path, make: Callable[[int, Iterator[Event]], Mapping[str, Any]]) -> Appended:
    """Write one event behind the others. Raises HeedError where the file cannot be written, and passes on what `make` raises.

    make: the event, from the place at which it will stand and all that stand before it; until it is on the disk no other
    writer gets in.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        with _locked(path, os.O_RDWR | os.O_APPEND | os.O_CREAT) as handle:
            notes = tuple(_repair(handle, path))
            end = os.fstat(handle).st_size
            value = make(end, _events(path))
            try:
                _write(handle, to_line(value))
            except OSError:
                os.ftruncate(handle, end)  # a full disk leaves no half of a line behind
                raise
            if new:
                _folder_to_disk(path.parent)
            return Appended(value, _lines_before(path, end) + 1, notes)
    except OSError as error:
        what = f"cannot be written: {error.strerror or error}"
        raise HeedError(what, str(path), "check the path and its permissions, free some space") from error


def read_events(path: Path) -> list[Event]:
    """Every line of the file, torn ones as problems. Raises HeedError where it cannot be read."""
    try:
        with _locked(path, os.O_RDONLY):
            return list(_events(path))
    except FileNotFoundError:
        raise HeedError("no such file", str(path), "heed data add writes the first row") from None
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}"
        raise HeedError(what, str(path), "check the file and its permissions") from error


def repair(path: Path) -> tuple[str, ...]:
    """Put a torn last line aside; what was done, in words, or nothing. Raises HeedError where the file cannot be written."""
    if not path.is_file():
        return ()
    try:
        with path.open("rb") as file:
            if _tail(file.fileno()) == os.fstat(file.fileno()).st_size:
                return ()  # nothing to do, so a store that may only be read is not asked for more
        with _locked(path, os.O_RDWR | os.O_APPEND) as handle:
            return tuple(_repair(handle, path))
    except OSError as error:
        what = f"cannot be repaired: {error.strerror or error}"
        raise HeedError(what, str(path), "check the file and its permissions") from error


def to_line(value: Mapping[str, Any]) -> bytes:
    """One event as a line, with its end."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    for character, escape in _LINE_ENDS.items():
        text = text.replace(character, escape)
    return text.encode("utf-8") + b"\n"


@contextmanager
def _locked(path: Path, flags: int) -> Iterator[int]:
    """The file, opened and locked: for one writer, or for readers. The lock ends with the process, however that ends."""
    import fcntl  # not on Windows, where plain rows are read all the same

    handle = os.open(path, flags, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if flags & os.O_RDWR else fcntl.LOCK_SH)
        yield handle
    finally:
        os.close(handle)


def _events(path: Path) -> Iterator[Event]:
    offset = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            start, offset = offset, offset + len(raw)
            if raw.strip():
                yield Event(number, start, _object(raw) or _torn(raw, f"{path}:{number}", path))


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _torn(raw: bytes, where: str, path: Path) -> Problem:
    if raw.endswith(b"\n"):
        return Problem("broken JSON: the line is no event", where, "take the line as it was from a copy of the file")
    return Problem("torn line: its writing was cut off", where, f"put it aside: heed data list --store {path}")


def _repair(handle: int, path: Path) -> Iterator[str]:
    """Mend the end of the file: what a writer that was killed left there."""
    start, end = _tail(handle), os.fstat(handle).st_size
    if start == end:
        return
    rest = os.pread(handle, end - start, start)
    if _object(rest) is not None:
        _write(handle, b"\n")
        yield f"{path}: the last line had lost its end; it was whole and is kept"
        return
    aside = path.with_name(f"{path.name}.torn")
    kept = os.open(aside, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        _write(kept, rest + b"\n")
    finally:
        os.close(kept)
    os.ftruncate(handle, start)
    os.fsync(handle)
    yield f"{path}: the last line was torn, its writer was cut off; its {len(rest):,} bytes are kept in {aside}"


def _tail(handle: int) -> int:
    """Where the last line begins that has no end; the size of the file where there is none."""
    at = os.fstat(handle).st_size
    while at > 0:
        step = min(at, _CHUNK)
        found = os.pread(handle, step, at - step).rfind(b"\n")
        if found >= 0:
            return at - step + found + 1
        at -= step
    return 0


def _lines_before(path: Path, end: int) -> int:
    """How many lines stand before a place."""
    lines = 0
    with path.open("rb") as file:
        while end > 0 and (piece := file.read(min(end, _CHUNK))):
            lines += piece.count(b"\n")
            end -= len(piece)
    return lines


def _write(handle: int, line: bytes) -> None:
    """All of it, and on the disk."""
    rest = memoryview(line)
    while rest:
        rest = rest[os.write(handle, rest) :]
    os.fsync(handle)


def _folder_to_disk(folder: Path) -> None:
    """Make sure that the name of a new file survives a power cut too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
