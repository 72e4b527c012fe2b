"""Data on the command line: what is forgotten or mistyped is told with the line to type."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.typed import Heed, squeezed


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Rows with names of their own, in the folder where heed runs."""
    monkeypatch.chdir(tmp_path)
    lines = (json.dumps({"ask": f"Who is number {n} here?", "say": f"It is cat {n} of nine."}) for n in range(12))
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), "utf8")
    return Path("rows.jsonl")


def test_a_mapping_is_given_where_the_data_is(rows: Path, heed: Heed) -> None:
    said = squeezed(heed)
    code, _, err = said("prepare", "--data", rows, "--run", "none")
    assert (code, "a mapping of names: --map question=FIELD --map answer=FIELD" in err) == (2, True)
    names = ("--map", "question=ask", "--map", "answer=say")
    code, out, _ = heed("prepare", "--data", rows, *names, "--run", "run")
    assert (code, "12 rows in, 12 kept" in out) == (0, True)
    code, out, _ = heed("show", "--data", rows, *names, "--model", "atlas", "--limit", "1")
    assert (code, "of nine." in out) == (0, True)
    code, _, err = said("prepare", *names, "--run", "other")
    assert (code, "mend --data FILE --map question=ASK" in err) == (2, True)


def test_what_stands_by_itself_is_told_what_it_would_be(rows: Path, heed: Heed) -> None:
    said = squeezed(heed)
    code, _, err = said("prepare", rows)
    assert (code, "heed prepare --data rows.jsonl" in err) == (2, True)
    code, _, err = said("train", rows, "--model", "atlas")
    assert (code, "heed train --data rows.jsonl" in err) == (2, True)
    code, _, err = said("prepare", "--data", rows, "rows.jsonl")
    assert (code, "each has its own --data: --data rows.jsonl" in err) == (2, True)
    code, _, err = said("prepare", "--data", rows, "--set", "data.val=0.2", "data.test=0.2")
    assert (code, "each setting has its own --set: --set data.test=0.2" in err) == (2, True)
    for mark, option in (("config.json", "--model"), ("run.json", "--run")):
        Path("folder").mkdir(exist_ok=True)
        Path("folder", mark).touch()
        code, _, err = said("check", "folder")
        assert (code, f"heed check {option} folder" in err) == (2, True)
        Path("folder", mark).unlink()
    assert not Path("runs").exists()


def test_a_recipe_beside_settings_is_a_recipe(rows: Path, heed: Heed) -> None:
    mapping = "{question: ask, answer: say}"
    Path("mine.yaml").write_text(f"data: {{sources: [{{path: rows.jsonl, mapping: {mapping}}}]}}", "utf8")
    code, out, _ = heed("prepare", "mine.yaml", "--set", "data.val=0.2", "--run", "run", "--quiet")
    assert (code, "12 kept" in out) == (0, True)


def test_every_name_that_is_not_there_is_told_at_once(rows: Path, heed: Heed) -> None:
    names = ("data.val=gone.jsonl", "data.decontaminate=[lost.jsonl]", "data.replay=[away.txt]")
    settings = [word for name in names for word in ("--set", name)]
    code, _, err = heed("prepare", "--data", "nowhere.jsonl", *settings, "--run", "run")
    assert code == 2
    assert [name for name in ("nowhere.jsonl", "gone.jsonl", "lost.jsonl", "away.txt") if name not in err] == []
    assert not Path("run").exists()


def test_an_executor_is_named_or_refused(rows: Path, heed: Heed) -> None:
    code, _, err = squeezed(heed)("prepare", "--data", rows, "--executor", "rya", "--run", "run")
    assert (code, "did you mean 'ray'?" in err) == (2, True)
