"""What is written comes back exactly, and anybody else can read it."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heedlm.data.schema import to_example
from heedlm.data.sources import Row, read_rows
from heedlm.data.store import read_split, to_line, write_split
from heedlm.errors import HeedError
from heedlm.messages import Example, Message, ToolCall

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
JSONS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=5
)
OBJECTS = st.dictionaries(TEXT, JSONS, max_size=3)
CALLS = st.builds(ToolCall, TEXT, OBJECTS, st.none() | TEXT)
MESSAGES = st.builds(
    Message,
    st.sampled_from(["system", "user", "assistant", "tool"]),
    TEXT,
    st.none() | TEXT,
    st.lists(CALLS, max_size=2).map(tuple),
    st.none() | TEXT,
    st.none() | st.floats(0, 5),
)
EXAMPLES = st.builds(
    Example,
    TEXT,
    st.lists(MESSAGES, min_size=1, max_size=4).map(tuple),
    TEXT,
    st.none() | TEXT,
    st.lists(OBJECTS, max_size=2).map(tuple),
    OBJECTS,
    st.lists(MESSAGES, max_size=2).map(tuple),
    OBJECTS,
)


@given(st.lists(EXAMPLES, max_size=4))
@settings(max_examples=80, deadline=None)
def test_examples_come_back_exactly(tmp_path_factory, examples):
    path = tmp_path_factory.mktemp("store") / "train.jsonl"
    assert write_split(path, examples) == len(examples)
    assert list(read_split(path)) == examples


@given(EXAMPLES)
def test_a_row_is_one_line_to_every_reader(example):
    line = to_line(example)
    assert len(line.decode().splitlines()) == 1
    assert line.endswith(b"\n")


def test_a_split_is_an_ordinary_messages_file_readable_with_head(tmp_path):
    example = Example(
        "i", (Message("user", "भारत?"), Message("assistant", "दिल्ली")), "x:1", group="g", meta={"kind": "facts"}
    )
    path = tmp_path / "train.jsonl"
    write_split(path, [example])
    assert path.read_text(encoding="utf-8") == (
        '{"heed_version": 1, "id": "i", "group": "g", "messages": [{"role": "user", "content": "भारत?"}, '
        '{"role": "assistant", "content": "दिल्ली"}], "source": "x:1", "meta": {"kind": "facts"}}\n'
    )
    (row,) = read_rows(path)
    assert isinstance(row, Row)
    again = to_example(row)
    assert isinstance(again, Example)
    assert (again.id, again.group, again.messages) == (example.id, example.group, example.messages)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"heed_version": 2, "id": "a"}', "version 2"),
        ('{"messages": []}', "not written by"),
        (
            '{"heed_version": 1, "id": "a", "source": "x", "messages": [{"role": "gpt", "content": "x"}]}',
            "not written by",
        ),
        ('{"heed_version": 1, "id":', "not written by"),
        ("[]", "not written by"),
    ],
)
def test_a_line_that_is_not_ours_is_named(tmp_path, line, says):
    path = tmp_path / "train.jsonl"
    write_split(path, [Example("i", (Message("user", "a"), Message("assistant", "b")), "x:1")])
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(HeedError, match=says) as caught:
        list(read_split(path))
    assert caught.value.problems[0].where == f"{path}:2"


def test_a_missing_split_says_what_to_run(tmp_path):
    with pytest.raises(HeedError, match="no such file"):
        list(read_split(tmp_path / "train.jsonl"))


def test_an_error_while_writing_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "train.jsonl"
    example = Example("i", (Message("user", string.ascii_letters), Message("assistant", "b")), "x:1")
    write_split(path, [example])

    def failing():
        yield example
        raise OSError(28, "No space left on device")

    with pytest.raises(HeedError, match="No space"):
        write_split(path, failing())
    assert list(read_split(path)) == [example]
    assert [entry.name for entry in tmp_path.iterdir()] == ["train.jsonl"]


def test_an_empty_split_is_an_empty_file(tmp_path):
    path = tmp_path / "val.jsonl"
    assert write_split(path, []) == 0
    assert list(read_split(path)) == []
    assert json.loads(to_line(Example("i", (Message("user", "a"),), "x:1")))["heed_version"] == 1
