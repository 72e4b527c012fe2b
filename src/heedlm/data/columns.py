"""Rows of Parquet and Arrow files, addressed "file:row N", read in small batches so that memory stays flat.

Needs pyarrow. Values become what JSON knows: structs are objects, maps with text for keys too, dates and times are ISO
text, whole decimals are numbers, bytes are text where they are UTF-8. In Arrow a field of a struct cannot be absent, only
null: nulls inside structs are left out, but for those that say what a turn holds.
"""

from __future__ import annotations

import datetime
import decimal
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from heedlm.data.row import BY_ROW, Row
from heedlm.data.tables import decoded
from heedlm.errors import HeedError, Problem

NAMES = (".parquet", ".arrow", ".feather")
PARQUET = b"PAR1"
ARROW_FILE, ARROW_STREAM = b"ARROW1", b"\xff\xff\xff\xff"
_STREAM_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_BATCH = 256  # rows made into Python objects at once
_BUFFER = 1 << 20  # bytes of a column held at once
_SAID = ("role", "content", "from", "value")  # null in one of these is a mistake to be told, not an absent field
_PLAIN = (str, bool, int, float, type(None))


class _UnreadableError(Exception):
    """A value that has no place in a row. field: where it stands below the row."""

    def __init__(self, field: str, what: str, mend: str) -> None:
        self.field, self.what, self.mend = field, what, mend
        super().__init__(what)


def arrow_library(what: str, path: Path | str) -> Any:
    """The module pyarrow. Raises HeedError where it is not installed."""
    try:
        import pyarrow
    except ImportError as error:
        mend = "pip install 'heedlm[tables]'  (or pip install pyarrow)"
        raise HeedError(f"{what} needs pyarrow, which cannot be imported: {error}", str(path), mend) from error
    return pyarrow


def column_rows(file: Path, path: Path, start: bytes, first: int = 1) -> Iterator[Row | Problem]:
    """The rows of a Parquet or Arrow file.   path: what addresses say.   start: its first bytes.   first: its first row."""
    kind = "a Parquet file" if start.startswith(PARQUET) else "an Arrow file"
    arrow = arrow_library(kind, path)
    number = first
    try:
        for batch in _parquet_batches(file) if start.startswith(PARQUET) else _arrow_batches(arrow, file, start):
            _check_names(batch.schema.names, path)
            _check_buffers(arrow, batch)
            for at in range(0, batch.num_rows, _BATCH):
                part = batch.slice(at, _BATCH)
                yield from _rows(arrow, part, path, number)
                number += part.num_rows
    except (arrow.ArrowException, EOFError, UnicodeDecodeError, OverflowError, MemoryError) as error:
        raise _damaged(kind, error, path, number, first) from error
    except OSError as error:
        if error.errno is not None:  # of the disk, not of what is on it
            raise
        raise _damaged(kind, error, path, number, first) from error


def _damaged(kind: str, error: Exception, path: Path, number: int, first: int) -> HeedError:
    said = str(error).strip().split("\n")[0].split(". Detail")[0][:160]
    said = "a name in it is not UTF-8" if isinstance(error, UnicodeDecodeError) else said
    behind = f" behind row {number - 1:,}" if number > first else ""
    return HeedError(
        f"{kind.split(' ', 1)[1]} is damaged or cut off{behind}: {said}", str(path), "fetch or write the file again"
    )


def _parquet_batches(file: Path) -> Iterator[Any]:
    from pyarrow import parquet

    with parquet.ParquetFile(
        file, memory_map=False, pre_buffer=False, buffer_size=_BUFFER, page_checksum_verification=True
    ) as opened:
        _check_names(opened.schema_arrow.names, file)
        yield from opened.iter_batches(batch_size=_BATCH, use_threads=False)


def _arrow_batches(arrow: Any, file: Path, start: bytes) -> Iterator[Any]:
    with arrow.memory_map(str(file)) as source:
        if start.startswith(ARROW_FILE):
            opened = arrow.ipc.open_file(source)
            for index in range(opened.num_record_batches):
                yield opened.get_batch(index)
            return
        source.seek(max(0, source.size() - len(_STREAM_END)))
        if source.read() != _STREAM_END:  # a stream cut between two batches reads like a shorter one
            raise EOFError("the mark at the end of the stream is missing")
        source.seek(0)
        yield from arrow.ipc.open_stream(source)


def _check_names(names: Sequence[str], path: Path) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise HeedError(
            f"repeated field: {twice[0]!r} names more than one column, and only one can be kept",
            str(path),
            f"rename one of the columns: table.rename_columns([...]); the columns are {', '.join(names)}",
        )


def _check_buffers(arrow: Any, batch: Any) -> None:
    """Refuse a batch whose buffers do not fit together: reading it could read anything. Raises ArrowInvalid.

    Text that is not UTF-8 is told later, with its row.
    """
    for column in batch.columns:
        try:
            column.validate(full=True)
        except arrow.ArrowInvalid as error:
            if "UTF8" not in str(error):
                raise


def _rows(arrow: Any, batch: Any, path: Path, number: int) -> Iterator[Row | Problem]:
    """The rows of a small batch; where one of its values cannot be read, each row on its own."""
    names = batch.schema.names
    plain = [_is_plain(arrow, field.type) for field in batch.schema]
    try:
        columns = [_values(arrow, batch.column(index), name) for index, name in enumerate(names)]
    except _UnreadableError as error:
        if batch.num_rows == 1:
            yield Problem(f"{error.what.replace('%', repr(error.field), 1)}", f"{path}:{BY_ROW}{number}", error.mend)
            return
        for at in range(batch.num_rows):
            yield from _rows(arrow, batch.slice(at, 1), path, number + at)
        return
    cells: Iterable[Sequence[Any]] = zip(*columns, strict=True) if columns else ((),) * batch.num_rows
    for at, row in enumerate(cells):
        where = f"{path}:{BY_ROW}{number + at}"
        try:
            value = {
                name: cell if easy else _jsonable(cell, name)
                for name, cell, easy in zip(names, row, plain, strict=True)
            }
        except _UnreadableError as error:
            yield Problem(error.what.replace("%", repr(error.field), 1), where, error.mend)
        else:
            yield decoded(value, where)


def _is_plain(arrow: Any, kind: Any) -> bool:
    types = arrow.types
    return bool(
        types.is_string(kind) or types.is_large_string(kind) or types.is_integer(kind) or types.is_boolean(kind)
    )


def _values(arrow: Any, column: Any, name: str) -> list[Any]:
    """The values of a column as Python objects. Raises _UnreadableError."""
    try:
        if arrow.types.is_timestamp(column.type):  # nanoseconds have no place in Python's own times
            column = column.cast(arrow.string())
        values: list[Any] = column.to_pylist()
        if isinstance(column.type, getattr(arrow, "JsonType", ())):
            values = [value if value is None else json.loads(value) for value in values]
        return values
    except UnicodeDecodeError as error:
        what = f"not UTF-8: field % holds byte {error.object[error.start]:#04x}, expected UTF-8 text"
        raise _UnreadableError(name, what, "write the column again from text, not from bytes") from error
    except (arrow.ArrowException, ValueError, OverflowError, RecursionError) as error:
        what = f"wrong type: field % of type {column.type} cannot be read: {str(error)[:80]}"
        mend = f"cast the column to text: column.cast(pyarrow.string()), or leave {name!r} out"
        raise _UnreadableError(name, what, mend) from error


def _jsonable(value: Any, field: str) -> Any:
    """A value as JSON knows it. Raises _UnreadableError."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, dict):
        return {
            name: _jsonable(inner, f"{field}.{name}")
            for name, inner in value.items()
            if inner is not None or name in _SAID
        }
    if isinstance(value, list):
        if value and all(isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in value):
            return {name: _jsonable(inner, f"{field}.{name}") for name, inner in value}
        return [_jsonable(inner, f"{field}[{index}]") for index, inner in enumerate(value)]
    if isinstance(value, tuple):
        return [_jsonable(inner, f"{field}[{index}]") for index, inner in enumerate(value)]
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            what = f"not text: field % holds {len(value):,} bytes that are not UTF-8, expected text"
            column = field.split(".")[0].split("[")[0]
            raise _UnreadableError(field, what, f"leave the column out: table.drop_columns([{column!r}])") from None
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    number = getattr(value, "item", None)  # a half float comes as a number of numpy
    return number() if callable(number) else str(value)
