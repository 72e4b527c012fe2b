"""The grid of instructions and weights: fair cases, figures that say what the scores say, and a run on toys that goes on where it was."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from heedlm.instructions.asserts import judge
from heedlm.messages import Reply


def test_what_is_sealed_was_nowhere_seen(bench: Path) -> None:
    arms = importlib.import_module("instructions_grid_arms")
    scale = arms.FULL._replace(rows=40, cases=40, taught=20)
    for name in scale.families:
        one = arms.family(name, scale, 0)
        assert (len(one.seen), len(one.sealed), len(one.raw)) == (40, 40, 60)
        values = [[tuple(case.values.values()) for case in cases] for cases in (one.seen, one.sealed)]
        assert not set(values[0]) & set(values[1])
        assert not {case.group for case in one.seen if case.group} & {case.group for case in one.sealed}
        right = [judge(case.asserts, Reply(case.target), case.threshold).value for case in one.sealed]
        assert right == [1.0] * 40
        wrong = [judge(case.asserts, Reply("Nobody knows."), case.threshold).value for case in one.sealed]
        assert sum(wrong) == 0
        assert set(arms.FORMS) >= set(scale.families)


def test_what_is_replayed_contradicts_no_request(bench: Path) -> None:
    arms = importlib.import_module("instructions_grid_arms")
    scale = arms.QUICK._replace(replay=60)
    tasks = {
        name: {row["meta"]["task"] for row in arms.replayed(arms.family(name, scale, 0), scale, 0)}
        for name in ("name", "list")
    }
    assert not [task for task in tasks["name"] if task.startswith("facts_")]
    assert [task for task in tasks["list"] if task.startswith("facts_")]


def test_steps_and_sizes_are_differences_of_the_same_rows(bench: Path) -> None:
    grid = importlib.import_module("instructions_grid")
    none, half, full = [0.0] * 40, [0.0, 1.0] * 20, [1.0] * 40
    arms = {"base": none, "base + hand": none, "base + optimised": none}
    small = {"name": grid.Cell({**arms, "tuned": none, "tuned + hand": full, "tuned + optimised": full}, {})}
    whole = {
        "name": grid.Cell({**arms, "tuned": half, "tuned + hand": full, "tuned + optimised": half, "baked": full}, {})
    }
    groups = {"name": [f"name/{number}" for number in range(40)]}
    found = {(one["from"], one["to"], one["family"]): one for one in grid.steps(whole, groups)}
    assert found["tuned", "tuned + hand", "all"]["mean"] == found["tuned", "tuned + hand", "name"]["mean"] == 50
    assert found["tuned", "tuned + optimised", "all"]["mean"] == 0
    assert found["tuned", "baked", "all"]["low"] > 0
    assert ("tuned", "taught", "all") not in found
    changes = {(one["to"], one["family"]): one for one in grid.with_size(small, whole, groups)}
    hand = changes["tuned + hand", "all"]
    assert (hand["small"], hand["built_in"], hand["mean"]) == (100, 50, -50)
    assert hand["high"] < 0
    assert changes["base + hand", "name"]["mean"] == 0


def test_a_smoke_run_goes_on_where_it_was(
    bench: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = importlib.import_module("instructions_grid")
    monkeypatch.setattr("sys.argv", ["instructions_grid.py", "--quick"])
    assert grid.main() == 0
    first = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert first["smoke"]
    assert {one["name"] for one in first["sizes"]} == {"small", "built-in"}
    assert {(one["size"], one["family"]) for one in first["cells"]} == {("small", "name"), ("built-in", "name")}
    assert all({"tuned", "tuned + optimised", "taught", "taught + text"} <= set(one["means"]) for one in first["cells"])
    runs = {path: path.stat().st_mtime_ns for path in (bench / "work" / "grid").rglob("model.safetensors")}
    assert len(runs) >= 6  # two bases, two tuned and two taught; what a toy says cannot be baked
    assert grid.main() == 0
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {path: path.stat().st_mtime_ns for path in runs} == runs, "nothing is trained twice"
    assert again["cells"] == first["cells"]
    assert again["steps"] == first["steps"]
