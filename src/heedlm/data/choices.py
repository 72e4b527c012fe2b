"""Questions with choices, and answers that are given as a list, a letter or a number: what is asked and what is right."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from heedlm.data.fields import Fields, RefusedError, show, text_at
from heedlm.data.shapes import CHOICES

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Where the right one of some choices is named, the usual name first.
_KEYS = ("answer", "answerKey", "answer_key", "answer_idx", "label")


def choices_of(fields: Fields) -> dict[str, str] | None:
    """The choices of a row by their labels, A, B, ... where they have none of their own; None where there are none.

    They may be a list of texts, an object {label: text}, a list of {"label", "text"}, or {"label": [...], "text": [...]}.
    """
    name = fields.first(CHOICES)
    value = fields.values[name] if name is not None else None
    if name is None or value is None:
        return None
    fields.take(name)
    at = fields.name(name)
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):  # as in a cell of a table
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(value)
    texts: Any = value
    labels: Any = None
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        texts, labels = value["text"], value.get("label") or value.get("labels")
    elif isinstance(value, dict):
        texts, labels = list(value.values()), list(value)
    elif isinstance(value, list) and value and all(isinstance(one, dict) and "text" in one for one in value):
        texts, labels = [one["text"] for one in value], [one.get("label") for one in value]
    if not isinstance(texts, list) or not texts or len(texts) > len(_LETTERS):
        raise RefusedError(
            "choices",
            f"field '{at}' is {show(value)}, expected a list of 1 to {len(_LETTERS)} texts",
            'write ["first", "second"]',
        )
    if labels is None or not isinstance(labels, list) or None in labels:
        labels = list(_LETTERS[: len(texts)])
    said = [text_at(text, f"{at}[{index}]") for index, text in enumerate(texts)]
    names = [text_at(str(label), f"{at}.label[{index}]") for index, label in enumerate(labels)]
    if len(names) != len(said) or len(set(names)) != len(names) or not all(text.strip() for text in said):
        raise RefusedError(
            "choices",
            f"field '{at}' is {show(value)}, expected texts with a different label for each",
            'write ["first", "second"]',
        )
    return dict(zip(names, said, strict=True))


def with_choices(asked: str, choices: Mapping[str, str]) -> str:
    """The question with its choices behind it, one on a line, without letters: the answer is a text."""
    return f"{asked}\n\n" + "\n".join(f"- {text}" for text in choices.values())


def right_choice(fields: Fields, choices: Mapping[str, str]) -> tuple[str, str]:
    """The text of the right choice, and the field that names it: by its text, its label, or its place counted from 0."""
    key = fields.first(_KEYS)
    if key is None:
        raise RefusedError(
            "missing field",
            f"field '{fields.name('answer')}' is missing, which says which of the choices is right",
            "add the field: the text of a choice, its letter, or its place counted from 0",
        )
    value, at = fields.take(key), fields.name(key)
    found = _meant(value, choices)
    if len(found) != 1:
        among = ", ".join([*choices, *choices.values()])
        what = "could be either of two" if found else "is none of them"
        raise RefusedError(
            "choices",
            f"field '{at}' is {show(value)}, which {what}: {among if len(among) <= 80 else among[:77] + '...'}",
            "write the text of the right choice, its letter, or its place counted from 0",
        )
    return found.pop(), at


def _meant(value: Any, choices: Mapping[str, str]) -> set[str]:
    """The choices that a value could stand for."""
    texts = list(choices.values())
    if isinstance(value, bool):
        return set()
    if isinstance(value, int):
        return {texts[value]} if 0 <= value < len(texts) else set()
    if isinstance(value, list) and len(value) == 1:
        return _meant(value[0], choices)
    if not isinstance(value, str):
        return set()
    said = value.strip()
    found = {text for text in texts if text.strip() == said}
    label = said.strip("().").upper() if said.strip("().").upper() in choices else said
    found |= {choices[label]} if label in choices else set()
    found |= {text for name, text in choices.items() if _both(said, name, text.strip())}
    return found or (_meant(int(said), choices) if said.isascii() and said.isdigit() and len(said) < 3 else set())


def _both(said: str, label: str, text: str) -> bool:
    """Whether an answer is a label and its text, as "B. Paris"."""
    return said in (f"{label}. {text}", f"{label}) {text}", f"({label}) {text}", f"{label}: {text}")


def first_answer(value: Any, field: str) -> str | None:
    """The first of several right answers: a list of texts, {"text": [...]} or {"value": ...}; None where it is neither."""
    if isinstance(value, dict) and isinstance(value.get("value"), str):
        return text_at(value["value"], f"{field}.value")
    texts = value.get("text") if isinstance(value, dict) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return None
    if not texts:
        raise RefusedError(
            "empty answer",
            f"field '{field}' holds no answer",
            'write the answer, for example "That is not said.", or remove the row',
        )
    return text_at(texts[0], f"{field}[0]")
