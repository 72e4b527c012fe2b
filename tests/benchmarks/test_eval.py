"""The benchmark of evaluation: both sides are asked the same, and what differs is seen."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def benchmark() -> ModuleType:
    """By its path: `eval` is also a folder of tests."""
    common = importlib.import_module("common")
    spec = importlib.util.spec_from_file_location("benchmark_of_eval", Path(common.__file__).with_name("eval.py"))
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def item(score: float = 1.0, sums: tuple[float, ...] = (), reply: str = "Rome") -> dict[str, Any]:
    return {"prompt": "Q", "sums": list(sums), "reply": reply, "score": score}


def test_items_are_questions_of_their_own_and_depend_on_the_seed_alone(benchmark: ModuleType, tmp_path: Path) -> None:
    found = benchmark.write_tasks(tmp_path / "a", 20, seed=1)
    assert sorted(found) == ["choice_default", "choice_first_n", "generate_default", "generate_first_n"]
    rows = [json.loads(line) for line in (tmp_path / "a" / "items.jsonl").read_text().splitlines()]
    assert len({(row["passage"], row["question"]) for row in rows}) == 20
    assert all(row["choices"][row["label"]] == row["answer"] and len(set(row["choices"])) == 4 for row in rows)
    assert 0 < sum(row["answer"] in row["passage"] for row in rows) < 20
    shots = (tmp_path / "a" / "shots.jsonl").read_text()
    assert not [row for row in rows if row["question"] in shots and row["passage"] in shots]
    for seed, same in ((1, True), (2, False)):
        benchmark.write_tasks(tmp_path / "b", 20, seed=seed)
        text = (tmp_path / "b" / "items.jsonl").read_text()
        assert (text == (tmp_path / "a" / "items.jsonl").read_text()) is same
    with pytest.raises(importlib.import_module("common").Failed, match="only"):
        benchmark.write_tasks(tmp_path / "c", 10_000, seed=1)


def test_differences_are_the_largest_there_are(benchmark: ModuleType) -> None:
    theirs = {"items": {"choice": [item(sums=(-1.0, -2.0)), item(0.0, sums=(-3.0, -4.0))], "text": [item(), item()]}}
    assert benchmark.differences(theirs, copy.deepcopy(theirs)) == {
        "score": 0.0,
        "likelihood": 0.0,
        "replies": 2,
        "unlike": 0,
    }
    ours = copy.deepcopy(theirs)
    ours["items"]["choice"][1]["sums"][1] = -4.5
    ours["items"]["text"][0] = item(0.0, reply="Lima")
    found = benchmark.differences(theirs, ours)
    assert found == {"score": 0.5, "likelihood": 0.5, "replies": 2, "unlike": 1}
    ours["items"]["text"][0]["prompt"] = "another"
    with pytest.raises(importlib.import_module("common").Failed, match="not asked the same in text"):
        benchmark.differences(theirs, ours)


def test_a_report_of_a_log_is_timed_and_weighed(benchmark: ModuleType, tmp_path: Path) -> None:
    found = benchmark.report_of(160, tmp_path, 0)
    assert found["logged"] == 160
    assert found["report_seconds"] >= 0
    assert found["report_bytes"] == (tmp_path / "logged" / "report.html").stat().st_size


def test_both_sides_give_the_same_figures(benchmark: ModuleType, bench: Path, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    rows = importlib.import_module("rows")
    model = rows.model_folder("tiny")
    tasks = {
        name: path for name, path in benchmark.write_tasks(tmp_path, 3, seed=0).items() if name.endswith("first_n")
    }
    theirs = benchmark.ask("lm", model, tasks, 1, batch_size=2)
    ours = benchmark.ask("heed", model, tasks, 1, suite=str(tmp_path / "suite.yaml"))
    assert {name: len(found) for name, found in theirs["items"].items()} == {"choice_first_n": 3, "generate_first_n": 3}
    found = benchmark.differences(theirs, ours)
    assert found["score"] == 0
    assert found["likelihood"] < 1e-4
    assert (found["replies"], found["unlike"]) == (3, 0)
    assert all(seconds > 0 for report in (theirs, ours) for seconds in report["seconds"].values())
    assert theirs["version"].startswith("0.4")
