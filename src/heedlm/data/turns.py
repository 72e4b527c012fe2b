"""Making messages of the turns of a row, or saying which field is wrong and how to mend it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from heedlm.data.calls import calls_in, tool_calls
from heedlm.data.fields import RefusedError, check_json, show, text_at
from heedlm.messages import ROLES, Message, Role, ToolCall

# Names of roles in ShareGPT files and in chat exports, as they stand in public data.
ALIASES: Mapping[str, Role] = {
    "human": "user",
    "user": "user",
    "prompter": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "chatbot": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "system": "system",
    "developer": "system",
    "tool": "tool",
    "observation": "tool",
    "function": "tool",
    "function_response": "tool",
    "tool_response": "tool",
}
_CALLS = ("function_call", "tool_call")
# OpenAI's own names beside ours: what a system turn is called for its newer models, a tool's result in older files.
_OPENAI: Mapping[str, Role] = {"developer": "system", "function": "tool"}
_THINK = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)
_TEXT_PARTS = ("text", "input_text", "output_text", "refusal")
_REASONING_PARTS = ("thinking", "reasoning")
_REASONING = ("reasoning", "reasoning_content", "thinking")


def content_text(value: Any, field: str) -> str:
    """The text of a turn: a string, or a list of text parts joined without anything between."""
    text, thought = _parts(value, field)
    if thought is not None:
        raise RefusedError(
            "not text",
            f"field '{field}' holds a part of reasoning, expected only in a turn of the assistant",
            "remove the part",
        )
    return text


def _parts(value: Any, field: str) -> tuple[str, str | None]:
    """The text of a turn, and the reasoning that stands among its parts."""
    if not isinstance(value, list):
        return text_at(value, field), None
    pieces: list[str] = []
    thoughts: list[str] = []
    for index, part in enumerate(value):
        place = f"{field}[{index}]"
        if isinstance(part, str):
            pieces.append(text_at(part, place))
            continue
        kind = part.get("type", "text" if "text" in part else None) if isinstance(part, dict) else None
        if kind in _TEXT_PARTS or kind in _REASONING_PARTS:
            name = kind if kind in part else "text"
            (pieces if kind in _TEXT_PARTS else thoughts).append(text_at(part.get(name), f"{place}.{name}"))
        elif isinstance(kind, str):
            raise RefusedError(
                "not text",
                f"field '{place}.type' is {show(kind)}, expected \"text\"; only text can be learnt",
                "remove the part, or put what it shows into words",
            )
        else:
            raise RefusedError(
                "wrong type",
                f"field '{place}' is {show(part)}, expected a text part",
                'write {"type": "text", "text": "..."}',
            )
    return "".join(pieces), "".join(thoughts) or None if thoughts else None


def answer(
    content: str,
    field: str,
    *,
    reasoning: str | None = None,
    calls: tuple[ToolCall, ...] = (),
    weight: float | None = None,
) -> Message:
    """An assistant turn; `<think>...</think>` at the start of its text becomes its reasoning."""
    if content.lstrip().startswith("<think>"):
        found = _THINK.match(content)
        if found is None:
            raise RefusedError(
                "empty answer",
                f"field '{field}' opens <think> and never closes it, so no answer follows",
                "close it with </think> and write the answer behind it",
            )
        if reasoning is not None:
            raise RefusedError(
                "wrong type",
                f"field '{field}' starts with <think>, and the turn also has a reasoning field",
                "keep the reasoning in one of the two places",
            )
        reasoning, content = found[1].strip() or None, content[found.end() :]
    if not content.strip() and not calls:
        raise RefusedError(
            "empty answer", f"field '{field}' is empty, expected the answer", "write the answer, or remove the row"
        )
    return Message("assistant", content, reasoning=reasoning, tool_calls=calls, weight=weight)


def question(content: str, field: str) -> Message:
    """A user turn."""
    if not content.strip():
        raise RefusedError(
            "empty question", f"field '{field}' is empty, expected what the user says", "write it, or remove the row"
        )
    return Message("user", content)


def read_turns(
    value: Any, field: str, names: Mapping[str, str], *, aliases: bool
) -> tuple[list[Message], dict[str, Any]]:
    """The messages of a list of turns, and what else the turns held, as {index: {name: value}}.

    names: how "role" and "content" are called in this file.   aliases: whether ShareGPT's names of roles are read.
    """
    if not isinstance(value, list):
        raise RefusedError(
            "wrong type",
            f"field '{field}' is {show(value)}, expected a list of turns",
            'write [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]',
        )
    if not value:
        raise RefusedError(
            "no answer",
            f"field '{field}' is an empty list",
            "write at least one user and one assistant turn, or remove the row",
        )
    if aliases:
        value = _told_apart(value)
    messages, extras = [], {}
    for index, turn in enumerate(value):
        place = f"{field}[{index}]"
        if not isinstance(turn, dict):
            raise RefusedError(
                "wrong type",
                f"field '{place}' is {show(turn)}, expected a turn",
                'write {"role": "user", "content": "..."}',
            )
        message, extra = _read_turn(turn, place, names, aliases)
        messages.append(message)
        if extra:
            check_json(extra, place)
            extras[str(index)] = extra
    return messages, extras


def _told_apart(turns: list[Any]) -> list[Any]:
    """Turns of which the order alone says who speaks: texts in turn, or pairs of input and output."""
    if len(turns) > 1 and all(isinstance(turn, str) for turn in turns):
        return [{"from": ("human", "gpt")[at % 2], "value": text} for at, text in enumerate(turns)]
    if all(isinstance(turn, dict) and turn.keys() == {"input", "output"} for turn in turns):
        pairs = ((("human", turn["input"]), ("gpt", turn["output"])) for turn in turns)
        return [{"from": who, "value": text} for pair in pairs for who, text in pair]
    return turns


def as_turns(value: Any, field: str, names: Mapping[str, str]) -> tuple[list[Message], dict[str, Any]]:
    """`read_turns` of a list of turns or of one turn alone, written either way."""
    turns = [value] if isinstance(value, dict) else value
    first = turns[0] if isinstance(turns, list) and turns else None
    return read_turns(turns, field, names, aliases=isinstance(first, dict) and "from" in first)


def given(message: Message) -> Message:
    """A turn that stands in a prompt: given, not taught, unless the row itself says otherwise."""
    if message.role != "assistant" or message.weight is not None:
        return message
    return Message("assistant", message.content, message.reasoning, message.tool_calls, weight=0.0)


def _read_turn(
    turn: dict[str, Any], place: str, names: Mapping[str, str], aliases: bool
) -> tuple[Message, dict[str, Any]]:
    rest = dict(turn)
    role_name = names.get("role") or ("from" if aliases and "from" in turn and "role" not in turn else "role")
    content_name = names.get("content") or (
        "value" if aliases and "value" in turn and "content" not in turn else "content"
    )
    if role_name not in turn:
        found = ", ".join(turn) or "no fields"
        hint = "; a list with 'from' and 'value' is named 'conversations'" if "from" in turn else ""
        raise RefusedError(
            "missing field",
            f"field '{place}.{role_name}' is missing; found {found}",
            f"name who speaks: {', '.join(ROLES)}{hint}",
        )
    speaker = rest.pop(role_name)
    role = _role(speaker, f"{place}.{role_name}", aliases)
    calls = tool_calls(rest, place) if role == "assistant" else ()
    content = rest.pop(content_name, None)
    where = f"{place}.{content_name}"
    if aliases and speaker in _CALLS:
        calls, content = calls_in(content, where), None
    if content is None and role == "assistant" and isinstance(rest.get("refusal"), str):
        content, where = rest.pop("refusal"), f"{place}.refusal"
    if content is None and content_name not in turn and not calls:
        raise RefusedError(
            "missing field", f"field '{where}' is missing; found {', '.join(turn)}", "write the text of the turn there"
        )
    weight = _weight(rest, place, role)
    if role == "assistant":
        text, thought = ("", None) if content is None and calls else _parts(content, where)
        reasoning = _reasoning(rest, place)
        if thought is not None and reasoning is not None:
            raise RefusedError(
                "wrong type",
                f"field '{where}' holds a part of reasoning, and the turn also has a reasoning field",
                "keep the reasoning in one of the two places",
            )
        message = answer(text, where, reasoning=reasoning or thought, calls=calls, weight=weight)
    elif role == "user":
        message = question(content_text(content, where), where)
    else:
        text = content_text(content, where)
        call_id = rest.pop("tool_call_id", None) if role == "tool" else None
        message = Message(
            role, text, tool_call_id=None if call_id is None else text_at(call_id, f"{place}.tool_call_id")
        )
    return message, {name: value for name, value in rest.items() if value is not None}


def _role(given: Any, field: str, aliases: bool) -> Role:
    if isinstance(given, str):
        if aliases and given.lower() in ALIASES:
            return ALIASES[given.lower()]
        if given in ROLES:
            return given
        if given in _OPENAI:
            return _OPENAI[given]
    meant = ALIASES.get(given.lower()) if isinstance(given, str) else None
    mend = f"write {meant!r} for {given!r}" if meant else "write one of the four"
    if meant and given not in ROLES and given.lower() not in ROLES:
        mend += ", or name the list 'conversations', where such names are read"
    raise RefusedError("unknown role", f"field '{field}' is {show(given)}, expected user/assistant/system/tool", mend)


def _reasoning(rest: dict[str, Any], place: str) -> str | None:
    found = {name: rest.pop(name) for name in _REASONING if name in rest}
    for name, value in found.items():
        if value is not None:
            return text_at(value, f"{place}.{name}") or None
    return None


def _weight(rest: dict[str, Any], place: str, role: Role) -> float | None:
    weight, train = rest.pop("weight", None), rest.pop("train", None)
    if train is not None:
        if not isinstance(train, bool):
            raise RefusedError(
                "weight", f"field '{place}.train' is {show(train)}, expected true or false", "write true or false"
            )
        if weight is not None:
            raise RefusedError(
                "weight", f"fields '{place}.train' and '{place}.weight' are both given", "keep one of the two"
            )
        weight = float(train) if role == "assistant" or not train else 1.0
    if weight is None:
        return None
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < math.inf:
        raise RefusedError(
            "weight",
            f"field '{place}.weight' is {show(weight)}, expected a number of at least 0",
            "write 0, 1, or a number between",
        )
    if weight > 0 and role != "assistant":
        raise RefusedError(
            "weight",
            f"turn '{place}' is a {role} turn with a weight above 0; only assistant turns are taught",
            "remove its weight",
        )
    return float(weight)


def check_order(messages: Sequence[Message], fields: Sequence[str]) -> None:
    """Refuse an order of turns that chat templates render differently or not at all.

    A system turn comes first or not at all; then user and assistant take turns; tool results follow an assistant turn
    and are followed by one; the last turn is an answer. Two user turns in a row are refused too: some templates join
    them, some raise an error, so training and serving could differ.   fields: one name per message, for what is said.
    """
    calls: set[str] = set()
    for index, (message, field) in enumerate(zip(messages, fields, strict=True)):
        before = messages[index - 1].role if index else None
        if message.role == "system" and index:
            raise RefusedError(
                "role order",
                f"turn '{field}' is a system turn behind others, expected only as first",
                "move its text into the first turn",
            )
        if message.role == "user" and before in ("user", "tool"):
            raise RefusedError(
                "role order",
                f"turn '{field}' is a user turn after a {before} turn, expected assistant",
                "join the two turns into one"
                if before == "user"
                else "write the answer to the tool result between them",
            )
        if message.role == "assistant" and before in (None, "system", "assistant"):
            after = "nothing" if before is None else f"a {before} turn" if before == "system" else "an assistant turn"
            raise RefusedError(
                "role order",
                f"turn '{field}' is an assistant turn after {after}, expected user",
                "join the two turns into one"
                if before == "assistant"
                else "put the question before it, or remove the turn",
            )
        if message.role == "tool" and before not in ("assistant", "tool"):
            raise RefusedError(
                "role order",
                f"turn '{field}' is a tool turn after {before or 'nothing'}, expected after an assistant turn",
                "put the assistant's tool call before it",
            )
        if message.role == "user" and index and messages[index - 1].tool_calls:
            raise RefusedError(
                "role order",
                f"turn '{field}' is a user turn after a tool call, expected its result",
                "put the tool's result and an answer between them",
            )
        calls |= {call.id for call in message.tool_calls if call.id is not None}
        if message.tool_call_id is not None and calls and message.tool_call_id not in calls:
            raise RefusedError(
                "tool call",
                f"turn '{field}' answers call {message.tool_call_id!r}, expected one of {', '.join(sorted(calls))}",
                "make 'tool_call_id' the id of the call it answers",
            )
    _check_taught(messages, fields)


def _check_taught(messages: Sequence[Message], fields: Sequence[str]) -> None:
    answers = [message for message in messages if message.role == "assistant"]
    if not answers:
        raise RefusedError(
            "no answer", f"no assistant turn in {', '.join(fields[:4])}", "add the answer, or remove the row"
        )
    if messages[-1].role != "assistant":
        raise RefusedError(
            "role order",
            f"the last turn '{fields[-1]}' is a {messages[-1].role} turn, expected an answer",
            "add the answer, or remove the turns behind the last answer",
        )
    if all(message.weight == 0 for message in answers):
        raise RefusedError(
            "no answer",
            "every assistant turn has weight 0, so the row teaches nothing",
            'give one turn a weight above 0 ("train": true), or remove the row',
        )
