from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.eval import text


@pytest.mark.parametrize(
    ("written", "count"),
    [
        ("", 0),
        ("   \n", 0),
        ("One", 1),
        ("One.", 1),
        ("One. Two! Three?", 3),
        ("One. Two and a torn", 2),
        ("It cost 3.50 in May. It rose by 2.5 percent.", 2),
        ("Wait... what? No!", 2),
        ("Really?! Yes.", 2),
        ('"Who is it?" she asked. "Me."', 2),
        ("She said (quietly.) Then she left.", 2),
        ("Castries is the capital of St. Lucia. Mr. Dean lives there.", 2),
        ("Washington, D.C. is big. J. Smith knows it.", 2),
        ("We sell pens, ink, etc. Paper is out. See e.g. Dover.", 3),
        ("दिल्ली भारत की राजधानी है। यह बड़ी है॥ क्या आप जानते हैं?", 3),
        ("यह एक है।यह दो है।", 2),
        ("# A heading\nFirst line. Second.\n\nA new paragraph", 4),
        ("Tools:\n- a saw\n- nails\n1. Cut it.\n2. Nail it.", 5),
        ("...", 0),
    ],
)
def test_sentences(written: str, count: int) -> None:
    assert len(text.sentences(written)) == count, text.sentences(written)


def test_words_keep_what_is_inside_and_drop_what_is_at_the_ends() -> None:
    assert text.words("A follow-up, isn't it? “Yes” — 3.5 %!") == ["A", "follow-up", "isn't", "it", "Yes", "3.5"]


def test_devanagari_vowel_signs_do_not_cut_words() -> None:
    assert text.words("हिन्दी में नमस्ते।") == ["हिन्दी", "में", "नमस्ते"]


@given(st.lists(st.sampled_from(["ham", "Oslo", "3", "tea-time", "पानी"]), min_size=1, max_size=30))
def test_as_many_words_as_were_written(chosen: list[str]) -> None:
    assert len(text.words(" ".join(chosen))) == len(chosen)
    assert len(text.words(", ".join(chosen) + ".")) == len(chosen)


@given(st.integers(0, 20), st.sampled_from([". ", "! ", "? ", "। "]))
def test_as_many_sentences_as_were_written(count: int, end: str) -> None:
    assert len(text.sentences(("The river rose" + end) * count)) == count


@given(st.integers(0, 20), st.sampled_from(["- ", "* ", "• ", "  - "]))
def test_as_many_bullets_as_were_written(count: int, mark: str) -> None:
    assert text.bullets("A list:\n" + "".join(f"{mark}thing\n" for _ in range(count)) + "-no bullet\n - \n") == count


@given(st.integers(0, 20), st.sampled_from([". ", ") "]))
def test_numbers_are_read_in_order(count: int, mark: str) -> None:
    written = "Steps\n" + "".join(f"{n}{mark}do it\n" for n in range(1, count + 1)) + "2.5 litres\n2024 was good\n"
    assert text.numbers(written) == list(range(1, count + 1))


@given(st.text())
def test_counting_never_fails(written: str) -> None:
    for count in (text.words, text.sentences, text.lines, text.bullets, text.numbers, text.collapse, text.fold):
        count(written)
