"""What a run folder holds from earlier decides what a command does in it; the command line says so, even when quiet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from heedlm.errors import HeedError
from heedlm.runs import Run, write_text
from heedlm.train import earlier
from tests.families import checkpoint
from tests.typed import Heed


def test_the_command_line_says_that_a_run_is_finished_and_gives_the_same_result(heed: Heed, tmp_path: Path) -> None:
    rows = [{"instruction": f"Add {n} and 1.", "output": f"{n + 1}"} for n in range(20)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    run = tmp_path / "run"
    command = ["train", "--model", checkpoint(tmp_path / "base"), "--data", tmp_path / "rows.json", "--run", run]
    command += ["--set", "train.max_steps=1", "--set", "train.panel=0", "--json", "--quiet"]
    first, second = heed(*command), heed(*command)
    assert (first[0], second[0]) == (0, 0)
    assert first[1] == second[1]  # one object, to the letter
    assert "is finished" not in first[2]
    assert f"{run} is finished, nothing was trained: the model is {run / 'model'}" in second[2]
    code, out, err = heed(*command, "--set", "train.lr=0.5")
    assert (code, out) == (2, "")
    assert "This run was finished with another recipe: train.lr (was None, now 0.5)." in err
    assert f"rm -r {run}" in err
    code, out, err = heed("rows", run, "--worst", 2, "--json")
    assert code == 0
    assert len(json.loads(out)["worst"]) == 2


def made(tmp_path: Path, *, steps: tuple[int, ...] = (), result: bool = False, model: bool = False) -> Run:
    run = Run.create(tmp_path / "run")
    for step in steps:
        (run.checkpoints / f"step-{step:06d}").mkdir(parents=True)
    if result:
        run.note(train_result={"steps": 1})
    if model:
        write_text(run.model / "config.json", "{}")
    return run


@pytest.mark.parametrize(
    ("steps", "result", "model", "begun", "finished"),
    [
        ((), False, False, False, False),
        ((0,), False, False, False, False),  # nothing learned yet: free to change
        ((0, 1), False, False, True, False),
        ((7,), False, True, True, False),  # killed between the model and the note of it
        ((), True, True, False, True),
        ((3, 4), True, True, True, True),  # killed while the checkpoints were removed
        ((), True, False, False, False),  # somebody removed the model
    ],
)
def test_begun_and_finished(
    steps: tuple[int, ...], result: bool, model: bool, begun: bool, finished: bool, tmp_path: Path
) -> None:
    run = made(tmp_path, steps=steps, result=result, model=model)
    assert earlier.begun(run) == begun
    assert earlier.finished(run) == finished
    assert earlier.taken(run) == (begun or finished)


def test_the_keys_that_differ_are_named_and_those_that_do_not_count_are_not(tmp_path: Path) -> None:
    run = made(tmp_path, steps=(1,))
    write_text(run.recipe, "seed: 0\ntrain: {lr: 0.1, keep_checkpoints: 2, spike: 2.0}\neval: {items: 3}\n")
    earlier.check_same_recipe(run, "seed: 0\ntrain: {lr: 0.1, keep_checkpoints: 9, spike: null}\neval: {items: 4}\n")
    with pytest.raises(
        HeedError, match=r"begun with another recipe: seed \(was 0, now 1\), train\.lr \(was 0\.1, now None\)"
    ):
        earlier.check_same_recipe(run, "seed: 1\ntrain: {lr: null}\n")
    many = "".join(f"key{n:02d}: 1\n" for n in range(20))
    with pytest.raises(HeedError, match=r"key07 .* and 14 more"):
        earlier.check_same_recipe(run, many)


def test_a_recipe_that_is_gone_counts_as_another(tmp_path: Path) -> None:
    with pytest.raises(HeedError, match="another recipe: seed"):
        earlier.check_same_recipe(made(tmp_path, steps=(1,)), "seed: 0")


def test_other_tokens_are_refused_only_where_something_was_begun(tmp_path: Path) -> None:
    run = made(tmp_path)
    run.note(tokens="one")
    earlier.check_same_tokens(run, "two")
    (run.checkpoints / "step-000002").mkdir(parents=True)
    earlier.check_same_tokens(run, "one")
    with pytest.raises(HeedError, match="have changed since this run was begun"):
        earlier.check_same_tokens(run, "two")
