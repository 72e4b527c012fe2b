"""Examples as JSON lines that any other tool reads as ordinary `messages` rows.

One row per line, fields in this order, those marked ? only where they hold something:

    heed_version (1), id, group?, messages, tools?, template_kwargs?, rejected?, source, meta?

The version stands in every row, so that the file stays plain JSON lines and any part of it is still readable.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from heedlm.errors import HeedError
from heedlm.messages import ROLES, Example, Message, ToolCall

VERSION = 1
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
# Line ends to some readers, though not to JSON: escaped, so that a row is one line to everybody.
_LINE_ENDS = {"\u2028": "\\u2028", "\u2029": "\\u2029", "\x85": "\\u0085"}


def to_line(example: Example) -> bytes:
    """One line of a split file, with its line end."""
    row: dict[str, Any] = {"heed_version": VERSION, "id": example.id}
    if example.group is not None:
        row["group"] = example.group
    row["messages"] = [_from_message(message) for message in example.messages]
    if example.tools:
        row["tools"] = example.tools
    if example.template_kwargs:
        row["template_kwargs"] = example.template_kwargs
    if example.rejected:
        row["rejected"] = [_from_message(message) for message in example.rejected]
    row["source"] = example.source
    if example.meta:
        row["meta"] = example.meta
    text = _ENCODER.encode(row)
    if not text.isascii():
        for character, escape in _LINE_ENDS.items():
            text = text.replace(character, escape)
    return text.encode("utf-8") + b"\n"


def write_split(path: Path, examples: Iterable[Example]) -> int:
    """Write a split file, whole or not at all; the number of rows. Raises HeedError when it cannot be written."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    rows = 0
    try:
        with partial.open("wb") as file:
            for example in examples:
                file.write(to_line(example))
                rows += 1
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise HeedError(
            f"cannot be written: {error.strerror or error}", str(path), "free some space, or write to another folder"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return rows


def read_split(path: Path) -> Iterator[Example]:
    """The examples of a split file, in order, one at a time. Raises HeedError with the line that is not as written."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield from_line(line, f"{path}:{number}")
    except FileNotFoundError:
        raise HeedError("no such file", str(path), "run `heed prepare` first") from None
    except OSError as error:
        raise HeedError(
            f"cannot be read: {error.strerror or error}", str(path), "check the file and its permissions"
        ) from error


def from_line(line: bytes, where: str) -> Example:
    """The example of one line. Raises HeedError at `where`."""
    try:
        row = json.loads(line)
        version = row["heed_version"]
        if version != VERSION:
            raise HeedError(
                f"row has format version {version}, this heed reads {VERSION}",
                where,
                "prepare the data again with this heed",
            )
        return Example(
            id=row["id"],
            messages=tuple(_to_message(turn) for turn in row["messages"]),
            source=row["source"],
            group=row.get("group"),
            tools=tuple(row.get("tools", ())),
            template_kwargs=row.get("template_kwargs", {}),
            rejected=tuple(_to_message(turn) for turn in row.get("rejected", ())),
            meta=row.get("meta", {}),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise HeedError(
            "row was not written by `heed prepare`, or was damaged since", where, "prepare the data again: heed prepare"
        ) from error


def _from_message(message: Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning is not None:
        turn["reasoning_content"] = message.reasoning
    if message.tool_calls:
        turn["tool_calls"] = [_from_call(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        turn["tool_call_id"] = message.tool_call_id
    if message.weight is not None:
        turn["weight"] = message.weight
    return turn


def _from_call(call: ToolCall) -> dict[str, Any]:
    named = {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
    return named if call.id is None else {"id": call.id, **named}


def _to_message(turn: Mapping[str, Any]) -> Message:
    if turn["role"] not in ROLES or not isinstance(turn["content"], str):
        raise ValueError("a turn has a role and text")
    calls = tuple(
        ToolCall(call["function"]["name"], call["function"]["arguments"], call.get("id"))
        for call in turn.get("tool_calls", ())
    )
    return Message(
        turn["role"],
        turn["content"],
        turn.get("reasoning_content"),
        calls,
        turn.get("tool_call_id"),
        turn.get("weight"),
    )
