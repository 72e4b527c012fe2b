"""Every key has an example that holds, and every typo a way back."""

from __future__ import annotations

import pytest

from heedlm.config import Recipe, Section
from heedlm.errors import HeedError
from heedlm.keys import example, hint, keys, like
from heedlm.pretrain_config import PretrainRecipe
from heedlm.recipe_file import load_recipe

KINDS: list[type[Section]] = [Recipe, PretrainRecipe]


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_of_every_key_is_valid(kind: type[Section]) -> None:
    needed = ["train.max_steps=1"] if kind is PretrainRecipe else []
    assert len(keys(kind)) > 15
    for key in keys(kind):
        shown = example(kind, key)
        assert shown.startswith(f"{key}=")
        load_recipe(kind, None, [*needed, shown])


def test_a_section_a_place_inside_a_value_and_an_unknown_key_have_examples_too() -> None:
    assert example(Recipe, "train") == "train.lr=2e-5"
    assert example(Recipe, "data.sources.0.path") == "data.sources=[rows.jsonl]"
    assert example(Recipe, "nothing.at.all") == "train.lr=2e-5"


def test_names_are_found_where_they_stand() -> None:
    assert like(Recipe, "epochs") == ["train.epochs"]
    assert like(Recipe, "epoch") == ["train.epochs"]
    assert like(Recipe, "max_tokens")[:2] == ["tokens.max_tokens", "eval.max_tokens"]
    assert like(Recipe, "zzz") == []
    assert hint(Recipe, ["epochs"]) == "did you mean 'train.epochs'? For example --set train.epochs=3"
    assert hint(Recipe, ["train", "zzz"]).startswith("known: ")


@pytest.mark.parametrize(
    ("setting", "where", "mend"),
    [
        ("train.epoch=3", "--set train.epoch", "did you mean 'epochs'? For example --set train.epochs=3"),
        ("epochs=3", "--set epochs", "did you mean 'train.epochs'? For example --set train.epochs=3"),
        ("trian.lr=1", "--set trian.lr", "did you mean 'train'?"),
        ("train.lr=fast", "--set train.lr", "for example --set train.lr=2e-5"),
        ("train.schedule=round", "--set train.schedule", "for example --set train.schedule=cosine"),
        ("data.sources=[{path: 3}]", "--set data.sources", "for example --set data.sources=[rows.jsonl]"),
        ("tokens=3", "--set tokens", "for example --set tokens.max_tokens=1024"),
        ("train.epochs", "--set", "KEY=VALUE in one word, for example --set train.epochs=3"),
        ("model.lora", "--set", "KEY=VALUE in one word, for example --set "),
    ],
)
def test_a_wrong_setting_is_mended_by_one_that_holds(setting: str, where: str, mend: str) -> None:
    with pytest.raises(HeedError) as caught:
        load_recipe(Recipe, None, [setting])
    problem = caught.value.problems[0]
    assert problem.where == where
    assert mend in problem.mend


def test_a_broken_setting_and_a_missing_file_are_told_together() -> None:
    with pytest.raises(HeedError) as caught:
        load_recipe(Recipe, "no-such.yaml", ["train.epochs"])
    assert [problem.where for problem in caught.value.problems] == ["--set", "no-such.yaml"]
