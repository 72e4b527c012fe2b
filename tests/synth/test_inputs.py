"""What a synthesis starts from, in every shape that people have it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.data.row import Row
from heedlm.errors import HeedError, Problem
from heedlm.synth.inputs import Prompt, _prompts, read_prompts, read_texts

USER, BOT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}


@pytest.mark.parametrize(
    ("value", "turns", "reference"),
    [
        ({"prompt": "Hi"}, ["Hi"], None),
        ({"prompt": "Hi", "completion": "Hello"}, ["Hi"], "Hello"),
        ({"prompt": "Hi", "completion": None}, ["Hi"], None),
        ({"prompt": [USER]}, ["Hi"], None),
        ({"instruction": "Hi", "input": "you", "output": " "}, ["Hi\n\nyou"], None),
        ({"instruction": "Hi", "output": "Hello"}, ["Hi"], "Hello"),
        ({"question": "Hi", "context": "noon"}, ["Hi\n\nnoon"], None),
        ({"messages": [USER]}, ["Hi"], None),
        ({"messages": [USER, BOT]}, ["Hi"], "Hello"),
        ({"messages": [USER, BOT, USER]}, ["Hi", "Hello", "Hi"], None),
        ({"conversations": [{"from": "human", "value": "Hi"}]}, ["Hi"], None),
        ({"messages": [USER], "system": "Be brief."}, ["Be brief.", "Hi"], None),
        ({"prompt": "Hi", "chosen": "Hello", "rejected": "Go"}, ["Hi"], "Hello"),
        ({"inputs": "Hi"}, ["Hi"], None),
    ],
)
def test_prompts_with_and_without_an_answer(value: dict[str, Any], turns: list[str], reference: str | None) -> None:
    (found,) = _prompts(Row(value, "x:1"))
    assert isinstance(found, Prompt)
    assert [turn.content for turn in found.example.messages] == turns
    assert (found.reference.content if found.reference else None) == reference


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, "unknown shape"),
        ({"prompt": ""}, "empty question"),
        ({"prompt": 7}, "wrong type|not text"),
        ({"messages": []}, "empty|no turn"),
        ({"messages": [{"role": "system", "content": "x"}]}, "."),
        ({"messages": [USER, USER]}, "role order"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "."),
        ({"messages": "Hi"}, "wrong type"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "."),
        ({"messages": [7]}, "."),
        ({"text": "A page."}, "document"),
        ({"prompt": "Hi", "id": [1]}, "wrong type"),
    ],
)
def test_what_is_no_prompt_is_a_problem(value: dict[str, Any], said: str) -> None:
    import re

    (found,) = _prompts(Row(value, "x:1"))
    assert isinstance(found, Problem)
    assert re.search(said, found.what)
    assert found.where == "x:1"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "from", "value", "x"]), inner)
    ),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(
            ["prompt", "messages", "instruction", "input", "output", "question", "answer", "text", "inputs", "meta"]
        ),
        anything,
        max_size=4,
    )
)
def test_any_row_is_prompts_or_problems(value: dict[str, Any]) -> None:
    found = _prompts(Row(value, "x:1"))
    assert found
    for one in found:
        assert isinstance(one, Problem) or one.example.messages[-1].role in ("user", "tool", "system")


def test_csv_and_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "asked.csv"
    table.write_text("question,topic\nWhy?,sky\nWho?,moon\n")
    prompts, drops = read_prompts([table])
    assert [prompt.asked for prompt in prompts] == ["Why?", "Who?"]
    assert drops == []
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"prompt": "piped"}\n')))
    assert [prompt.asked for prompt in read_prompts([Path("-")])[0]] == ["piped"]


def test_a_file_of_documents_is_not_taken_for_prompts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A page.")
    with pytest.raises(HeedError, match="backtranslate"):
        try:
            read_prompts([tmp_path / "a.txt"])
        except HeedError as error:
            raise HeedError(str(error)) from None
    assert [document.text for document in read_texts([tmp_path / "a.txt"])[0]] == ["A page."]


def test_documents_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    rows: list[Any] = [{"text": "A page."}, {"text": ""}, {"text": 7}, {"body": "x"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    documents, drops = read_texts([path])
    assert [document.where for document in documents] == [f"{path}:1"]
    assert [drop.where for drop in drops if "JSON" not in drop.why] == [f"{path}:{line}" for line in (2, 3, 4)]
    assert len(drops) == 4
