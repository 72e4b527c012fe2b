"""Rows that were never learnt, found again in the file they came from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from heedlm import api
from heedlm.errors import HeedError
from heedlm.runs import Run
from heedlm.train.worst import as_text, worst_rows
from tests.families import checkpoint

PLAIN = [{"instruction": f"Say {n}.", "output": "It is so, and it is so."} for n in range(30)]
ODD = {"instruction": "Say something else.", "output": "zq9#X ~~ vK"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("worst")
    (folder / "rows.json").write_text(json.dumps([*PLAIN, ODD]))
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": f"Ship {n} at sea."}) + "\n" for n in range(50)))
    settings = ["train.epochs=8", "train.tokens_per_step=400", "train.lr=0.01", "train.panel=0", "data.val=null"]
    api.train(
        model=checkpoint(folder / "base"),
        data=folder / "rows.json",
        run=folder / "run",
        settings=[*settings, "data.test=null", f"data.replay=[{folder}/texts.jsonl]", "train.precision=fp32"],
    )
    return Run(folder / "run")


def test_the_odd_row_is_the_one_that_was_not_learnt(run: Run) -> None:
    report = worst_rows(run, 3)
    assert (report.rows, report.seen) == (31, 31)  # replayed documents are no rows
    assert len(report.worst) == 3
    worst = report.worst[0]
    assert worst.answer == ODD["output"]
    assert worst.times == 8
    assert worst.last > 2 * report.median
    assert json.loads((run.data / "train.jsonl").read_text().splitlines()[worst.row - 1])["id"] == worst.id
    lasts = [one.last for one in report.worst]
    assert lasts == sorted(lasts, reverse=True)
    assert all(one.first > one.last for one in report.worst[1:])


@pytest.mark.parametrize("count", [1, 31, 32])
def test_as_many_as_are_asked_for_and_there(run: Run, count: int) -> None:
    assert len(worst_rows(run, count).worst) == min(count, 31)


def test_a_line_cut_by_a_kill_is_left_out(run: Run, tmp_path: Path) -> None:
    whole = worst_rows(run, 31)
    with run.rows.open("a") as file:
        file.write('{"step": 999, "rows": [0], "nl')
    assert worst_rows(run, 31) == whole


def test_rows_that_were_not_seen_yet_are_counted(run: Run, tmp_path: Path) -> None:
    text = run.rows.read_text()
    try:
        run.rows.write_text(text.splitlines(keepends=True)[0])
        report = worst_rows(run, 31)
        assert 0 < report.seen < report.rows == 31
        assert all(one.times == 1 and one.first == one.last for one in report.worst)
        run.rows.write_text("")
        assert worst_rows(run, 31).worst == ()
    finally:
        run.rows.write_text(text)


def test_on_the_screen_a_row_has_its_place_and_its_words(run: Run) -> None:
    shown = as_text(worst_rows(run, 1))
    assert "31 of 31 training rows were seen" in shown
    assert "rows.json" in shown
    assert "Say something else." in shown
    assert max(map(len, shown.splitlines())) < 140


def test_a_run_without_the_log_says_so(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run")
    run.note(x=1)
    with pytest.raises(HeedError, match="no log of its rows"):
        api.rows(run=tmp_path / "run")
