"""Making an example of a row, whichever of the usual shapes the row has.

The shape is recognised on every row, so files may mix them. It is found by the field that opens it, so that a row of a
known shape with a field missing is told so.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from heedlm.data.fields import RefusedError, check_json, show, text_at
from heedlm.data.sources import Row
from heedlm.data.turns import answer, check_order, content_text, question, read_turns
from heedlm.errors import HeedError, Problem, nearest
from heedlm.messages import Example, Message

MESSAGES, SHAREGPT, SEEDS, ALPACA, PROMPT, QUESTION = (
    "messages",
    "sharegpt",
    "self-instruct",
    "alpaca",
    "prompt-completion",
    "question-answer",
)


@dataclass(frozen=True, slots=True)
class _Pair:
    """A shape of one question and one answer: names of the fields, the first of each kind is the usual one."""

    question: str
    answers: tuple[str, ...]
    inputs: tuple[str, ...] = ()


# The field that opens a shape, in the order of trust: a row that holds `messages` is read so whatever else it holds.
_OPENERS: Mapping[str, str] = {
    "messages": MESSAGES,
    "conversations": SHAREGPT,
    "conversation": SHAREGPT,
    "instances": SEEDS,
    "instruction": ALPACA,
    "prompt": PROMPT,
    "question": QUESTION,
}
_PAIRS: Mapping[str, _Pair] = {
    ALPACA: _Pair("instruction", ("output", "response"), ("input", "context")),
    PROMPT: _Pair("prompt", ("completion", "response")),
    QUESTION: _Pair("question", ("answer", "response"), ("context", "input")),
}
_CLOSERS: Mapping[str, str] = {"output": ALPACA, "completion": PROMPT, "answer": QUESTION}
_SYSTEMS = ("system", "system_prompt")
_KWARGS = ("template_kwargs", "chat_template_kwargs")
MAPPABLE = (
    "messages",
    "conversations",
    "role",
    "content",
    "instruction",
    "input",
    "output",
    "prompt",
    "completion",
    "question",
    "answer",
    "system",
    "tools",
    "id",
    "group",
)


@dataclass(slots=True)
class _Fields:
    """The fields of one row under our names, with the names a person finds in the file."""

    values: dict[str, Any]
    names: Mapping[str, str]
    prefix: str = ""
    used: set[str] = field(default_factory=set)

    def name(self, ours: str) -> str:
        return self.prefix + self.names.get(ours, ours)

    def first(self, options: Sequence[str]) -> str | None:
        """The first of `options` that holds something; else the first that is there at all."""
        there = [option for option in options if option in self.values]
        return next((option for option in there if self.values[option] is not None), there[0] if there else None)

    def take(self, ours: str) -> Any:
        self.used.add(ours)
        return self.values.get(ours)


def check_mapping(mapping: Mapping[str, str]) -> None:
    """Refuse a mapping (our name -> name in the file) with a name that no shape has. Raises HeedError."""
    problems = [
        Problem(f"unknown field name {name!r} in a mapping", f"mapping.{name}", nearest(name, MAPPABLE))
        for name in mapping
        if name not in MAPPABLE
    ]
    if problems:
        raise HeedError.of(problems)


def shape_of(value: Mapping[str, Any], mapping: Mapping[str, str] | None = None) -> str | None:
    """The name of the shape of a row, or None. Mapped fields are looked at first, then fields that hold something."""
    for keys in (mapping or {}, [key for key in value if value[key] is not None], value):
        for opener, shape in _OPENERS.items():
            if opener in keys:
                return shape
    return next((shape for closer, shape in _CLOSERS.items() if closer in value), None)


def to_example(row: Row, mapping: Mapping[str, str] | None = None) -> Example | Problem:
    """The example of a row that holds one. See `to_examples`."""
    found = to_examples(row, mapping)
    if len(found) != 1:
        return Problem(
            f"several examples: field 'instances' holds {len(found)}, expected 1",
            row.where,
            "write one row per instance",
        )
    return found[0]


def to_examples(row: Row, mapping: Mapping[str, str] | None = None) -> list[Example | Problem]:
    """The examples of a row (one, or one per instance of a self-instruct seed), or the problem in their place.

    mapping: our field name -> the name in the file; every mapped field must be in every row.
    """
    try:
        fields = _fields(row.value, mapping or {})
        shape = shape_of(fields.values, mapping)
        if shape == SEEDS:
            return _from_instances(fields, row.where)
        return [_from_row(fields, shape, row.where)]
    except RefusedError as refused:
        return [refused.problem(row.where)]


def _fields(value: dict[str, Any], mapping: Mapping[str, str]) -> _Fields:
    if not mapping:
        return _Fields(dict(value), {})
    top = {ours: theirs for ours, theirs in mapping.items() if ours not in ("role", "content")}
    for ours, theirs in top.items():
        if theirs not in value:
            raise RefusedError(
                "missing field",
                f"field '{theirs}' (mapped to '{ours}') is missing; found {_listed(value)}",
                f"add the field; {nearest(theirs, value)}",
            )
    taken = set(top.values())
    values = {name: inner for name, inner in value.items() if name not in taken and name not in top}
    values.update({ours: value[theirs] for ours, theirs in top.items()})
    # A field that bears one of our names but was mapped away is still the user's: it is kept with the rest.
    values.update({f"{name} (unmapped)": value[name] for name in top if name in value and name not in taken})
    return _Fields(values, mapping)


def _from_row(fields: _Fields, shape: str | None, where: str) -> Example:
    if shape is None:
        raise RefusedError(
            "unknown shape",
            f"the row has fields {_listed(fields.values)}; none opens a known shape",
            _mend_shape(fields.values),
        )
    extras: dict[str, Any] = {}
    if shape in (MESSAGES, SHAREGPT):
        opener = fields.first(["messages"] if shape == MESSAGES else ["conversations", "conversation"]) or "messages"
        messages, extras = read_turns(fields.take(opener), fields.name(opener), fields.names, aliases=shape == SHAREGPT)
        labels = [f"{fields.name(opener)}[{index}]" for index in range(len(messages))]
    else:
        messages, labels, extras = _from_pair(fields, _PAIRS[shape])
    return _finish(fields, messages, labels, extras, where)


def _from_pair(fields: _Fields, pair: _Pair) -> tuple[list[Message], list[str], dict[str, Any]]:
    closer = fields.first(pair.answers)
    for needed, there in ((pair.question, pair.question in fields.values), (pair.answers[0], closer is not None)):
        if not there:
            raise RefusedError(
                "missing field",
                f"field '{fields.name(needed)}' is missing; found {_listed(fields.values)}",
                f"add the field '{fields.name(needed)}'{_hint(needed, fields.values)}",
            )
    assert closer is not None
    asked, answered = fields.take(pair.question), fields.take(closer)
    extras: dict[str, Any] = {}
    if isinstance(asked, list):
        messages, extras = read_turns(asked, fields.name(pair.question), fields.names, aliases=False)
        # What stands in the prompt is given, not taught, unless the row itself says otherwise.
        messages = [_given(message) for message in messages]
        labels = [f"{fields.name(pair.question)}[{index}]" for index in range(len(messages))]
    else:
        messages = [question(_asked(fields, pair, asked), fields.name(pair.question))]
        labels = [fields.name(pair.question)]
    name = fields.name(closer)
    if isinstance(answered, list):
        turns, more = read_turns(answered, name, fields.names, aliases=False)
        extras |= {str(int(index) + len(messages)): extra for index, extra in more.items()}
        labels += [f"{name}[{index}]" for index in range(len(turns))]
        messages += turns
    else:
        messages.append(answer(text_at(answered, name), name))
        labels.append(name)
    return messages, labels, extras


def _given(message: Message) -> Message:
    if message.role != "assistant" or message.weight is not None:
        return message
    return Message("assistant", message.content, message.reasoning, message.tool_calls, weight=0.0)


def _asked(fields: _Fields, pair: _Pair, asked: Any) -> str:
    """The question, with the text it is about behind a blank line."""
    text = question(text_at(asked, fields.name(pair.question)), fields.name(pair.question)).content
    about = fields.first(pair.inputs)
    given = fields.take(about) if about is not None else None
    if about is None or given is None:
        return text
    more = text_at(given, fields.name(about))
    return f"{text}\n\n{more}" if more.strip() else text


def _from_instances(fields: _Fields, where: str) -> list[Example | Problem]:
    instances = fields.take("instances")
    if not isinstance(instances, list) or not instances:
        raise RefusedError(
            "wrong type",
            f"field 'instances' is {show(instances)}, expected a list of instances",
            'write [{"input": "...", "output": "..."}]',
        )
    shared = {name: value for name, value in fields.values.items() if name != "instances"}
    examples: list[Example | Problem] = []
    for index, instance in enumerate(instances):
        try:
            if not isinstance(instance, dict):
                raise RefusedError(
                    "wrong type",
                    f"field 'instances[{index}]' is {show(instance)}, expected an object",
                    'write {"input": "...", "output": "..."}',
                )
            values = {**shared, **instance}
            if len(instances) > 1:
                name = (
                    shared.get("id") if isinstance(shared.get("id"), (str, int)) else _digest(shared.get("instruction"))
                )
                values |= {"id": f"{name}-{index}", "group": shared.get("group", f"seed:{name}")}
            names = {**fields.names, **{key: f"instances[{index}].{key}" for key in ("input", "output")}}
            examples.append(_from_row(_Fields(values, names), ALPACA, where))
        except RefusedError as refused:
            examples.append(refused.problem(where))
    return examples


def _finish(fields: _Fields, messages: list[Message], labels: list[str], extras: dict[str, Any], where: str) -> Example:
    system = fields.first(_SYSTEMS)
    text = fields.take(system) if system is not None else None
    if system is not None and text is not None and content_text(text, fields.name(system)).strip():
        if messages[0].role == "system":
            raise RefusedError(
                "role order",
                f"field '{fields.name(system)}' and turn '{labels[0]}' are both system texts",
                "keep one of the two",
            )
        messages, labels = (
            [Message("system", content_text(text, fields.name(system))), *messages],
            [fields.name(system), *labels],
        )
        extras = {str(int(index) + 1): extra for index, extra in extras.items()}
    check_order(messages, labels)
    tools = _tools(fields)
    kwargs = _kwargs(fields)
    given_id, group = _label(fields, "id"), _label(fields, "group")
    meta = _meta(fields, extras)
    return Example(
        id=given_id or _digest([_plain(message) for message in messages] + list(tools)),
        messages=tuple(messages),
        source=where,
        group=group,
        tools=tools,
        template_kwargs=kwargs,
        meta=meta,
    )


def _label(fields: _Fields, ours: str) -> str | None:
    value = fields.take(ours)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise RefusedError(
            "wrong type",
            f"field '{fields.name(ours)}' is {show(value)}, expected text or a whole number",
            "write it as text",
        )
    return text_at(str(value), fields.name(ours))


def _tools(fields: _Fields) -> tuple[Mapping[str, Any], ...]:
    value = fields.take("tools")
    legacy = fields.values.get("functions")
    if value is None and isinstance(legacy, list):  # as in files written before `tools` was the name
        value = [{"type": "function", "function": schema} for schema in fields.take("functions")]
    if isinstance(value, str) and value.strip():
        with contextlib.suppress(ValueError, RecursionError):  # what stays text is refused below
            value = json.loads(value)
    if value is None or value == "" or value == []:
        return ()
    if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
        raise RefusedError(
            "wrong type",
            f"field '{fields.name('tools')}' is {show(value)}, expected a list of tool schemas",
            'write [{"type": "function", "function": {"name": "...", "parameters": {...}}}]',
        )
    check_json(value, fields.name("tools"))
    return tuple(value)


def _kwargs(fields: _Fields) -> Mapping[str, Any]:
    name = fields.first(_KWARGS)
    value = fields.take(name) if name is not None else None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RefusedError(
            "wrong type", f"field '{name}' is {show(value)}, expected an object", 'write {"enable_thinking": false}'
        )
    check_json(value, str(name))
    return value


def _meta(fields: _Fields, extras: dict[str, Any]) -> Mapping[str, Any]:
    """What no other place took: fields of the row, its own `meta`, what turns held beside; none replaces another."""
    unused = {name: value for name, value in fields.values.items() if name not in fields.used and value is not None}
    unused.pop("heed_version", None)
    own = unused.pop("meta", None)
    if own is not None and not isinstance(own, dict):
        unused["meta"] = own
    meta = dict(own) if isinstance(own, dict) else {}
    if extras:
        unused["turn_fields"] = extras
    for name, value in unused.items():
        meta[f"{name} (row)" if name in meta else name] = value
    for name, value in meta.items():
        text_at(name, name)
        check_json(value, name)
    return meta


def _plain(message: Message) -> list[Any]:
    calls = [[call.name, call.arguments] for call in message.tool_calls]
    return [message.role, message.content, message.reasoning, calls]


def _digest(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _listed(value: Mapping[str, Any]) -> str:
    return ", ".join(list(value)[:8]) + (", ..." if len(value) > 8 else "") if value else "no fields"


def _hint(needed: str, value: Mapping[str, Any]) -> str:
    near = nearest(needed, value)
    return f"; {near}" if near.startswith("did you mean") else ", or give a mapping of field names"


def _mend_shape(value: Mapping[str, Any]) -> str:
    for name, inner in value.items():
        if isinstance(inner, list) and inner and isinstance(inner[0], dict):
            return f"if the rows stand in the list '{name}', write that list alone; else map '{name}' to messages"
    for name in value:
        near = nearest(name, [*_OPENERS, *_CLOSERS])
        if near.startswith("did you mean"):
            return f"for '{name}': {near}"
    return (
        "name the fields messages, instruction/output, prompt/completion or question/answer; or give a mapping of names"
    )
