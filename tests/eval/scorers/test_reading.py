from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.eval.scorers.reading import loose_variants, note, notes, parted, without_reasoning
from heedlm.messages import Reply


@pytest.mark.parametrize(
    ("text", "answer", "reasoning"),
    [
        ("Rome", "Rome", ""),
        ("", "", ""),
        ("<think>Italy, so</think>Rome", "Rome", "Italy, so"),
        ("\n<think>\nItaly\n</think>\n\nRome", "Rome", "Italy"),
        ("<think></think>Rome", "Rome", ""),
        ("Italy, so</think>Rome", "Rome", "Italy, so"),
        ("<think>Italy, so", "", "Italy, so"),
        ("[THINK]so[/THINK]Rome", "Rome", "so"),
        ("<thinking>so</thinking> Rome", "Rome", "so"),
        ("Use the tag <think> to think.", "Use the tag <think> to think.", ""),
        ("Use <think>a</think> so.", "Use <think>a</think> so.", ""),
    ],
)
def test_reasoning_before_an_answer_is_taken_off(text: str, answer: str, reasoning: str) -> None:
    found = parted(text)
    assert (found.answer, found.reasoning) == (answer, reasoning)


def test_reasoning_that_was_apart_already_stays() -> None:
    reply = without_reasoning(Reply("<think>b</think>Rome", reasoning="a"))
    assert (reply.text, reply.reasoning) == ("Rome", "a\nb")
    plain = Reply("Rome", reasoning="a")
    assert without_reasoning(plain) is plain


@given(st.text())
def test_a_text_without_marks_is_left_as_it_is(text: str) -> None:
    if not any(mark in text for mark in ("<", "[")):
        assert without_reasoning(Reply(text)) == Reply(text)


def test_the_loose_readings_are_the_eight_of_ifeval() -> None:
    found = loose_variants("Sure:\n**a** b\nDone.")
    assert found == [
        "Sure:\n**a** b\nDone.",
        "**a** b\nDone.",
        "Sure:\n**a** b",
        "**a** b",
        "Sure:\na b\nDone.",
        "a b\nDone.",
        "Sure:\na b",
        "a b",
    ]
    assert loose_variants("one") == ["one", ""]


def test_fallbacks_are_counted_by_name() -> None:
    whys = [
        "as asked",
        note("fenced", "as the schema says"),
        note("no number", "none"),
        note("fenced", "x"),
        "[1, 2] is",
    ]
    assert notes(whys) == {"fenced": 2, "no number": 1}
