"""The whole street on the built-in world, as `heed demo` walks it. Minutes: run by make test-all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from heedlm import api

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    run = tmp_path_factory.mktemp("demo") / "run"
    api.demo(run, api.silent())
    return dict(json.loads((Path(run) / "report.json").read_text()))


def test_the_report_has_the_promised_fields(report: dict[str, Any]) -> None:
    fields = {"name", "kind", "n", "metric", "gated", "base", "base_fair", "instruct", "difference", "low", "high", "p"}
    assert report["version"] == 1
    assert all(fields <= task.keys() for task in report["tasks"])
    assert {"recall", "false_refusal", "n_real", "n_invented"} <= report["unknown"].keys()
    assert {"base", "instruct"} <= report["stop_rate"].keys()
    assert {"before", "after", "other_before", "other_after"} <= report["bits_per_byte"].keys()
    assert {"prepare", "train", "eval", "total"} <= report["seconds"].keys()
    assert report["peak_memory_bytes"] > 0


def test_facts_of_countries_that_tuning_never_showed(report: dict[str, Any]) -> None:
    facts = [task for task in report["tasks"] if task["name"].startswith("facts_")]
    assert sum(task["n"] for task in facts) >= 200
    for task in facts:
        assert task["instruct"] >= 0.90, task["name"]
        assert task["base"] <= 0.05, task["name"]
        assert task["low"] > 0, task["name"]


def test_what_else_holds(report: dict[str, Any]) -> None:
    by_name = {task["name"]: task for task in report["tasks"]}
    for name in ("translation", "chat"):
        assert by_name[name]["instruct"] >= 0.80, name
        assert by_name[name]["low"] > 0, name
    assert report["unknown"]["false_refusal"] <= 0.03
    assert report["stop_rate"]["instruct"] >= 0.99
    bits = report["bits_per_byte"]
    assert bits["after"] <= 1.10 * bits["before"]


def test_every_figure_of_the_gate_is_reached(report: dict[str, Any]) -> None:
    assert [verdict for verdict in report["gate"] if not verdict["passed"]] == []
