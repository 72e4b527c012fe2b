"""The same blocks in every notation."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from heedlm.data.prompts.blocks import NOTATIONS, Notation, drawn, written

BLOCKS = [("role", ["You sort."]), ("output_format", ["One word.", "No more."]), ("steps", ["Read.", "Sort."])]
WRITTEN: dict[Notation, str] = {
    "plain": "You sort.\n\nOne word. No more.\n\nRead.\nSort.",
    "markdown": "# Role\nYou sort.\n\n# Output format\n- One word.\n- No more.\n\n# Steps\n1. Read.\n2. Sort.",
    "xml": "<role>\nYou sort.\n</role>\n\n<output_format>\n- One word.\n- No more.\n</output_format>\n\n"
    "<steps>\n1. Read.\n2. Sort.\n</steps>",
    "labels": "ROLE: You sort.\n\nOUTPUT FORMAT:\n- One word.\n- No more.\n\nSTEPS:\n1. Read.\n2. Sort.",
}


@pytest.mark.parametrize("notation", NOTATIONS)
def test_notations(notation: Notation) -> None:
    assert written(BLOCKS, notation) == WRITTEN[notation]


@pytest.mark.parametrize("notation", NOTATIONS)
def test_a_text_without_a_name_is_the_same_in_all(notation: Notation) -> None:
    assert written([("", ["Just text."])], notation) == "Just text."
    assert written([("role", [" "]), ("task", [])], notation) == ""
    assert written([], notation) == ""


def test_a_text_of_several_lines_stands_below_its_label() -> None:
    assert written([("text", ["a\nb"])], "labels") == "TEXT:\na\nb"


def test_mix_draws_all_of_them() -> None:
    counted = Counter(drawn("mix", random.Random(seed)) for seed in range(400))
    assert set(counted) == set(NOTATIONS)
    assert min(counted.values()) > 70
    assert drawn("xml", random.Random(0)) == "xml"
