from __future__ import annotations

import pytest

from heedlm.eval.scorers.choices import listed
from heedlm.eval.scorers.registry import make_scorer

from .items import item

CITIES = ["Paris", "Rome", "New York", "York"]

READ = [
    ("B", 1.0),
    ("b", 1.0),
    ("(B)", 1.0),
    ("B.", 1.0),
    ("**B**", 1.0),
    ("B. Rome", 1.0),
    ("B) Rome is right", 1.0),
    ("B: Rome", 1.0),
    ("(b) Rome", 1.0),
    ("B\nbecause", 1.0),
    ("The answer is B.", 1.0),
    ("The correct answer is (B).", 1.0),
    ("Answer: B", 1.0),
    ("I first took answer A, but the answer is B", 1.0),
    (r"\boxed{B}", 1.0),
    (r"\boxed{\text{B}}", 1.0),
    ("Option B is right", 1.0),
    ("Rome", 1.0),
    ("rome.", 1.0),
    ("It is Rome.", 1.0),
    ("A", 0.0),
    ("A Roman city", 0.0),
    ("Rome or Paris", 0.0),
    ("E", 0.0),
    ("", 0.0),
    ("The answer is a hard one", 0.0),
    ("The answer is Athens", 0.0),
]


@pytest.mark.parametrize(("reply", "value"), READ)
def test_which_choice_a_reply_names(reply: str, value: float) -> None:
    score = make_scorer("choice")(item("Rome", choices=CITIES), reply)
    assert score.value == value, score


def test_a_choice_that_is_part_of_another_is_not_named_by_it() -> None:
    row = item("New York", choices=CITIES)
    assert make_scorer("choice")(row, "They live in New York now").value == 1.0
    assert make_scorer("choice")(row, "They live in York now").value == 0.0


def test_fallbacks_bear_their_names() -> None:
    row = item("Rome", choices=CITIES)
    score = make_scorer("choice")
    assert score(row, "It is Rome.").why.startswith("[choice by its text]")
    assert score(row, "Rome or Paris").why.startswith("[several choices]")
    assert score(row, "Athens").why.startswith("[no choice]")
    assert not score(row, "B").why.startswith("[")


@pytest.mark.parametrize(
    ("choices", "target", "problem"),
    [
        (None, "a", "no list of 2 to 26"),
        ([], "a", "no list of 2 to 26"),
        (["a"], "a", "no list of 2 to 26"),
        ("ab", "a", "no list of 2 to 26"),
        (["a", "a"], "a", "are the same"),
        (["a", " "], "a", "is empty"),
        (["x", "y"], "z", "is none of the choices"),
        (["x", "y"], "C", "is none of the choices"),
    ],
)
def test_broken_choices_are_a_problem_of_the_item(choices: object, target: str, problem: str) -> None:
    assert problem in make_scorer("likelihood").item_problems(item(target, choices=choices))[0].what


def test_a_target_may_be_a_letter_unless_the_choices_are_letters() -> None:
    assert make_scorer("choice")(item("B", choices=["x", "y"]), "y").value == 1.0
    assert make_scorer("choice")(item("B", choices=["B", "A"]), "A").value == 1.0
    assert not make_scorer("choice").item_problems(item("B", choices=["x", "y"]))
    assert listed(["x", "y"]) == "A. x\nB. y"


def test_the_likeliest_choice_is_judged_and_a_tie_is_no_answer() -> None:
    row = item("Rome", choices=CITIES)
    score = make_scorer("likelihood")
    assert score(row, "Rome").value == 1.0
    assert score(row, "Paris").value == 0.0
    assert score(row, "").why.startswith("[tie]")
