"""Rows of JSON and JSON lines files, each with the line at which it starts.

A broken row becomes a `Problem` and reading goes on. Where the rows behind a broken one cannot be told apart, and where a
list never ends, `HeedError` is raised: rows would be lost in silence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from heedlm.data.row import Row
from heedlm.data.window import Window
from heedlm.errors import HeedError, Problem

BOM = b"\xef\xbb\xbf"
NAMES = (".json", ".jsonl", ".ndjson")


def json_rows(head: Sequence[bytes], stream: IO[bytes], path: Path) -> Iterator[Row | Problem]:
    """The rows of a file that starts with the lines `head` and goes on in `stream`.   head: its last line may be a part."""
    if _holds_lines(head, path):
        yield from _json_lines(whole_lines(head, stream), path)
    else:
        yield from _json_values(Window(b"".join(head).removeprefix(BOM), stream), path)


def whole_lines(head: Sequence[bytes], stream: IO[bytes]) -> Iterator[bytes]:
    """All lines of a file that starts with `head`, the last of which may be the first part of a line."""
    yield from head[:-1]
    yield head[-1] if head[-1].endswith(b"\n") else head[-1] + stream.readline()
    yield from stream


def is_json(head: Sequence[bytes], path: Path) -> bool:
    """Whether a file that starts with these lines is JSON: by its name, or else by its first line that holds something."""
    if any(suffix.lower() in NAMES for suffix in path.suffixes[-2:]):
        return True
    first = next(line for line in map(stripped, head) if line)
    if path.suffix and first[:1] in (b"[", b"{"):  # a table or a text may start with a bracket as well
        return first in (b"[", b"{") or first.startswith((b"[{", b'{"')) or _parses(first)
    return first[:1] in (b"[", b"{")


def _holds_lines(head: Sequence[bytes], path: Path) -> bool:
    """Whether the file is JSON lines, from its name and its first two lines that hold something."""
    lines = [stripped(line) for line in head if stripped(line)]
    named = any(suffix.lower() in NAMES[1:] for suffix in path.suffixes)
    if lines[0].startswith(b"["):
        return len(lines) > 1 and _parses(lines[0])
    if lines[0].startswith(b"{"):
        return _parses(lines[0]) or (named and lines[0] != b"{")
    if not named:
        start = lines[0][:40].decode("utf-8", errors="replace")
        raise HeedError(
            f"file is not JSON: it starts with {start!r}",
            str(path),
            "give JSON or JSON lines, or name the file after what it is, for example rows.csv",
        )
    return True


def stripped(line: bytes) -> bytes:
    """A line without white space around it and without a byte order mark."""
    return line.removeprefix(BOM).strip()


def _parses(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


class _Decoder:
    """A JSON decoder that remembers keys written twice in one object, of which plain decoding keeps only the last."""

    def __init__(self) -> None:
        self.repeated: list[str] = []
        self._decoder = json.JSONDecoder(object_pairs_hook=self._pairs)

    def _pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            self.repeated += sorted({name for name in names if names.count(name) > 1})
        return found

    def at(self, text: str, start: int) -> tuple[Any, int]:
        """The value that starts at `start`, and where it ends. Raises ValueError, RecursionError."""
        self.repeated = []
        return self._decoder.raw_decode(text, start)


def _json_lines(lines: Iterator[bytes], path: Path) -> Iterator[Row | Problem]:
    decoder = _Decoder()
    for number, raw in enumerate(lines, start=1):
        line = stripped(raw)
        if not line:
            continue
        where = f"{path}:{number}"
        try:
            text = line.decode("utf-8")
            value, end = decoder.at(text, 0)
            if end != len(text):
                raise json.JSONDecodeError("Extra data", text, end)
        except UnicodeDecodeError as error:
            yield Problem(
                f"not UTF-8: byte {error.object[error.start]:#04x} at column {error.start + 1}",
                where,
                "save the file as UTF-8, for example: iconv -f LATIN1 -t UTF-8 OLD > NEW",
            )
        except (ValueError, RecursionError) as error:
            column = error.colno if isinstance(error, json.JSONDecodeError) else 1
            yield _broken(error, where, text, cut=not raw.endswith(b"\n"), column=column)
        else:
            yield _row(value, decoder.repeated, where)


def _json_values(window: Window, path: Path) -> Iterator[Row | Problem]:
    """Rows of one JSON list, or of objects that follow each other, each over any number of lines."""
    decoder = _Decoder()
    window.skip()
    is_list = window.text[window.position] == "["
    window.position += is_list
    between = "," if is_list else ""
    next_row: re.Pattern[str] | None = None
    while True:
        if not window.skip(between):
            if is_list:
                what, mend = "list is not closed: the file was cut off", "write the file again, up to its last ]"
                raise HeedError(what, f"{path}:{window.line}", mend)
            return
        if is_list and window.text[window.position] == "]":
            window.position += 1
            if window.skip():
                what = "text follows the end of the list"
                mend = "keep one list per file, or write one object per line (.jsonl)"
                raise HeedError(what, f"{path}:{window.line}", mend)
            return
        next_row = next_row or _row_start(window.text, window.position)
        where = f"{path}:{window.line}"
        try:
            value = window.value(decoder.at)
        except (ValueError, RecursionError) as error:
            at = error.pos if isinstance(error, json.JSONDecodeError) else window.position
            place = f"{path}:{window.line_at(at)}"
            behind, cut = at - window.position, not window.rest(at, "")
            yield _broken(error, place, window.text, cut=cut, column=window.column_at(at))
            if not window.find(next_row, _inside, max(window.position + 1, window.text.rfind("\n", 0, at))):
                if window.rest(window.position + behind, between + "]}") or not is_list:
                    what = "the rows behind this place cannot be told apart"
                    mend = "mend the JSON there, or write one object per line (.jsonl)"
                    raise HeedError(what, place, mend) from error
                return
        else:
            yield _row(value, decoder.repeated, where)


def _row_start(text: str, position: int) -> re.Pattern[str]:
    """What the start of a row looks like in this file: a line with the same indent as the row at `position`."""
    indent = text[text.rfind("\n", 0, position) + 1 : position]
    return re.compile(r"\n" + re.escape(indent) + r"\{") if not indent.strip() else re.compile(r"\n ?\{")


def _inside(text: str, at: int) -> bool:
    """Whether what starts at `at` opens a list or stands behind a colon: then it lies inside a row, however indented."""
    while at and text[at] in " \t\r\n":
        at -= 1
    return text[at] in "[:"


def _row(value: Any, repeated: list[str], where: str) -> Row | Problem:
    if not isinstance(value, dict):
        kind = {list: "a list", str: "text", bool: "true or false", type(None): "null"}.get(type(value), "a number")
        mend = 'write an object such as {"prompt": "...", "completion": "..."}'
        if isinstance(value, list):
            rows = value and all(isinstance(inner, dict) and "role" not in inner for inner in value)
            mend = "write each object of the list on a line of its own" if rows else 'write {"messages": [...]}'
        return Problem(f"not an object: the row is {kind}, expected an object with named fields", where, mend)
    if repeated:
        return Problem(
            f"repeated field: {repeated[0]!r} stands more than once in one object, and only one can be kept",
            where,
            f"keep one {repeated[0]!r}, or rename the others",
        )
    return Row(value, where)


def _broken(error: ValueError | RecursionError, where: str, text: str, *, cut: bool, column: int) -> Problem:
    if isinstance(error, RecursionError):
        return Problem("broken JSON: nested too deeply", where, "flatten the row")
    if not isinstance(error, json.JSONDecodeError):
        return Problem("broken JSON: a number has too many digits", where, 'write the number as text, in "quotes"')
    near = text[error.pos : error.pos + 20].split("\n")[0]
    what = f"broken JSON: {error.msg[0].lower()}{error.msg[1:]} at column {column}" + (
        f", near {near!r}" if near else ""
    )
    return Problem(what, where, _mend_json(error, text, cut))


def _mend_json(error: json.JSONDecodeError, text: str, cut: bool) -> str:
    near = text[error.pos : error.pos + 1]
    if error.msg == "Extra data":
        if near == "\r":
            return r"a carriage return ends the lines, as on an old Macintosh: tr '\r' '\n' < OLD > NEW"
        more = text[error.pos :].lstrip(" \t,")[:1] == "{"
        return "write one object per line" if more else "remove what follows the object"
    if near == "\0":
        crashed = text[error.pos : error.pos + 16].strip("\0") == ""
        return "a crash left zeros there: fetch or write the file again" if crashed else "remove the NUL character"
    if near in ("<", "=", ">") and text[error.pos : error.pos + 7] == near * 7:
        return "a merge left this line: keep one of the two sides, and remove the marks"
    if near in ("\u201c", "\u201d", "\u201e"):
        return 'write straight quotes: " in place of \u201c and \u201d'
    if text[error.pos : error.pos + 2] in ("//", "/*"):
        return "JSON has no comments: remove it"
    if near == "'":
        return 'JSON wants "double quotes"; in Python write rows with json.dumps(row)'
    if re.match(r"(None|True|False)\b", text[error.pos :]):
        return "JSON writes null, true, false; in Python write rows with json.dumps(row)"
    if "control character" in error.msg:
        return r"write a line break inside text as \n; in Python write rows with json.dumps(row)"
    if error.msg.startswith("Invalid \\escape"):
        return r"write a backslash as \\; in Python write rows with json.dumps(row)"
    if near in ("}", "]") or "property name" in error.msg or "trailing comma" in error.msg:
        return "remove the comma before a closing bracket, and put every field name in double quotes"
    if not near or error.msg.startswith("Unterminated"):
        if cut:
            return "the line is cut off: write the file again"
        return r"the row ends too early: write the rest of it, line breaks inside text as \n, or remove it"
    return "mend the JSON there; in Python write rows with json.dumps(row)"
