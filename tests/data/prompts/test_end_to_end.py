"""A table is prepared, tokenised, proved, trained on and asked in evaluation; by one process or several, with equal rows."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from heedlm import api
from heedlm.data.prepare import Source, prepare
from heedlm.data.prompts import library
from heedlm.data.prompts.apply import Prompting
from tests.families import checkpoint

NOUNS = ("soup", "film", "hotel", "train", "book", "lamp", "garden", "coffee", "bike", "chair")


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "reviews.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["review", "sentiment"])
        for number, noun in enumerate(NOUNS * 6):
            good = number % 2
            table.writerow([f"Visit {number}: the {noun} was {'lovely' if good else 'awful'},\nreally.", good])
    return path


def test_from_a_csv_file_to_a_report(reviews: Path, tmp_path: Path) -> None:
    source = {"path": str(reviews), "prompts": "sentiment-review", "few_shot": 2, "notation": "mix", "inverted": 0.2}
    settings = {
        "data.sources": [source],
        "data.test": 0.2,
        "train.max_steps": 1,
        "train.panel": 1,
        "train.precision": "fp32",
        "tokens.max_tokens": 1024,
    }
    model = checkpoint(tmp_path / "model", max_position_embeddings=1024)
    report = api.train(model=model, run=tmp_path / "run", settings=settings)
    assert report.rows > 30
    rows = [json.loads(line) for line in (tmp_path / "run" / "data" / "train.jsonl").open()]
    shown = [turn for row in rows for turn in row["messages"][:-1] if turn["role"] == "assistant"]
    assert shown
    assert all(turn["weight"] == 0 for turn in shown)
    done = api.evaluate(run=tmp_path / "run", settings=["eval.items=3", "eval.max_tokens=2"])
    assert [(task.name, task.kind) for task in done.report.tasks] == [("sentiment-review", "sentiment")]


def test_the_same_rows_by_one_process_and_by_three(reviews: Path, tmp_path: Path) -> None:
    how = Prompting(
        library.find_all(["sentiment-review", "classify-text"]),
        seed=3,
        per_row=2,
        few_shot=3,
        inverted=0.2,
        notation="mix",
        mapping={"label": "sentiment"},
        labels={"0": "negative", "1": "positive"},
    )
    for workers in (1, 3):
        prepare([Source(reviews, {}, how)], tmp_path / str(workers), val=0.1, test=0.1, seed=0, workers=workers)
    for name in ("train", "val", "test", "dropped"):
        one, other = ((tmp_path / folder / f"{name}.jsonl").read_bytes() for folder in ("1", "3"))
        assert one == other
