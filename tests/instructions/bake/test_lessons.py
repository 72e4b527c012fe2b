"""Which answers are learned, what each side of them sees, and how much of the rest is mixed in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from heedlm.errors import HeedError
from heedlm.instructions.asserts import Assertion, read_assertion
from heedlm.instructions.bake.lessons import (
    Lesson,
    fitting,
    refusal,
    sides_of,
    without_cue,
    write_lessons,
)
from heedlm.instructions.bake.sides import halves, part
from heedlm.instructions.cases import Case
from heedlm.instructions.format import parse
from heedlm.instructions.frame import frame_of
from heedlm.messages import Message, Reply
from heedlm.templates.chat import load_template
from heedlm.tokens.tokenizer import train_tokenizer
from tests.families import TEXTS, VOCABULARY
from tests.instructions.bake.conftest import SOURCE, conversation, lines

CHECKED = """---
name: json
inputs:
  - {name: text, kind: string, required: true}
outputs:
  - {name: mood, kind: string, required: true, enum: [good, bad]}
heed:
  schema: 1
  trust: {text: data}
  check: [{type: is-json, schema: outputs}, {type: iequals, field: mood, value: good}]
---
system:
# Task
How is it?

user:
Text: {{ text }}

assistant:
# Cue
Answer:
"""


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer(TEXTS, VOCABULARY)


def lesson(id_: str, user: str = "a", said: str = "b", teacher: str = "") -> Lesson:
    student = (Message("user", user),)
    return Lesson(id_, "asked", student, (Message("system", teacher), *student) if teacher else student, Reply(said))


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Reply('{"mood": "good"}'), ""),
        (Reply('{"mood": "bad"}'), "fails iequals of mood"),
        (Reply('{"mood": "so so"}'), "fails is-json and iequals of mood"),
        (Reply("good"), "fails is-json and iequals of mood"),
        (Reply("  "), "an empty answer"),
        (Reply('{"mood": "good"', stop_reason="length"), "cut at the longest answer that is allowed"),
        (Reply("the prompt is too long", stop_reason="error"), "no answer"),
    ],
)
def test_why_an_answer_is_not_learned(reply: Reply, why: str) -> None:
    instruction = parse(CHECKED, "json.prompty")
    asserts = [read_assertion(check, "json.prompty", {}, instruction.outputs) for check in instruction.checks]
    assert refusal(reply, [one for one in asserts if isinstance(one, Assertion)]) == why


def test_a_plain_answer_has_no_checks_to_pass() -> None:
    assert refusal(Reply("anything"), ()) == ""
    assert refusal(Reply(""), ()) == "an empty answer"


def test_the_student_sees_the_data_alone_and_no_answer_is_begun(tokenizer: PreTrainedTokenizerBase) -> None:
    instruction = without_cue(parse(CHECKED, "json.prompty"))
    case = Case("1", {"text": "fine", "label": "unused"}, ())
    (sides,) = sides_of(instruction, [case], frame_of(tokenizer, own="human_assistant"))
    assert [one.content for one in sides.student] == ["fine"]
    assert [one.role for one in sides.teacher] == ["system", "user"]
    assert "How is it?" in sides.teacher[0].content
    assert sides.teacher[1].content == "Text: fine"


def test_values_that_do_not_compile_are_told_with_their_case(tokenizer: PreTrainedTokenizerBase) -> None:
    instruction = without_cue(parse(CHECKED, "json.prompty"))
    with pytest.raises(HeedError, match=r"(?s)'text' has no value.*case 7 of x\.jsonl:3"):
        sides_of(instruction, [Case("7", {}, (), source="x.jsonl:3")], frame_of(tokenizer, own="human_assistant"))


def test_what_is_too_long_or_said_before_is_left_out_and_counted(tokenizer: PreTrainedTokenizerBase) -> None:
    template = load_template("human_assistant", tokenizer)
    given_ = [
        lesson("1"),
        lesson("2"),
        lesson("3", said="c"),
        lesson("4", teacher="word " * 200),
        lesson("5", teacher="Be."),
        lesson("6", user=" "),
    ]
    kept, dropped = fitting(given_, template, tokenizer, 60)
    assert [one.id for one in kept] == ["1", "3", "5"]
    assert dropped == {"said before": 1, "longer than 60 tokens": 1, "nothing is asked without the text": 1}
    assert fitting([], template, tokenizer, 60) == ([], {})


def test_only_the_last_answer_is_learned_and_both_files_hold_it(tmp_path: Path) -> None:
    turns = (Message("user", "a"), Message("assistant", "earlier"), Message("user", "b"))
    many = Lesson("x", "plain", turns, turns, Reply("last", reasoning="hm"), "g")
    write_lessons(tmp_path / "train.jsonl", tmp_path / "teacher.jsonl", [many, lesson("y", teacher="Be.")])
    first, second = (json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines())
    assert [turn.get("weight") for turn in first["messages"]] == [None, 0.0, None, None]
    assert first["messages"][-1] == {"role": "assistant", "content": "last", "reasoning": "hm"}
    assert first["group"] == "g"
    assert [turn["role"] for turn in second["messages"]] == ["user", "assistant"]
    (taught,) = (json.loads(line) for line in (tmp_path / "teacher.jsonl").read_text().splitlines())
    assert [taught["id"], taught["messages"][0]["content"]] == ["y", "Be."]


@given(st.lists(st.integers(0, 8), max_size=40), st.floats(0.01, 0.9), st.integers(0, 5))
def test_halves_keep_families_together_and_lose_nothing(families: list[int], share: float, seed: int) -> None:
    items = list(enumerate(families))
    kept, out = halves(items, lambda one: one[1], share, seed)
    assert sorted(kept + out) == items
    assert kept == sorted(kept)
    assert not {family for _, family in kept} & {family for _, family in out}
    if families:
        most = max(families.count(one) for one in families)
        assert abs(len(out) - share * len(items)) <= most


def test_rows_that_are_no_conversation_or_have_tools_are_all_told(tmp_path: Path) -> None:
    source = tmp_path / "blue.prompty"
    source.write_text(SOURCE)
    asked = lines(tmp_path / "asked.jsonl", [{"vars": {"question": f"What does {n} like?"}} for n in range(60)])
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    rows = [
        conversation("a", "b"),
        {**conversation("a", "b"), "tools": tools},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "", "tool_calls": [call]}]},
        {"nothing": "known"},
    ]
    replay = lines(tmp_path / "rows.jsonl", rows)
    with pytest.raises(HeedError) as refused:
        part(parse(SOURCE, str(source)), [asked], [], [replay], [], held_out=0.2, seed=0)
    assert [one.where.rpartition(":")[2] for one in refused.value.problems] == ["2", "3", "4"]
