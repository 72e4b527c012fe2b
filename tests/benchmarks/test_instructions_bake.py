"""The benchmark of baking: what it asks is fair, and its instructions tell answers that keep them from others."""

from __future__ import annotations

import importlib
import json
from collections import Counter
from pathlib import Path

import pytest

from heedlm.instructions.answers import failures
from heedlm.instructions.cases import read_cases
from heedlm.instructions.format import load

KEPT = {
    "signature": "Paris is the capital of France. Your librarian, Dana.",
    "frame": "[Paris is the capital of France.]",
    "tone": "Gladly! Paris is the capital of France.",
}


def test_every_instruction_tells_answers_that_keep_it_from_all_others(tmp_path: Path) -> None:
    benchmark = importlib.import_module("instructions_bake")
    assert {text.name for text in benchmark.TEXTS} == set(KEPT)
    for text in benchmark.TEXTS:
        file = tmp_path / f"{text.name}.prompty"
        file.write_text(benchmark.written(text))
        instruction = load(str(file))
        passed = {name for name, answer in KEPT.items() if not failures(instruction, answer)}
        assert passed == {text.name}
        assert failures(instruction, "Paris is the capital of France.")


def test_nothing_that_is_measured_was_taught(tmp_path: Path) -> None:
    benchmark = importlib.import_module("instructions_bake")
    files = benchmark.write_rows(tmp_path, benchmark.Size((), 60, 50, 80, 90, None, ()), 0)
    rows = {name: [json.loads(line) for line in path.read_text().splitlines()] for name, path in files.items()}
    assert {name: len(found) for name, found in rows.items()} == {
        "requests": 60,
        "test": 50,
        "replay": 80,
        "replay_test": 90,
    }
    groups = {name: {row["group"] for row in found} for name, found in rows.items()}
    assert not groups["requests"] & groups["test"]
    assert not {row["id"] for row in rows["replay"]} & {row["id"] for row in rows["replay_test"]}
    tasks = Counter(row["meta"]["task"] for row in rows["replay"])
    assert len(tasks) == 17
    assert max(tasks.values()) - min(tasks.values()) <= 1
    assert not [row for row in rows["replay_test"] if row["meta"]["task"].startswith("facts_")]
    file = tmp_path / "tone.prompty"
    file.write_text(benchmark.written(benchmark.TEXTS[2]))
    held = read_cases([files["test"]], [load(str(file))], load(str(file)).checks)
    assert all([one.type for one in case.asserts] == ["contains", "starts-with"] for case in held)


def test_it_is_a_script_with_the_usual_options(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = importlib.import_module("instructions_bake")
    monkeypatch.setattr("sys.argv", ["instructions_bake.py", "--help"])
    with pytest.raises(SystemExit):
        benchmark.main()
    assert "--quick" in capsys.readouterr().out
