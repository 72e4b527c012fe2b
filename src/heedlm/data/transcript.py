"""Turns out of one text in which marks say who speaks: `### Human:`, a `Human:` behind a blank line, or ChatML."""

from __future__ import annotations

import re
from typing import Any

from heedlm.data.fields import RefusedError, show
from heedlm.data.turns import answer, question
from heedlm.messages import Message

_ROLES = {
    **dict.fromkeys(("human", "user", "instruction", "input", "question", "prompter"), "user"),
    **dict.fromkeys(("assistant", "response", "gpt", "bot", "ai", "model", "answer", "output"), "assistant"),
    "system": "system",
}
_NAMES = "Human|User|Assistant|System|Response|Instruction|Bot|GPT|AI|Prompter|Model"
# Each notation: what opens a turn, with the name of who speaks, and what stands behind a turn and is no part of it.
_NOTATIONS = (
    (re.compile(rf"### ?({_NAMES}) ?:", re.IGNORECASE), ""),
    (re.compile(r"(?:^|\n)<\|im_start\|>(system|user|assistant)\n"), "<|im_end|>"),
    (re.compile(r"(?:^|\n\n)(Human|User|Assistant|System): ?"), ""),
)


def is_marked(value: Any) -> bool:
    """Whether a field is a text that begins with a mark of who speaks, and in which the assistant speaks."""
    return isinstance(value, str) and _notation(value.lstrip()) is not None


def _notation(text: str) -> tuple[re.Pattern[str], str] | None:
    for opens, closes in _NOTATIONS:
        if opens.match(text) and any(_ROLES[found[1].lower()] == "assistant" for found in opens.finditer(text)):
            return opens, closes
    return None


def is_open(value: Any) -> bool:
    """Whether a text is marked and ends with the assistant's mark, so that the answer is to follow."""
    notation = _notation(value.lstrip()) if isinstance(value, str) else None
    if notation is None:
        return False
    last = list(notation[0].finditer(value.lstrip()))[-1]
    return _ROLES[last[1].lower()] == "assistant" and not value.lstrip()[last.end() :].strip()


def read_marked(text: str, field: str) -> tuple[list[Message], list[str]]:
    """The messages of a marked text (see `is_marked`), white space round each cut off, and a name for each.

    The last mark of one that `is_open` gives no message.
    """
    text = text.lstrip()
    notation = _notation(text)
    if notation is None:
        raise RefusedError(
            "unknown shape",
            f"field '{field}' is {show(text)}, expected marks of who speaks",
            'write turns: [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]',
        )
    opens, closes = notation
    marks = list(opens.finditer(text))
    if is_open(text):
        text, marks = text[: marks[-1].start()], marks[:-1]
    messages, labels = [], []
    for number, mark in enumerate(marks):
        end = marks[number + 1].start() if number + 1 < len(marks) else len(text)
        said = text[mark.end() : end].strip()
        said = said.removesuffix(closes).rstrip() if closes else said
        role, label = _ROLES[mark[1].lower()], f"{field} (turn {number + 1})"
        labels.append(label)
        if role == "user":
            messages.append(question(said, label))
        elif role == "assistant":
            messages.append(answer(said, label))
        else:
            messages.append(Message("system", said))
    return messages, labels
