"""The items of an evaluation file: what is asked and what is right, from whatever fields the file has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from heedlm.data.schema import to_examples
from heedlm.data.shapes import CHOICES
from heedlm.data.sources import Row, read_rows
from heedlm.errors import HeedError, Problem
from heedlm.messages import Example

# Where evaluation files keep the question and the answer, the usual names first.
_ASKED = (
    *("prompt", "question", "instruction", "input", "query", "problem", "turns", "goal", "ctx", "sentence", "premise"),
    *("text", "context", "article", "source"),
)
_ANSWERED = (
    "answer",
    "completion",
    "output",
    "response",
    "target",
    "solution",
    "reference",
    "canonical_solution",
    "label",
)


class Item(NamedTuple):
    """One item. of: the file or split it belongs to.   where: its place.   asked: without a system text.   answer: "" if none."""

    of: str
    where: str
    asked: str
    answer: str


def read_items(path: Path) -> Iterator[Item]:
    """Every item of a JSON or JSON lines file, or folder of them, in order.

    Rows of a shape that `prepare` reads are read as there; of others the fields that evaluation files use are taken.
    Raises HeedError where the file cannot be read, or holds no item.
    """
    items = 0
    problems: list[Problem] = []
    for row in read_rows(path):
        if isinstance(row, Problem):
            problems.append(row)
            continue
        for item in _of_row(row, str(path)):
            items += 1
            yield item
    if not items:
        what = "no item was found: no row has a question"
        mend = f"name the text of the question one of {', '.join(_ASKED[:6])}"
        raise HeedError.of([Problem(what, str(path), mend), *problems[:20]])


def item_of(example: Example, of: str) -> Item:
    """An example as an item of `of`: all that is asked before its last answer, and that answer."""
    last = max(index for index, message in enumerate(example.messages) if message.role == "assistant")
    asked = [message.content for message in example.messages[:last] if message.role in ("user", "tool")]
    return Item(of, example.source, "\n\n".join(asked), example.messages[last].content)


def _of_row(row: Row, of: str) -> list[Item]:
    found = to_examples(row)
    examples = [item_of(example, of) for example in found if isinstance(example, Example)]
    asked = next((text for name in _ASKED[:2] if (text := _text(row.value.get(name)))), "")
    if asked and any(
        name in row.value for name in CHOICES
    ):  # choices are the file's own form, the question is the item
        return [item._replace(asked=asked) for item in examples] or [Item(of, row.where, asked, "")]
    if examples:
        return examples
    texts = [text for name in _ASKED if (text := _text(row.value.get(name)))]
    if not texts:
        return []
    answer = next((text for name in _ANSWERED if (text := _text(row.value.get(name)))), "")
    behind = _text(row.value.get("input")) if "instruction" in row.value or "question" in row.value else ""
    whole = f"{texts[0]}\n\n{behind}" if behind and behind != texts[0] else texts[0]
    return [Item(of, row.where, whole, answer)]


def _text(value: Any) -> str:
    """The text of a field: text itself, a number in digits, the first of a list, what a turn or an answer list says."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list) and value:
        return _text(value[0])
    if isinstance(value, Mapping):
        return next((text for name in ("content", "text", "value") if (text := _text(value.get(name)))), "")
    return ""
