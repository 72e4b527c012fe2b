"""The card says what went in, what came out, and what a model will be told by the system."""

from __future__ import annotations

import json

import pytest

from heedlm.data.card import summary
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


def test_the_card_for_people_says_the_same(out):
    text = (out / "card.md").read_text()
    assert "43 rows in, 41 examples kept, 2 dropped (1 of them exact duplicates)" in text
    assert "0 of 41 groups, 0 prompts and near-duplicates (not looked for) on two sides" in text
    assert "| empty answer | 1 |" in text
    assert "system text of 20 x `Be | brief.`" in text
    assert "licence: MIT (40)" in text


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
