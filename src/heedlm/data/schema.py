"""Making an example of a row, whichever of the usual shapes (see `data.shapes`) the row has."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from heedlm.data.choices import choices_of, first_answer, right_choice, with_choices
from heedlm.data.fields import Fields, RefusedError, check_json, listed, show, text_at
from heedlm.data.preference import read_pair, rejected_beside
from heedlm.data.row import Row
from heedlm.data.shapes import (
    ALPACA,
    LISTS,
    MARKED,
    MESSAGES,
    P3,
    PAIRS,
    PREFERENCE,
    PROMPT,
    QUESTION,
    SEEDS,
    SHAREGPT,
    STRUCTURED,
    TEXT,
    is_structure,
    mapped,
    mend_unknown,
    shape_of,
)
from heedlm.data.transcript import is_open, read_marked
from heedlm.data.turns import answer, as_turns, check_order, content_text, given, question, read_turns
from heedlm.errors import Problem, nearest
from heedlm.messages import Example, Message

_SYSTEMS = ("system", "system_prompt")
_KWARGS = ("template_kwargs", "chat_template_kwargs")
_BAD = ("label", "is_correct")  # where false says that the answer is a wrong one


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
        shape = shape_of(row.value, mapping)
        if shape == SEEDS:
            return _from_instances(fields, row.where)
        return [_from_row(fields, shape, row.where)]
    except RefusedError as refused:
        return [refused.problem(row.where)]


def _fields(value: dict[str, Any], mapping: Mapping[str, str]) -> Fields:
    for ours, theirs in mapping.items():
        if theirs not in value and ours not in ("role", "content"):
            raise RefusedError(
                "missing field",
                f"field '{theirs}' (mapped to '{ours}') is missing; found {listed(value)}",
                f"add the field; {nearest(theirs, value)}",
            )
    values = mapped(value, mapping)
    for ours in STRUCTURED:
        if ours in mapping and is_structure(values.get(ours)):
            at = mapping[ours]
            raise RefusedError(
                "broken JSON",
                f"field '{at}' (mapped to '{ours}') is {values[ours][:40]!r}, expected a list in JSON",
                f"write the column with json.dumps: frame['{at}'] = frame['{at}'].map(json.dumps)",
            )
    return Fields(values, mapping)


def _from_row(fields: Fields, shape: str | None, where: str) -> Example:
    if shape is None:
        raise RefusedError(
            "unknown shape",
            f"the row has fields {listed(fields.values)}; none opens a known shape"
            if fields.values
            else "the row has no fields",
            mend_unknown(fields.values),
        )
    extras: dict[str, Any] = {}
    rejected: tuple[Message, ...] = ()
    if shape in (MESSAGES, SHAREGPT):
        messages, labels, extras = _from_list(fields, shape)
    elif shape == PREFERENCE:
        prompt, labels, extras = _from_prompt(fields)
        messages, labels, rejected = read_pair(fields, prompt, labels)
    elif shape in (MARKED, TEXT):
        messages, labels = _from_text(fields, shape)
    else:
        messages, labels, extras = _from_pair(fields, shape)
    return _finish(fields, messages, labels, extras, where, rejected or rejected_beside(fields, messages))


def _from_list(fields: Fields, shape: str) -> tuple[list[Message], list[str], dict[str, Any]]:
    opener = fields.first(LISTS)
    assert opener is not None, "the field that opens the shape"
    name = fields.name(opener)
    messages, extras = read_turns(fields.take(opener), name, fields.names, aliases=shape == SHAREGPT)
    return messages, [f"{name}[{index}]" for index in range(len(messages))], extras


def _from_text(fields: Fields, shape: str) -> tuple[list[Message], list[str]]:
    text, name = fields.take("text"), fields.name("text")
    if shape == TEXT:
        raise RefusedError(
            "document",
            f"field '{name}' is {show(text)}, text in which nothing is asked and nothing answered",
            "name documents in data.replay, which mixes them in; or give a mapping of question and answer",
        )
    return read_marked(text_at(text, name), name)


def _from_prompt(fields: Fields) -> tuple[list[Message], list[str], dict[str, Any]]:
    """What stands before the two answers of a pair, in whichever field; nothing where the answers hold it themselves."""
    value = fields.values.get("input")
    if isinstance(value, dict) and "messages" in value:  # as OpenAI writes it
        fields.take("input")
        fields.values.setdefault("tools", value.get("tools"))
        messages, extras = as_turns(value["messages"], "input.messages", fields.names)
        return [given(message) for message in messages], [f"input.messages[{i}]" for i in range(len(messages))], extras
    for name in ("prompt", *LISTS, "question", "instruction", "input"):
        if fields.values.get(name) is not None:
            inputs = PAIRS[QUESTION].inputs if name in ("question", "instruction") else ()
            messages, labels, extras = _from_question(fields, name, inputs)
            while (
                len(messages) > 1 and messages[-1].role == "assistant"
            ):  # a whole conversation, which the pair repeats
                messages, labels = messages[:-1], labels[:-1]
            return messages, labels, extras
    return [], [], {}


def _from_pair(fields: Fields, shape: str) -> tuple[list[Message], list[str], dict[str, Any]]:
    pair = PAIRS[shape]
    asking, closer = fields.first(pair.questions), fields.first(pair.answers)
    choices = choices_of(fields) if shape == QUESTION else None
    needed = [(pair.questions[-1], asking)] + ([] if choices else [(pair.answers[-1 if shape == P3 else 0], closer)])
    for usual, there in needed:
        if there is None:
            raise RefusedError(
                "missing field",
                f"field '{fields.name(usual)}' is missing; found {listed(fields.values)}",
                f"add the field '{fields.name(usual)}'{_hint(usual, fields.values)}",
            )
    assert asking is not None
    messages, labels, extras = _from_question(fields, asking, pair.inputs)
    if choices:
        messages[-1] = question(with_choices(messages[-1].content, choices), labels[-1])
        text, name = right_choice(fields, choices)
        return [*messages, answer(text, name)], [*labels, name], extras
    assert closer is not None
    _refuse_wrong(fields, shape)
    name = fields.name(closer)
    answered = fields.values[closer]
    several = first_answer(answered, name) if shape == QUESTION else None
    if several is not None:  # the others stay where they are, in meta
        return [*messages, answer(several, name)], [*labels, name], extras
    answered = fields.take(closer)
    if isinstance(answered, list):
        turns, more = read_turns(answered, name, fields.names, aliases=False)
        extras |= {str(int(index) + len(messages)): extra for index, extra in more.items()}
        return [*messages, *turns], [*labels, *(f"{name}[{index}]" for index in range(len(turns)))], extras
    return [*messages, answer(text_at(answered, name), name)], [*labels, name], extras


def _from_question(
    fields: Fields, asking: str, inputs: tuple[str, ...]
) -> tuple[list[Message], list[str], dict[str, Any]]:
    """What is asked: a text, with the text it is about behind a blank line, or turns, which are given, not taught."""
    asked, name = fields.take(asking), fields.name(asking)
    if isinstance(asked, list):
        messages, extras = as_turns(asked, name, fields.names)
        return [given(message) for message in messages], [f"{name}[{index}]" for index in range(len(messages))], extras
    if asking == "prompt" and is_open(asked):
        messages, labels = read_marked(text_at(asked, name), name)
        return [given(message) for message in messages], labels, {}
    text = question(text_at(asked, name), name).content
    about = fields.first(inputs)
    more = fields.take(about) if about is not None else None
    if about is not None and more is not None:
        more = text_at(more, fields.name(about))
        text = f"{text}\n\n{more}" if more.strip() else text
    return [Message("user", text)], [name], {}


def _refuse_wrong(fields: Fields, shape: str) -> None:
    """Refuse an answer that the row itself calls a bad one: half of the rows of unpaired preferences are such."""
    wrong = next((name for name in _BAD if fields.values.get(name) is False), None)
    if wrong is not None and shape in (PROMPT, P3):
        raise RefusedError(
            "bad answer",
            f"field '{fields.name(wrong)}' is false: the row calls its answer a bad one",
            "nothing to do; or rename the field, if it says something else",
        )


def _from_instances(fields: Fields, where: str) -> list[Example | Problem]:
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
            examples.append(_from_row(Fields(values, names), ALPACA, where))
        except RefusedError as refused:
            examples.append(refused.problem(where))
    return examples


def _finish(
    fields: Fields,
    messages: list[Message],
    labels: list[str],
    extras: dict[str, Any],
    where: str,
    rejected: tuple[Message, ...],
) -> Example:
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
        rejected=rejected,
        meta=meta,
    )


def _label(fields: Fields, ours: str) -> str | None:
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


def _tools(fields: Fields) -> tuple[Mapping[str, Any], ...]:
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


def _kwargs(fields: Fields) -> Mapping[str, Any]:
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


def _meta(fields: Fields, extras: dict[str, Any]) -> Mapping[str, Any]:
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


def _hint(needed: str, value: Mapping[str, Any]) -> str:
    near = nearest(needed, value)
    return f"; {near}" if near.startswith("did you mean") else ", or give a mapping of field names"
