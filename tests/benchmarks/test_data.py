"""The benchmark of data: its rows are the same every time and labelled rightly, and its line holds what was promised."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
PROMISED = {
    *("seconds_2k", "peak_bytes_2k", "peak_bytes_1m", "tokenise_share", "tokenise_share_with_proof", "kept_error"),
    *("planted_found", "wrong_pairs", "contamination_exact", "contamination_edit", "cross_split_groups"),
    *("ratio_vs_datatrove", "ratio_vs_trl", "runs", "rows_sha", "seconds"),
}


def test_rows_are_the_same_every_time_and_nearly_all_distinct(bench: Path, tmp_path: Path) -> None:
    from data_rows import write

    one, other = write(tmp_path / "a", 600, 1), write(tmp_path / "b", 600, 1)
    assert one.sha == other.sha
    assert one.rows.read_bytes() == other.rows.read_bytes()
    assert write(tmp_path / "c", 600, 2).sha != one.sha
    assert one.distinct >= 0.9
    rows = [json.loads(line) for line in one.rows.read_text("utf8").splitlines()]
    assert len(rows) == 600
    questions = [json.loads(line)["question"] for line in one.items.read_text("utf8").splitlines()]
    for row in rows:
        kind, of = row["label"]["kind"], row["label"].get("of")
        assert kind != "exact" or of in row["instruction"]
        assert kind != "edit" or (of in questions and of not in row["instruction"])


def test_an_edit_is_one_word_and_spares_names_and_numbers() -> None:
    from data_rows import edited

    text = "The small cat of Ann saw 12 birds and did not run after them in the garden"
    for seed in range(40):
        words = edited(text, 1, random.Random(seed)).split()
        assert abs(len(words) - len(text.split())) <= 1
        assert {"Ann", "12", "not"} <= set(words)
    assert edited("Ann saw 12", 1, random.Random(0)) is None


def test_the_exact_answer_is_computed_from_the_definition() -> None:
    import data

    answer = " ".join(f"word{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(60))
    row = {"instruction": "Tell me of it.", "input": "", "output": answer}
    near = {**row, "output": answer.replace("wordba", "other")}
    fact = {**row, "output": answer.replace("wordba", "12")}
    far = {**row, "output": " ".join(answer.split()[::-1])}
    assert data.alike(row, near)
    assert not data.alike(row, fact)
    assert not data.alike(row, far)
    assert data.exact_kept([row, near, fact, far, near]) == 3


@pytest.mark.slow
def test_the_line_holds_what_was_promised(tmp_path: Path) -> None:
    environment = {**os.environ, "HEED_BENCH_FOLDER": str(tmp_path)}
    environment.pop("HEED_PUBLIC_DATA", None)
    command = [sys.executable, str(BENCHMARKS / "data.py"), "--rows", "2000", "--most", "3000"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    line = json.loads(done.stdout.splitlines()[-1])
    assert line.keys() >= PROMISED
    assert line["smoke"] is True
    assert (line["wrong_pairs"], line["cross_split_groups"], line["contamination_exact"]) == (0, 0, 1.0)
    assert line["ratio_vs_trl"] is None  # no peer is installed in that folder
    assert "is left out" in done.stderr
