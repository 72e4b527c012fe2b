"""Tool calls read back from the text in which a model writes them.

How a model was taught to write a call is found by rendering one with its own template: the marks around it, and the names
of its JSON fields. A template that writes calls in another language than JSON gives no format; its calls stay text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from heedlm.errors import HeedError
from heedlm.messages import Message, ToolCall
from heedlm.templates.chat import ChatTemplate, plain, render
from heedlm.templates.probe import CALL, TOOL, USER, habits, rendering

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_DECODER = json.JSONDecoder()
_NO_ID = "000000000"  # where a template writes the id of a call: clients get one of their own


@dataclass(frozen=True, slots=True)
class CallFormat:
    """opening, closing: marks around the JSON of a call, or of all calls; empty where there are none.   name, arguments: the
    fields of a call.   wrapped: a call is the field "function" of an object."""

    opening: str
    closing: str
    name: str
    arguments: str
    wrapped: bool = False


class Called(NamedTuple):
    """A reply with its calls taken out of the text."""

    text: str
    calls: tuple[ToolCall, ...]


def call_format(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> CallFormat | None:
    """How `template` writes a call; None where it writes none, or not as JSON."""
    return _call_format(template, tokenizer, len(tokenizer))


@lru_cache(maxsize=32)
def _call_format(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase, size: int) -> CallFormat | None:
    answer = _written_call(template, tokenizer)
    for start in (at for at, sign in enumerate(answer) if sign in "[{"):
        found = _value_at(answer, start)
        fields = None if found is None else _fields(found[0])
        if found is not None and fields is not None:
            return CallFormat(answer[:start].strip(), answer[found[1] :].strip(), *fields)
    return None


def _written_call(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> str:
    """What `template` writes for the probe's call, from the end of the prompt to the token that ends an answer; "" where it
    writes none."""
    calling = rendering(template, tokenizer, [USER, Message("assistant", "", tool_calls=(CALL,))], tools=[TOOL])
    if calling is None:
        return ""
    try:
        prompt = render(template, tokenizer, [USER], tools=[TOOL], add_generation_prompt=True)
    except HeedError:
        return ""
    if not calling.startswith(prompt):
        return ""
    answer = plain(calling[len(prompt) :]).replace(str(CALL.id), _NO_ID)
    stop = habits(template, tokenizer).stop
    return answer.split(stop)[0] if stop else answer


class CallText(NamedTuple):
    """A call as a template writes it, to the letter: before its name, between name and arguments, behind them."""

    before: str
    between: str
    behind: str


def call_text(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> CallText | None:
    """How `template` writes a call around its name and the JSON object of its arguments; None where it writes none, not as
    JSON, or the arguments as text within JSON."""
    answer = _written_call(template, tokenizer)
    if call_format(template, tokenizer) is None or answer.count(CALL.name) != 1:
        return None
    name = answer.index(CALL.name)
    behind = name + len(CALL.name)
    for start in (at for at, sign in enumerate(answer) if sign == "{" and at >= behind):
        found = _value_at(answer, start)
        if found is not None and found[0] == dict(CALL.arguments):
            return CallText(answer[:name], answer[behind:start], answer[found[1] :].rstrip())
    return None


def _value_at(text: str, start: int) -> tuple[Any, int] | None:
    """The JSON value that begins at `start`, and where it ends."""
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None


def _fields(value: Any) -> tuple[str, str, bool] | None:
    """The names of the fields for name and arguments in the JSON of the probe's call, and whether it is wrapped."""
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    if not isinstance(value, dict):
        return None
    wrapped = isinstance(value.get("function"), dict)
    value = value["function"] if wrapped else value
    names = [key for key, held in value.items() if held == CALL.name]
    given = [key for key, held in value.items() if _object(held) == dict(CALL.arguments)]
    return (names[0], given[0], wrapped) if names and given else None


def _object(value: Any) -> dict[str, Any] | None:
    """A JSON object, or the one that a text spells."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def read_calls(text: str, form: CallFormat, tools: frozenset[str]) -> Called:
    """The calls in `text`. What is not a whole call in this format stays text, as the model wrote it.

    tools: names of the tools that were offered; where a format has no marks, JSON that names none of them is an answer.
    """
    begin = text.find(form.opening) if form.opening else 0
    if begin < 0:
        return Called(text, ())
    calls: list[ToolCall] = []
    at = begin
    while True:
        behind = _skip(text, at + len(form.opening) if text.startswith(form.opening, at) else at)
        found = _value_at(text, behind)
        more = None if found is None else _calls(found[0], form)
        if found is None or more is None or (not form.opening and any(call.name not in tools for call in more)):
            return Called(text, ())
        calls += more
        at = _skip(text, found[1])
        if form.closing and text.startswith(form.closing, at):
            at = _skip(text, at + len(form.closing))
        if not form.opening or not text.startswith(form.opening, at):
            break
    rest = text[at:]
    return Called(text[:begin].rstrip() + rest if rest.strip() else text[:begin].rstrip(), tuple(calls))


def _calls(value: Any, form: CallFormat) -> list[ToolCall] | None:
    """The calls of one JSON value, a call or a list of them; None where it is something else."""
    found = []
    for one in value if isinstance(value, list) else [value]:
        call: Mapping[str, Any] | None = one if isinstance(one, dict) else None
        if call is not None and form.wrapped:
            call = _object(call.get("function"))
        arguments = None if call is None else _object(call.get(form.arguments, {}))
        name = None if call is None else call.get(form.name)
        if arguments is None or not isinstance(name, str) or not name:
            return None
        found.append(ToolCall(name, arguments))
    return found or None


def _skip(text: str, at: int) -> int:
    """The next place that is not white space."""
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def before_calls(text: str, form: CallFormat) -> str:
    """The beginning of an answer in the making that is certainly not part of a call."""
    if not form.opening:
        return "" if not text.strip() or text.lstrip()[0] in "[{" else text
    place = text.find(form.opening)
    if place >= 0:
        return text[:place].rstrip()
    held = next((n for n in range(len(form.opening) - 1, 0, -1) if text.endswith(form.opening[:n])), 0)
    # White space before a call is not part of the text either.
    return text[: len(text) - held].rstrip()
