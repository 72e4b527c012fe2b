"""A mistyped command line is answered with the line that was meant."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from heedlm.errors import HeedError
from heedlm.usage import check_settings, not_written, unknown_option


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "No space"),
        (errno.EACCES, "Not allowed"),
        (errno.EROFS, "Not allowed"),
        (errno.EEXIST, "where a folder is needed"),
        (errno.ENOTDIR, "where a folder is needed"),
        (errno.EISDIR, "where a file is needed"),
        (errno.ENAMETOOLONG, "too long"),
    ],
)
def test_what_the_system_refuses_is_said_in_words(number: int, said: str) -> None:
    told = not_written(OSError(number, "refused", "here"))
    assert told is not None
    assert said in told.what
    assert told.where == "here"
    assert told.mend


def test_what_is_no_matter_of_a_place_stays_what_it_is() -> None:
    assert not_written(OSError(errno.EACCES, "refused")) is None  # of no file: nobody could mend it
    assert not_written(FileNotFoundError(errno.ENOENT, "gone", "here")) is None


TRAIN = ["--model", "--data", "--run", "--seed", "--set", "--json", "--quiet"]


@pytest.mark.parametrize(
    ("line", "option", "mend"),
    [
        ("train --epochs 2", "--epochs", "heed train --set train.epochs=2"),
        ("train --epochs=2 --quiet", "--epochs", "heed train --set train.epochs=2"),
        ("train --epochs", "--epochs", "heed train --set train.epochs=3"),
        ("train --epochs --quiet", "--epochs", "heed train --set train.epochs=3"),
        ("train --epoch 2", "--epoch", "heed train --set train.epochs=2"),
        ("train --max-steps 9", "--max-steps", "--set train.max_steps=9"),
        ("train --train.lr 1e-4", "--train.lr", "--set train.lr=1e-4"),
        ("train --learning_rate 1e-4", "--learning_rate", "--set train.lr=1e-4"),
        ("train --batch-size 8", "--batch-size", "--set train.tokens_per_step=8192"),
        ("train --lora", "--lora", "--set model.method=lora"),
        ("train --resume", "--resume", "the same command goes on"),
        ("train --output-dir x", "--output-dir", "did you mean --run?"),
        ("train --modle atlas", "--modle", "did you mean --model?"),
        ("train --frobnicate", "--frobnicate", "--set train.lr=2e-5"),
        ("eval --batch-size 8", "--batch-size", "heed eval --set eval.batch_size=8"),
        ("eval --max-tokens 8", "--max-tokens", "heed eval --set eval.max_tokens=8"),
        ("prepare --val 0.1", "--val", "heed prepare --set data.val=0.1"),
        ("pretrain --hidden 64", "--hidden", "heed pretrain --set shape.hidden=64"),
        ("chat --epochs 2", "--epochs", "heed chat --help"),
        ("chat --set a=b", "--set", "heed chat --help"),
        ("--epochs 2", "--epochs", "heed --help"),
    ],
)
def test_an_unknown_option_becomes_the_one_that_was_meant(line: str, option: str, mend: str) -> None:
    problem = unknown_option(line.split(), option, TRAIN)
    assert option in problem.what
    assert mend in problem.mend


@pytest.mark.parametrize(
    ("line", "mend"),
    [
        ("train --set train.epochs 2 --model atlas", "--set train.epochs=2"),
        ("train --set epochs 2", "--set train.epochs=2"),
        ("train --set train.epochs --model atlas", "--set train.epochs=3"),
        ("train --set nonsense", "--set train.lr=2e-5"),
        ("train --set --model atlas", "--set train.lr=2e-5"),
        ("train --set", "--set train.lr=2e-5"),
        ("pretrain r.yaml --set shape.hidden 64", "--set shape.hidden=64"),
        ("train --set train.weight_decay -1", "--set train.weight_decay=-1"),
    ],
)
def test_a_setting_in_two_words_is_written_in_one(line: str, mend: str) -> None:
    with pytest.raises(HeedError) as caught:
        check_settings(line.split())
    assert caught.value.problems[0].mend.endswith(mend)


def test_good_settings_pass_and_a_recipe_is_not_taken_for_a_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_settings(["train", "--set", "train.lr=1", "--set", "data.val=null", "--model", "atlas"])
    check_settings([])
    (tmp_path / "r.yaml").write_text("seed: 1\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HeedError) as caught:
        check_settings(["train", "--set", "train.epochs", "r.yaml"])
    assert caught.value.problems[0].mend.endswith("--set train.epochs=3")
