"""What is wrong with an answer is found, and what may be right is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.data.clean import answers
from heedlm.data.clean.phrases import refusal
from heedlm.data.words import words

PROSE = (
    "The town stands on a hill above the river, and its people trade in salt, rope and glass. In spring the lower streets are "
    "under water for a week, which nobody minds, since the boats can then land in front of"
)


@pytest.mark.parametrize("answer", ["n/a", "N/A.", " NaN ", "null", "<nooutput>", "[blank]", "...", "…", "-", "todo"])
def test_placeholders(answer):
    assert answers.placeholder("Why?", answer)


@pytest.mark.parametrize(
    "answer", ["None", "No", "0", "+", "=", "nano", "Null Island is at 0, 0.", "?", "NaN is not a number."]
)
def test_short_answers_that_say_something(answer):
    assert answers.placeholder("Why?", answer) is None or answer == "?"


def test_an_input_that_stands_for_nothing():
    assert answers.placeholder("Tell a story.\n\n<noinput>", "Once.") == "the question ends with '<noinput>'"
    assert answers.placeholder("Tell a story.\nnan", "Once.")
    assert answers.placeholder("nan", "Not a number.") is None
    assert answers.placeholder("Tell me what is nan", "Not a number.") is None


@pytest.mark.parametrize(
    "answer",
    [
        "I am sorry. " * 10,
        "It went well. " + "and then we went home " * 6,
        PROSE + " " + PROSE + " " + PROSE,
        "aaa" * 40,
        "哈" * 60,
        "好的好的" * 20,
    ],
)
def test_answers_that_go_round_in_circles(answer):
    assert answers.repetition(answer, words(answer))


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "no no no no",
        PROSE,
        "\n".join(f"{n}. Put part {n} on the table." for n in range(1, 12)),
        "| a | b |\n|---|---|\n| 1 | 2 |\n" + "-" * 80,
        "row row row your boat gently down the stream " * 2,
        "0" * 90,
    ],
)
def test_lists_tables_and_songs_do_not(answer):
    assert answers.repetition(answer, words(answer)) is None


def test_a_loop_says_what_is_repeated_and_how_often():
    answer = "Well then. " + "this is it " * 9
    assert answers.repetition(answer, words(answer)) == "'this is it' stands 9 times in a row"


def test_an_answer_of_a_million_words_is_looked_at_in_a_moment():
    assert answers.repetition("", ["so", "it", "goes"] * 400_000)


@pytest.mark.parametrize(
    "answer",
    [
        "As an AI language model, I cannot taste food.",
        "I’m sorry, but I can’t help with that.",
        "That is hard. As of my last knowledge update, nobody knew.",
        "Als KI-Sprachmodell habe ich keine Meinung.",
        "En tant que modèle de langage, je ne peux pas.",
        "Lo siento, pero no puedo ayudarte.",
        "Как языковая модель, я не могу.",
        "एक एआई भाषा मॉडल होने के नाते मैं नहीं बता सकता।",
        "作为一个人工智能，我没有感情。",
        "申し訳ありませんが、できません。",
        "**I cannot provide** that.",
    ],
)
def test_refusals_in_many_languages(answer):
    assert refusal(answer, words(answer))


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "The language model was trained on books.",
        "She said: I'm sorry, but I can't come.",
        "I cannot swim, said the cat.",
        "Ai is a town.",
        "The knowledge of the update is cut.",
    ],
)
def test_other_answers_with_the_same_words(answer):
    assert refusal(answer, words(answer)) is None


@pytest.mark.parametrize(
    ("asked", "answer", "found"),
    [
        ("Which bird is it that sings?", "Which bird is it that sings? A wren.", True),
        ("Which bird is it that sings?", "which bird is it that sings", True),
        ("Summarise the text in one line:\n\nIt was late.", "Summarise the text in one line: it was late.", True),
        ("Say yes.", "Say yes.", False),
        ("Which bird is it that sings?", "A wren.", False),
        ("Repeat: the cat sat on the mat", "the cat sat on the mat", False),
    ],
)
def test_echoes(asked, answer, found):
    assert bool(answers.echo(asked, words(asked), answer, words(answer))) == found


@pytest.mark.parametrize(
    "answer", [PROSE, PROSE + " the,", "Here:\n```python\nprint(1)\n", "A list:\n- one\n\n" + PROSE]
)
def test_answers_that_stop_in_the_middle(answer):
    assert answers.truncated(answer, words(answer))


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Paris",
        PROSE + " them.",
        PROSE + " them。",
        PROSE + ":\n\n- salt\n- rope\n- glass and other things that the people of the town make in winter",
        PROSE + " them.\n\nKind regards,\nVera Berg",
        PROSE + " them 😀",
        PROSE + " them: 42",
        f"```\n{PROSE}\n```",
        PROSE + " the page\nfor x in range(10) if x else y for z in something that goes on and on = x",
        PROSE + " them\nhttps://example.org/a b c d e f g h i j",
    ],
)
def test_answers_that_end(answer):
    assert answers.truncated(answer, words(answer)) is None


@pytest.mark.parametrize(("count", "answered", "found"), [(10, 3, False), (11, 3, True), (10, 2, True), (0, 3, False)])
def test_length_at_its_limits(count, answered, found):
    assert bool(answers.length(count, answered, 10, 3)) == found


@given(st.text(), st.text())
def test_any_text_can_be_looked_at(asked, answer):
    found = words(answer)
    for what in (
        answers.placeholder(asked, answer),
        answers.repetition(answer, found),
        answers.echo(asked, words(asked), answer, found),
        answers.truncated(answer, found),
        refusal(answer, found),
    ):
        assert what is None or (what and "\n" not in what)
