"""Public instruction files load whole."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from heedlm.data.prepare import Source, prepare
from heedlm.data.store import read_split

FOLDER = Path(os.environ.get("HEED_PUBLIC_DATA", ""))
pytestmark = pytest.mark.skipif(not os.environ.get("HEED_PUBLIC_DATA"), reason="HEED_PUBLIC_DATA names no folder")


@pytest.mark.parametrize(
    ("name", "rows", "shape"),
    [
        ("instructions_1100.json", 1100, "alpaca"),
        ("gsm8k_train.json", 7473, "alpaca"),
        ("gpteacher_roleplay.json", 3146, "alpaca"),
        ("self_instruct_seed_tasks.jsonl", 175, "self-instruct"),
    ],
)
def test_every_row_of_a_public_file_is_read_and_placed(tmp_path, name, rows, shape):
    report = prepare([Source(FOLDER / name)], tmp_path / "out", val=0.05, test=0.1, seed=0)
    assert report.rows_in == rows == report.kept + report.duplicates
    assert set(report.dropped) <= {"duplicate"}
    assert set(report.splits) == {"train", "val", "test"}
    assert (report.proof.groups_on_two_sides, report.proof.prompts_on_two_sides) == (0, 0)
    card = json.loads((report.out / "card.json").read_text())
    assert card["sources"][str(FOLDER / name)]["shapes"] == {shape: report.kept}


def test_a_row_names_the_line_it_stands_on(tmp_path):
    path = FOLDER / "instructions_1100.json"
    report = prepare([Source(path)], tmp_path / "out", val=None, test=None, seed=0)
    lines = path.read_text(encoding="utf-8").split("\n")
    for example in list(read_split(report.out / "train.jsonl"))[::37]:
        number = int(example.source.rpartition(":")[2])
        assert lines[number - 1].strip() == "{"
        assert json.loads("{" + lines[number].rstrip(",") + "}")["instruction"] in example.messages[0].content
