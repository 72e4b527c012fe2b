"""Texts between marks: whole ones, in order, and nothing that was guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.synth import marks
from heedlm.synth.marks import EMPTY, NESTED, NO_MARK, STRAY, UNCLOSED, marked, parse

plain = st.text(min_size=1).filter(lambda text: text.strip() and not marks.holds(text, "task"))
pieces = st.lists(st.sampled_from(["<task>", "</task>", "<task", "a", " b ", "\n", "</ task>", "<TASK>", "<b>"]))


@pytest.mark.parametrize(
    ("reply", "texts", "malformed"),
    [
        ("", [], [NO_MARK]),
        ("1. Sing a song.\n2. Dance.", [], [NO_MARK]),
        ("<task>Sing.</task>", ["Sing."], []),
        ("Sure!\n<task>\nSing.\n\nLoudly.\n</task>\nThat is all.", ["Sing.\n\nLoudly."], []),
        ("<task>Sing.</task><task>Dan", ["Sing."], [UNCLOSED]),
        ("<task>Sing. <task>Dance.</task> <task>Jump.</task>", ["Jump."], [NESTED]),
        ("Sing.</task> <task>Dance.</task>", ["Dance."], [STRAY]),
        ("<task> \n </task>", [], [EMPTY]),
        ("<task><task><task>", [], [UNCLOSED]),
        ("<TASK>Sing.</TASK>", [], [NO_MARK]),
    ],
)
def test_only_whole_texts_are_taken(reply: str, texts: list[str], malformed: list[str]) -> None:
    assert parse(reply, "task") == (texts, malformed)


@given(st.lists(plain))
def test_what_is_marked_is_read_back(texts: list[str]) -> None:
    found = parse(marked(texts, "task"), "task")
    assert found.texts == [text.strip() for text in texts]
    assert found.malformed == ([] if texts else [NO_MARK])


@given(st.one_of(pieces.map("".join), st.text()), st.integers(min_value=0))
def test_the_beginning_of_a_reply_holds_no_text_that_the_whole_does_not(reply: str, cut: int) -> None:
    whole = parse(reply, "task")
    part = parse(reply[: cut % (len(reply) + 1)], "task")
    assert whole.texts[: len(part.texts)] == part.texts
    assert all(text and text == text.strip() and not marks.holds(text, "task") for text in whole.texts)
    assert whole.texts or whole.malformed


@given(pieces.map("".join))
def test_every_opening_mark_is_a_text_or_a_reason(reply: str) -> None:
    found = parse(reply, "task")
    opened, closed = reply.count("<task>"), reply.count("</task>")
    assert len(found.texts) <= min(opened, closed)
    if opened == closed == 0:
        assert found.malformed == [NO_MARK]
    if len(found.texts) < max(opened, closed):
        assert found.malformed
