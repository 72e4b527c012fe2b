"""What several processes do in tests/integration/test_distributed.py, under torchrun.

processes.py go FOLDER          begin one run and be interrupted; go on with another, which one process began
processes.py break ARGUMENTS    the command line, with a fault in one process at its third batch
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

import heedlm
from heedlm.train import loop, stage
from heedlm.train.rowlog import RowLosses

SETTINGS = {
    "train.epochs": 2,
    "train.tokens_per_step": 300,
    "train.precision": "fp32",
    "train.device": "cpu",
    "train.panel": 1,
    "train.lr": 1e-3,
    "data.val": 0.1,
    "data.test": 0.1,
}
LORA = {"model.method": "lora", "model.lora.rank": 4}


def tune(folder: Path, name: str, more: dict[str, Any]) -> Any:
    settings = {**SETTINGS, **more}
    return heedlm.train(model=folder / "model", data=folder / "rows.jsonl", run=folder / name, settings=settings)


def interrupted(folder: Path, name: str, more: dict[str, Any], rank: int, step: int = 3) -> None:
    """Begin a run in which the process `rank` hears Ctrl-C during a step. Without a launcher there is only process 0."""
    take, taken = RowLosses.take, []

    def pressing(self: RowLosses) -> Any:
        taken.append(1)
        if len(taken) == step and os.environ.get("RANK", "0") == str(rank):
            signal.raise_signal(signal.SIGINT)
        return take(self)

    RowLosses.take = pressing  # type: ignore[method-assign]
    try:
        tune(folder, name, more)
    except stage.Interrupted:
        return
    finally:
        RowLosses.take = take  # type: ignore[method-assign]
    raise AssertionError("the run was not interrupted")


def go(folder: Path) -> None:
    interrupted(folder, "begun-by-two", {"train.parallel": "fsdp"}, rank=1)
    report = tune(folder, "begun-by-one", {**LORA, "train.parallel": "fsdp"})
    (folder / f"seen-by-{os.environ['RANK']}").write_text(f"{report.steps} {report.best_loss}")


def broken(arguments: list[str]) -> None:
    to_device, moved = loop.to_device, []

    def fail(batch: Any, device: Any) -> Any:
        moved.append(1)
        if len(moved) == 3 and os.environ["RANK"] == "1":
            raise ValueError(" ".join(("a", "fault", "in", "one", "process")))
        return to_device(batch, device)

    loop.to_device = fail
    from heedlm.cli import main

    main(arguments)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "go":
        go(Path(sys.argv[2]))
    else:
        broken(sys.argv[2:])
