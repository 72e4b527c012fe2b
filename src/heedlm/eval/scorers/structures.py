"""Scorers of replies that programs read: JSON of a schema, and calls of tools."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from heedlm.eval.checks import parse_json, same_json
from heedlm.eval.scorers.reading import note, unread
from heedlm.eval.scorers.scorer import Options
from heedlm.messages import JSON, Example, Reply, Score, ToolCall

_FENCED = re.compile(r"```[A-Za-z]*[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL)
_CALL = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)


def _schema(example: Example, options: Options) -> Any:
    return example.meta.get("schema", options["schema"])


def _checker(schema: Any) -> Any:
    """A validator that fetches nothing from anywhere."""
    import jsonschema
    from referencing import Registry

    chosen = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    return chosen(schema, registry=Registry(), format_checker=chosen.FORMAT_CHECKER)


def json_schema_problems(example: Example, options: Options) -> list[tuple[str, str]]:
    """What is wrong with the schema, as its own meta schema says."""
    import jsonschema

    schema = _schema(example, options)
    mend = 'give the scorer, or the item, "schema": {"type": "object", ...}'
    if not isinstance(schema, Mapping):
        return [("there is no JSON schema", mend)]
    try:
        checker = _checker(schema)
        checker.check_schema(schema)
    except jsonschema.SchemaError as error:
        place = "/".join(map(str, error.absolute_path))
        return [(f"the JSON schema is broken{f' at {place}' if place else ''}: {error.message}", "mend the schema")]
    outside = sorted({ref for ref in _refs(schema) if not ref.startswith("#")})
    if outside:
        return [(f"the JSON schema refers to {outside[0]!r}, and nothing is fetched", "copy it under $defs")]
    return []


def _refs(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [ref for inner in value.values() for ref in _refs(inner)]
    return [ref for inner in value for ref in _refs(inner)] if isinstance(value, (list, tuple)) else []


def json_schema(example: Example, reply: Reply, options: Options) -> Score:
    """1.0 when the reply is JSON of the schema. JSON in a fence is taken out of it, and counted, where `fenced` allows it."""
    from referencing.exceptions import Unresolvable

    body, why = reply.text.strip(), ""
    fences = _FENCED.findall(body)
    if options["fenced"] and len(fences) == 1 and not _is_json(body):
        body, why = fences[0], "fenced"
    try:
        value = parse_json(body)
    except ValueError as error:
        return unread("not json", f"{error}")
    try:
        wrong = sorted(
            _checker(_schema(example, options)).iter_errors(value), key=lambda error: list(map(str, error.path))
        )
    except Unresolvable as error:
        return unread("schema", f"a reference of the schema leads nowhere: {error}")
    if wrong:
        place = "/".join(map(str, wrong[0].absolute_path)) or "the whole"
        reason = f"{len(wrong)} against the schema, first at {place}: {wrong[0].message[:200]}"
    else:
        reason = "as the schema says"
    return Score(float(not wrong), body, note(why, reason) if why else reason)


def _is_json(body: str) -> bool:
    try:
        parse_json(body)
    except ValueError:
        return False
    return True


def wanted_calls(example: Example) -> list[ToolCall]:
    """The calls that are right: `meta.tool_calls`, else those of the item's answer; none: no tool is to be called."""
    told = example.meta.get("tool_calls")
    if told is None:
        return list(example.messages[-1].tool_calls)
    return [ToolCall(call["name"], call.get("arguments", {})) for call in told]


def tool_call_problems(example: Example, options: Options) -> list[tuple[str, str]]:
    mend = '"tool_calls": [{"name": "weather", "arguments": {"city": "Rome"}}]; [] where none is right'
    told: Any = example.meta.get("tool_calls", [])
    if not isinstance(told, Sequence) or isinstance(told, str):
        return [("`tool_calls` is no list", mend)]
    odd = [call for call in told if not _is_call(call)]
    if odd:
        return [
            (f"{json.dumps(odd[0], ensure_ascii=False, default=repr)[:80]} is no call with a name and arguments", mend)
        ]
    if "tool_calls" not in example.meta and not example.messages[-1].tool_calls:
        return [("the item does not say which calls are right", mend)]
    known = {
        str(function.get("name"))
        for tool in example.tools
        if isinstance(function := tool.get("function", tool), Mapping)
    }
    missing = sorted({call.name for call in wanted_calls(example)} - known) if known else []
    return [
        (f"the tool {name!r} is not among the item's tools", f"known: {', '.join(sorted(known))}") for name in missing
    ]


def _is_call(call: Any) -> bool:
    return (
        isinstance(call, Mapping)
        and isinstance(call.get("name"), str)
        and isinstance(call.get("arguments", {}), Mapping)
        and set(call) <= {"name", "arguments", "id"}
    )


def tool_call(example: Example, reply: Reply, options: Options) -> Score:
    """1.0 when the calls of the reply are the right ones, each once: names, and arguments as `arguments` says.

    Calls that a model wrote as text, in `<tool_call>` marks or as JSON alone, are read from there, and counted.
    """
    wanted, found, why = wanted_calls(example), list(reply.tool_calls), ""
    if not found:
        found = _written(reply.text)
        why = "call in text" if found else ""
    said = "; ".join(
        f"{call.name}({json.dumps(dict(call.arguments), ensure_ascii=False, default=str)})" for call in found
    )
    reason = _difference(wanted, found, options)
    value = float(not reason)
    reason = reason or ("called as asked" if wanted else "no call, as asked")
    return Score(value, said, note(why, reason) if why else reason)


def _difference(wanted: Sequence[ToolCall], found: Sequence[ToolCall], options: Options) -> str:
    """What parts the calls made from those wanted; "" when nothing does."""
    if len(found) != len(wanted):
        return f"{len(found)} calls, wanted were {len(wanted)}"
    names = [call.name for call in wanted]
    if options["order"] == "same" and [call.name for call in found] != names:
        return f"called {', '.join(call.name for call in found)}, wanted was {', '.join(names)}"
    if options["order"] == "same":
        return next(
            (why for one, other in zip(wanted, found, strict=True) if (why := _unlike(one, other, options))), ""
        )
    return _unmatched(wanted, found, options)


def _unmatched(wanted: Sequence[ToolCall], found: Sequence[ToolCall], options: Options) -> str:
    """Whether the calls can be put in pairs in any order. Calls that demand more choose first where `subset` lets one call
    answer several."""
    free = list(found)
    for call in sorted(wanted, key=lambda one: -len(one.arguments)):
        same = next((other for other in free if not _unlike(call, other, options)), None)
        if same is None:
            near = next((other for other in free if other.name == call.name), None)
            return _unlike(call, near, options) if near else f"{call.name} was not called"
        free.remove(same)
    return ""


def _unlike(wanted: ToolCall, found: ToolCall, options: Options) -> str:
    if wanted.name != found.name:
        return f"{found.name} was called, wanted was {wanted.name}"
    if options["arguments"] == "names":
        return ""
    missing = [key for key in wanted.arguments if key not in found.arguments]
    if missing:
        return f"{wanted.name} lacks the argument {missing[0]!r}"
    more = [key for key in found.arguments if key not in wanted.arguments]
    if more and options["arguments"] == "same":
        return f"{wanted.name} has the argument {more[0]!r} that was not asked for"
    other = [key for key in wanted.arguments if not same_json(wanted.arguments[key], found.arguments[key])]
    return (
        f"{wanted.name}: {other[0]!r} is {found.arguments[other[0]]!r}, wanted was {wanted.arguments[other[0]]!r}"
        if other
        else ""
    )


def _written(text: str) -> list[ToolCall]:
    """Calls in a text: each in its marks, or the whole of it one JSON call, or a list of them. Nothing half right is read."""
    pieces = _CALL.findall(text) or [text.strip()]
    calls: list[ToolCall] = []
    for piece in pieces:
        try:
            value: JSON = parse_json(piece)
        except ValueError:
            return []
        for call in value if isinstance(value, list) else [value]:
            if not _is_call(call):
                return []
            calls.append(ToolCall(call["name"], call.get("arguments", {})))
    return calls
