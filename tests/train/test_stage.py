"""What a run does besides learning: it saves before it starts, survives what happens to it, and says what went wrong."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heedlm import api
from heedlm.errors import HeedError
from heedlm.messages import Batch
from heedlm.train import checkpoint as store
from heedlm.train import stage, tensorfile
from heedlm.train.loss import Forward, LossSum, token_nll
from heedlm.train.meter import Meter
from heedlm.train.stage import Interrupted, Observer
from tests.families import checkpoint

ROWS = [
    {"instruction": f"Add {a} and {b}.", "output": f"{a} and {b} make {a + b}."} for a in range(6) for b in range(6)
]
SETTINGS = (
    "train.tokens_per_step=400",
    "train.epochs=3",
    "train.precision=fp32",
    "train.panel=0",
    "train.lr=0.01",
    "train.checkpoint_every=2",
    "train.eval_every=3",
    "train.device=cpu",
    "data.val=0.2",
    "data.test=null",
)
Train = Callable[..., Any]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    checkpoint(folder / "base")
    (folder / "rows.json").write_text(json.dumps(ROWS))
    return folder


@pytest.fixture
def train(world: Path, tmp_path: Path) -> Train:
    """One run per test, in `tmp_path`/run unless named; hears lines through `said`."""

    def run(*settings: str, name: str = "run", observer: Observer | None = None, said: list[str] | None = None) -> Any:
        hears = observer or Observer((said if said is not None else []).append, lambda *a: None)
        return api.train(
            model=world / "base",
            data=world / "rows.json",
            run=tmp_path / name,
            settings=[*SETTINGS, *settings],
            observer=hears,
        )

    return run


@pytest.fixture(scope="module")
def whole(world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run that nothing happened to."""
    run = tmp_path_factory.mktemp("whole")
    api.train(model=world / "base", data=world / "rows.json", run=run, settings=SETTINGS)
    return result(run)


def result(run: Path) -> dict[str, bytes]:
    free = ("seconds", "tokens_per_second", "peak_memory_bytes", "ceiling_share")
    metrics = [{k: v for k, v in record.items() if k not in free} for record in lines(run / "metrics.jsonl")]
    return {
        "model": (run / "model" / "model.safetensors").read_bytes(),
        "rows": (run / "rows.jsonl").read_bytes(),
        "metrics": json.dumps(metrics).encode(),
    }


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def stop_at(step: int, number: int = signal.SIGINT) -> Observer:
    return Observer(lambda line: None, lambda at, of, report: os.kill(os.getpid(), number) if at == step else None)


def test_the_first_checkpoint_is_saved_and_read_back_before_the_first_step(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proved: list[Path] = []
    prove = store.prove
    monkeypatch.setattr(store, "prove", lambda path, *rest: (proved.append(path), prove(path, *rest))[1])

    def hear(step: int, of: int, report: object) -> None:
        assert proved == [tmp_path / "run" / "checkpoints" / "step-000000"]
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        train(observer=Observer(lambda line: None, hear))


def test_a_run_that_cannot_save_ends_before_its_first_step(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> str:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(store, "write_tensors", full)
    with pytest.raises(HeedError, match="No space left on the disk for the checkpoint of step 0"):
        train(observer=Observer(lambda line: None, lambda *a: pytest.fail("a step was taken")))


def test_a_run_that_stopped_before_its_first_step_may_change_its_recipe(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(stage, "token_nll", no_memory)
        with pytest.raises(MemoryError):
            train()
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000000"]
    train("train.micro_tokens=200", "train.max_steps=1")
    assert lines(tmp_path / "run" / "metrics.jsonl")[0]["step"] == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "scheduler"])
def test_a_signal_ends_the_run_after_the_step_with_a_checkpoint(
    number: int, train: Train, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    with pytest.raises(Interrupted, match="after step 5"):
        train(observer=stop_at(5, number))
    assert (tmp_path / "run" / "checkpoints" / "step-000005").is_dir()
    said: list[str] = []
    train(said=said)
    assert any("going on after step 5" in line for line in said)
    assert result(tmp_path / "run") == whole


def test_a_disk_that_fills_up_costs_no_more_than_the_steps_since_the_last_checkpoint(
    train: Train, tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = tensorfile.write_tensors

    def filling(path: Path, tensors: dict[str, Any]) -> str:
        if "step-000006" in str(path):
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "full")
        return write(path, tensors)

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_tensors", filling)
        with pytest.raises(HeedError, match=r"checkpoint of step 6: .* needed, .* free; step-000004 is intact"):
            train()
    seen: list[list[str]] = []
    folder = tmp_path / "run" / "checkpoints"
    hears = Observer(lambda line: seen.append(sorted(p.name for p in folder.glob("step-*"))), lambda *a: None)
    train("train.keep_checkpoints=1", observer=hears)  # as the message advises: room is made before it goes on
    assert ["step-000004"] in seen
    assert result(tmp_path / "run") == whole


def test_a_full_disk_under_the_logs_is_said_and_the_half_line_is_cut(
    train: Train, tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    append = stage.append_jsonl

    def filling(path: Path, value: dict[str, Any]) -> None:
        if path.name == "rows.jsonl" and value["step"] == 5:
            with path.open("a") as file:
                file.write('{"step": 5, "rows": [1, 2')
            raise HeedError("No space left on the disk.", str(path), "free some space")
        append(path, value)

    with monkeypatch.context() as patch:
        patch.setattr(stage, "append_jsonl", filling)
        with pytest.raises(HeedError, match="No space left") as caught:
            train()
    assert "rows of the batch" not in caught.value.problems[0].where
    train()
    assert result(tmp_path / "run") == whole


@pytest.mark.parametrize("damaged", ["newest", "newest best"])
def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(
    damaged: str, train: Train, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    with pytest.raises(Interrupted):
        train(observer=stop_at(7))
    folder = tmp_path / "run" / "checkpoints"
    newest = sorted(folder.glob("step-*"))[-1] / "weights.safetensors"
    best = sorted(folder.glob("best-*"))[-1]
    victim = newest if damaged == "newest" else best
    victim.write_bytes(victim.read_bytes()[:-8])
    warned: list[str] = []
    train(observer=Observer(lambda line: None, lambda *a: None, warn=warned.append))
    assert warned
    assert result(tmp_path / "run") == whole


def test_a_run_killed_after_its_last_step_only_writes_its_result(
    train: Train, tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    from heedlm.train import workshop

    def killed(*_: object, **__: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(workshop, "save_result", killed)
        with pytest.raises(RuntimeError, match="killed"):
            train()
    report = train(observer=Observer(lambda line: None, lambda *a: pytest.fail("a step was taken again")))
    assert report.best_loss is not None
    assert report.accuracy is not None
    assert result(tmp_path / "run") == whole


def test_a_best_that_a_new_run_would_not_reach_is_not_inherited(train: Train, tmp_path: Path) -> None:
    """Two runs in one folder, the first removed by hand but for its best weights: they are not the second's."""
    with pytest.raises(Interrupted):
        train(observer=stop_at(7))
    for path in (tmp_path / "run" / "checkpoints").glob("step-*"):
        shutil.rmtree(path)
    report = train("train.lr=1e-9", "train.max_steps=2", "train.eval_every=1")
    logged = [
        record["val_loss"] for record in lines(tmp_path / "run" / "metrics.jsonl") if record["kind"] == "validation"
    ]
    assert report.best_loss == min(logged)


def test_a_loss_that_is_no_number_names_the_step_and_the_rows(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    def broken(forward: Forward, batch: Batch) -> LossSum:
        steps.append(1)
        loss, nll, correct = token_nll(forward, batch)
        if len(steps) == 4:
            first = batch.target_row == batch.target_row[0]
            nll = nll.masked_fill(first, math.nan)
            loss = loss * math.nan
        return LossSum(loss, nll, correct)

    monkeypatch.setattr(stage, "token_nll", broken)
    with pytest.raises(HeedError, match="at step 3") as caught:
        train()
    problem = caught.value.problems[0]
    assert f"rows of the batch, by loss: {tmp_path / 'run' / 'data' / 'train.jsonl'}:" in problem.where
    assert problem.where.count("(nan)") == 1
    assert "another --run folder" in problem.mend  # step 2 is saved, under this recipe


def test_a_run_that_diverges_is_stopped_and_may_go_on_if_told(train: Train, tmp_path: Path) -> None:
    wild = ("train.lr=30", "train.clip_norm=1e6", "train.schedule=constant", "train.epochs=6")
    with pytest.raises(HeedError, match=r"The loss was about .* too high from step \d+ to \d+") as caught:
        train(*wild)
    assert "train.jsonl:" in caught.value.problems[0].where
    assert "train.spike=null" in caught.value.problems[0].mend
    stopped = lines(tmp_path / "run" / "metrics.jsonl")[-1]["step"]
    report = train(*wild, "train.spike=null")
    assert report.steps > stopped


def test_a_run_that_goes_on_remembers_how_long_the_loss_has_been_high(train: Train, tmp_path: Path) -> None:
    wild = (
        "train.lr=30",
        "train.clip_norm=1e6",
        "train.schedule=constant",
        "train.epochs=6",
        "train.checkpoint_every=1",
    )
    with pytest.raises(HeedError, match="too high") as caught:
        train(*wild)
    at_once = caught.value.problems[0].what
    with pytest.raises(Interrupted):
        train(*wild, name="parts", observer=stop_at(4))
    with pytest.raises(HeedError, match="too high") as caught:
        train(*wild, name="parts")
    assert caught.value.problems[0].what == at_once


def test_the_loss_of_each_source_is_logged_where_there_are_several(world: Path, tmp_path: Path) -> None:
    (tmp_path / "more.json").write_text(json.dumps([{"instruction": "Say hi.", "output": "zq9 ~~ #"}] * 1))
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": f"Ship {n} at sea."}) + "\n" for n in range(50)))
    files = [world / "rows.json", tmp_path / "more.json"]
    settings = [*SETTINGS, "train.max_steps=3", "train.tokens_per_step=4000", "data.val=null"]
    settings.append(f"data.replay=[{tmp_path}/texts.jsonl]")
    api.train(model=world / "base", data=files, run=tmp_path / "run", settings=settings)
    last = lines(tmp_path / "run" / "metrics.jsonl")[2]
    found = last["loss_by_source"]
    assert sorted(found) == sorted([*map(str, files), "replay"])
    assert found[str(files[1])] > found[str(files[0])]
    rows = lines(tmp_path / "run" / "rows.jsonl")[2]
    assert sum(rows["tokens"]) == last["learned_tokens"]


def test_what_a_step_logs(train: Train, tmp_path: Path) -> None:
    records: list[dict[str, Any]] = []
    observer = Observer(lambda line: None, lambda *a: None, sinks=(records.append,), gauge=Meter)
    train("train.max_steps=4", observer=observer)
    logged = lines(tmp_path / "run" / "metrics.jsonl")
    assert records == logged  # any callable hears what is written
    for record in logged:
        if record["kind"] == "train":
            assert record["tokens_per_second"] == pytest.approx(record["tokens"] / record["seconds"], rel=0.01)
            assert record["peak_memory_bytes"] > 50e6
            assert 0 < record["ceiling_share"] < 1.5
    rows = lines(tmp_path / "run" / "rows.jsonl")
    assert [line["step"] for line in rows] == [1, 2, 3, 4]
    for line, record in zip(rows, (r for r in logged if r["kind"] == "train"), strict=True):
        assert sum(line["tokens"]) == record["learned_tokens"]
        mean = sum(n * t for n, t in zip(line["nll"], line["tokens"], strict=True)) / sum(line["tokens"])
        assert mean == pytest.approx(record["loss"], abs=1e-3)
