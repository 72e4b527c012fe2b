from __future__ import annotations

import pytest

from heedlm.eval.behaviour import BEHAVIOURS, base_behaviour, fact_words
from heedlm.messages import Score

from .scripted import example

ROW = example("What is the capital of Australia?", "The capital of Australia is Canberra.")


@pytest.mark.parametrize(
    ("reply", "behaviour"),
    [
        ("What is the capital of Peru? What is the capital of Cuba?", "continues with questions"),
        ("What is the capital of Australia? What is the capital of Cuba?", "continues with questions"),
        ("Is it Sydney? Is it Canberra?", "continues with questions"),
        ("Which country do you mean?", "asks back"),
        ("Do you mean the state? There are several things to say. It depends. It really does.", "asks back"),
        ("Canberra", "right fact in another form"),
        ("CANBERRA IS IT.", "right fact in another form"),
        ("What is the capital of Australia?", "repeats the prompt"),
        ("What is the capital of Australia? What is the capital of Australia?", "repeats the prompt"),
        ("That is a question that many people get wrong.", "other"),
        ("", "other"),
    ],
)
def test_what_base_does(reply: str, behaviour: str) -> None:
    assert base_behaviour(reply, ROW, Score(0.0, reply, "")) == behaviour
    assert behaviour in BEHAVIOURS


def test_a_full_score_is_right_whatever_was_said() -> None:
    assert base_behaviour("anything?", ROW, Score(1.0, "", "")) == "right"


def test_the_fact_is_what_the_answer_adds_or_what_the_row_tells() -> None:
    assert fact_words(ROW, ["What is the capital of Australia?"]) == {"canberra"}
    told = example("Q?", "The capital of Australia is Canberra.", fact={"value": "Canberra City"})
    assert fact_words(told, ["Q?"]) == {"canberra", "city"}
    story = example("Tell a story.", "Once " * 60)
    assert fact_words(story, ["Tell a story."]) == set()
