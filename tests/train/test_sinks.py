"""TensorBoard hears what metrics.jsonl holds, where it is asked for and installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from heedlm import api
from heedlm.errors import HeedError
from heedlm.runs import Run
from heedlm.train import sinks


def test_nothing_is_added_where_nothing_is_asked(tmp_path: Path) -> None:
    observer = api.silent()
    with sinks.behind(observer, None, Run(tmp_path)) as heard:
        assert heard is observer


def test_without_the_package_the_mend_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with (
        pytest.raises(HeedError, match="not installed") as caught,
        sinks.behind(api.silent(), "tensorboard", Run(tmp_path)),
    ):
        pass
    assert "heedlm[tensorboard]" in caught.value.problems[0].mend


def test_numbers_arrive_under_their_names_and_a_resumed_run_hides_what_it_goes_back_behind(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def log(*records: dict[str, Any]) -> None:
        with sinks.behind(api.silent(), "tensorboard", Run(tmp_path)) as observer:
            for record in records:
                for sink in observer.sinks:
                    sink(record)

    log(*({"step": step, "kind": "train", "loss": float(step), "epoch_ended": False} for step in (1, 2, 3)))
    log(
        {"step": 2, "kind": "train", "loss": 20.0, "loss_by_source": {"a.json": 3}},
        {"step": 2, "kind": "validation", "val_loss": 7.0},
    )
    seen = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert sorted(seen.Tags()["scalars"]) == ["train/loss", "train/loss_by_source/a.json", "validation/val_loss"]
    assert [(event.step, event.value) for event in seen.Scalars("train/loss")] == [(1, 1.0), (2, 20.0)]
