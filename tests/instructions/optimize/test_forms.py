"""What right answers have in common is said only where all have it, and in words that can stand in a block."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.instructions.optimize.forms import FEWEST, forms

NAMES = ("Rome", "Oslo", "Lima", "Bern", "Riga", "Cairo", "Delhi", "Quito", "Paris")


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([*NAMES], ["Reply with one word."]),
        ([*NAMES, "New York City"], ["Reply with the answer alone, in 3 words at most."]),
        ([f"It is {name}." for name in NAMES], ["Reply with one sentence."]),
        (
            [f"It is {name}. So be it." for name in NAMES],
            ["Reply with 2 sentences.", 'End every answer with "So be it."'],
        ),
        (
            [f"Thank you for asking. It is {name}." for name in NAMES],
            ["Reply with 2 sentences.", 'Begin every answer with "Thank you for asking. It is".'],
        ),
        (
            [f"{name} it is. Your guide, Ivan." for name in NAMES],
            ["Reply with 2 sentences.", 'End every answer with "it is. Your guide, Ivan."'],
        ),
        ([f"{name} WINS BY FAR".upper() for name in NAMES], None),
        (["3", "14", "-2", "1,000", "7.5", "12%", "0", "9"], ["Reply with a number and nothing else."]),
        (
            [f"- {name}\n- {other}" for name in NAMES for other in NAMES],
            ['Write a list with one item on each line. Each line begins with "- ".'],
        ),
        (
            [json.dumps({"city": name, "size": 1}) for name in NAMES],
            ['Reply with one JSON object and nothing else. It has the keys "city", "size".'],
        ),
        (
            [json.dumps({"city": name} | ({"size": 1} if name < "M" else {"age": 2})) for name in NAMES],
            ['Reply with one JSON object and nothing else. It has the key "city".'],
        ),
        ([f"a long answer about {name} " * 4 for name in NAMES], []),
        ([*NAMES[: FEWEST - 1]], []),
        (["yes"] * 20, []),
        ([*NAMES, " "], []),
    ],
)
def test_what_all_share_is_said(answers: list[str], said: list[str] | None) -> None:
    found = forms(answers)
    if said is None:
        assert "Write in capital letters only." in found
    elif said == []:
        assert [one for one in found if not one.startswith(("Begin", "End", "Write in small"))] == []
    else:
        assert found == said


@given(st.lists(st.text(max_size=30), max_size=12))
def test_what_is_said_opens_no_value_and_stays_on_its_line(answers: list[str]) -> None:
    for one in forms(answers):
        assert "{" not in one
        assert "\n" not in one
        assert one.endswith((".", '"'))
