"""The fields of a row: which there are, is one text, can it be written back as JSON, and how does one say that it is not."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from heedlm.errors import Problem

_MAX_DEPTH = 64
_SIGNS = {
    **{code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"},
    **dict.fromkeys(range(0x7F, 0xA0), 0xFFFD),
}


class RefusedError(Exception):
    """A row that cannot become an example. reason: what such rows are counted under; detail: field, found, expected."""

    def __init__(self, reason: str, detail: str, mend: str) -> None:
        self.reason, self.detail, self.mend = reason, detail, mend
        super().__init__(f"{reason}: {detail}")

    def problem(self, where: str) -> Problem:
        """The same as a problem at `where`, with half characters spelt out so that it can be printed."""
        texts = [
            text.encode("utf-8", "backslashreplace").decode() for text in (f"{self.reason}: {self.detail}", self.mend)
        ]
        return Problem(texts[0], where, texts[1])


@dataclass(slots=True)
class Fields:
    """The fields of one row under our names, with the names a person finds in the file."""

    values: dict[str, Any]
    names: Mapping[str, str]
    used: set[str] = field(default_factory=set)

    def name(self, ours: str) -> str:
        return self.names.get(ours, ours)

    def first(self, options: Sequence[str]) -> str | None:
        """The first of `options` that holds something; else the first that is there at all."""
        there = [option for option in options if option in self.values]
        return next((option for option in there if self.values[option] is not None), there[0] if there else None)

    def take(self, ours: str) -> Any:
        self.used.add(ours)
        return self.values.get(ours)


def listed(value: Mapping[str, Any]) -> str:
    """The first names of fields, for messages."""
    return ", ".join(list(value)[:8]) + (", ..." if len(value) > 8 else "") if value else "no fields"


def show(value: Any) -> str:
    """A value in a few words, for messages: text in single quotes, JSON's own words for what is not text."""
    if isinstance(value, (dict, list)):
        text = _outline(value)
    elif value is None or isinstance(value, bool):
        text = json.dumps(value)
    else:
        text = repr(value).replace("nan", "NaN") if isinstance(value, float) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _outline(value: dict[str, Any] | list[Any]) -> str:
    if isinstance(value, dict):
        return "an object with " + (", ".join(map(str, list(value)[:4])) or "no fields")
    return f"a list of {len(value)}"


def visible(text: str) -> str:
    """Text for a terminal: control characters as signs, so that what stands in data does not steer the screen."""
    return text if text.isprintable() else text.translate(_SIGNS)


def text_at(value: Any, field: str) -> str:
    """`value` if it is text that can be written as UTF-8."""
    if not isinstance(value, str):
        if isinstance(value, float) and math.isnan(value):
            mend = "write \"\" where there is no text (pandas: frame.fillna(''))"
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            mend = f'put it in quotes: "{value}"'
        elif value is None:
            mend = "write the text there, or remove the row"
        else:
            mend = "write the text there as one string"
        raise RefusedError("wrong type", f"field '{field}' is {show(value)}, expected text", mend)
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        if 0xDC80 <= code <= 0xDCFF:  # how the reader carries a byte that was not UTF-8
            raise RefusedError(
                "not UTF-8",
                f"field '{field}' holds byte {code - 0xDC00:#04x}, expected UTF-8 text",
                "save the file as UTF-8, for example: iconv -f LATIN1 -t UTF-8 OLD > NEW",
            ) from None
        raise RefusedError(
            "not UTF-8",
            f"field '{field}' holds half of a character (\\u{code:04x})",
            "write both halves of the pair, or remove the character",
        ) from None
    return value


def check_json(value: Any, field: str, depth: int = 0) -> None:
    """Refuse what cannot be written back as JSON: NaN, infinity, damaged text, nesting beyond 64 levels."""
    if isinstance(value, str):
        text_at(value, field)
    elif isinstance(value, float) and not math.isfinite(value):
        raise RefusedError(
            "wrong type", f"field '{field}' is {show(value)}, which is not JSON", "write null or a number there"
        )
    elif isinstance(value, (dict, list)):
        if depth == _MAX_DEPTH:
            raise RefusedError(
                "wrong type",
                f"field '{field}' is nested more than {_MAX_DEPTH} levels deep",
                "flatten it, or remove it",
            )
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(name, str):
                text_at(name, field)
            check_json(inner, f"{field}.{name}" if isinstance(name, str) else f"{field}[{name}]", depth + 1)
