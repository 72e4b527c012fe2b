"""Several processes, from rows to a saved model: they begin, stop, go on in other numbers, and fail as one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.families import checkpoint
from tests.integration.processes import LORA, SETTINGS, interrupted, tune

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = str(ROOT / "tests" / "integration" / "processes.py")
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def launch(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LAUNCH, *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def command(run: str, **more: Any) -> list[str]:
    """A command line of `heed train` in the folder of the rows."""
    settings = [f"--set={key}={value}" for key, value in {**SETTINGS, **more}.items()]
    return ["train", "--model", "model", "--data", "rows.jsonl", "--run", run, *settings]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf8").splitlines()]


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in lines(run / "metrics.jsonl") if line["kind"] == "train"]


def rows(count: int) -> str:
    def row(n: int) -> str:
        asked = {"role": "user", "content": f"Say {n}, {n * n} and {n + 7}."}
        return json.dumps({"messages": [asked, {"role": "assistant", "content": f"It is {n}."}]}) + "\n"

    return "".join(map(row, range(count)))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, rows, and runs: some by one process only, some by two, some by both."""
    folder = tmp_path_factory.mktemp("world")
    checkpoint(folder / "model", tie_word_embeddings=True)
    (folder / "rows.jsonl").write_text(rows(40))
    tune(folder, "full", {})
    tune(folder, "lora", LORA)
    interrupted(folder, "begun-by-one", LORA, rank=0)
    done = launch(SCRIPT, "go", str(folder), folder=folder)
    assert done.returncode == 0, done.stderr[:4000]
    assert (folder / "begun-by-two" / "checkpoints" / "step-000003").is_dir()
    tune(folder, "begun-by-two", {})
    return folder


@pytest.mark.parametrize(("run", "alone"), [("begun-by-two", "full"), ("begun-by-one", "lora")])
def test_a_run_goes_on_with_another_number_of_processes(run: str, alone: str, world: Path) -> None:
    mine, theirs = losses(world / run), losses(world / alone)
    assert len(theirs) > 6
    assert mine == pytest.approx(theirs, abs=1e-4)
    steps = [line["step"] for line in lines(world / run / "metrics.jsonl") if line["kind"] == "train"]
    assert steps == list(range(1, len(theirs) + 1))  # one process writes
    found, expected = (load_file(world / name / "model" / "model.safetensors") for name in (run, alone))
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[name], value, atol=1e-4) for name, value in expected.items())


@pytest.mark.parametrize(("run", "alone"), [("begun-by-two", "full"), ("begun-by-one", "lora")])
def test_the_loss_of_every_row_is_kept_whoever_computed_it(run: str, alone: str, world: Path) -> None:
    mine, theirs = lines(world / run / "rows.jsonl"), lines(world / alone / "rows.jsonl")
    assert [(line["step"], line["rows"], line["tokens"]) for line in mine] == [
        (line["step"], line["rows"], line["tokens"]) for line in theirs
    ]
    for line, other in zip(mine, theirs, strict=True):
        assert line["nll"] == pytest.approx(other["nll"], abs=1e-3)


def test_what_cut_weights_end_in_is_an_ordinary_model_folder(world: Path) -> None:
    run = world / "begun-by-one"
    model = AutoModelForCausalLM.from_pretrained(run / "model")
    assert bool(torch.isfinite(model(torch.tensor([[1, 2, 3]])).logits).all())
    assert (run / "adapter" / "adapter_model.safetensors").is_file()
    assert not (run / "checkpoints").exists()
    assert lines(run / "panel.jsonl")


def test_all_processes_know_the_report(world: Path) -> None:
    assert (world / "seen-by-0").read_text() == (world / "seen-by-1").read_text()


def test_a_fault_in_one_process_ends_all_with_one_message(world: Path) -> None:
    done = launch("--", SCRIPT, "break", *command("broken"), folder=world)
    assert done.returncode != 0
    assert done.stderr.count("a fault in one process") == 1, done.stderr[:4000]
    assert "no longer answers" not in done.stderr
    assert "Connection" not in done.stderr


def test_a_mistake_that_all_processes_see_is_told_once(world: Path) -> None:
    done = launch("-m", "heedlm", "--", *command("mistaken", **{"train.lrr": 1}), folder=world)
    assert done.returncode != 0
    assert done.stderr.count("Unknown key 'train.lrr'") == 1
    assert not (world / "mistaken").exists()


@pytest.mark.slow
def test_other_verbs_are_for_one_process(world: Path) -> None:
    done = launch("-m", "heedlm", "--", "eval", "full", folder=world)
    assert done.stderr.count("heed eval is work for one process, and this is one of 2.") == 1


def begin(world: Path, run: str) -> subprocess.Popen[str]:
    """Start a long run and wait until it is well under way."""
    arguments = command(run, **{"train.epochs": 400, "train.eval_every": 100_000, "train.checkpoint_every": 5})
    process = subprocess.Popen(
        [*LAUNCH, "-m", "heedlm", "--", *arguments],
        cwd=world,
        env=environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    metrics = world / run / "metrics.jsonl"
    until = time.monotonic() + 200
    while not metrics.is_file() or len(metrics.read_text().splitlines()) < 7:
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()[1][:3000]
        time.sleep(0.2)
    return process


@pytest.mark.slow
def test_ctrl_c_at_the_launcher_leaves_a_state_from_which_the_same_command_goes_on(world: Path) -> None:
    process = begin(world, "stopped")
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=120)[1]
    step = len(losses(world / "stopped"))
    assert told.count(f"stopped after step {step}; go on with: torchrun --nproc-per-node 2 -m heedlm -- train") == 1
    assert (world / "stopped" / "checkpoints" / f"step-{step:06d}").is_dir()
    again = {"train.epochs": 400, "train.eval_every": 100_000, "train.checkpoint_every": step + 1}
    with pytest.raises(KeyboardInterrupt):
        tune_until(world, "stopped", again, step + 1)
    assert len(losses(world / "stopped")) == step + 1


def tune_until(world: Path, run: str, more: dict[str, Any], step: int) -> None:
    """Go on alone, and break off once a step is logged."""
    import heedlm
    from heedlm.train.stage import Observer

    def hear(number: int, of: int, report: Any) -> None:
        if number >= step:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(world)
        settings = {**SETTINGS, **more}
        observer = Observer(lambda line: None, hear)
        heedlm.train(model="model", data="rows.jsonl", run=run, settings=settings, observer=observer)


@pytest.mark.slow
def test_a_killed_process_ends_the_others_with_one_message_and_the_run_goes_on(world: Path) -> None:
    process = begin(world, "killed")
    ranks = subprocess.run(
        ["ps", "--ppid", str(process.pid), "-o", "pid="], capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(ranks) == 2
    os.kill(int(ranks[1]), signal.SIGKILL)
    told = process.communicate(timeout=120)[1]
    assert process.returncode != 0
    assert told.count("Another process of this run no longer answers") == 1
    again = {"train.epochs": 400, "train.eval_every": 100_000}
    with pytest.raises(KeyboardInterrupt):
        tune_until(world, "killed", again, 8)
