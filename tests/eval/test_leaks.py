from __future__ import annotations

import pytest

from heedlm.eval.leaks import caveat, find_leaks, refuse
from heedlm.messages import Example, Message

from .scripted import example

LETTER = (
    "Please write a letter to the owner of the small bakery near the station about the bread that was burnt on Monday"
)


def test_the_same_question_is_found_whatever_its_looks() -> None:
    trained = example("What is  the capital of Peru?", "Lima.", id="t", system="Be brief.")
    asked = [
        example("what is the capital of PERU", "It is Lima.", id="a"),
        example("What is the capital of Cuba?", "Lima.", id="b"),
    ]
    (leak,) = find_leaks(asked, [trained])
    assert (leak.item.id, leak.row.id, leak.how) == ("a", "t", "the same question")


def test_a_question_in_the_middle_of_a_conversation_was_trained_on() -> None:
    turns = [Message("user", "One?"), Message("assistant", "1"), Message("user", "Two?"), Message("assistant", "2")]
    talk = Example("t", tuple(turns), "rows.jsonl:9")
    assert [leak.item.id for leak in find_leaks([example("One?", "1", id="a")], [talk])] == ["a"]
    both = Example("b", tuple(turns), "test.jsonl:1")
    assert find_leaks([both], [talk])
    assert not find_leaks([example("Two?", "2", id="a")], [talk])  # asked after another turn it is another question


def test_signs_alone_are_compared_as_they_stand() -> None:
    assert find_leaks([example("+ + ?", "a", id="a")], [example("+  + ?", "b", id="t")])
    assert not find_leaks([example("+ - ?", "a", id="a")], [example("+ + ?", "b", id="t")])


def test_an_item_with_changed_words_is_found_when_its_answer_is_there() -> None:
    answer = "Dear owner, the bread of Monday was burnt. Kind regards, Anna."
    item = example(LETTER, answer, id="a")
    row = example(LETTER.replace("small bakery", "little bakery"), answer, id="t")
    (leak,) = find_leaks([item], [row])
    assert "of its words, and its answer" in leak.how
    assert not find_leaks([item], [row], edited=False)
    assert not find_leaks([item], [example(LETTER.replace("small", "little"), "No.", id="t")])


@pytest.mark.parametrize("sides", [([], []), ([example("a?", "b")], []), ([], [example("a?", "b")])])
def test_nothing_overlaps_with_nothing(sides: tuple[list[Example], list[Example]]) -> None:
    assert find_leaks(*sides) == []


def test_the_refusal_names_rows_and_the_way_on() -> None:
    trained = [example(f"Question {n}?", "a", id=f"t{n}") for n in range(15)]
    asked = [example(f"Question {n}?", "a", id=f"a{n}") for n in range(20)]
    leaks = find_leaks(asked, trained)
    said = str(refuse(leaks, 20))
    assert "15 of 20 items overlap" in said
    assert "the first 10 are named" in said
    assert "'a9'" in said
    assert "'a10'" not in said
    assert "rows.jsonl:1 and rows.jsonl:1" in said
    assert "--allow-leak" in said
    assert caveat(leaks, 20) == "LEAK: 15 of 20 items were in the training rows."
