"""Rows of tables in text: CSV and TSV, each row with the line at which its record begins.

All cells are text. The first record names the columns. What cannot be told apart is never guessed: a record that breaks on
the line where it began costs that line, one that breaks further down ends the reading with an error.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from heedlm.data.json_rows import BOM
from heedlm.data.row import Row
from heedlm.errors import HeedError, Problem

NAMES = (".csv", ".tsv")
JSON_COLUMNS = ("messages", "conversations", "conversation", "instances", "tools", "template_kwargs", "meta")
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_LONGEST = 256 << 20  # characters of one cell; a quote that is never closed must not swallow any file into memory
_UNQUOTED = (
    "python -c \"import csv, sys; csv.writer(sys.stdout).writerows(line.rstrip('\\n').split('\\t') for line in sys.stdin)\" "
    "< OLD.tsv > NEW.csv"
)


def table_rows(lines: Iterable[bytes], path: Path) -> Iterator[Row | Problem]:
    """The rows of a table.   lines: of the file, with their ends. Raises HeedError where no row behind can be trusted."""
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST))
    counted = _Counted(_text(lines))
    delimiter = _delimiter(counted, path)
    records = csv.reader(counted, delimiter=delimiter, strict=True)
    names: list[str] | None = None
    rows = 0
    while True:
        start = counted.number + 1
        try:
            cells = next(records)
        except StopIteration:
            if rows == 0:
                mend = (
                    "write rows below the names of the columns; where the first line is a row, write the names above it"
                )
                raise HeedError("table holds its first line alone", f"{path}:{counted.number}", mend) from None
            return
        except csv.Error as error:
            problem = _broken(error, start, counted, delimiter, path)
            if names is None or counted.number != start:
                raise HeedError.of([problem]) from error
            rows += 1
            yield problem
            continue
        if not any(cells):
            continue  # an empty line, or one of nothing but delimiters, as spreadsheets leave at the end
        if names is None:
            names = _header(cells, f"{path}:{start}")
        else:
            rows += 1
            yield _row(names, cells, f"{path}:{start}", delimiter)


def looks_like_table(head: Sequence[bytes]) -> bool:
    """Whether text without a name is a table: two names or more, all different, and as many cells in the next line."""
    texts = [line.removeprefix(BOM).decode("utf-8", errors="replace").strip("\r\n") for line in head if line.strip()]
    if len(texts) < 2:
        return False
    for delimiter in _DELIMITERS:
        names, cells = (_cells(text, delimiter) for text in texts[:2])
        if len(names) == len(cells) == len(set(names)) > 1 and all(names):
            return True
    return False


def _cells(line: str, delimiter: str) -> list[str]:
    """The cells of one line, none where it cannot be parted."""
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


class _Counted:
    """Lines one by one, with the number of the last one that was given out."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._ahead: list[str] = []
        self.number = 0

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> str:
        line = self._ahead.pop() if self._ahead else next(self._lines)
        self.number += 1
        return line

    def peek(self) -> str:
        """The first line that holds something; lines before it count as given out."""
        while not (line := next(self._lines)).strip():
            self.number += 1
        self._ahead.append(line)
        return line


def _text(lines: Iterable[bytes]) -> Iterator[str]:
    """Lines as text, what is not UTF-8 in it as half characters. Files of old Macs end their lines in CR alone."""
    macintosh: bool | None = None
    for number, raw in enumerate(lines):
        text = (raw.removeprefix(BOM) if not number else raw).decode("utf-8", errors="surrogateescape")
        if macintosh is None and text.strip():
            macintosh = "\r" in text.rstrip("\r\n")
        if macintosh:
            yield from (piece for piece in re.split(r"(?<=\r)(?!\n)", text) if piece)
        else:
            yield text


def _delimiter(counted: _Counted, path: Path) -> str:
    """The delimiter that parts the names of columns; of a .tsv file the tab, if there is one. A line `sep=;` above is taken off."""
    header = counted.peek()
    told = re.fullmatch(r"sep=([,;\t|])\s*", header, re.IGNORECASE)
    if told:
        next(counted)
        return told[1]
    if "\t" in header and any(suffix.lower() == ".tsv" for suffix in path.suffixes):
        return "\t"
    cells = {delimiter: len(_cells(header, delimiter)) for delimiter in _DELIMITERS}
    return max(cells, key=lambda delimiter: cells[delimiter])  # the first of several, so the comma where none parts


def _header(cells: list[str], where: str) -> list[str]:
    names = [cell.strip() or f"column {index}" for index, cell in enumerate(cells, start=1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise HeedError(
            f"repeated field: {twice[0]!r} names more than one column, and only one can be kept",
            where,
            f"rename one of the columns {twice[0]!r} in the first line",
        )
    return names


def _row(names: Sequence[str], cells: list[str], where: str, delimiter: str) -> Row | Problem:
    count = len(cells)
    if count > len(names) and not any(cells[len(names) :]):
        cells = cells[: len(names)]
    if len(cells) != len(names):
        return _ragged(names, cells, where, _DELIMITERS[delimiter])
    value: dict[str, Any] = dict(zip(names, cells, strict=True))
    return decoded(value, where)


def decoded(value: dict[str, Any], where: str) -> Row | Problem:
    """The row with these fields; lists and objects written as text, as a table must, are read where a column holds such."""
    for name in JSON_COLUMNS:
        cell = value.get(name)
        if not isinstance(cell, str) or cell.lstrip()[:1] not in ("", "[", "{"):
            continue  # text is left as it is: what is wrong with it is told with the shape of the row
        try:
            value[name] = json.loads(cell) if cell.strip() else None
        except (ValueError, RecursionError):
            if name == "meta":
                continue
            return Problem(
                f"broken JSON: field '{name}' is {cell[:40]!r}, expected JSON in this column of a table",
                where,
                f"write the column with json.dumps: frame['{name}'] = frame['{name}'].map(json.dumps)",
            )
    return Row(value, where)


def _ragged(names: Sequence[str], cells: Sequence[str], where: str, called: str) -> Problem:
    what = f"ragged row: {len(cells):,} cell(s), expected {len(names):,} as in the first line"
    if len(cells) < len(names):
        mend = f"write every cell, empty ones too, with a {called} between"
        return Problem(f"{what}; field '{names[len(cells)]}' is missing", where, mend)
    mend = f'put a cell that holds a {called} in quotes: "..."; in Python write the file with csv.writer'
    if any(cell.startswith(' "') for cell in cells):
        mend = f"remove the space between a {called} and the quote behind it"
    return Problem(f"{what}; more follows the field '{names[-1]}'", where, mend)


def _broken(error: csv.Error, start: int, counted: _Counted, delimiter: str, path: Path) -> Problem:
    """What is wrong with the record that began on line `start`."""
    where, said, called = f"{path}:{start}", str(error), _DELIMITERS[delimiter]
    mend = 'write a quote inside a quoted cell twice: "she said ""yes"""; in Python write the file with csv.writer'
    if called == "tab":
        mend += f"; where no cell is quoted: {_UNQUOTED}"
    if "unexpected end" in said:
        return Problem('broken table: a cell opens with " here and is never closed', where, f"close it, or {mend}")
    if "expected after" in said and counted.number != start:
        what = f'broken table: a cell that opens with " here ends on line {counted.number}, and more text follows it'
        return Problem(f"{what}; the rows behind cannot be told apart", where, f"close the cell, or {mend}")
    if "expected after" in said:
        return Problem(f'broken table: text follows the closing " of a cell, expected a {called}', where, mend)
    if "new-line character" in said:
        what = "broken table: a carriage return stands inside a cell without quotes"
        return Problem(what, where, 'put the cell in quotes, or take them out: tr -d "\\r" < OLD > NEW')
    if "field limit" in said:
        what = f"broken table: a cell is longer than {_LONGEST:,} characters"
        return Problem(what, where, f'close the " that opens it, or {mend}')
    return Problem(f"broken table: {said}", where, "write the file again, in Python with csv.writer")
