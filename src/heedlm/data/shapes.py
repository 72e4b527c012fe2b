"""The usual shapes of rows: by which field each is told, and which fields hold question and answer.

A shape is told by the field that opens it, so that a row of a known shape with a field missing is told so. Every row is
looked at for itself: a file may mix shapes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from heedlm.data.transcript import is_marked
from heedlm.errors import HeedError, Problem, nearest

MESSAGES, SHAREGPT, SEEDS, PREFERENCE = "messages", "sharegpt", "self-instruct", "preference"
ALPACA, DOLLY, PROMPT, QUESTION = "alpaca", "dolly", "prompt-completion", "question-answer"
P3, INPUT_OUTPUT, MARKED, TEXT = "p3", "input-output", "marked-text", "raw-text"
SHAPES = (
    *(MESSAGES, SHAREGPT, SEEDS, PREFERENCE, ALPACA, DOLLY),
    *(PROMPT, QUESTION, P3, INPUT_OUTPUT, MARKED, TEXT),
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A shape of one question and one answer: names of the fields, the first of each kind is the usual one."""

    questions: tuple[str, ...]
    answers: tuple[str, ...]
    inputs: tuple[str, ...] = ()


PAIRS: Mapping[str, Pair] = {
    ALPACA: Pair(("instruction",), ("output", "response"), ("input", "context")),
    DOLLY: Pair(("instruction",), ("response",), ("context", "input")),
    PROMPT: Pair(("prompt",), ("completion", "response")),
    QUESTION: Pair(("question",), ("answer", "response", "answers"), ("context", "input", "passage", "article")),
    P3: Pair(("inputs_pretokenized", "inputs"), ("targets_pretokenized", "targets")),
    INPUT_OUTPUT: Pair(("input",), ("output",)),
}
LISTS = ("messages", "conversations", "conversation")
CHOSEN = ("chosen", "preferred_output")
REJECTED = ("rejected", "rejected_response", "non_preferred_output")
CHOICES = ("choices", "options")
# The field that opens a shape, in the order of trust: a row that holds a pair of answers is read so whatever else it holds.
_OPENERS: Mapping[str, str] = {
    **dict.fromkeys(CHOSEN, PREFERENCE),
    "messages": MESSAGES,
    "conversations": SHAREGPT,
    "conversation": SHAREGPT,
    "instances": SEEDS,
    "instruction": ALPACA,
    "prompt": PROMPT,
    "question": QUESTION,
    "inputs_pretokenized": P3,
    "inputs": P3,
}
_CLOSERS: Mapping[str, str] = {
    "output": ALPACA,
    "completion": PROMPT,
    "answer": QUESTION,
    "targets": P3,
    "targets_pretokenized": P3,
}
MAPPABLE = (
    *("messages", "conversations", "role", "content", "instruction", "input", "output", "context", "response"),
    *("prompt", "completion", "question", "answer", "choices", "inputs", "targets", "chosen", "rejected", "text"),
    *("system", "tools", "id", "group"),
)
STRUCTURED = (*LISTS, "tools")  # mapped fields that hold lists, in the cell of a table lists in JSON
KNOWN_FIELDS = tuple(dict.fromkeys([*_OPENERS, *_CLOSERS, "text", "input", "context", "response", *REJECTED, *CHOICES]))


def check_mapping(mapping: Mapping[str, str]) -> None:
    """Refuse a mapping (our name -> name in the file) with a name that no shape has. Raises HeedError."""
    problems = [
        Problem(f"unknown field name {name!r} in a mapping", f"mapping.{name}", nearest(name, MAPPABLE))
        for name in mapping
        if name not in MAPPABLE
    ]
    if problems:
        raise HeedError.of(problems)


def mapped(value: Mapping[str, Any], mapping: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a row under our names, as far as they are there."""
    if not mapping:
        return dict(value)
    top = {ours: theirs for ours, theirs in mapping.items() if ours not in ("role", "content")}
    taken = set(top.values())
    values = {name: inner for name, inner in value.items() if name not in taken and name not in top}
    values.update(
        {
            ours: from_cell(value[theirs]) if ours in STRUCTURED else value[theirs]
            for ours, theirs in top.items()
            if theirs in value
        }
    )
    # A field that bears one of our names but was mapped away is still the user's: it is kept with the rest.
    values.update({f"{name} (unmapped)": value[name] for name in top if name in value and name not in taken})
    return values


def from_cell(value: Any) -> Any:
    """The list or object that a text holds in JSON, nothing where the text is blank; anything else as it is."""
    if not is_structure(value):
        return None if isinstance(value, str) and not value.strip() else value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def is_structure(value: Any) -> bool:
    """Whether a value is a text that begins as lists and objects do in JSON."""
    return isinstance(value, str) and value.lstrip()[:1] in ("[", "{")


def shape_of(value: Mapping[str, Any], mapping: Mapping[str, str] | None = None) -> str | None:
    """The name of the shape of a row, or None. Mapped fields are looked at first, then fields that hold something."""
    values = mapped(value, mapping) if mapping else value
    there = [key for key in values if values[key] is not None]
    for keys in ([key for key in mapping or {} if key in values], there, list(values)):
        opened = _opened(keys, values)
        if opened is not None:
            return opened
    return next((shape for closer, shape in _CLOSERS.items() if closer in values), None)


def _opened(keys: Sequence[str], values: Mapping[str, Any]) -> str | None:
    found = [shape for opener, shape in _OPENERS.items() if opener in keys]
    if PREFERENCE in found and not _is_pair(keys, values):
        found = [shape for shape in found if shape != PREFERENCE]
    shape = found[0] if found else None
    if shape == MESSAGES and _from_and_value(values["messages"]):
        return SHAREGPT
    if shape == ALPACA and values.get("response") is not None and values.get("output") is None:
        return DOLLY
    if shape is None and "input" in keys and "output" in values:
        return INPUT_OUTPUT
    if shape is None and "text" in keys and not any(closer in keys for closer in _CLOSERS):
        return MARKED if is_marked(values["text"]) else TEXT
    return shape


def _is_pair(keys: Sequence[str], values: Mapping[str, Any]) -> bool:
    """Whether a row with a chosen answer means a pair: the worse one is there too, or no other answer is."""
    chosen = next((values[name] for name in CHOSEN if values.get(name) is not None), None)
    if not isinstance(chosen, (str, list, dict)):
        return all(values.get(name) is None for name in CHOSEN)
    return any(name in values for name in REJECTED) or not any(name in keys for name in (*_CLOSERS, "messages"))


def _from_and_value(turns: Any) -> bool:
    """Whether turns are written as ShareGPT writes them, whatever their list is called."""
    first = turns[0] if isinstance(turns, list) and turns else None
    return isinstance(first, dict) and "from" in first and "role" not in first and "content" not in first


def opened_by(value: Mapping[str, Any], shape: str | None, mapping: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The name, in the file, of the field by which a row was told to be of a shape."""
    values, names = mapped(value, mapping or {}), mapping or {}
    fields = [name for name, opened in _OPENERS.items() if opened == shape and values.get(name) is not None]
    if not fields and shape is not None:
        usual = LISTS if shape == SHAREGPT else PAIRS[shape].questions if shape in PAIRS else ("text",)
        fields = [name for name in usual if name in values]
    return tuple(names.get(name, name) for name in fields[:1])


def also_opened(
    value: Mapping[str, Any], shape: str | None, mapping: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """Fields of a row that open other shapes than the one it is read as, so that it could have been meant otherwise."""
    if shape in (None, PREFERENCE, TEXT, MARKED):  # a pair of answers is told by two fields, and may hold any question
        return ()
    if any(name in (mapping or {}) for name in (*_OPENERS, "input", "text")):  # a person said what was meant
        return ()
    values = dict(value)
    own = {*PAIRS[shape].questions, *PAIRS[shape].inputs} if shape in PAIRS else {"instances", "instruction", *LISTS}
    found = [name for name in _OPENERS if values.get(name) is not None and name not in own]
    if shape in PAIRS and _OPENERS.get(PAIRS[shape].questions[0]) == P3:
        found = [name for name in found if _OPENERS[name] != P3]
    return tuple(found)


def mend_unknown(value: Mapping[str, Any]) -> str:
    """What to do about a row of no known shape."""
    for name, inner in value.items():
        if isinstance(inner, list) and inner and isinstance(inner[0], dict):
            return f"if the rows stand in the list '{name}', write that list alone; else map '{name}' to messages"
    for name in value:
        near = nearest(name, [*_OPENERS, *_CLOSERS])
        if near.startswith("did you mean"):
            return f"for '{name}': {near}"
    return (
        "name the fields messages, instruction/output, prompt/completion or question/answer; or give a mapping of"
        " names: --map question=FIELD --map answer=FIELD (heed data inspect FILE suggests one); or a prompt template"
        " (heed templates list)"
    )
