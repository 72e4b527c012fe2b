from __future__ import annotations

import json

import pytest

from heedlm.eval.scorers.registry import make_scorer
from heedlm.messages import Example, Message, Reply, ToolCall

from .items import item

SCHEMA = {
    "type": "object",
    "required": ["name", "age"],
    "properties": {"name": {"type": "string"}, "age": {"$ref": "#/$defs/age"}},
    "additionalProperties": False,
    "$defs": {"age": {"type": "integer", "minimum": 0}},
}


@pytest.mark.parametrize(
    ("reply", "value", "note"),
    [
        ('{"name": "Ann", "age": 7}', 1.0, ""),
        ('```json\n{"name": "Ann", "age": 7}\n```', 1.0, "[fenced]"),
        ('Here:\n```\n{"name": "Ann", "age": 7}\n```\nDone.', 1.0, "[fenced]"),
        ('```\n{}\n```\n```\n{"name": "Ann", "age": 7}\n```', 0.0, "[not json]"),
        ('{"name": "Ann"}', 0.0, ""),
        ('{"name": "Ann", "age": "7"}', 0.0, ""),
        ('{"name": "Ann", "age": -1}', 0.0, ""),
        ('{"name": "Ann", "age": 7, "more": 1}', 0.0, ""),
        ("Ann is 7", 0.0, "[not json]"),
        ("", 0.0, "[not json]"),
        ("[" * 50_000, 0.0, "[not json]"),
    ],
)
def test_json_of_a_schema(reply: str, value: float, note: str) -> None:
    score = make_scorer({"type": "json_schema", "schema": SCHEMA})(item(), reply)
    assert score.value == value, score
    assert score.why.startswith(note)


def test_a_fence_can_be_forbidden_and_an_item_has_its_own_schema() -> None:
    strict = make_scorer({"type": "json_schema", "fenced": False})
    row = item(schema={"type": "array"})
    assert strict(row, "[1]").value == 1.0
    assert strict(row, "```json\n[1]\n```").value == 0.0


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (None, "there is no JSON schema"),
        ({"type": "objekt"}, "is broken at type"),
        ({"$ref": "https://example.com/schema.json"}, "nothing is fetched"),
    ],
)
def test_a_broken_schema_is_a_problem_of_the_item(schema: object, problem: str) -> None:
    assert problem in make_scorer("json_schema").item_problems(item(schema=schema))[0].what


def test_a_reference_that_leads_nowhere_is_counted() -> None:
    score = make_scorer("json_schema")(item(schema={"$ref": "#/$defs/none"}), "1")
    assert score.value == 0.0
    assert score.why.startswith("[schema]")


ROME = ToolCall("weather", {"city": "Rome"})
OSLO = ToolCall("weather", {"city": "Oslo", "days": 2})
TIME = ToolCall("time", {})


def called(*calls: ToolCall) -> Reply:
    return Reply("", tool_calls=calls)


def wants(*calls: ToolCall) -> Example:
    return item(tool_calls=[{"name": call.name, "arguments": dict(call.arguments)} for call in calls])


@pytest.mark.parametrize(
    ("spec", "wanted", "made", "value"),
    [
        ({}, [ROME], [ROME], 1.0),
        ({}, [ROME], [OSLO], 0.0),
        ({}, [ROME], [], 0.0),
        ({}, [ROME], [ROME, ROME], 0.0),
        ({}, [ROME, OSLO], [OSLO, ROME], 1.0),
        ({"order": "same"}, [ROME, OSLO], [OSLO, ROME], 0.0),
        ({"order": "same"}, [ROME, TIME], [ROME, TIME], 1.0),
        ({}, [], [], 1.0),
        ({}, [], [TIME], 0.0),
        ({"arguments": "names"}, [ROME], [OSLO], 1.0),
        ({"arguments": "names"}, [ROME], [TIME], 0.0),
        ({}, [ROME], [ToolCall("weather", {"city": "Rome", "days": 1})], 0.0),
        ({"arguments": "subset"}, [ROME], [ToolCall("weather", {"city": "Rome", "days": 1})], 1.0),
        ({"arguments": "subset"}, [OSLO], [ROME], 0.0),
        ({}, [ToolCall("f", {"n": 1})], [ToolCall("f", {"n": 1.0})], 1.0),
        ({}, [ToolCall("f", {"n": 1})], [ToolCall("f", {"n": True})], 0.0),
        ({}, [ToolCall("f", {"n": 1})], [ToolCall("f", {"n": "1"})], 0.0),
        # One call could answer either wish; the one that demands more has to get it.
        ({"arguments": "subset"}, [TIME, ToolCall("time", {"at": 1})], [ToolCall("time", {"at": 1}), TIME], 1.0),
    ],
)
def test_calls_beside_those_wanted(
    spec: dict[str, str], wanted: list[ToolCall], made: list[ToolCall], value: float
) -> None:
    score = make_scorer({"type": "tool_call", **spec}).judge(wants(*wanted), called(*made))
    assert score.value == value, score.why


def test_calls_written_as_text_are_read_and_counted_and_nothing_half_right_is() -> None:
    score = make_scorer("tool_call")
    call = json.dumps({"name": "weather", "arguments": {"city": "Rome"}})
    marked = score(wants(ROME), f"Let me see. <tool_call>\n{call}\n</tool_call>")
    assert (marked.value, marked.why) == (1.0, "[call in text] called as asked")
    assert score(wants(ROME), call).value == 1.0
    assert score(wants(ROME, ROME), f"[{call}, {call}]").value == 1.0
    assert score(wants(ROME), f"I would call {call}").value == 0.0
    assert score(wants(ROME), '<tool_call>{"name": "weather"</tool_call>').value == 0.0
    assert score(wants(), "It is sunny.").value == 1.0


def test_the_answer_of_the_row_may_hold_the_calls() -> None:
    turns = (Message("user", "?"), Message("assistant", "", tool_calls=(ROME,)))
    row = Example("i", turns, "rows.jsonl:3")
    assert make_scorer("tool_call").judge(row, called(ROME)).value == 1.0
    assert not make_scorer("tool_call").item_problems(row)


@pytest.mark.parametrize(
    ("meta", "problem"),
    [
        ({}, "does not say which calls"),
        ({"tool_calls": "weather"}, "is no list"),
        ({"tool_calls": [{"arguments": {}}]}, "is no call"),
        ({"tool_calls": [{"name": "f", "arguments": "{}"}]}, "is no call"),
        ({"tool_calls": [{"name": "f", "args": {}}]}, "is no call"),
    ],
)
def test_broken_calls_are_a_problem_of_the_item(meta: dict[str, object], problem: str) -> None:
    assert problem in make_scorer("tool_call").item_problems(item(**meta))[0].what


def test_a_tool_that_the_item_does_not_offer_is_a_problem() -> None:
    turns = (Message("user", "?"), Message("assistant", "", tool_calls=(ROME,)))
    row = Example("i", turns, "rows.jsonl:3", tools=({"type": "function", "function": {"name": "time"}},))
    assert "'weather' is not among" in make_scorer("tool_call").item_problems(row)[0].what
