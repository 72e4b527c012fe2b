"""What a name stands for, and the rows behind it: files of every kind that is read, folders, the hub, standard input.

What a file holds is told by its first bytes before its name. A broken row becomes a `Problem` and reading goes on, so that
one pass finds every problem. What makes the rest of a file unreadable (a cut-off archive, a list that never ends) raises
`HeedError`: rows behind it would be lost in silence.
"""

from __future__ import annotations

import atexit
import functools
import gzip
import io
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from heedlm.data import columns, hub, human, json_rows, tables, texts
from heedlm.data.columns import arrow_library
from heedlm.data.folders import folder_files, is_data_name, passed_over_in
from heedlm.data.licences import Licence, of_folder
from heedlm.data.row import Row as Row
from heedlm.data.strangers import refuse_stranger
from heedlm.errors import HeedError, Problem, nearest

ASKED_STDIN = "-"
STDIN = Path("<stdin>")
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_HEAD = 1 << 20  # bytes of a line that are looked at to learn what a file is
_PACKED = ("", ".gz", ".zst")
ENDINGS = (
    *(name + packed for name in (*json_rows.NAMES, *tables.NAMES, *texts.NAMES) for packed in _PACKED),
    *columns.NAMES,
)


def data_files(path: Path) -> list[Path]:
    """The names of what `path` stands for: a file, the data files directly in a folder, `-` for standard input, `hub:...`.

    Raises HeedError when nothing is there, or when a folder holds no data file or is itself the output of `prepare`.
    """
    if str(path) == ASKED_STDIN or path == STDIN:
        local_files(STDIN)
        return [STDIN]
    if hub.is_hub(path):
        local_files(path)
        return [path]
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        shown = str(path).encode("utf-8", "backslashreplace").decode()
        raise HeedError("the name of the file is not UTF-8", shown, "rename it: rows carry the name as text") from None
    try:
        if path.is_file():
            return [path]
        if not path.exists():
            raise _missing(path)
        if not path.is_dir():
            mend = "copy what it holds into a file, and name that file; or pipe it in: ... | heed prepare --data -"
            raise HeedError("not a regular file", str(path), mend)
        files = folder_files(path, ENDINGS)
    except OSError as error:
        raise HeedError(f"cannot be read: {error.strerror}", str(path), "check the path and its permissions") from error
    return [file for entry in files for file in data_files(entry)]


def local_files(path: Path) -> tuple[Path, ...]:
    """The files on this machine that hold what `path`, one of `data_files`, names: itself, or where it was copied to."""
    if path == STDIN:
        return (_copied(sys.stdin),)
    return hub.hub_files(str(path)) if hub.is_hub(path) else (path,)


def passed_over(path: Path) -> list[str]:
    """What stands in a folder beside the files that are read, in words; nothing for what is no folder."""
    try:
        return passed_over_in(path, ENDINGS) if path.is_dir() and str(path) != ASKED_STDIN else []
    except OSError:  # it was there a moment ago, and what is lost is a remark
        return []


def licence_of(path: Path) -> Licence | None:
    """The licence that a folder or a dataset of the hub names for its rows; one file names none. Raises HeedError."""
    if hub.is_hub(path):
        return hub.loaded(str(path)).licence
    return of_folder(path) if path.is_dir() else None


def read_rows(path: Path) -> Iterator[Row | Problem]:
    """Every row of what `path` stands for, in order. Raises HeedError where the rest of a file cannot be read.

    All is streamed: no more than a window, a batch or one long row is held at once.
    """
    for name in data_files(path):
        yield from rows_in(name, local_files(name))


def rows_in(name: Path, files: Iterable[Path]) -> Iterator[Row | Problem]:
    """The rows of one name, which lie in these files, numbered from 1; as `read_rows`."""
    number = 1
    for file in files:
        for row in _read_file(file, name, number):
            number += 1
            yield row


def _missing(path: Path) -> HeedError:
    scheme, sign, rest = str(path).partition(":/")
    if sign and scheme in ("http", "https", "s3", "gs", "hf", "file"):
        rest = rest.lstrip("/")
        ways = {"hf": f"name it hub:{rest.removeprefix('datasets/')}", "file": f"name the file: /{rest}"}
        mend = ways.get(scheme, f"fetch it, and name the file: curl -LO {scheme}://{rest}")
        return HeedError("an address is not a file", str(path), mend)
    if path.is_symlink():
        return HeedError(
            "the link leads nowhere", str(path), "name the file itself, or make the link again: ln -sf FILE LINK"
        )
    others = path.parent.iterdir() if path.parent.is_dir() else ()
    beside = [
        entry.name
        for entry in others
        if is_data_name(entry.name, ENDINGS) or (entry.is_dir() and not entry.name.startswith("."))
    ]
    near = f"; {nearest(path.name, beside)}" if beside else ""
    if len(path.parts) == 2 and not path.is_absolute() and not path.suffix and not path.parent.exists():
        near += f"; a dataset of the hub is written hub:{path}"
    return HeedError("no such file or folder", str(path), f"give the path of a file or folder that exists{near}")


@functools.cache
def _copied(stream: Any) -> Path:
    """A copy of standard input, which can be read only once, for as long as this process lives."""
    mend = "pipe the rows in: ... | heed prepare --data -"
    if stream is None or stream.closed:
        raise HeedError("standard input is closed", str(STDIN), mend)
    if stream.isatty():
        raise HeedError("standard input is a terminal, and no rows come from it", str(STDIN), mend)
    handle, name = tempfile.mkstemp(prefix="heed-stdin-")
    atexit.register(Path(name).unlink, missing_ok=True)
    try:
        with open(handle, "wb") as copy:
            shutil.copyfileobj(getattr(stream, "buffer", stream), copy, 1 << 20)
    except OSError as error:
        what = f"standard input cannot be copied: {error.strerror or error}"
        raise HeedError(
            what, name, f"free some space, or set TMPDIR to another disk ({tempfile.gettempdir()})"
        ) from error
    if not os.path.getsize(name):
        raise HeedError("standard input is empty", str(STDIN), mend)
    return Path(name)


def _read_file(file: Path, name: Path, first: int) -> Iterator[Row | Problem]:
    """The rows of one file.   name: what addresses say.   first: the number of its first row, where rows are numbered."""
    try:
        with file.open("rb") as raw:
            start = raw.read(16)
            raw.seek(0)
            if human.is_store(start):
                yield from human.human_rows(file, name)
            elif start.startswith((columns.PARQUET, columns.ARROW_FILE, columns.ARROW_STREAM)):
                yield from columns.column_rows(file, name, start, first)
            else:
                yield from _text_rows(_unpacked(raw, start, name), name)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise HeedError("archive is damaged or cut off", str(name), "fetch or write the archive again") from error
    except OSError as error:
        raise HeedError(
            f"cannot be read: {error.strerror or error}", str(name), "check the file and its permissions"
        ) from error


class _Zstandard(io.RawIOBase):
    """A Zstandard archive as a stream of what is packed in it. Reading raises EOFError where it is damaged."""

    def __init__(self, raw: IO[bytes], name: Path) -> None:
        arrow = arrow_library("a Zstandard archive", name)
        self._stream = arrow.CompressedInputStream(arrow.PythonFile(raw, mode="r"), "zstd")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            piece = self._stream.read(len(buffer))
        except OSError as error:
            raise EOFError(str(error)) from error
        buffer[: len(piece)] = piece
        return len(piece)


def _unpacked(raw: IO[bytes], start: bytes, name: Path) -> IO[bytes]:
    if start.startswith(GZIP):
        return io.BufferedReader(gzip.GzipFile(fileobj=raw), 1 << 20)
    if start.startswith(ZSTD):
        return io.BufferedReader(_Zstandard(raw, name), 1 << 20)
    return raw


def _text_rows(stream: IO[bytes], name: Path) -> Iterator[Row | Problem]:
    head: list[bytes] = []  # read ahead to learn what the file is: a second line tells a list from a list per line
    told = 0  # lines with something in them
    while told < 2 and (line := stream.readline(_HEAD)):
        head.append(line)
        refuse_stranger(head[0], name)
        told += bool(json_rows.stripped(line))
        if not line.endswith(b"\n"):
            break  # the rest of a long line follows
    if not told:
        raise HeedError("file is empty", str(name), "write at least one row into it")
    if json_rows.is_json(head, name):
        yield from json_rows.json_rows(head, stream, name)
    elif _named(name, tables.NAMES) or (not name.suffix and tables.looks_like_table(head)):
        yield from tables.table_rows(json_rows.whole_lines(head, stream), name)
    elif _named(name, texts.NAMES):
        yield from texts.text_rows(json_rows.whole_lines(head, stream), name)
    else:
        first = next(line for line in map(json_rows.stripped, head) if line)
        start = first[:40].decode("utf-8", errors="replace")
        raise HeedError(
            f"file is of no known kind: it starts with {start!r}",
            str(name),
            f"name it after what it holds: {', '.join((*json_rows.NAMES, *tables.NAMES, *texts.NAMES))}",
        )


def _named(name: Path, endings: Sequence[str]) -> bool:
    return any(suffix.lower() in endings for suffix in name.suffixes[-2:])
