"""Reading rows from JSON and JSONL files, each row with the place a person can open.

A broken row becomes a `Problem` and reading goes on, so that one pass finds every problem. What makes the rest of a
file unreadable (a cut-off archive, a list that never ends) raises `HeedError`: rows behind it would be lost in silence.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from heedlm.errors import HeedError, Problem, nearest

ENDINGS = (".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".ndjson.gz")
BOM = b"\xef\xbb\xbf"

# First bytes of files that people hand in by mistake, with the way to text that `heed` reads.
_STRANGERS: tuple[tuple[bytes, str, str], ...] = (
    (b"\xff\xfe", "UTF-16 text", "convert it: iconv -f UTF-16 -t UTF-8 OLD > NEW.jsonl"),
    (b"\xfe\xff", "UTF-16 text", "convert it: iconv -f UTF-16 -t UTF-8 OLD > NEW.jsonl"),
    (
        b"PAR1",
        "a Parquet file",
        "write it as JSON lines: pandas.read_parquet(OLD).to_json(NEW, orient='records', lines=True)",
    ),
    (b"ARROW1", "an Arrow file", "write it as JSON lines: datasets.Dataset.from_file(OLD).to_json(NEW)"),
    (b"PK\x03\x04", "a zip archive", "unpack it: unzip OLD"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", "unpack it: unzstd OLD"),
    (b"BZh", "a bzip2 archive", "unpack it: bunzip2 OLD"),
    (b"\xfd7zXZ", "an xz archive", "unpack it: unxz OLD"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One JSON object of a file. where: "path:line", the line at which the object starts, counted from 1."""

    value: dict[str, Any]
    where: str


def data_files(path: Path) -> list[Path]:
    """The files that `path` stands for: itself, or the data files directly in the folder, by name.

    Raises HeedError when nothing is there, or when a folder holds no data file or is itself the output of `prepare`.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        shown = str(path).encode("utf-8", "backslashreplace").decode()
        raise HeedError("the name of the file is not UTF-8", shown, "rename it: rows carry the name as text") from None
    try:
        if path.is_file():
            return [path]
        if not path.exists():
            others = path.parent.iterdir() if path.parent.is_dir() else ()
            beside = [e.name for e in others if _is_data_name(e.name) or (e.is_dir() and not e.name.startswith("."))]
            near = f"; {nearest(path.name, beside)}" if beside else ""
            raise HeedError("no such file or folder", str(path), f"give the path of a file or folder that exists{near}")
        if not path.is_dir():
            raise HeedError("not a regular file", str(path), "copy what it holds into a file, and name that file")
        entries = sorted(path.iterdir())
    except OSError as error:
        raise HeedError(f"cannot be read: {error.strerror}", str(path), "check the path and its permissions") from error
    if (path / "card.json").is_file() and (path / "dropped.jsonl").is_file():
        raise HeedError(
            "folder is the output of `heed prepare`, which also holds rows that were dropped",
            str(path),
            f"name one file of it, for example {path / 'train.jsonl'}",
        )
    files = [file for entry in entries if entry.is_file() and _is_data_name(entry.name) for file in data_files(entry)]
    if not files:
        found = ", ".join(entry.name for entry in entries[:5]) or "nothing"
        raise HeedError(
            f"folder holds no data file; found {found}", str(path), "put files there that end in " + ", ".join(ENDINGS)
        )
    return files


def read_rows(path: Path) -> Iterator[Row | Problem]:
    """Every row of a file, or of the data files of a folder, in order.

    JSON lines are streamed; a JSON list, or objects over several lines, are held as text, their rows made one by one.
    Raises HeedError where the rest of a file cannot be read.
    """
    for file in data_files(path):
        yield from _read_file(file)


def _is_data_name(name: str) -> bool:
    return name.lower().endswith(ENDINGS) and not name.startswith(".")


def _read_file(path: Path) -> Iterator[Row | Problem]:
    try:
        with path.open("rb") as file:
            yield from _read_open(file, path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise HeedError("archive is damaged or cut off", str(path), "fetch or write the .gz file again") from error
    except OSError as error:
        raise HeedError(
            f"cannot be read: {error.strerror or error}", str(path), "check the file and its permissions"
        ) from error


def _read_open(raw: IO[bytes], path: Path) -> Iterator[Row | Problem]:
    packed = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    stream: IO[bytes] = io.BufferedReader(gzip.GzipFile(fileobj=raw), 1 << 20) if packed else raw
    head: list[bytes] = []  # lines read ahead to learn what the file is
    for line in stream:
        head.append(line)
        _refuse_stranger(head[0], path)
        if _strip(line):
            break
    else:
        raise HeedError("file is empty", str(path), "write at least one row into it")
    for line in stream:  # a second line with something in it tells a list on one line from a list per line
        head.append(line)
        if _strip(line):
            break
    if _holds_lines(head, path):
        yield from _json_lines(head, stream, path)
    else:
        text = (b"".join(head) + stream.read()).removeprefix(BOM).decode("utf-8", errors="surrogateescape")
        yield from _json_values(text, path)


def _refuse_stranger(start: bytes, path: Path) -> None:
    for magic, name, mend in _STRANGERS:
        if start.startswith(magic):
            raise HeedError(f"file is {name}; JSON or JSON lines in UTF-8 were expected", str(path), mend)


def _holds_lines(head: list[bytes], path: Path) -> bool:
    """Whether the file is JSON lines, from its name and its first two lines that hold something."""
    lines = [_strip(line) for line in head if _strip(line)]
    named = ".jsonl" in path.suffixes or ".ndjson" in path.suffixes
    if lines[0].startswith(b"["):
        return len(lines) > 1 and _parses(lines[0])
    if lines[0].startswith(b"{"):
        return _parses(lines[0]) or (named and lines[0] != b"{")
    if not named:
        start = lines[0][:40].decode("utf-8", errors="replace")
        raise HeedError(
            f"file is not JSON: it starts with {start!r}",
            str(path),
            "give JSON or JSON lines; for a table: pandas.read_csv(OLD).to_json(NEW, orient='records', lines=True)",
        )
    return True


def _strip(line: bytes) -> bytes:
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


def _json_lines(head: list[bytes], stream: IO[bytes], path: Path) -> Iterator[Row | Problem]:
    decoder = _Decoder()
    number = 0
    for lines in (head, stream):
        for raw in lines:
            number += 1
            line = _strip(raw)
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
                yield _broken(error, where, text, cut=not raw.endswith(b"\n"))
            else:
                yield _row(value, decoder.repeated, where)


def _json_values(text: str, path: Path) -> Iterator[Row | Problem]:
    """Rows of one JSON list, or of objects that follow each other, each over any number of lines."""
    decoder = _Decoder()
    start = _skip(text, 0, "")
    is_list = text[start] == "["
    position = start + 1 if is_list else start
    between = "," if is_list else ""
    line, counted = 1, 0
    next_row: re.Pattern[str] | None = None
    while True:
        position = _skip(text, position, between)
        line, counted = line + text.count("\n", counted, position), position
        if position == len(text):
            if is_list:
                raise HeedError(
                    "list is not closed: the file was cut off",
                    f"{path}:{line}",
                    "write the file again, up to its last ]",
                )
            return
        if is_list and text[position] == "]":
            rest = _skip(text, position + 1, "")
            if rest != len(text):
                line += text.count("\n", position, rest)
                raise HeedError(
                    "text follows the end of the list",
                    f"{path}:{line}",
                    "keep one list per file, or write one object per line (.jsonl)",
                )
            return
        next_row = next_row or _row_start(text, position)
        try:
            value, position = decoder.at(text, position)
        except (ValueError, RecursionError) as error:
            at = error.pos if isinstance(error, json.JSONDecodeError) else position
            place = f"{path}:{line + text.count(chr(10), position, at)}"
            yield _broken(error, place, text, cut=at >= len(text.rstrip()))
            found = _next_start(text, next_row, max(position + 1, text.rfind("\n", 0, at)))
            if found is None:
                if _skip(text, at, between + "]}") < len(text) or not is_list:
                    raise HeedError(
                        "the rows behind this place cannot be told apart",
                        place,
                        "mend the JSON there, or write one object per line (.jsonl)",
                    ) from error
                return
            position = found.end() - 1
        else:
            yield _row(value, decoder.repeated, f"{path}:{line}")


def _skip(text: str, position: int, more: str) -> int:
    """The first position at or behind `position` that holds neither white space nor one of `more`."""
    while position < len(text) and (text[position] in " \t\r\n\ufeff" or text[position] in more):
        position += 1
    return position


def _row_start(text: str, position: int) -> re.Pattern[str]:
    """What the start of a row looks like in this file: a line with the same indent as the row at `position`."""
    indent = text[text.rfind("\n", 0, position) + 1 : position]
    return re.compile(r"\n" + re.escape(indent) + r"\{") if not indent.strip() else re.compile(r"\n ?\{")


def _next_start(text: str, row_start: re.Pattern[str], position: int) -> re.Match[str] | None:
    """The next start of a row; what opens a list or stands behind a colon lies inside a row, however it is indented."""
    for found in row_start.finditer(text, position):
        before = found.start()
        while before and text[before] in " \t\r\n":
            before -= 1
        if text[before] not in "[:":
            return found
    return None


def _row(value: Any, repeated: list[str], where: str) -> Row | Problem:
    if not isinstance(value, dict):
        kind = {list: "a list", str: "text", bool: "true or false", type(None): "null"}.get(type(value), "a number")
        mend = (
            'write {"messages": [...]}'
            if isinstance(value, list)
            else 'write an object such as {"prompt": "...", "completion": "..."}'
        )
        return Problem(f"not an object: the row is {kind}, expected an object with named fields", where, mend)
    if repeated:
        return Problem(
            f"repeated field: {repeated[0]!r} stands more than once in one object, and only one can be kept",
            where,
            f"keep one {repeated[0]!r}, or rename the others",
        )
    return Row(value, where)


def _broken(error: ValueError | RecursionError, where: str, text: str, *, cut: bool) -> Problem:
    if isinstance(error, RecursionError):
        return Problem("broken JSON: nested too deeply", where, "flatten the row")
    if not isinstance(error, json.JSONDecodeError):
        return Problem("broken JSON: a number has too many digits", where, 'write the number as text, in "quotes"')
    near = text[error.pos : error.pos + 20].split("\n")[0]
    what = f"broken JSON: {error.msg[0].lower()}{error.msg[1:]} at column {error.colno}" + (
        f", near {near!r}" if near else ""
    )
    return Problem(what, where, _mend_json(error, text, cut))


def _mend_json(error: json.JSONDecodeError, text: str, cut: bool) -> str:
    near = text[error.pos : error.pos + 1]
    if error.msg == "Extra data":
        return "write one object per line" if near == "{" else "remove what follows the object"
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
    if cut and (not near or error.msg.startswith("Unterminated")):
        return "the line is cut off: write the file again"
    return "mend the JSON there; in Python write rows with json.dumps(row)"
