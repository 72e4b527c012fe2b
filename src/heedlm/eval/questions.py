"""What was asked, beside the log: the turns of every item, so that a log can be read without the data it came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heedlm.errors import HeedError
from heedlm.eval.log import append_lines
from heedlm.messages import Example, Message, Task, ToolCall

NAME = "questions.jsonl"  # in the folder of the log
VERSION = 1


@dataclass(frozen=True, slots=True)
class Question:
    """One item without its replies. key: fingerprint of the turns, as items of the log have it.   messages: the turns before
    the answer.   reference: the answer of the row, "" where it has none.   group: as in Example."""

    task: str
    id: str
    key: str
    messages: tuple[Message, ...]
    reference: str
    group: str | None


def question(example: Example) -> str:
    """16 hex digits of the turns that are asked."""
    turns = [(turn.role, turn.content, turn.reasoning, turn.tool_calls) for turn in example.messages[:-1]]
    asked = json.dumps([turns, example.tools, example.template_kwargs], sort_keys=True, default=str)
    return hashlib.sha256(asked.encode()).hexdigest()[:16]


def keep_questions(log: Path, tasks: Sequence[Task]) -> None:
    """Add to the file beside the log what is not in it yet."""
    path = log.with_name(NAME)
    known = set(read_questions(log))
    lines = [
        json.dumps(_line(task, example, key), ensure_ascii=False)
        for task in tasks
        for example in task.examples
        if (task.name, example.id, key := question(example)) not in known
    ]
    if lines:
        append_lines(path, lines)


def read_questions(log: Path) -> dict[tuple[str, str, str], Question]:
    """By task, id and key; empty where the file is not there. A last line without its end is left out.

    Raises HeedError with `file:line` for a line that is no question of this version.
    """
    path = log.with_name(NAME)
    if not path.is_file():
        return {}
    found = {}
    text = path.read_text(encoding="utf-8")
    for number, line in enumerate(text[: text.rfind("\n") + 1].split("\n")[:-1], start=1):
        try:
            one = _question(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            mend = "take this line out; the next evaluation writes it again"
            raise HeedError(f"the line is no question of version {VERSION}", f"{path}:{number}", mend) from error
        found[one.task, one.id, one.key] = one
    return found


def _line(task: Task, example: Example, key: str) -> dict[str, Any]:
    told = {"version": VERSION, "task": task.name, "id": example.id, "key": key, "group": example.group}
    return {**told, "messages": [_turn(turn) for turn in example.messages[:-1]], "answer": example.messages[-1].content}


def _turn(turn: Message) -> dict[str, Any]:
    told: dict[str, Any] = {"role": turn.role, "content": turn.content}
    calls = [{"name": call.name, "arguments": dict(call.arguments)} for call in turn.tool_calls]
    return told | ({"tool_calls": calls} if calls else {})


def _question(row: dict[str, Any]) -> Question:
    if row["version"] != VERSION or not all(isinstance(row[name], str) for name in ("task", "id", "key", "answer")):
        raise ValueError(row["version"])
    turns = tuple(
        Message(
            turn["role"],
            str(turn["content"]),
            tool_calls=tuple(ToolCall(call["name"], call["arguments"]) for call in turn.get("tool_calls", ())),
        )
        for turn in row["messages"]
    )
    return Question(row["task"], row["id"], row["key"], turns, row["answer"], row["group"])
