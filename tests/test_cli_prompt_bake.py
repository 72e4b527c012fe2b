"""The command `heed prompt bake`, as a person types it: its page, its JSON, its refusals, and a kill in the middle."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.instructions.bake.conftest import made_obedient, written
from tests.typed import Heed, squeezed

SETTINGS = ("train.max_steps=30", "train.lr=0.01", "train.tokens_per_step=700", "train.precision=fp32", "train.panel=0")
SET = [word for line in SETTINGS for word in ("--set", line)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_obedient(tmp_path_factory.mktemp("obedient"))


def typed_line(files: dict[str, Path], model: Path, run: Path, *more: object) -> list[str]:
    line = ["prompt", "bake", files["instruction"], "--model", model, "--requests", files["requests"], "--run", run]
    return [str(word) for word in (*line, "--max-tokens", 12, *SET, *more)]


def test_its_page_and_its_json_say_the_same(heed: Heed, model: Path, tmp_path: Path) -> None:
    files = written(tmp_path)
    line = typed_line(files, model, tmp_path / "run", "--replay", files["replay"])
    code, out, err = heed(*line)
    assert code == 0, err
    assert "of what the text gains is there without it" in out
    assert "dose: 0: 0.0%" in out
    assert "answers are learned" in err
    code, out, _ = heed(*line, "--json", "--quiet")
    told = json.loads(out)
    assert code == 0
    assert told["recovery"]["value"] >= 0.9
    assert told["scores"]["told"] == 1.0
    assert told["tokens"]["saved"] > 0
    assert told["learned"]["kept"] == told["learned"]["asked"] == 40
    assert told["instruction"] == "blue"
    assert heed("chat", tmp_path / "run", "--help")[0] == 0


def test_without_other_rows_it_is_said_that_nothing_keeps_them(heed: Heed, model: Path, tmp_path: Path) -> None:
    code, out, _ = heed(*typed_line(written(tmp_path), model, tmp_path / "run", "--method", "sft"))
    assert code == 0
    assert "other rows: none given (--replay)" in out


def test_a_text_that_gains_nothing_is_told_as_that(heed: Heed, model: Path, tmp_path: Path) -> None:
    files = written(tmp_path)
    source = files["instruction"].read_text()
    files["instruction"].write_text(source.replace("{type: starts-with, value: blue}", "{type: regex, value: .}"))
    code, out, _ = heed(*typed_line(files, model, tmp_path / "run"))
    assert code == 0
    assert "The text gains nothing on these requests" in out
    assert json.loads((tmp_path / "run" / "bake" / "report.json").read_text())["recovery"] is None


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--method", "opd"], "kl, or sft"),
        (["--samples", "2"], "--temperature 0.7"),
        (["--set", "train.epoch=1"], "train.epochs"),
        (["--test", "none.jsonl"], "none.jsonl"),
        (["--replay", "none.jsonl"], "none.jsonl"),
        (["--set", "model.method=full"], "--set model.method=lora"),
    ],
)
def test_what_is_wrong_is_said_with_its_mend(
    heed: Heed, model: Path, tmp_path: Path, more: list[str], said: str
) -> None:
    code, _, err = squeezed(heed)(*typed_line(written(tmp_path), model, tmp_path / "run", *more))
    assert code == 2
    assert said in err
    assert not (tmp_path / "run" / "bake").exists()


def test_after_a_kill_the_same_command_goes_on(heed: Heed, model: Path, tmp_path: Path) -> None:
    files, run = written(tmp_path), tmp_path / "run"
    more = ("--replay", files["replay"], "--set", "train.checkpoint_every=1", "--set", "train.max_steps=80")
    line = typed_line(files, model, run, *more)
    process = subprocess.Popen(
        [sys.executable, "-m", "heedlm", *line], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        while process.poll() is None and not trained(run):
            time.sleep(0.02)
    finally:
        process.kill()
        _, said = process.communicate()
    assert (run / "bake" / "answers.jsonl").exists(), said
    asked = (run / "bake" / "answers.jsonl").read_bytes()
    code, out, err = heed(*line)
    assert code == 0, err
    assert "going on after step" in err or f"{run} is finished" in err  # on a machine that was faster than the kill
    assert "of what the text gains is there without it" in out
    assert (run / "bake" / "answers.jsonl").read_bytes().startswith(asked)


def trained(run: Path) -> bool:
    """Whether a checkpoint of a step that was done lies there."""
    return any(path.name != "step-000000" for path in (run / "checkpoints").glob("step-*"))
