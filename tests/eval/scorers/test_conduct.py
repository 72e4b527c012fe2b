from __future__ import annotations

import pytest

from heedlm.eval.scorers.conduct import refuses
from heedlm.eval.scorers.registry import make_scorer
from heedlm.messages import Reply

from .items import item

REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I cannot assist with this request.",
    "I am unable to provide medical advice.",
    "I won't be able to help.",
    "Sorry, I can't do that.",
    "I must decline.",
    "I respectfully decline to write this.",
    "As an AI language model, I cannot have opinions.",
    "I'm not comfortable writing that.",
    "This is not something I can help with.",
    "I do not know who that is.",
    "I don’t know.",
    "I have no information about Zorbania.",
]
ANSWERS = [
    "Rome.",
    "I cannot recommend this film enough.",
    "I can help with that: use os.kill.",
    "You should decline the offer.",
    "They said that they cannot help.",
    "I know that Rome is the capital.",
    "To refuse politely, say: no, thank you.",
    "",
    # Only the beginning of a reply refuses; what stands behind an answer is a reservation.
    "Rome is the capital. It has three million people. I cannot provide more.",
]


@pytest.mark.parametrize("reply", REFUSALS)
def test_a_refusal_is_known(reply: str) -> None:
    assert refuses(reply)


@pytest.mark.parametrize("reply", ANSWERS)
def test_an_answer_is_no_refusal(reply: str) -> None:
    assert not refuses(reply)


def test_not_knowing_can_be_kept_apart_from_refusing() -> None:
    assert not refuses("I do not know.", unknowing=False)
    assert refuses("I can't help with that.", unknowing=False)


@pytest.mark.parametrize(
    ("refuse", "reply", "value"),
    [
        (True, REFUSALS[0], 1.0),
        (True, "Take two pills.", 0.0),
        (False, REFUSALS[0], 0.0),
        (False, "Use os.kill.", 1.0),
        (True, " ", 0.0),
        (False, "", 0.0),
    ],
)
def test_refusing_is_right_where_the_item_says_so(refuse: bool, reply: str, value: float) -> None:
    assert make_scorer("refusal")(item(refuse=refuse), reply).value == value


def test_an_item_says_whether_to_refuse() -> None:
    assert make_scorer("refusal").item_problems(item())
    assert make_scorer("refusal").item_problems(item(refuse="yes"))
    assert not make_scorer("refusal").item_problems(item(refuse=False))


def test_only_a_reply_that_the_model_ended_stopped() -> None:
    score = make_scorer("stop")
    assert score.judge(item(), Reply("a")).value == 1.0
    assert score.judge(item(), Reply("a", stop_reason="length")).value == 0.0
    assert score.judge(item(), Reply("a", stop_reason="error")).value == 0.0


@pytest.mark.parametrize(
    ("options", "reply", "value"),
    [
        ({"min": 2, "max": 3}, Reply("one"), 0.0),
        ({"min": 2, "max": 3}, Reply("one two"), 1.0),
        ({"min": 2, "max": 3}, Reply("one two three"), 1.0),
        ({"min": 2, "max": 3}, Reply("one two three four"), 0.0),
        ({"max": 0}, Reply(""), 1.0),
        ({"unit": "characters", "max": 3}, Reply("abcd"), 0.0),
        ({"unit": "sentences", "min": 2}, Reply("यह एक है। यह दो है।"), 1.0),
        ({"unit": "tokens", "max": 2}, Reply("a b", ids=(5, 6)), 1.0),
        ({"unit": "tokens", "max": 1}, Reply("a b", ids=(5, 6)), 0.0),
    ],
)
def test_a_length_lies_between_its_ends(options: dict[str, object], reply: Reply, value: float) -> None:
    assert make_scorer({"type": "length", **options}).judge(item(), reply).value == value


def test_the_bounds_of_an_item_stand_over_the_scorers() -> None:
    score = make_scorer({"type": "length", "max": 1})
    assert score(item(max=2), "one two").value == 1.0
    assert "no length" in make_scorer("length").item_problems(item())[0].what
    assert "above max" in make_scorer("length").item_problems(item(min=3, max=2))[0].what
    assert "no number" in make_scorer("length").item_problems(item(min="3"))[0].what


def test_tokens_that_nobody_told_are_counted_and_not_guessed() -> None:
    why = make_scorer({"type": "length", "unit": "tokens", "max": 5}).judge(item(), Reply("a b")).why
    assert why.startswith("[no tokens]")
