"""How a learned text is made up of the answer that it must be, and of nothing else."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from heedlm.messages import JSON, Message
from heedlm.templates.controls import plain
from heedlm.templates.probe import Habits

Form = Literal["", "NFC", "NFKC"]  # tokenizers normalise text by one of these, or not at all
FORMS: tuple[Form, ...] = ("", "NFC", "NFKC")


class Told(NamedTuple):
    """lead: the template's own marks before the answer.   trimmed: whether white space at the answer's ends is gone."""

    lead: str
    trimmed: bool


def explain(text: str, message: Message, around: Habits, eos: str, learn_reasoning: bool) -> Told | None:
    """How `text` is this message's answer with its terminator; None when it is not.

    around: what the template writes around an answer.   eos: what ends one where the template writes no terminator.
    """
    for form in FORMS:
        if message.tool_calls:
            told = _calls(_normal(form, text), form, message)
        else:
            told = _answer(_normal(form, text), form, message, around, eos, learn_reasoning)
        if told is not None:
            return told
    return None


def _normal(form: Form, text: str) -> str:
    return unicodedata.normalize(form, text) if form else text


def _answer(text: str, form: Form, message: Message, around: Habits, eos: str, learn_reasoning: bool) -> Told | None:
    content = _normal(form, plain(message.content))
    end = around.tail if around.stop else eos
    for body in dict.fromkeys((content, content.lstrip(), content.rstrip(), content.strip())):
        if not text.endswith(body + end):
            continue
        lead = text[: len(text) - len(body + end)]
        if lead in _leads(form, message, around, learn_reasoning) or (not body and lead == around.lead.rstrip()):
            return Told("" if message.reasoning else lead, body != content)
    return None


def _leads(form: Form, message: Message, around: Habits, learn_reasoning: bool) -> list[str]:
    """What may stand before the answer's text among the learned tokens."""
    if not message.reasoning:
        return [around.lead]
    if not learn_reasoning:
        return [""]
    if around.thought is None:
        return []
    thought = _normal(form, plain(message.reasoning))
    before, behind = around.thought
    return [before + one + behind for one in (thought, thought.strip(), thought.strip("\n"))]


def _calls(text: str, form: Form, message: Message) -> Told | None:
    """Tool calls are written in as many ways as there are templates: each name and text argument must be there."""
    at = 0
    for part in (plain(message.content).strip(), *(plain(call.name) for call in message.tool_calls)):
        found = text.find(_normal(form, part), at)
        if found < 0:
            return None
        at = found + len(_normal(form, part))
    values = [value for call in message.tool_calls for value in _leaves(call.arguments)]
    if any(_normal(form, value) not in text and _normal(form, escaped(value)) not in text for value in values):
        return None
    return Told("", False)


def _leaves(value: JSON) -> Iterator[str]:
    """Every text inside a JSON value."""
    if isinstance(value, str):
        yield plain(value)
    elif isinstance(value, (Mapping, list, tuple)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _leaves(item)


def escaped(text: str) -> str:
    """`text` as it stands inside a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]
