"""The calls of tools in a turn, as OpenAI writes them, as older files do, or as one JSON text."""

from __future__ import annotations

import json
from typing import Any

from heedlm.data.fields import RefusedError, check_json, show, text_at
from heedlm.messages import ToolCall


def tool_calls(rest: dict[str, Any], place: str) -> tuple[ToolCall, ...]:
    """The calls of a turn, taken out of `rest`, its fields."""
    calls = rest.pop("tool_calls", None)
    legacy = rest.pop("function_call", None)
    if legacy is not None:
        return (one_call(legacy, f"{place}.function_call"),)
    if calls is None:
        return ()
    if not isinstance(calls, list):
        raise RefusedError(
            "tool call",
            f"field '{place}.tool_calls' is {show(calls)}, expected a list of calls",
            'write [{"function": {"name": "...", "arguments": {...}}}]',
        )
    return tuple(one_call(call, f"{place}.tool_calls[{index}]") for index, call in enumerate(calls))


def calls_in(value: Any, place: str) -> tuple[ToolCall, ...]:
    """One call or a list of them, which may be written as JSON text: what ShareGPT's turns of calls hold."""
    found = _decoded(value, place) if isinstance(value, str) else value
    if isinstance(found, list) and found:
        return tuple(one_call(call, f"{place}[{index}]") for index, call in enumerate(found))
    return (one_call(found, place),)


def one_call(call: Any, place: str) -> ToolCall:
    """The call that a value is: an object with a name and arguments, or the same as JSON text."""
    if isinstance(call, str):
        call = _decoded(call, place)
    if not isinstance(call, dict):
        raise RefusedError(
            "tool call",
            f"field '{place}' is {show(call)}, expected a call",
            'write {"name": "...", "arguments": {...}}',
        )
    nested = call.get("function")
    inner, at = (nested, f"{place}.function") if isinstance(nested, dict) else (call, place)
    name, arguments, call_id = inner.get("name"), inner.get("arguments"), call.get("id")
    if not isinstance(name, str) or not name:
        raise RefusedError(
            "tool call",
            f"field '{at}.name' is {show(name)}, expected the name of the tool",
            "write the name of the tool",
        )
    if isinstance(arguments, str):
        arguments = _decoded(arguments, f"{at}.arguments") if arguments.strip() else {}
    if not isinstance(arguments, dict):
        raise RefusedError(
            "tool call",
            f"field '{at}.arguments' is {show(arguments)}, expected an object, or an object written as JSON text",
            'write {"city": "Paris"}, or {} where there are none',
        )
    check_json(arguments, f"{at}.arguments")
    return ToolCall(
        text_at(name, f"{at}.name"), arguments, None if call_id is None else text_at(call_id, f"{place}.id")
    )


def _decoded(text: str, field: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise RefusedError(
            "tool call",
            f"field '{field}' is {show(text)}, expected an object written as JSON text",
            "write the object itself instead of a string",
        ) from None
