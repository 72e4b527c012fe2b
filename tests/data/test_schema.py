"""Rows of every usual shape become the same nouns."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.data.schema import to_example, to_examples
from heedlm.data.shapes import check_mapping, shape_of
from heedlm.data.sources import Row
from heedlm.errors import HeedError, Problem
from heedlm.messages import Example, Message, ToolCall

ASKED, ANSWERED = "What is the capital of Chad?", "N'Djamena."
PAIR = (Message("user", ASKED), Message("assistant", ANSWERED))
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text.strip())


def example(value: dict[str, Any], mapping: dict[str, str] | None = None) -> Example:
    found = to_example(Row(value, "rows.jsonl:7"), mapping)
    assert isinstance(found, Example), found
    return found


def problem(value: dict[str, Any], mapping: dict[str, str] | None = None) -> Problem:
    found = to_example(Row(value, "rows.jsonl:7"), mapping)
    assert isinstance(found, Problem), found
    assert found.where == "rows.jsonl:7"
    assert found.mend
    return found


SAME = {
    "messages": {"messages": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}]},
    "sharegpt": {"conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": ANSWERED}]},
    "alpaca": {"instruction": ASKED, "input": "", "output": ANSWERED},
    "prompt-completion": {"prompt": ASKED, "completion": ANSWERED},
    "question-answer": {"question": ASKED, "answer": ANSWERED},
    "self-instruct": {"instruction": ASKED, "instances": [{"input": "", "output": ANSWERED}]},
}


@pytest.mark.parametrize("shape", SAME)
def test_every_shape_gives_the_same_messages_and_the_same_id(shape):
    found = example(SAME[shape])
    assert shape_of(SAME[shape]) == shape
    assert found.messages == PAIR
    assert found.source == "rows.jsonl:7"
    assert found.id == example(SAME["messages"]).id


def test_fields_that_hold_null_do_not_decide_the_shape():
    assert example({"messages": None, "instruction": ASKED, "input": None, "output": ANSWERED}).messages == PAIR


@given(
    instruction=TEXT,
    about=st.text(alphabet=st.characters(exclude_categories=["Cs"])),
    output=TEXT.filter(lambda t: "<think>" not in t),
)
def test_alpaca_input_joins_the_instruction_with_a_blank_line_and_no_text_is_altered(instruction, about, output):
    found = example({"instruction": instruction, "input": about, "output": output})
    assert found.messages[0].content == (f"{instruction}\n\n{about}" if about.strip() else instruction)
    assert found.messages[1].content == output


def test_a_system_field_becomes_the_first_turn():
    for value in (SAME["alpaca"], SAME["messages"], SAME["sharegpt"]):
        assert example({**value, "system": "Be brief."}).messages == (Message("system", "Be brief."), *PAIR)
    assert example({**SAME["alpaca"], "system": ""}).messages == PAIR
    assert (
        "both system"
        in problem(
            {"messages": [{"role": "system", "content": "a"}, *SAME["messages"]["messages"]], "system": "b"}
        ).what
    )


def test_prompt_and_completion_may_be_lists_and_only_the_completion_is_taught():
    history = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": ASKED},
    ]
    found = example({"prompt": history, "completion": [{"role": "assistant", "content": ANSWERED}]})
    assert found.messages == (Message("user", "Hi"), Message("assistant", "Hello", weight=0.0), *PAIR)
    assert example({"prompt": history, "completion": ANSWERED}).messages == found.messages


def test_thinking_at_the_start_of_an_answer_becomes_reasoning():
    found = example({"prompt": ASKED, "completion": f"<think>\nChad lies in Africa.\n</think>\n\n{ANSWERED}"})
    assert found.messages[1] == Message("assistant", ANSWERED, reasoning="Chad lies in Africa.")
    assert example({"prompt": ASKED, "completion": f"<think>\n\n</think>\n\n{ANSWERED}"}).messages == PAIR
    assert (
        example({"prompt": ASKED, "completion": "Tags like <think> stay."}).messages[1].content
        == "Tags like <think> stay."
    )
    assert "never closes it" in problem({"prompt": ASKED, "completion": "<think>Chad lies"}).what
    assert problem({"prompt": ASKED, "completion": "<think>only</think>"}).what.startswith("empty answer")


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content", "thinking"])
def test_reasoning_may_have_a_field_of_its_own(name):
    turns = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED, name: "Africa."}]
    assert example({"messages": turns}).messages[1].reasoning == "Africa."


TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


@pytest.mark.parametrize("arguments", [{"city": "Chad"}, '{"city": "Chad"}'])
@pytest.mark.parametrize("tools", [TOOLS, json.dumps(TOOLS)])
def test_tool_calls_are_read_with_arguments_as_object_or_as_json_text(arguments, tools):
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    turns = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": '{"t": 40}', "tool_call_id": "c1", "name": "weather"},
        {"role": "assistant", "content": "40 degrees."},
    ]
    found = example({"messages": turns, "tools": tools})
    assert found.messages[1].tool_calls == (ToolCall("weather", {"city": "Chad"}, "c1"),)
    assert found.messages[2] == Message("tool", '{"t": 40}', tool_call_id="c1")
    assert found.tools == tuple(TOOLS)
    assert found.meta == {"turn_fields": {"2": {"name": "weather"}}}, "what no message holds is not lost"


def test_functions_and_function_call_of_older_files_are_tools_and_tool_calls():
    call = {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": "{}"}}
    found = example({"messages": [{"role": "user", "content": "Weather?"}, call], "functions": [{"name": "weather"}]})
    assert found.messages[1].tool_calls == (ToolCall("weather", {}),)
    assert found.tools == ({"type": "function", "function": {"name": "weather"}},)


def test_sharegpt_names_of_roles_and_calls_are_read():
    turns = [
        {"from": "system", "value": "Use tools."},
        {"from": "human", "value": "Weather?"},
        {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Chad"}}'},
        {"from": "observation", "value": "40"},
        {"from": "gpt", "value": "40 degrees."},
    ]
    found = example({"conversations": turns})
    assert [message.role for message in found.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert found.messages[2].tool_calls == (ToolCall("weather", {"city": "Chad"}),)


def test_weights_and_train_flags_are_read_per_turn():
    turns = [
        {"role": "user", "content": "a", "weight": 0},
        {"role": "assistant", "content": "b", "train": False},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d", "weight": 0.5},
        {"role": "user", "content": "e", "train": False},
        {"role": "assistant", "content": "f", "train": True},
    ]
    assert [message.weight for message in example({"messages": turns}).messages] == [None, 0.0, None, 0.5, None, 1.0]


def test_text_parts_are_joined():
    parts = [{"type": "text", "text": "What is the capital "}, {"type": "text", "text": "of Chad?"}]
    turns = [{"role": "user", "content": parts}, {"role": "assistant", "content": ANSWERED}]
    assert example({"messages": turns}).messages == PAIR


@pytest.mark.parametrize("kind", ["image_url", "image", "input_audio", "audio", "video", "file"])
def test_parts_that_are_not_text_are_refused(kind):
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "See"}, {"type": kind}]},
        {"role": "assistant", "content": "x"},
    ]
    found = problem({"messages": turns})
    assert found.what.startswith("not text:")
    assert "messages[0].content[1].type" in found.what
    assert kind in found.what


def test_id_group_and_everything_else_are_kept():
    found = example(
        {
            **SAME["alpaca"],
            "id": 12,
            "group": "country:Chad",
            "licence": "MIT",
            "meta": {"kind": "facts"},
            "heed_version": 1,
        }
    )
    assert (found.id, found.group) == ("12", "country:Chad")
    assert found.meta == {"licence": "MIT", "kind": "facts"}
    assert example({**SAME["alpaca"], "kind": 1, "meta": {"kind": 2}}).meta == {"kind": 2, "kind (row)": 1}
    assert example({**SAME["alpaca"], "chat_template_kwargs": {"enable_thinking": False}}).template_kwargs == {
        "enable_thinking": False
    }


def test_an_id_made_of_the_content_depends_on_the_content_alone():
    found = example(SAME["alpaca"])
    assert found.id == example({**SAME["alpaca"], "note": "x"}).id
    assert found.id != example({**SAME["alpaca"], "output": "Lagos."}).id


def test_each_instance_of_a_seed_is_an_example_and_they_stay_together():
    row = {
        "id": "seed",
        "instruction": "Add.",
        "instances": [{"input": "1 1", "output": "2"}, {"input": "1 2", "output": "3"}],
    }
    first, second = to_examples(Row(row, "s.jsonl:1"))
    assert isinstance(first, Example)
    assert isinstance(second, Example)
    assert (first.id, second.id) == ("seed-0", "seed-1")
    assert first.group == second.group is not None
    assert first.messages[0].content == "Add.\n\n1 1"
    row["instances"][1]["output"] = ""
    good, bad = to_examples(Row(row, "s.jsonl:1"))
    assert isinstance(good, Example)
    assert isinstance(bad, Problem)
    assert "instances[1].output" in bad.what


def test_a_mapping_reads_fields_of_other_names_and_speaks_in_them():
    mapping = {"instruction": "Frage", "output": "Antwort", "group": "Land"}
    found = example({"Frage": ASKED, "Antwort": ANSWERED, "Land": "TD", "output": "other"}, mapping)
    assert found.messages == PAIR
    assert found.group == "TD"
    assert "other" in found.meta.values(), "a field of the user's is not lost because it bears our name"
    assert "field 'Antwort' is empty" in problem({"Frage": ASKED, "Antwort": " ", "Land": "TD"}, mapping).what
    assert "field 'Land' (mapped to 'group') is missing" in problem({"Frage": ASKED, "Antwort": "x"}, mapping).what


def test_a_mapping_names_the_parts_of_turns():
    row = {"dialog": [{"speaker": "human", "text": ASKED}, {"speaker": "bot", "text": ANSWERED}]}
    assert example(row, {"conversations": "dialog", "role": "speaker", "content": "text"}).messages == PAIR


def test_a_mapping_is_trusted_more_than_what_the_row_looks_like():
    row = {"prompt": "not this", "completion": "not this", "q": ASKED, "a": ANSWERED}
    assert example(row, {"question": "q", "answer": "a"}).messages == PAIR


def test_an_unknown_name_in_a_mapping_is_refused_with_the_nearest():
    with pytest.raises(HeedError) as caught:
        check_mapping({"instuction": "x"})
    assert "instruction" in caught.value.problems[0].mend


@pytest.mark.parametrize(
    ("roles", "says"),
    [
        ("system user assistant user assistant", None),
        ("user assistant tool assistant", None),
        ("user user assistant", "user turn after a user turn"),
        ("user assistant assistant", "assistant turn after an assistant turn"),
        ("assistant", "assistant turn after nothing"),
        ("system assistant", "assistant turn after a system turn"),
        ("user system assistant", "system turn behind others"),
        ("user assistant user", "last turn 'messages[2]' is a user turn"),
        ("user tool assistant", "tool turn after user"),
        ("user", "no assistant turn"),
        ("system", "no assistant turn"),
    ],
)
def test_the_order_of_roles(roles, says):
    value = {"messages": [{"role": role, "content": f"text {index}"} for index, role in enumerate(roles.split())]}
    if says is None:
        assert [message.role for message in example(value).messages] == roles.split()
    else:
        assert says in problem(value).what


TURN_NAMES = [
    "role",
    "content",
    "from",
    "value",
    "type",
    "text",
    "tool_calls",
    "function",
    "name",
    "arguments",
    "weight",
    "train",
]
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["A", "human", "[]"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(TURN_NAMES), inner, max_size=4),
    max_leaves=12,
)
NAMES = [
    "messages",
    "conversations",
    "instances",
    "instruction",
    "input",
    "output",
    "prompt",
    "completion",
    "question",
    "answer",
    "system",
    "tools",
    "functions",
    "id",
    "group",
    "meta",
    "template_kwargs",
    "other",
    "response",
    "context",
    "inputs",
    "targets",
    "inputs_pretokenized",
    "chosen",
    "rejected",
    "preferred_output",
    "choices",
    "options",
    "answers",
    "answerKey",
    "label",
    "text",
    "query",
]


@given(st.dictionaries(st.sampled_from(NAMES), JUNK, max_size=5))
def test_whatever_a_row_holds_it_becomes_examples_or_problems_that_say_how_to_mend(value):
    for found in to_examples(Row(value, "x:1")):
        assert isinstance(found, (Example, Problem))
        if isinstance(found, Problem):
            assert found.where == "x:1"
            assert found.mend
            assert ":" in found.what
