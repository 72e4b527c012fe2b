"""Every key has an example that holds, and every typo a way back."""

from __future__ import annotations

import pytest

from heedlm.config import Recipe, Section
from heedlm.errors import HeedError
from heedlm.keys import example, hint, keys, like, parts, takes
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


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("data.test", "a number of at least 0 and below 1, a text or null"),
        ("data.sources", "a list"),
        ("data.sources.0.path", "a text"),
        ("data.sources.0.prompts", "a text or a list"),
        ("data.sources.0.few_shot", "a whole number of at least 0 and of at most 16"),
        ("data.sources.0.mapping", "a mapping or null"),
        ("data.sources.0.mapping.question", "a text"),
        ("train.score.0", "a text"),
        ("data.mixture.rows", "a section with settings in it"),
        ("data.clean.email", "one of flag, mask, drop, off"),
        ("model", "a section with settings in it"),
        ("model.trust_remote_code", "true or false"),
        ("train.lr", "a number above 0 or null"),
        ("train.max_steps", "a whole number above 0 or null"),
        ("seed", "a whole number"),
    ],
)
def test_what_a_key_takes_is_said_in_words(key: str, words: str) -> None:
    assert takes(Recipe, parts(Recipe, key, is_section=False)) == words


def test_a_wrong_value_is_told_once_whatever_the_field_could_have_been() -> None:
    with pytest.raises(HeedError) as caught:
        load_recipe(Recipe, None, ["data.test=2", "data.val=[1]", "model=atlas", "data.sources=5", "train.lr=fast"])
    told = {problem.where: problem.what for problem in caught.value.problems}
    assert len(told) == len(caught.value.problems) == 5
    assert (
        told["--set data.test"] == "Key 'data.test' is 2, expected a number of at least 0 and below 1, a text or null."
    )
    assert told["--set model"] == "Key 'model' is 'atlas', expected a section with settings in it."
    assert told["--set data.sources"] == "Key 'data.sources' is 5, expected a list."


def test_of_a_value_and_its_part_the_part_is_told() -> None:
    with pytest.raises(HeedError) as caught:
        load_recipe(Recipe, None, ["train.score=[1, held_out]", "data.sources=[{path: a, mapping: {question: 3}}]"])
    assert {problem.what for problem in caught.value.problems} == {
        "Key 'train.score.0' is 1, expected a text.",
        "Key 'data.sources.0.mapping.question' is 3, expected a text.",
    }


def test_every_mistyped_field_of_a_source_has_its_suggestion() -> None:
    with pytest.raises(HeedError) as caught:
        load_recipe(Recipe, None, ["data.sources=[{path: a.jsonl, maping: {a: b}, prmpts: x}, {path: b, licnce: MIT}]"])
    mends = [problem.mend for problem in caught.value.problems]
    assert mends == ["did you mean 'mapping'?", "did you mean 'prompts'?", "did you mean 'licence'?"]


def test_a_broken_setting_and_a_missing_file_are_told_together() -> None:
    with pytest.raises(HeedError) as caught:
        load_recipe(Recipe, "no-such.yaml", ["train.epochs"])
    assert [problem.where for problem in caught.value.problems] == ["--set", "no-such.yaml"]
