from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.eval.scorers.numbers import numbers
from heedlm.eval.scorers.registry import make_scorer

from .items import item

READ = [
    ("", []),
    ("no digits", []),
    ("5", [5]),
    ("1,234", [1234]),
    ("1,234,567.89", [1234567.89]),
    ("100 200 300", [100, 200, 300]),
    ("1\u202f234", [1234]),
    ("1_000", [1000]),
    ("1'000", [1000]),
    ("1, 2, 3", [1, 2, 3]),
    ("12,34", [12, 34]),
    ("1,2345", [1, 2345]),
    ("2024, 300", [2024, 300]),
    ("2024 300", [2024, 300]),
    ("-3", [-3]),
    ("−3.5", [-3.5]),
    ("-$3", [-3]),
    ("$-3", [-3]),
    ("$1,000", [1000]),
    ("5-7", [5, 7]),
    ("5 - 7", [5, 7]),
    ("+4", [4]),
    (".5", [0.5]),
    ("0.5.", [0.5]),
    ("It is 5.", [5]),
    ("3/4", [0.75]),
    ("1/0", []),
    ("2e3", [2000]),
    ("1.5E-2", [0.015]),
    ("45%", [45]),
    ("१२", [12]),
    ("x2 and B7", []),
    ("3 apples, 4 pears", [3, 4]),
    ("1.2.3", [1.2]),
    ("10km", [10]),
]


@pytest.mark.parametrize(("text", "found"), READ)
def test_numbers_as_people_write_them(text: str, found: list[float]) -> None:
    assert [float(value) for value in numbers(text)] == pytest.approx(found)


def test_a_comma_can_be_the_decimal_mark() -> None:
    assert [float(value) for value in numbers("1.234,5 und 7,25", ",")] == [1234.5, 7.25]
    assert numbers("1 234 567 Euro", ",") == [1234567]


def test_a_text_of_many_marks_or_endless_digits_is_read_at_once() -> None:
    score = make_scorer("numeric")
    assert score(item("7"), "answer is " * 20_000 + "7").value == 1.0
    assert score(item("7"), "1" * 100_000).why.startswith("[no number]")


@given(st.integers(-(10**12), 10**12))
def test_a_whole_number_is_read_with_and_without_its_thousands(value: int) -> None:
    assert numbers(f"The sum is {value}.") == [value]
    assert numbers(f"The sum is {value:,}.") == [value]
    assert numbers(f"{value:_}") == [value]


@given(st.text(alphabet="0123456789.,-+/ eE$−_()", max_size=30))
def test_nothing_that_looks_like_a_number_breaks_the_reading(text: str) -> None:
    assert all(isinstance(value, Fraction) for value in numbers(text))


SCORED = [
    ("numeric", "42", "I think 42", 1.0),
    ("numeric", "42", "6 times 7 is 42.", 1.0),
    ("numeric", "42", "42 is 6 times 7", 0.0),
    ("numeric", "42", "The answer is 42: 6 times 7.", 1.0),
    ("numeric", "#### 42", "so it is\n#### 42\n(of 100)", 1.0),
    ("numeric", "42", r"\boxed{42} since 6 and 7", 1.0),
    ("numeric", "42", "The answer: none of them is 41", 0.0),
    ({"type": "numeric", "which": "last"}, "7", "The answer is 42: 6 times 7.", 1.0),
    ({"type": "numeric", "which": "first"}, "42", "42 is 6 times 7", 1.0),
    ({"type": "numeric", "which": "only"}, "42", "42 is 6 times 7", 0.0),
    ({"type": "numeric", "which": "only"}, "42", "42, yes, 42", 1.0),
    ({"type": "numeric", "tolerance": 0.5}, "10", "10.5", 1.0),
    ({"type": "numeric", "tolerance": 0.5}, "10", "10.51", 0.0),
    ({"type": "numeric", "relative": 0.01}, "200", "198", 1.0),
    ({"type": "numeric", "relative": 0.01}, "200", "197.9", 0.0),
    ({"type": "numeric", "tolerance": 0.1}, "0.3", "0.2", 1.0),
    ("numeric", "0.3", "0.30", 1.0),
    ("numeric", "1200", "1,200 euros", 1.0),
    ("numeric", "12", "none", 0.0),
]


@pytest.mark.parametrize(("spec", "target", "reply", "value"), SCORED)
def test_the_number_of_a_reply_is_compared(spec: object, target: str, reply: str, value: float) -> None:
    score = make_scorer(spec)(item(target), reply)
    assert score.value == value, score.why


def test_what_holds_no_number_is_counted_and_not_guessed() -> None:
    assert make_scorer("numeric")(item("4"), "four").why.startswith("[no number] ")
    only = make_scorer({"type": "numeric", "which": "only"})
    assert only(item("4"), "4 or 5").why.startswith("[several numbers] ")


def test_a_target_without_a_number_is_a_problem_of_the_item() -> None:
    assert "holds no number" in make_scorer("numeric").item_problems(item("four"))[0].what
