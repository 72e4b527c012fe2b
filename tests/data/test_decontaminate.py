"""Planted items are found whole, edited and short; what only looks alike is not."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.data.decontaminate import Hit, Items
from heedlm.data.items import Item, read_items
from heedlm.data.words import WordFile, line_of, told, words
from heedlm.errors import HeedError
from heedlm.messages import Example, Message

LONG = (
    "A baker sells twelve loaves of rye bread in the morning and nine more after lunch; if each loaf costs three coins, how "
    "many coins does the baker take home in the evening?"
)
OTHER = (
    "When the winter fair opened, a child bought two paper lanterns and lost one on the bridge, so how many lanterns were "
    "left when the band began to play near the river?"
)


def row(asked: str, answered: str = "I am not sure.") -> Example:
    return Example("id", (Message("user", asked), Message("assistant", answered)), "x:1")


def hits(folder: Path, rows: list[Example], items: list[Item]) -> list[Hit]:
    file = WordFile(folder / "words")
    for one in rows:
        file.add(line_of(one, told(one, [words(message.content) for message in one.messages])))
    searched = Items(items)
    found = list(searched.find(file, lambda number: True))
    for number, one in enumerate(rows):
        texts = [message.content for message in one.messages if message.role == "user"]
        found += [Hit(number, item, "prompt", 1.0, item.asked) for item in searched.short.find(texts)]
    file.close()
    return found


def item(asked: str, answer: str = "", where: str = "items:1") -> Item:
    return Item("items", where, asked, answer)


@pytest.mark.parametrize(
    "asked",
    [
        LONG,
        LONG.upper(),
        f"Please answer the following question.\n\n{LONG}\nThink step by step.",
        LONG.replace("rye", "white"),
        LONG.replace("rye ", ""),
        LONG.replace("rye", "very dark rye"),
        "Fifteen " + LONG,
    ],
)
def test_a_long_item_is_found_whole_wrapped_and_edited(tmp_path, asked):
    (found,) = hits(tmp_path, [row(OTHER), row(asked)], [item(LONG)])
    assert (found.row, found.item.asked, found.kind) == (1, LONG, "prompt")
    assert found.share >= 0.7
    assert found.share == 1.0 or asked != LONG
    assert set(found.matched.replace(" ... ", " ").split()) <= set(words(LONG))


def test_every_change_of_one_word_of_twenty_is_found(tmp_path):
    twenty = LONG.split()[:20]
    rng = random.Random(0)
    rows = [row(" ".join([*twenty[:n], rng.choice(("very", "so")), *twenty[n + 1 :]])) for n in range(20)]
    rows += [row(" ".join([*twenty[:n], *twenty[n + 1 :]])) for n in range(20)]
    rows += [row(" ".join([*twenty[:n], "very", *twenty[n:]])) for n in range(21)]
    assert {hit.row for hit in hits(tmp_path, rows, [item(" ".join(twenty))])} == set(range(61))


@pytest.mark.parametrize("count", [1, 4, 5, 7, 8, 19])
def test_items_of_any_length_are_found_as_a_turn_and_as_a_line(tmp_path, count):
    asked = " ".join(LONG.split()[:count])
    wrapped = [
        asked,
        f"{asked}?",
        f"Answer this:\n{asked}",
        f"Question: {asked}\nAnswer:",
        f"Do it.\n\n{asked}\n\nNow.",
    ]
    assert {hit.row for hit in hits(tmp_path, [row(text) for text in wrapped], [item(asked)])} == set(range(5))


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("2 + 2", "2 - 2"),
        ("Thank you.", "Thank you for the letter."),
        ("What is the capital of Guinea?", "What is the capital of Guinea-Bissau?"),
        ("Name a bird.", "She said: name a bird. Then she left."),
        (LONG, OTHER),
        (LONG, " ".join(LONG.split()[:14])),
    ],
)
def test_what_is_not_the_item_is_not_found(tmp_path, asked, text):
    assert hits(tmp_path, [row(text)], [item(asked)]) == []


def test_the_wording_of_a_form_does_not_count(tmp_path):
    form = (
        "Read the following review of a product with care, then say in one word what the person who wrote it felt: {}"
    )
    reviews = [
        "it broke on day two",
        "my cat loves it",
        "late, wet and torn",
        "the colour is lovely",
        "too small for me",
    ]
    items = [item(form.format(review), where=f"items:{n}") for n, review in enumerate(reviews)]
    assert hits(tmp_path, [row(form.format("the handle fell off when I touched the lid"))], items) == []
    found = hits(tmp_path, [row(form.format("my cat loves it"))], items)
    assert [hit.item.where for hit in found] == ["items:1"]


def test_the_answer_is_told_apart(tmp_path):
    rows = [row(LONG, "It takes home 63 coins."), row(LONG, "No idea at all."), row(LONG, f"Because {OTHER.lower()}")]
    kinds = [hit.kind for hit in hits(tmp_path, rows, [item(LONG, "63")])]
    assert kinds == ["prompt and answer", "prompt", "prompt"]
    kinds = [hit.kind for hit in hits(tmp_path, rows, [item(LONG, OTHER.replace("paper", "glass"))])]
    assert kinds == ["prompt", "prompt", "prompt and answer"]


def test_items_that_ask_the_same_are_all_named(tmp_path):
    items = [item(LONG, "1", "items:1"), item(f"  {LONG.lower()}", "63", "items:2")]
    assert [hit.item.where for hit in hits(tmp_path, [row(LONG)], items)] == ["items:1", "items:2"]


def test_an_item_in_the_answer_of_a_row_is_found_as_well(tmp_path):
    assert len(hits(tmp_path, [row("Write a riddle.", LONG)], [item(LONG)])) == 1


@pytest.mark.parametrize("items", [[], [item("")], [item("?!")]])
def test_nothing_to_look_for_finds_nothing(tmp_path, items):
    assert hits(tmp_path, [row(LONG)], items) == []
    assert len(Items(items)) == 0


@given(st.lists(st.text(max_size=60), max_size=6), st.lists(st.text(max_size=60), max_size=6))
def test_any_text_can_be_an_item_and_a_row(tmp_path_factory, rows, items):
    folder = tmp_path_factory.mktemp("any")
    found = hits(folder, [row(text) for text in rows], [item(text) for text in items])
    for hit in found:
        assert hit.item.asked in items
    for number, text in enumerate(rows):
        if text in items and words(text):
            assert number in {hit.row for hit in found}, "an item that is a whole row is always found"


@pytest.mark.parametrize(
    ("value", "asked", "answer"),
    [
        ({"question": "Q?", "answer": "A"}, "Q?", "A"),
        ({"instruction": "Do.", "input": "this", "output": "A"}, "Do.\n\nthis", "A"),
        ({"key": 7, "prompt": "Write it."}, "Write it.", ""),
        ({"question": "Which?", "choices": ["a", "b"], "answer": 1}, "Which?", "b"),
        ({"ctx": "He opens", "endings": ["a"], "label": 2}, "He opens", "2"),
        ({"turns": ["First?", "Second?"]}, "First?", ""),
        ({"problem": "x = 1?", "solution": "yes"}, "x = 1?", "yes"),
        ({"prompt": [{"role": "user", "content": "Hi?"}]}, "Hi?", ""),
        ({"messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Yes."}]}, "Hi?", "Yes."),
        ({"instruction": "Add.", "instances": [{"input": "1 1", "output": "2"}]}, "Add.\n\n1 1", "2"),
    ],
)
def test_items_of_many_shapes(tmp_path, value, asked, answer):
    path = tmp_path / "items.jsonl"
    path.write_text(json.dumps(value) + "\n")
    assert list(read_items(path)) == [Item(str(path), f"{path}:1", asked, answer)]


def test_a_file_without_items_is_refused_and_names_what_is_wrong(tmp_path):
    path = tmp_path / "items.jsonl"
    path.write_text('{"n": 1}\n{broken\n')
    with pytest.raises(HeedError, match="no item was found") as caught:
        list(read_items(path))
    assert [problem.where for problem in caught.value.problems] == [str(path), f"{path}:2"]
    with pytest.raises(HeedError, match="no such file"):
        list(read_items(tmp_path / "none.jsonl"))
