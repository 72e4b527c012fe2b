"""The card says what went in, what came out, and what a model will be told by the system."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.data.card import SplitTally, draw, histogram, summary
from heedlm.data.prepare import Source, prepare


@pytest.fixture
def out(tmp_path):
    rows = [
        {
            "prompt": f"Question {i}?",
            "completion": "one two three",
            "system": "Be | brief." if i % 2 else "",
            "license": "MIT",
        }
        for i in range(40)
    ]
    rows += [
        {"prompt": "Question 1?", "completion": "one two three", "system": "Be | brief."},
        {"prompt": "x", "completion": ""},
    ]
    rows += [
        {"messages": [{"role": "user", "content": "Named?"}, {"role": "assistant", "content": "Yes.", "name": "Bo"}]}
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    prepare([Source(tmp_path / "rows.jsonl")], tmp_path / "out", val=0.1, test=0.1, seed=0, max_bad=0.05)
    return tmp_path / "out"


def test_the_card_counts_everything(out):
    card = json.loads((out / "card.json").read_text())
    assert (card["version"], card["rows_in"], card["kept"], card["duplicates"]) == (3, 43, 41, 1)
    assert {reason: entry["count"] for reason, entry in card["dropped"].items()} == {"duplicate": 1, "empty answer": 1}
    assert card["dropped"]["empty answer"]["examples"][0]["where"].endswith("rows.jsonl:42")
    (source,) = card["sources"].values()
    assert (source["rows"], source["kept"], source["dropped"]) == (43, 41, 2)
    assert source["shapes"] == {"prompt-completion": 40, "messages": 1}
    assert source["licences"] == {"MIT": 40}
    assert source["system_texts"] == [{"text": "Be | brief.", "examples": 20}]
    assert source["without_system_text"] == 21
    assert source["turn_fields_kept_in_meta"] == {"name": 1}
    assert sum(split["rows"] for split in card["splits"].values()) == 41
    assert card["splits"]["train"]["lengths"]["answer_words"]["max"] == 3
    assert card["proof"] == {
        "groups": 41,
        "groups_on_two_sides": 0,
        "prompts_on_two_sides": 0,
        "near_duplicates_on_two_sides": None,
    }


def test_lengths_and_examples_stand_in_the_card(out):
    splits = json.loads((out / "card.json").read_text())["splits"]
    answers: Counter[tuple[int, int | None]] = Counter()
    for name, split in splits.items():
        rows = {json.loads(line)["id"]: json.loads(line) for line in (out / f"{name}.jsonl").open()}
        assert len(split["examples"]) == min(2, len(rows))
        for shown in split["examples"]:
            row = rows[shown["id"]]
            assert shown["where"] == row["source"]
            told = [{"role": turn["role"], "text": turn["content"]} for turn in row["messages"]]
            assert shown["turns"] == told
        for one in split["histograms"]["answer_words"]:
            answers[one["from"], one["to"]] += one["rows"]
        assert sum(one["rows"] for one in split["histograms"]["prompt_words"]) == split["rows"]
    assert answers == {(1, 2): 1, (3, 5): 40}


@given(st.lists(st.integers(0, 9000)))
def test_a_histogram_counts_every_value_where_it_lies(values):
    bins = histogram(values)
    assert sum(one["rows"] for one in bins) == len(values)
    for one in bins:
        low, high = one["from"], one["to"]
        assert one["rows"] == sum(low <= value and (high is None or value <= high) for value in values)
    if bins:
        assert bins[0]["rows"]
        assert bins[-1]["rows"]


def test_rows_are_drawn_by_their_content_not_by_their_place():
    lines = [json.dumps({"n": number}).encode() for number in range(300)]
    one, other, few = SplitTally(), SplitTally(), SplitTally()
    for line in lines:
        draw(one, line)
    for line in reversed(lines):
        draw(other, line)
    draw(few, lines[0])
    assert one.drawn == other.drawn
    assert len(one.drawn) == 2
    assert [line for _, line in few.drawn] == lines[:1]


def test_a_long_turn_and_a_call_of_a_tool_are_shown_in_short(tmp_path):
    call = {"id": "c", "name": "weather", "arguments": {"city": "Ulm"}}
    turns = [
        {"role": "user", "content": "word " * 500},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "sun", "tool_call_id": "c"},
        {"role": "assistant", "content": "Sun."},
    ]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": turns}))
    prepare([Source(tmp_path / "rows.jsonl")], tmp_path / "out", val=None, test=None, seed=0)
    (shown,) = json.loads((tmp_path / "out" / "card.json").read_text())["splits"]["train"]["examples"]
    assert len(shown["turns"][0]["text"]) == 603
    assert [turn["text"] for turn in shown["turns"][1:]] == ["weather(...)", "sun", "Sun."]


def test_the_card_for_people_says_the_same(out):
    text = (out / "card.md").read_text()
    assert "43 rows in, 41 examples kept, 2 dropped (1 of them exact duplicates)" in text
    assert "0 of 41 groups, 0 prompts and near-duplicates (not looked for) on two sides" in text
    assert "| empty answer | 1 |" in text
    assert "system text of 20 x `Be | brief.`" in text
    assert "licence: MIT (40)" in text
    assert "| 3 to 5 | 20 | 40 |" in text
    assert "| language of the last answer | rows |" in text
    assert text.count("- assistant: `one two three`") >= 3  # of every split some


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], {}),
        ([7], {"min": 7, "median": 7, "p95": 7, "max": 7, "mean": 7.0}),
        ([3, 1, 2], {"min": 1, "median": 2, "p95": 3, "max": 3, "mean": 2.0}),
    ],
)
def test_a_summary_of_none_one_and_three(values, expected):
    assert summary(values) == expected
