"""The log of an evaluation: one JSON line per item and arm."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import get_args

from heedlm.errors import HeedError
from heedlm.messages import StopReason, ToolCall
from heedlm.runs import disk_errors

VERSION = 3
_KNOWN = (1, 2, VERSION)  # what lines of an older version do not have stands in `_NEW`


@dataclass(frozen=True, slots=True)
class Item:
    """What one arm answered to one item.

    id: of the example.   prompt: what the model saw, as text.   score: 0..1.   why: the scorer's reason.
    seconds: its share of the batch it was answered in.   key: fingerprint of what was asked and of whom; a line is
    reused only where the key is the same.   model: name and checksum of who answered.   question: fingerprint of the
    turns alone, so that an old reply is never scored as the answer to another question.   tokens, prompt_tokens:
    generated, and of what was asked, None where they are not counted.   money: by the prices of an endpoint, None without
    them.   error: why there is no reply, or no score for it; "" where all went well.
    """

    id: str
    task: str
    arm: str
    prompt: str
    reply: str
    stop_reason: StopReason
    score: float
    why: str
    seconds: float
    key: str = ""
    model: str = ""
    question: str = ""
    tokens: int | None = None
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    error: str = ""
    prompt_tokens: int | None = None
    money: float | None = None
    version: int = VERSION


_TYPES: dict[str, type | tuple[type, ...]] = {
    "score": (int, float),
    "seconds": (int, float),
    "version": int,
    "tokens": (int, type(None)),
    "prompt_tokens": (int, type(None)),
    "money": (int, float, type(None)),
    "reasoning": (str, type(None)),
    "tool_calls": list,
}
_NEW = {2: ("model", "question", "tokens", "reasoning", "tool_calls", "error"), 3: ("prompt_tokens", "money")}


def append_items(path: Path, items: Iterable[Item]) -> None:
    """Add items at the end of the log."""
    append_lines(path, [json.dumps(asdict(item), ensure_ascii=False) for item in items])


def append_lines(path: Path, told: Sequence[str]) -> None:
    """Add lines at the end of a file, all of them in one write, so that two writers never mix inside a line."""
    lines = "".join(line + "\n" for line in told)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        mend_tail(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            left = memoryview(lines.encode("utf-8", "replace"))
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def mend_tail(path: Path) -> bool:
    """Cut off a last line without its end, which a killed writer leaves. True when there was one; its item is asked
    again."""
    if not path.is_file():
        return False
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return False
        file.seek(size - 1)
        if file.read(1) == b"\n":
            return False
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
    return True


def read_items(path: Path) -> list[Item]:
    """All items of a log in order, a last line without its end left out; where an item was written again, the later
    line counts.

    Raises HeedError with `file:line` for a line that is no item of this version.
    """
    found: dict[tuple[str, str, str], Item] = {}
    text = path.read_text(encoding="utf-8")
    for number, line in enumerate(text[: text.rfind("\n") + 1].split("\n")[:-1], start=1):
        item = _item(line, f"{path}:{number}")
        found.pop((item.task, item.arm, item.id), None)
        found[(item.task, item.arm, item.id)] = item
    return list(found.values())


def _item(line: str, where: str) -> Item:
    mend = "take this line out of the log; its item is asked again"
    try:
        row = json.loads(line)
    except ValueError as error:
        raise HeedError(f"the line is not JSON: {error}", where, mend) from None
    if not isinstance(row, dict) or row.get("version") not in _KNOWN:
        raise HeedError(f"the line is no item of log version {VERSION}", where, mend)
    later = {name for version, new in _NEW.items() if version > row["version"] for name in new}
    names = {field.name for field in fields(Item)} - later
    if set(row) != names:
        odd = ", ".join(sorted(set(row) ^ names))
        raise HeedError(f"fields missing or unknown: {odd}", where, mend)
    for name in names:
        if not isinstance(row[name], _TYPES.get(name, str)) or isinstance(row[name], bool):
            raise HeedError(f"field {name!r} is {row[name]!r}", where, mend)
    if row["stop_reason"] not in get_args(StopReason):
        raise HeedError(f"field 'stop_reason' is {row['stop_reason']!r}", where, mend)
    if row["version"] == 1:
        row["error"] = row["why"] if row["stop_reason"] == "error" else ""
    try:
        calls = tuple(ToolCall(**call) for call in row.pop("tool_calls", ()))
    except TypeError:
        raise HeedError("field 'tool_calls' holds what is no call", where, mend) from None
    return Item(**{**row, "version": VERSION}, tool_calls=calls)
