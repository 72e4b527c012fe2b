from __future__ import annotations

import random

import pytest

from heedlm.eval.arms import bare, instruct
from heedlm.eval.grid import WITH, Grid, grid_of, with_system
from heedlm.messages import Message

from .scripted import example

TASK = None


def grid(base: float, prompted: float, tuned: float, both: float, n: int = 200, seed: int = 5) -> Grid:
    """Cells that are right on their shares of n items, each by its own luck."""
    rng = random.Random(seed)
    shares = {"b": base, "b" + WITH: prompted, "t": tuned, "t" + WITH: both}
    scores = {cell: [float(rng.random() < share) for _ in range(n)] for cell, share in shares.items()}
    return grid_of("b", "t", scores, [str(number) for number in range(n)])


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ((0.3, 0.3, 0.3, 0.3), "Neither"),
        ((0.2, 0.8, 0.3, 0.8), "Write the prompt"),
        ((0.2, 0.3, 0.8, 0.8), "Tune"),
        ((0.1, 0.4, 0.5, 0.9), "Do both"),
        ((0.2, 0.75, 0.8, 0.8), "Write the prompt"),  # tuning does no more than the prompt, which is cheaper
    ],
)
def test_the_advice_is_what_the_numbers_say(cells: tuple[float, float, float, float], says: str) -> None:
    found = grid(*cells)
    assert found.advice.startswith(says), found.advice
    assert all(effect.p_holm >= effect.difference.p for effect in found.effects.values())


def test_a_gain_that_belongs_to_no_single_way() -> None:
    said = grid(0.3, 0.37, 0.37, 0.48, seed=6).advice
    assert said.startswith("No way is surely the best of all. The highest score has t + system text")


def test_few_items_advise_nothing_and_say_what_they_could_show() -> None:
    found = grid(0.3, 0.5, 0.5, 0.6, n=12)
    assert found.advice.startswith("Neither: on 12 items")
    assert "ask more" in found.advice


def test_a_prompt_that_harms_is_named() -> None:
    assert "The system text on the tuned model makes it worse" in grid(0.2, 0.3, 0.9, 0.4).advice


def test_noise_alone_seldom_advises_anything() -> None:
    rng = random.Random(6)
    advised = 0
    for seed in range(200):
        scores = {cell: [float(rng.random() < 0.4) for _ in range(60)] for cell in ("b", "t", "b" + WITH, "t" + WITH)}
        found = grid_of("b", "t", scores, [str(number) for number in range(60)], seed=seed)
        advised += not found.advice.startswith("Neither")
    assert advised <= 0.06 * 200


def test_the_system_text_comes_first_and_keeps_the_items_own() -> None:
    row = example("Question?", "yes")
    asked = with_system(instruct, "Be brief.")(TASK, row).request  # type: ignore[arg-type]
    assert asked.messages == (Message("system", "Be brief."), Message("user", "Question?"))
    own = example("Question?", "yes", system="You are Ann.")
    asked = with_system(instruct, "Be brief.")(TASK, own).request  # type: ignore[arg-type]
    assert asked.messages[0].content == "Be brief.\n\nYou are Ann."
    assert len(asked.messages) == 2
    assert with_system(bare, "Be brief.")(TASK, row).request.text == "Be brief.\n\nQuestion?"  # type: ignore[arg-type]
