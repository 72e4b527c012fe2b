"""Plain text and Markdown as documents: rows with one field, `text`.

A file is one document, unless lines that hold nothing but `<|endoftext|>` part it into several.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from heedlm.data.json_rows import BOM
from heedlm.data.row import Row
from heedlm.errors import Problem

NAMES = (".txt", ".md", ".markdown")
BETWEEN = b"<|endoftext|>"
# Files that speak about a folder. In a folder they are passed over; named themselves they are read.
_ABOUT = ("readme", "license", "licence", "notice", "changelog", "contributing", "authors", "citation", "copying")


def about_folder(name: str) -> bool:
    """Whether a file of this name describes the folder it stands in."""
    return name.lower().split(".")[0] in _ABOUT


def text_rows(lines: Iterable[bytes], path: Path) -> Iterator[Row | Problem]:
    """The documents of a file, each at the line of its first word.   lines: of the file, with their ends."""
    held: list[bytes] = []
    start = 0
    for number, line in enumerate(lines, start=1):
        if line.strip() == BETWEEN:
            if held:
                yield _document(held, f"{path}:{start}")
            held = []
        elif held or line.removeprefix(BOM).strip():
            start = start if held else number
            held.append(line if held else line.removeprefix(BOM))
    if held:
        yield _document(held, f"{path}:{start}")


def _document(lines: list[bytes], where: str) -> Row | Problem:
    try:
        text = b"".join(lines).decode("utf-8")
    except UnicodeDecodeError as error:
        return Problem(
            f"not UTF-8: field 'text' holds byte {error.object[error.start]:#04x}, expected UTF-8 text",
            f"{where.rpartition(':')[0]}:{int(where.rpartition(':')[2]) + error.object.count(10, 0, error.start)}",
            "save the file as UTF-8, for example: iconv -f LATIN1 -t UTF-8 OLD > NEW",
        )
    return Row({"text": text.replace("\r\n", "\n").rstrip()}, where)
