"""A verdict is read strictly, whatever a judge writes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.eval.judge.rubric import read_rubric
from heedlm.eval.judge.wording import ask_pair, ask_points, read_pair, read_points
from heedlm.messages import Message, Reply, ToolCall

RUBRIC = read_rubric()


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("<verdict>1</verdict>", "1"),
        ("Because.\n<verdict> 2 </verdict>\n", "2"),
        ("<verdict>Tie</verdict>", "tie"),
        ("<think>Or <verdict>1</verdict>?</think><verdict>2</verdict>", "2"),
        ("<verdict>1.</verdict>", None),
        ("<verdict>first</verdict>", None),
        ("<verdict></verdict>", None),
        ("verdict: 1", None),
        ("<verdict>1<verdict>", None),
        ("</verdict>1<verdict>", None),
        ("<verdict>1</verdict></verdict>", None),
        ("<verdict>1</verdict> <verdict>1</verdict>", None),
    ],
)
def test_a_verdict_is_there_or_not(said: str, value: str | None) -> None:
    read = read_pair(Reply(said))
    assert read.value == value
    assert (read.value is None) == bool(read.problem)


def test_points_are_those_of_the_scale() -> None:
    assert read_points(Reply("<verdict>5</verdict>"), RUBRIC).value == "5"
    for said in ("6", "0", "4.5", "4/5", "five", "tie"):
        assert read_points(Reply(f"<verdict>{said}</verdict>"), RUBRIC).value is None


@given(st.lists(st.sampled_from(["<verdict>", "</verdict>", "1", "2", "tie", " ", "\n", "<think>", "</think>", "x"])))
def test_nothing_breaks_the_reading_and_nothing_is_guessed(parts: list[str]) -> None:
    text = "".join(parts)
    read = read_pair(Reply(text))
    if read.value is not None:
        assert re.search(rf"<verdict>\s*{read.value}\s*</verdict>", text)
        assert read_pair(Reply(text, stop_reason="length")).value is None


@given(st.text(alphabet="<>/answer_12.use \n", max_size=60), st.text(alphabet="<>/answer_12.use \n", max_size=60))
def test_no_answer_can_end_before_its_end(first: str, second: str) -> None:
    text = ask_pair(RUBRIC, [Message("user", "Well?")], first, second).messages[0].content
    for number, answer in ((1, first), (2, second)):
        (found,) = re.findall(rf"<(answer_{number}(?:\.\d+)?)>\n(.*)\n</\1>", text, re.DOTALL)
        assert found[1] == (answer.strip() or "(nothing)")


def test_all_that_was_said_is_shown() -> None:
    turns = [
        Message("system", "Be brief."),
        Message("user", "Weather?"),
        Message("assistant", "", tool_calls=(ToolCall("weather", {"city": "Rome"}),)),
        Message("tool", "sunny"),
    ]
    text = ask_points(RUBRIC, turns, "Sunny.", "It is sunny.").messages[0].content
    for part in ("<system>\nBe brief.\n</system>", "<tool>\nsunny", "calls weather with {'city': 'Rome'}"):
        assert part in text
    assert "<right_answer>\nIt is sunny.\n</right_answer>" in text
    assert "right_answer" not in ask_points(RUBRIC, turns, "Sunny.").messages[0].content
