import json
import os
from pathlib import Path

import pytest

import heedlm
from heedlm.errors import HeedError, Problem, nearest
from heedlm.runs import Run, append_jsonl, cut_jsonl, disk_errors, read_jsonl, settle, write_json, write_text


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"one": 1})
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(HeedError, match="No space left"):
        write_json(path, {"two": 2})
    assert json.loads(path.read_text()) == {"one": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_log_line_cut_by_a_kill_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    assert read_jsonl(path) == []
    append_jsonl(path, {"step": 1})
    append_jsonl(path, {"step": 2})
    path.write_text(path.read_text() + '{"step": 3, "lo')
    assert read_jsonl(path) == [{"step": 1}, {"step": 2}]


@pytest.mark.parametrize(("step", "left"), [(0, 0), (1, 1), (2, 3), (3, 4), (9, 4)])
def test_a_log_is_cut_to_a_step(step: int, left: int, tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    cut_jsonl(path, step)
    assert not path.exists()
    lines = [{"step": 1}, {"step": 2}, {"step": 2, "of": "two lines: läuft"}, {"step": 3}]
    for line in lines:
        append_jsonl(path, line)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"step": 3, "lo')
    cut_jsonl(path, step)
    assert read_jsonl(path) == lines[:left]
    assert whole.startswith(path.read_bytes())


def test_files_of_a_folder_get_the_rights_that_files_usually_have(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    for path in (tmp_path / "a", inner / "b"):
        path.write_text("")
        path.chmod(0o600)
    before = os.umask(0o027)
    try:
        settle(tmp_path)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "a", inner / "b")} == {0o640}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "inner"]


def test_a_fact_that_is_none_is_taken_away(tmp_path: Path) -> None:
    run = Run.create(tmp_path)
    run.note(x=1, y=2)
    run.note(x=None)
    assert run.info() == {"version": 1, "y": 2}


def test_a_run_folder_is_made_found_and_refused(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "a" / "b")
    with pytest.raises(HeedError, match="not a run"):
        Run.open(run.root)
    run.note(x=1)
    run.note(y=2)
    assert Run.open(run.root).info() == {"version": 1, "x": 1, "y": 2}
    (tmp_path / "file").write_text("")
    with pytest.raises(HeedError, match="is a file"):
        Run.create(tmp_path / "file")


def test_a_run_without_a_name_is_not_the_folder_that_one_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HeedError, match="no name"):
        Run.create("")
    with pytest.raises(HeedError, match="no name"):
        heedlm.train(model="atlas", data="rows.jsonl", run="")
    assert not list(tmp_path.iterdir())
    assert Run.create(".").root == Path()  # said aloud


@pytest.mark.parametrize(("number", "said"), [(28, "No space"), (13, "Not allowed"), (30, "Not allowed")])
def test_what_the_disk_refuses_says_where_and_how_to_mend(number: int, said: str) -> None:
    with pytest.raises(HeedError, match=said) as caught, disk_errors(Path("here")):
        raise OSError(number, "refused")
    assert caught.value.problems[0].where == "here"
    assert caught.value.problems[0].mend


def test_other_errors_of_the_system_stay_what_they_are() -> None:
    with pytest.raises(FileNotFoundError), disk_errors(Path("here")):
        raise FileNotFoundError


def test_an_error_carries_every_problem() -> None:
    error = HeedError.of([Problem("one", "f:1", "mend it"), Problem("two")])
    assert str(error) == "one\n  at   f:1\n  mend mend it\ntwo"
    assert nearest("epoch", ["epochs", "lr"]) == "did you mean 'epochs'?"
    assert nearest("zzz", ["epochs", "lr"]) == "known: epochs, lr"


def test_text_keeps_every_character(tmp_path: Path) -> None:
    write_text(tmp_path / "t", "नमस्ते\nβ\n")
    assert (tmp_path / "t").read_bytes().decode() == "नमस्ते\nβ\n"
