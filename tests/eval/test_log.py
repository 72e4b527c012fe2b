from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.errors import HeedError
from heedlm.eval.log import Item, append_items, mend_tail, read_items
from heedlm.messages import ToolCall

ITEM = Item("a", "facts", "base", "Q?", "reply", "stop", 1.0, "as asked", 0.25, "k")


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "log.jsonl"
    items = [ITEM, replace(ITEM, id="b", reply="zwei\nZeilen\u2028 und दिल्ली \x00", score=0, stop_reason="length")]
    append_items(path, items[:1])
    append_items(path, items[1:])
    assert read_items(path) == items
    assert len(path.read_bytes().splitlines()) == 2


def test_a_later_line_of_an_item_counts(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    append_items(path, [ITEM, replace(ITEM, id="b"), replace(ITEM, score=0.0)])
    assert [(item.id, item.score) for item in read_items(path)] == [("b", 1.0), ("a", 0.0)]


@given(st.integers(1, 200))
def test_a_torn_last_line_is_cut_and_only_that(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    append_items(path, [ITEM])
    whole = path.read_bytes()
    append_items(path, [replace(ITEM, id="b")])
    both = path.read_bytes()
    path.write_bytes(both[: min(len(both) - 1, len(whole) + cut)])
    assert read_items(path) == [ITEM]
    append_items(path, [replace(ITEM, id="c")])
    assert [item.id for item in read_items(path)] == ["a", "c"]


def test_a_torn_first_line_leaves_an_empty_log(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"id": "a"')
    assert mend_tail(path)
    assert path.read_bytes() == b""
    assert not mend_tail(path)
    assert read_items(path) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", "not JSON"),
        ("{}", "log version 3"),
        ('{"version": 1}', "fields missing or unknown"),
        ("[1]", "log version 3"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "log.jsonl"
    append_items(path, [ITEM])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(HeedError, match=message) as caught:
        read_items(path)
    assert "log.jsonl:2" in str(caught.value)


def test_a_field_of_the_wrong_type_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    append_items(path, [ITEM])
    for old, new, field in (('"score": 1.0', '"score": "1"', "score"), ('"stop"', '"halt"', "stop_reason")):
        broken = tmp_path / f"{field}.jsonl"
        broken.write_text(path.read_text().replace(old, new))
        with pytest.raises(HeedError, match=field):
            read_items(broken)


def test_all_of_a_reply_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    call = ToolCall("weather", {"city": "Rom", "days": [1, 2]}, "c1")
    item = replace(ITEM, tokens=12, reasoning="so ...", tool_calls=(call,), error="", model="m 1", question="q")
    append_items(path, [item])
    assert read_items(path) == [item]
    path.write_text(path.read_text().replace('"name": "weather"', '"nome": "weather"'))
    with pytest.raises(HeedError, match="tool_calls"):
        read_items(path)


def test_lines_of_version_1_are_read_as_well(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    old = {"id": "a", "task": "t", "arm": "base", "prompt": "Q", "reply": "", "stop_reason": "error", "score": 0.0}
    path.write_text(json.dumps({**old, "why": "too long", "seconds": 0.1, "key": "k", "version": 1}) + "\n")
    (item,) = read_items(path)
    assert (item.version, item.error, item.tokens, item.model) == (3, "too long", None, "")


def test_lines_of_version_2_are_read_as_well(tmp_path: Path) -> None:
    """They have neither tokens of prompts nor money."""
    path = tmp_path / "log.jsonl"
    append_items(path, [ITEM])
    row = json.loads(path.read_text())
    assert (row.pop("prompt_tokens"), row.pop("money"), row["version"]) == (None, None, 3)
    path.write_text(json.dumps({**row, "version": 2}) + "\n")
    assert read_items(path) == [ITEM]
    path.write_text(json.dumps({**row, "version": 3}) + "\n")
    with pytest.raises(HeedError, match=r"money, prompt_tokens"):
        read_items(path)
