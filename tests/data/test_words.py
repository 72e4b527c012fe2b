"""Words of any script, numbers on disk, and the facts in which two texts may not differ."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.data.words import GAP, WordFile, facts, line_of, numbered, told, words
from heedlm.messages import Example, Message, ToolCall


def example(asked: str, answered: str, system: str | None = None) -> Example:
    before = (Message("system", system),) if system is not None else ()
    return Example("id", (*before, Message("user", asked), Message("assistant", answered)), "x:1")


def words_file(path, *examples: Example) -> WordFile:
    file = WordFile(path / "words")
    for one in examples:
        file.add(line_of(one, told(one, [words(message.content) for message in one.messages])))
    return file


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  Hello,   WORLD! ", ["hello", "world"]),
        ("don't", ["don", "t"]),
        ("snake_case", ["snake", "case"]),
        ("2 + 2 = 4", ["2", "+", "2", "=", "4"]),
        ("2 - 2", ["2", "-", "2"]),
        ("well-known - indeed", ["well", "known", "indeed"]),
        ("हिन्दी में लिखो।", ["हिन्दी", "में", "लिखो"]),
        ("東京です", ["東", "京", "で", "す"]),
        ("Ｆｕｌｌ", ["full"]),
        ("café «naïve» ¿qué?", ["café", "naïve", "qué"]),
        ("😀 ok", ["😀", "ok"]),
        ("a\x00b\ud800c", ["a", "b\ud800c"]),
    ],
)
def test_words_of_many_scripts(text, expected):
    assert words(text) == expected


@given(st.text())
def test_any_text_has_words_without_white_space_that_are_numbered_alike(text):
    found = words(text)
    assert all(word and not word.isspace() for word in found)
    assert numbered(found) == numbered(words(" ".join(found)))[: len(found)] or " ".join(found) != text
    assert 0 not in numbered(found)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("It costs 1,000 now.", "It costs 1000 now.", True),
        ("It costs 10 now.", "It costs 11 now.", False),
        ("It is 3 and 3.", "It is 3.", False),
        ("We met  Ada there.", "We met Ada there.", True),
        ("We met Ada there.", "We met Bob there.", False),
        ("They said, He came.", "They said, he came.", True),
        ("It is good.", "It is not good.", False),
        ("It is not good.", "It is not not good.", False),
        ("Quickly they ran.", "Slowly they ran.", True),
        ("x ANSWER IN CAPITALS", "x answer in capitals", False),
    ],
)
def test_facts_are_numbers_names_and_negations(one, other, same):
    assert (facts(one, words(one)) == facts(other, words(other))) == same


def test_a_file_gives_back_what_was_put_in_with_a_gap_behind_each_turn(tmp_path):
    file = words_file(tmp_path, example("One two?", "three"), example("", "four five six"), example("seven", ""))
    assert len(file) == 3
    gap = [0] * GAP
    expected = [numbered(part.split()).tolist() for part in ("one two", "three", "", "four five six", "seven", "")]
    line = [number for part in expected for number in (*part, *gap)]
    assert file.read(0, 3).view(np.int64).tolist() == line
    assert file.read(1, 2).view(np.int64).tolist() == [*gap, *expected[3], *gap]
    assert list(file.asked) == [4, 2, 3]
    assert [list(chunk) for chunk in file.chunks(1)] == [[0], [1], [2]]
    assert [list(chunk) for chunk in file.chunks()] == [[0, 1, 2]]
    file.close()
    assert not list(tmp_path.iterdir())


def test_an_empty_file_has_no_chunks(tmp_path):
    assert list(words_file(tmp_path).chunks()) == []


def test_reasoning_and_calls_are_answered_and_the_system_text_is_not_there():
    messages = (
        Message("system", "Be brief."),
        Message("user", "Weather?"),
        Message("assistant", "", reasoning="Look it up.", tool_calls=(ToolCall("weather", {"city": "Rome"}),)),
        Message("tool", "sunny"),
        Message("assistant", "Sunny."),
    )
    found = told(Example("id", messages, "x:1"), [words(message.content) for message in messages])
    assert [word for word in found.asked if word] == ["weather", "sunny"]
    assert [word for word in found.answered if word] == ["look", "it", "up", "weather", "city", "rome", "sunny"]


def test_keys_part_rows_with_another_system_text_weight_or_fact(tmp_path):
    long = "It is a long answer about 3 things that goes on for a while, so that it says enough to tell."
    weighted = Example("id", (Message("user", "Why?"), Message("assistant", long, weight=0.5)), "x:1")
    rows = [
        example("Why?", long),
        example("why", long.replace("long", "short")),
        example("Why?", long, system="Be brief."),
        example("Why?", long.replace("3", "4")),
        weighted,
    ]
    keys = list(words_file(tmp_path, *rows).keys)
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4


def test_short_answers_are_compared_as_a_whole(tmp_path):
    rows = [
        ("What is it?", "A cat."),
        ("what is  it", "A  cat."),
        ("What is it?", "A Cat."),
        ("What was it?", "A cat."),
    ]
    wholes = list(words_file(tmp_path, *(example(*row) for row in rows)).wholes)
    assert wholes[0] == wholes[1] != 0
    assert len({wholes[0], wholes[2], wholes[3]}) == 3
    assert words_file(tmp_path, example("Why?", "word " * 15)).wholes[0] == 0
    assert words_file(tmp_path, example("Why?", "word " * 14)).wholes[0] != 0
