"""Every usual shape is recognised on every row, and what was written into it comes back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.data.prepare import Source, prepare
from heedlm.data.schema import to_example, to_examples
from heedlm.data.shapes import SHAPES, TEXT, shape_of
from heedlm.data.sources import Row
from heedlm.data.store import from_line, read_split, to_line
from heedlm.errors import Problem
from heedlm.messages import Example, Message, ToolCall

# Text as people write it: letters, marks, line breaks, not white space alone, and no notation that is read as such.
CONTENT = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\r"), min_size=1).filter(
    lambda text: text.strip() and "<think>" not in text
)
PLAIN = CONTENT.map(str.strip).filter(
    lambda text: (
        not any(mark in text.lower() for mark in ("###", "<|im_", "human:", "assistant:", "user:", "system:"))
        and text == text.strip()
    )
)
SYSTEM = st.none() | CONTENT


@st.composite
def talks(draw: st.DrawFn, texts: st.SearchStrategy[str] = CONTENT, most: int = 3) -> list[Message]:
    """A conversation without tools: questions and answers in turn, a system text or none."""
    system = draw(st.none() | texts)
    turns = [Message("system", system)] if system is not None else []
    for _ in range(draw(st.integers(1, most))):
        turns += [Message("user", draw(texts)), Message("assistant", draw(texts))]
    return turns


@st.composite
def worked(draw: st.DrawFn) -> list[Message]:
    """A conversation with reasoning, tool calls, weights."""
    turns = draw(talks())
    name, thought = draw(st.text("abc_", min_size=1)), draw(CONTENT)
    turns[-1] = Message("assistant", turns[-1].content, thought, weight=draw(st.sampled_from([None, 0.5, 1.0])))
    if draw(st.booleans()):
        arguments = draw(st.dictionaries(st.text(max_size=3), st.integers() | CONTENT, max_size=2))
        call = ToolCall(name, arguments, draw(st.none() | st.just("c1")))
        turns += [
            Message("user", draw(CONTENT)),
            Message("assistant", "", tool_calls=(call,)),
            Message("tool", draw(CONTENT), tool_call_id=call.id),
            Message("assistant", draw(CONTENT)),
        ]
    return turns


def read(value: dict[str, Any], shape: str, mapping: dict[str, str] | None = None) -> Example:
    assert shape_of(value, mapping) == shape
    found = to_example(Row(json.loads(json.dumps(value)), "rows.jsonl:7"), mapping)
    assert isinstance(found, Example), found
    return found


def turn(message: Message, draw: st.DrawFn) -> dict[str, Any]:
    """A turn in one of the ways in which OpenAI and its followers write it."""
    content: Any = message.content
    if content and draw(st.booleans()):
        cut = draw(st.integers(0, len(content)))
        content = [{"type": "text", "text": content[:cut]}, {"type": "output_text", "text": content[cut:]}]
    if message.reasoning and isinstance(content, list) and draw(st.booleans()):
        content.insert(0, {"type": "thinking", "thinking": message.reasoning})
    out: dict[str, Any] = {"role": message.role, "content": content or None}
    if message.role == "system" and draw(st.booleans()):
        out["role"] = "developer"
    if message.reasoning and not (isinstance(content, list) and content[0]["type"] == "thinking"):
        out[draw(st.sampled_from(["reasoning", "reasoning_content", "thinking"]))] = message.reasoning
    if message.tool_calls:
        written = draw(st.sampled_from([json.dumps, dict]))
        out["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": written(call.arguments)}}
            for call in message.tool_calls
        ]
    return out | {name: value for name in ("weight", "tool_call_id") if (value := getattr(message, name)) is not None}


@given(turns=worked(), data=st.data())
def test_messages_come_back_from_what_openai_writes(turns: list[Message], data: st.DataObject) -> None:
    found = read({"messages": [turn(message, data.draw) for message in turns]}, "messages")
    assert list(found.messages) == turns


SPELLINGS = {
    "system": ["system", "System"],
    "user": ["human", "user", "Human", "prompter"],
    "assistant": ["gpt", "bot", "model", "assistant", "ChatGPT", "chatbot"],
}


@given(turns=talks(), data=st.data())
def test_sharegpt_comes_back_whatever_roles_are_called(turns: list[Message], data: st.DataObject) -> None:
    written = [{"from": data.draw(st.sampled_from(SPELLINGS[m.role])), "value": m.content} for m in turns]
    name = data.draw(st.sampled_from(["conversations", "conversation", "messages"]))
    assert list(read({name: written}, "sharegpt").messages) == turns


def test_sharegpt_calls_may_be_several_and_results_have_several_names() -> None:
    calls = [{"name": "add", "arguments": {"a": 1}}, {"name": "add", "arguments": {"a": 2}}]
    for call, result in (("function_call", "observation"), ("tool_call", "tool_response")):
        turns = [
            {"from": "human", "value": "Add."},
            {"from": call, "value": json.dumps(calls)},
            {"from": result, "value": "3"},
            {"from": "gpt", "value": "It is 3."},
        ]
        found = read({"conversations": turns}, "sharegpt")
        assert [one.arguments for one in found.messages[1].tool_calls] == [{"a": 1}, {"a": 2}]
        assert found.messages[2] == Message("tool", "3")


def as_choices(asked: str, said: str, draw: st.DrawFn) -> tuple[dict[str, Any], str]:
    """A question with choices in one of the usual notations, and the question as it is asked."""
    others = draw(st.lists(CONTENT.map(lambda text: f"other {text}"), max_size=4, unique=True))
    place = draw(st.integers(0, len(others)))
    texts = [*others[:place], f"right {said}", *others[place:]]
    letters = "ABCDEFG"[: len(texts)]
    answer, choices = draw(
        st.sampled_from(
            [
                ({"answer": place}, texts),
                ({"answer": texts[place]}, texts),
                ({"answer": letters[place]}, texts),
                ({"answer": f"({letters[place].lower()})"}, texts),
                ({"answer": f"{letters[place]}. {texts[place].strip()}"}, texts),
                ({"answer": str(place)}, json.dumps(texts)),
                ({"answerKey": letters[place]}, {"text": texts, "label": list(letters)}),
                ({"answerKey": str(place + 1)}, {"text": texts, "label": [str(n + 1) for n in range(len(texts))]}),
                ({"answer_idx": letters[place]}, dict(zip(letters, texts, strict=True))),
                (
                    {"label": place},
                    [{"text": text, "label": letter} for text, letter in zip(texts, letters, strict=True)],
                ),
            ]
        )
    )
    listed = "\n".join(f"- {text}" for text in texts)
    name = draw(st.sampled_from(["choices", "options"]))
    return {"question": asked, name: choices, **answer}, f"{asked}\n\n{listed}"


Writer = Callable[[str, str], dict[str, Any]]
PAIRS: dict[str, tuple[str, Writer]] = {
    "alpaca": ("alpaca", lambda q, a: {"instruction": q, "input": "", "output": a}),
    "alpaca without input": ("alpaca", lambda q, a: {"instruction": q, "output": a}),
    "dolly": ("dolly", lambda q, a: {"instruction": q, "context": "", "response": a, "category": "open_qa"}),
    "prompt": ("prompt-completion", lambda q, a: {"prompt": q, "completion": a}),
    "prompt and response": ("prompt-completion", lambda q, a: {"prompt": q, "response": a}),
    "prompt as turns": (
        "prompt-completion",
        lambda q, a: {
            "prompt": [{"role": "user", "content": q}],
            "completion": [{"role": "assistant", "content": a}],
        },
    ),
    "good answer": ("prompt-completion", lambda q, a: {"prompt": q, "completion": a, "label": True}),
    "question": ("question-answer", lambda q, a: {"question": q, "answer": a}),
    "answers": ("question-answer", lambda q, a: {"question": q, "answers": {"text": [a, "x"], "answer_start": [0, 1]}}),
    "answer list": ("question-answer", lambda q, a: {"question": q, "answer": [a, "x"]}),
    "P3": ("p3", lambda q, a: {"inputs_pretokenized": q, "targets_pretokenized": a, "inputs": [1], "targets": [2]}),
    "P3 without tokens": ("p3", lambda q, a: {"inputs": q, "targets": a}),
    "seeds": ("self-instruct", lambda q, a: {"instruction": q, "instances": [{"input": "", "output": a}]}),
    "input and output": ("input-output", lambda q, a: {"input": q, "output": a}),
    "preference": ("preference", lambda q, a: {"prompt": q, "chosen": a, "rejected": f"not {a}"}),
    "preference of Alpaca": ("preference", lambda q, a: {"instruction": q, "chosen": a, "rejected": f"not {a}"}),
    "preference of turns": (
        "preference",
        lambda q, a: {
            "prompt": q,
            "chosen": [{"role": "user", "content": q}, {"role": "assistant", "content": a}],
            "rejected": [{"role": "user", "content": q}, {"role": "assistant", "content": f"not {a}"}],
        },
    ),
    "preference of answers": (
        "preference",
        lambda q, a: {
            "conversations": [{"from": "human", "value": q}],
            "chosen": {"from": "gpt", "value": a},
            "rejected": {"from": "gpt", "value": f"not {a}"},
        },
    ),
    "preference of OpenAI": (
        "preference",
        lambda q, a: {
            "input": {"messages": [{"role": "user", "content": q}]},
            "preferred_output": [{"role": "assistant", "content": a}],
            "non_preferred_output": [{"role": "assistant", "content": f"not {a}"}],
        },
    ),
}


@pytest.mark.parametrize("name", PAIRS)
@given(asked=CONTENT, said=CONTENT, system=SYSTEM)
def test_a_question_and_its_answer_come_back(name: str, asked: str, said: str, system: str | None) -> None:
    shape, write = PAIRS[name]
    row = write(asked, said) | ({"system": system} if system is not None else {})
    found = read(row, shape)
    head = [] if system is None else [Message("system", system)]
    assert list(found.messages) == [*head, Message("user", asked), Message("assistant", said)]
    assert found.rejected == ((Message("assistant", f"not {said}"),) if shape == "preference" else ())
    assert from_line(to_line(found), "x") == found
    again = to_example(Row(json.loads(to_line(found)), "x:1"))
    assert isinstance(again, Example)
    assert (again.messages, again.rejected) == (found.messages, found.rejected), "a split file is a source as well"


@given(asked=CONTENT, said=CONTENT, data=st.data())
def test_a_question_with_choices_comes_back_with_the_right_one(asked: str, said: str, data: st.DataObject) -> None:
    row, whole = as_choices(asked, said, data.draw)
    found = read(row, "question-answer")
    assert list(found.messages) == [Message("user", whole), Message("assistant", f"right {said}")]


@given(asked=CONTENT, about=CONTENT, said=CONTENT)
def test_what_a_question_is_about_follows_behind_a_blank_line(asked: str, about: str, said: str) -> None:
    for row, shape in (
        ({"instruction": asked, "input": about, "output": said}, "alpaca"),
        ({"instruction": asked, "context": about, "response": said}, "dolly"),
        ({"question": asked, "context": about, "answer": said}, "question-answer"),
        ({"question": asked, "input": about, "chosen": said, "rejected": f"not {said}"}, "preference"),
        ({"instruction": asked, "instances": [{"input": about, "output": said}]}, "self-instruct"),
    ):
        assert read(row, shape).messages == (Message("user", f"{asked}\n\n{about}"), Message("assistant", said))


@given(turns=talks(), worse=CONTENT)
def test_a_pair_of_whole_conversations_teaches_the_last_answer_alone(turns: list[Message], worse: str) -> None:
    worse = f"not {worse}{turns[-1].content}"
    written = [{"role": message.role, "content": message.content} for message in turns]
    other = [*written[:-1], {"role": "assistant", "content": worse}]
    found = read({"chosen": written, "rejected": other}, "preference")
    assert [(m.role, m.content) for m in found.messages] == [(m.role, m.content) for m in turns]
    assert found.rejected == (Message("assistant", worse),)
    taught = [m for m in found.messages if m.role == "assistant" and m.weight != 0]
    assert [m.content for m in taught] == [turns[-1].content]


MARKS: dict[str, Callable[[Message], str]] = {
    "hash marks": lambda m: (
        f"### {({'user': 'Human', 'assistant': 'Assistant', 'system': 'System'})[m.role]}: {m.content}"
    ),
    "chatml": lambda m: f"<|im_start|>{m.role}\n{m.content}<|im_end|>\n",
    "names": lambda m: f"\n\n{({'user': 'Human', 'assistant': 'Assistant', 'system': 'System'})[m.role]}: {m.content}",
}


@pytest.mark.parametrize("marks", MARKS)
@given(turns=talks(PLAIN))
def test_a_marked_text_comes_back_as_turns(marks: str, turns: list[Message]) -> None:
    assert list(read({"text": "".join(map(MARKS[marks], turns))}, "marked-text").messages) == turns


@given(turns=talks(PLAIN, most=2), worse=PLAIN)
def test_a_pair_of_marked_texts_is_a_pair(turns: list[Message], worse: str) -> None:
    worse = f"not {worse}{turns[-1].content}"
    chosen = "".join(map(MARKS["names"], turns))
    head = "".join(map(MARKS["names"], turns[:-1]))
    found = read({"chosen": chosen, "rejected": f"{head}\n\nAssistant: {worse}"}, "preference")
    assert found.rejected == (Message("assistant", worse),)
    found = read({"prompt": f"{head}\n\nAssistant:", "completion": turns[-1].content}, "prompt-completion")
    assert [m.content for m in found.messages] == [m.content for m in turns]


@pytest.mark.parametrize("text", ["Once upon a time.", "See ### Human: below", "Human: alone", "", "### Human: a"])
def test_other_text_is_a_document_and_not_a_row(text: str) -> None:
    assert shape_of({"text": text, "url": "x"}) == TEXT
    found = to_example(Row({"text": text}, "x:1"))
    assert isinstance(found, Problem)
    assert found.what.startswith("document:")
    assert "data.replay" in found.mend


@given(asked=CONTENT, said=CONTENT, data=st.data())
def test_a_mapping_wins_over_what_a_row_looks_like(asked: str, said: str, data: st.DataObject) -> None:
    """Fields of every other shape stand beside, under our own names, and are not read."""
    ours = {
        "question-answer": ("question", "answer"),
        "alpaca": ("instruction", "output"),
        "dolly": ("instruction", "response"),
        "prompt-completion": ("prompt", "completion"),
        "p3": ("inputs", "targets"),
        "preference": ("prompt", "chosen"),
    }
    shape = data.draw(st.sampled_from(sorted(ours)))
    noise = {"messages": [{"role": "user", "content": "no"}], "instruction": "no", "question": "no", "text": "no"}
    noise = {name: value for name, value in noise.items() if data.draw(st.booleans())}
    mapping = dict(zip(ours[shape], ("Frage", "Antwort"), strict=True))
    found = read({**noise, "Frage": asked, "Antwort": said}, shape, mapping)
    assert found.messages == (Message("user", asked), Message("assistant", said))


def test_every_shape_may_stand_in_one_file(tmp_path) -> None:
    """One row per notation, told apart row by row, all of them kept and counted by their shape."""
    rows = [(shape, write(f"Question {name}?", f"Answer {name}.")) for name, (shape, write) in PAIRS.items()]
    rows.append(("messages", {"messages": [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]}))
    rows.append(("sharegpt", {"conversations": [{"from": "human", "value": "3"}, {"from": "gpt", "value": "4"}]}))
    rows.append(("marked-text", {"text": "### Human: 5### Assistant: 6"}))
    assert {shape for shape, _ in rows} == {*SHAPES} - {TEXT}
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for _, row in rows))
    report = prepare([Source(path)], tmp_path / "out", val=None, test=None, seed=0)
    assert report.kept == len(rows)
    card = json.loads((report.out / "card.json").read_text())
    assert card["sources"][str(path)]["shapes"] == Counter(shape for shape, _ in rows)
    pairs = [example for example in read_split(report.out / "train.jsonl") if example.rejected]
    assert len(pairs) == sum(shape == "preference" for shape, _ in rows)


def test_what_openai_adds_to_a_turn_is_read() -> None:
    refused = {"role": "assistant", "content": None, "refusal": "I would rather not."}
    found = read({"messages": [{"role": "user", "content": "a"}, refused]}, "messages")
    assert found.messages[1].content == "I would rather not."
    parts = [{"type": "refusal", "refusal": "I would rather not."}]
    found = read({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": parts}]}, "messages")
    assert found.messages[1].content == "I would rather not."


def test_a_field_called_chosen_is_no_pair_where_it_means_something_else() -> None:
    pair = (Message("user", "a"), Message("assistant", "b"))
    assert read({"prompt": "a", "completion": "b", "chosen": True}, "prompt-completion").messages == pair
    assert read({"prompt": "a", "completion": "b", "chosen": "yes"}, "prompt-completion").messages == pair
    assert read({"prompt": "a", "completion": "c", "chosen": "b", "rejected": "c"}, "preference").messages == pair
    assert read({"prompt": "a", "chosen": "b"}, "preference").messages == pair


def test_a_worse_answer_beside_a_conversation_is_kept_and_a_word_there_is_not_taken_for_one() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    worse = {"role": "assistant", "content": "c"}
    for name, value in (("rejected", [worse]), ("rejected", [turns[0], worse]), ("rejected_response", "c")):
        assert read({"messages": turns, name: value}, "messages").rejected == (Message("assistant", "c"),)
    for status in (True, False, "no", 0, "", []):
        found = read({"messages": turns, "rejected": status}, "messages")
        assert (found.rejected, found.meta) == ((), {"rejected": status})
    bad = to_example(Row({"messages": turns, "rejected": [turns[0]]}, "x:1"))
    assert isinstance(bad, Problem)
    assert "expected an answer to the same question" in bad.what


def test_a_pair_without_a_worse_answer_is_a_row() -> None:
    assert read({"prompt": "a", "chosen": "b", "rejected": None}, "preference").rejected == ()


def test_personal_data_is_masked_in_the_worse_answer_too() -> None:
    from heedlm.data.clean.rules import Limits, clean, words_of

    found = read({"prompt": "a", "chosen": "b", "rejected": "Mail ann@example.org"}, "preference")
    cleaned = clean(found, words_of(found), {"email": "mask"}, Limits(100, 0))
    assert cleaned.example.rejected == (Message("assistant", "Mail [EMAIL]"),)


def test_a_row_that_calls_its_answer_bad_is_left_out_under_a_reason_of_its_own() -> None:
    for row in (
        {"prompt": "a", "completion": "b", "label": False},
        {"inputs_pretokenized": "a", "targets_pretokenized": "b", "is_correct": False},
    ):
        (found,) = to_examples(Row(row, "x:1"))
        assert isinstance(found, Problem)
        assert found.what.startswith("bad answer:")


ASKED, SAID, OTHER = "Which gas do plants take in?", "Carbon dioxide.", "Oxygen."
LISTED = f"{ASKED}\n\n- {OTHER}\n- {SAID}"
TURNS = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": SAID}]
WORSE = [TURNS[0], {"role": "assistant", "content": OTHER}]
# Rows with the columns of public sets; what is asked and answered in each.
PUBLIC: dict[str, tuple[dict[str, Any], str, str]] = {
    "dolly-15k": ({"instruction": ASKED, "context": "", "response": SAID, "category": "open_qa"}, "dolly", ASKED),
    "OpenOrca": ({"id": "t0.1", "system_prompt": "", "question": ASKED, "response": SAID}, "question-answer", ASKED),
    "SlimOrca": (
        {
            "conversations": [
                {"from": "human", "value": ASKED, "weight": 0.0},
                {"from": "gpt", "value": SAID, "weight": 1.0},
            ]
        },
        "sharegpt",
        ASKED,
    ),
    "LIMA": ({"conversations": [ASKED, SAID], "source": "x"}, "sharegpt", ASKED),
    "Capybara": ({"source": "x", "conversation": [{"input": ASKED, "output": SAID}]}, "sharegpt", ASKED),
    "no_robots": ({"prompt": ASKED, "prompt_id": "a", "messages": TURNS, "category": "QA"}, "messages", ASKED),
    "guanaco": ({"text": f"### Human: {ASKED}### Assistant: {SAID}"}, "marked-text", ASKED),
    "hh-rlhf": (
        {
            "chosen": f"\n\nHuman: {ASKED}\n\nAssistant: {SAID}",
            "rejected": f"\n\nHuman: {ASKED}\n\nAssistant: {OTHER}",
        },
        "preference",
        ASKED,
    ),
    "ultrafeedback_binarized": (
        {"prompt": ASKED, "prompt_id": "a", "chosen": TURNS, "rejected": WORSE, "messages": TURNS, "score_chosen": 9.0},
        "preference",
        ASKED,
    ),
    "orca_dpo_pairs": ({"system": "", "question": ASKED, "chosen": SAID, "rejected": OTHER}, "preference", ASKED),
    "HelpSteer": ({"prompt": ASKED, "response": SAID, "helpfulness": 4}, "prompt-completion", ASKED),
    "P3": (
        {
            "inputs": [1, 2],
            "inputs_pretokenized": ASKED,
            "targets": [3],
            "targets_pretokenized": SAID,
            "answer_choices": ["a"],
        },
        "p3",
        ASKED,
    ),
    "FLAN": ({"inputs": ASKED, "targets": SAID, "task": "x", "template_type": "zs_opt"}, "p3", ASKED),
    "ARC": (
        {
            "id": "a",
            "question": ASKED,
            "choices": {"text": [OTHER, SAID], "label": ["1", "2"]},
            "answerKey": "2",
        },
        "question-answer",
        LISTED,
    ),
    "MMLU": (
        {"question": ASKED, "subject": "biology", "choices": [OTHER, SAID], "answer": 1},
        "question-answer",
        LISTED,
    ),
    "MMLU-Pro": (
        {"question": ASKED, "options": [OTHER, SAID], "answer": "B", "answer_index": 1},
        "question-answer",
        LISTED,
    ),
    "RACE": (
        {"article": "Plants breathe.", "question": ASKED, "options": [OTHER, SAID], "answer": "B"},
        "question-answer",
        f"{ASKED}\n\nPlants breathe.\n\n- {OTHER}\n- {SAID}",
    ),
    "SQuAD": (
        {"title": "x", "context": "Air.", "question": ASKED, "answers": {"text": [SAID], "answer_start": [3]}},
        "question-answer",
        f"{ASKED}\n\nAir.",
    ),
    "TriviaQA": (
        {"question": ASKED, "question_id": "a", "answer": {"value": SAID, "aliases": ["CO2"]}},
        "question-answer",
        ASKED,
    ),
    "NQ": ({"question": ASKED, "answer": [SAID, "CO2"]}, "question-answer", ASKED),
    "CodeAlpaca": ({"instruction": ASKED, "input": "", "output": SAID, "prompt": "Below is ..."}, "alpaca", ASKED),
}


@pytest.mark.parametrize("name", PUBLIC)
def test_rows_with_the_columns_of_public_sets_are_read(name: str) -> None:
    row, shape, asked = PUBLIC[name]
    found = read(row, shape)
    assert [(message.role, message.content) for message in found.messages] == [("user", asked), ("assistant", SAID)]
    assert found.messages[-1].weight in (None, 1.0)
    assert bool(found.rejected) == (shape == "preference")
