"""`kill -9` at random moments, also while a checkpoint is written: the same command goes on, to the same bits."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from heedlm import api
from heedlm.train.stage import Observer
from tests.families import checkpoint

STEPS = 40
SETTINGS = (
    f"train.max_steps={STEPS}",
    "train.checkpoint_every=2",
    "train.eval_every=9",
    "train.tokens_per_step=240",
    "train.micro_tokens=120",
    "train.precision=fp32",
    "train.device=cpu",
    "train.lr=0.01",
    "train.panel=1",
    "data.val=0.2",
    "data.test=0.1",
)
METHODS = {"lora": ("model.method=lora", "model.lora.dropout=0.1"), "full": ("model.method=full",)}
PATIENCE = 240.0  # seconds until a step must have come
pytestmark = pytest.mark.timeout(1800)  # seconds of work; a machine that others use takes its time
OF_A_CLOCK = ("seconds", "tokens_per_second", "peak_memory_bytes", "ceiling_share")


def arguments(folder: Path, method: str) -> list[str]:
    given = ["--model", str(folder / "base"), "--data", str(folder / "rows.json"), "--run", str(folder / "run")]
    return [*given, *(word for setting in (*SETTINGS, *METHODS[method]) for word in ("--set", setting))]


def start(folder: Path, method: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "heedlm", "train", *arguments(folder, method)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)


def num_steps(run: Path) -> int:
    log = run / "metrics.jsonl"
    return sum('"kind": "train"' in line for line in log.read_text().splitlines()) if log.is_file() else 0


def kill_after(folder: Path, method: str, step: int, delay: float) -> None:
    """Kill the run -9 `delay` seconds after it has logged `step`."""
    process = start(folder, method)
    deadline = time.monotonic() + PATIENCE
    while num_steps(folder / "run") < step:
        assert process.poll() is None, (process.stderr or sys.stdin).read()
        assert time.monotonic() < deadline, f"no step {step} after {PATIENCE} s"
        time.sleep(0.003)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was over before it was killed"


def without_clock(path: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in record.items() if key not in OF_A_CLOCK} for record in records]


@pytest.fixture
def whole(method: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed, with every checkpoint that it ever wrote in `archive`."""
    folder = tmp_path_factory.mktemp("whole")
    checkpoint(folder / "base")
    rows = [
        {"instruction": f"Add {a} and {b}.", "output": f"{a} and {b} make {a + b}."} for a in range(8) for b in range(8)
    ]
    (folder / "rows.json").write_text(json.dumps(rows))

    def archive(step: int, of: int, report: object) -> None:
        if step == of:
            shutil.copytree(folder / "run" / "checkpoints", folder / "archive")

    here = Path.cwd()
    os.chdir(folder)
    try:
        api.train(
            model="base",
            data="rows.json",
            run="run",
            settings=[*SETTINGS, *METHODS[method], "train.keep_checkpoints=1000"],
            observer=Observer(lambda line: None, archive),
        )
    finally:
        os.chdir(here)
    return folder


def check_checkpoints(run: Path, archive: Path) -> None:
    """What a kill left: every checkpoint that bears its name is whole, and is the one of the undisturbed run."""
    found = list((run / "checkpoints").glob("step-*"))
    assert found
    for path in found:
        for name in ("weights", "optimizer", "random"):
            file = f"{name}.safetensors"
            assert (path / file).read_bytes() == (archive / path.name / file).read_bytes(), f"{path.name}/{file}"
        mine, theirs = (json.loads((p / "manifest.json").read_text()) for p in (path, archive / path.name))
        assert (mine["position"], mine["best"]) == (theirs["position"], theirs["best"])


def kills(count: int, seed: int) -> list[tuple[int, float]]:
    """Steps in rising order, with delays of up to a step and its checkpoint."""
    chosen = random.Random(seed)
    steps = sorted(chosen.sample(range(1, STEPS - 6), count))
    return [(step, chosen.uniform(0.0, 0.15)) for step in steps]


@pytest.mark.parametrize(
    ("count", "method", "seed"),
    [(3, "lora", 1), pytest.param(20, "full", 2, marks=pytest.mark.slow)],
)
def test_a_run_that_is_killed_again_and_again_ends_in_the_same_bits(
    count: int, method: str, seed: int, whole: Path, tmp_path: Path
) -> None:
    for name in ("base", "rows.json"):
        source = whole / name
        shutil.copytree(source, tmp_path / name) if source.is_dir() else shutil.copy(source, tmp_path / name)
    run, other = tmp_path / "run", whole / "run"
    for step, delay in kills(count, seed):
        kill_after(tmp_path, method, step, delay)
        check_checkpoints(run, whole / "archive")
    process = start(tmp_path, method)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert b"going on after step" in err
    adapter = ["adapter/adapter_model.safetensors"] if method == "lora" else []
    for name in ("model/model.safetensors", *adapter, "rows.jsonl", "panel.jsonl"):
        assert (run / name).read_bytes() == (other / name).read_bytes(), name
    assert without_clock(run / "metrics.jsonl") == without_clock(other / "metrics.jsonl")
    assert not (run / "checkpoints").exists()
