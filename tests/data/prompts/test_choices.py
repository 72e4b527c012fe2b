"""What can be answered, which is right, and how it is marked."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.data.fields import RefusedError
from heedlm.data.prompts.choices import listed
from heedlm.data.prompts.template import STYLES, Choices

FIXED = Choices("label", ("cat", "dog", "cow"))


def made(choices: Choices, value: Any, style: str = "A.", seed: int = 0, **options: Any) -> dict[str, Any]:
    values = value if isinstance(value, dict) else {"label": value}
    options = {"labels": {}, **options}
    return dict(listed(choices, values, [style], random.Random(seed), **options).names)


@pytest.mark.parametrize(
    ("value", "choice"),
    [("dog", "dog"), (" DOG ", "dog"), (1, "dog"), ("1", "dog"), (1.0, "dog"), ("B", "dog"), ("b", "dog"), (0, "cat")],
)
def test_the_right_one_by_text_number_or_letter(value: Any, choice: str) -> None:
    assert made(FIXED, value)["choice"] == choice


@pytest.mark.parametrize("value", ["horse", 3, -1, "D", "", None, 1.5, [1], "²"])
def test_what_is_no_choice_is_refused_with_what_is(value: Any) -> None:
    with pytest.raises(RefusedError, match="cat, dog, cow") as refused:
        made(FIXED, value)
    assert refused.value.reason == "choice not in list"


def test_where_values_are_spelt_out_nothing_is_guessed() -> None:
    spelt = Choices("label", ("bad", "good"), {"-1": "bad", "1": "good"})
    assert made(spelt, 1)["choice"] == "good"
    assert made(spelt, -1)["choice"] == "bad"
    assert made(spelt, "GOOD")["choice"] == "good"
    with pytest.raises(RefusedError, match="'label' is 0, expected one of: -1, 1"):
        made(spelt, 0)
    assert made(FIXED, "x", labels={"x": "cow"})["choice"] == "cow"
    with pytest.raises(RefusedError):
        made(FIXED, 0, labels={"x": "cow"})


def test_the_choices_of_a_row_win_by_text_over_letter_and_number() -> None:
    own = Choices("answer", each="options")
    row = {"options": ["2", "0", "1", "B"], "answer": "0"}
    assert made(own, row)["choice"] == "0"
    assert made(own, {**row, "answer": 0})["choice"] == "0"  # a number that is also a text is the text
    assert made(own, {**row, "answer": "B"})["choice"] == "B"
    assert made(own, {**row, "answer": "D"})["choice"] == "B"
    assert made(own, {"options": ["a", "b"], "answer": 1})["choice"] == "b"


@pytest.mark.parametrize("options", ["abc", "[a, b]", [], ["one"], ["a", "a"], ["a", ""], None, {"a": 1}])
def test_choices_of_a_row_that_cannot_be_chosen_from(options: Any) -> None:
    with pytest.raises(RefusedError, match="choice"):
        made(Choices("answer", each="options"), {"options": options, "answer": 0})


@given(
    names=st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=2, max_size=30, unique=True),
    style=st.sampled_from(STYLES),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_the_mark_leads_to_the_choice_in_every_style(names: list[str], style: str, seed: int, data: Any) -> None:
    right = data.draw(st.sampled_from(names))
    found = made(Choices("label", tuple(names)), right, style, seed)
    assert sorted(found["choices"]) == sorted(names)
    lines = found["options"].split("\n")
    assert len(set(lines)) == len(names)
    assert found["choice"] == right
    assert [line for line in lines if line.split(" ", 1)[1] == right] == [
        line for line in lines if line in (found["marked"], f"{style} {right}")
    ]
    if style not in "-*" and len(names) <= 26:
        assert sum(found["mark"] in line.split(" ")[0] for line in lines if line == found["marked"]) == 1


@pytest.mark.parametrize(
    ("style", "lines", "mark", "marked"),
    [
        ("A.", "A. cat|B. dog|C. cow", "B", "B. dog"),
        ("(A)", "(A) cat|(B) dog|(C) cow", "(B)", "(B) dog"),
        ("(a)", "(a) cat|(b) dog|(c) cow", "(b)", "(b) dog"),
        ("a)", "a) cat|b) dog|c) cow", "b", "b) dog"),
        ("1)", "1) cat|2) dog|3) cow", "2", "2) dog"),
        ("-", "- cat|- dog|- cow", "dog", "dog"),
    ],
)
def test_styles(style: str, lines: str, mark: str, marked: str) -> None:
    found = made(Choices("label", ("cat", "dog", "cow"), shuffled=False), "dog", style)
    assert (found["options"].split("\n"), found["mark"], found["marked"]) == (lines.split("|"), mark, marked)


def test_more_than_26_choices_are_not_lettered() -> None:
    many = Choices("label", tuple(f"n{number}" for number in range(27)), shuffled=False)
    found = listed(many, {"label": "n3"}, ("A.", "1."), random.Random(0), labels={})
    assert found.style == "1."
    assert listed(many, {"label": "n3"}, ("A.",), random.Random(0), labels={}).style == "-"


def test_the_order_says_nothing_of_the_right_one() -> None:
    """The order is drawn before the right one matters: the same draw lists the same, whichever is right."""
    for seed in range(20):
        shown = {tuple(made(FIXED, value, seed=seed)["choices"]) for value in ("cat", "dog", "cow")}
        assert len(shown) == 1


def test_answer_choices_of_promptsource_are_made_for_each_row() -> None:
    found = listed(Choices(text="{{ a }} ||| no ||| "), {"a": "yes"}, STYLES, random.Random(0), labels={})
    assert found.names == {"answer_choices": ["yes", "no"]}
