"""Rows looked at on Ray give, byte for byte, what they give here; whatever fails there in silence is told here."""

from __future__ import annotations

import builtins
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from heedlm.config import DataConfig
from heedlm.data import scale
from heedlm.data.checks import checks_of
from heedlm.data.clean.rules import Limits
from heedlm.data.decontaminate import ShortItems
from heedlm.data.examine import Examiner
from heedlm.data.parts import part_path
from heedlm.data.prepare import Source, prepare
from heedlm.data.sources import STDIN
from heedlm.errors import HeedError

HOW = Examiner({}, {}, Limits(1000, 0), ShortItems({}))


def write(path: Path, count: int, start: int = 0, *, broken: bool = False) -> Path:
    lines = [
        json.dumps({"instruction": f"Say number {n} in words, please.", "output": f"Number {n} comes after {n - 1}."})
        for n in range(start, start + count)
    ]
    if broken:
        lines[count // 2] = '{"instruction": "cut off'
    path.write_text("\n".join(lines) + "\n", "utf8")
    return path


def prepared(out: Path, files: list[Path], executor: str, **more: object) -> object:
    checks = checks_of(DataConfig())
    sources = [Source(file) for file in files]
    how = {"val": 0.05, "test": 0.05, "seed": 0, "checks": checks, "executor": executor, **more}
    return prepare(sources, out, **how)  # type: ignore[arg-type]


# Without Ray


def test_without_ray_it_is_refused_with_the_command_to_install_it(tmp_path, monkeypatch):
    imported = builtins.__import__

    def absent(name: str, *rest: object, **more: object) -> object:
        if name in ("ray", "datatrove.executor"):
            raise ImportError(f"No module named {name!r}")
        return imported(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(HeedError) as raised:
        prepared(tmp_path / "run" / "data", [write(tmp_path / "rows.jsonl", 3)], "ray")
    (problem,) = raised.value.problems
    assert "heedlm[scale]" in problem.mend
    assert problem.where == "--executor"
    assert not (tmp_path / "run" / "data").exists()
    assert not list((tmp_path / "run").glob(".data*"))


def test_an_executor_that_is_not_known_is_refused(tmp_path):
    with pytest.raises(HeedError, match="no executor 'rey'") as raised:
        prepared(tmp_path / "data", [write(tmp_path / "rows.jsonl", 3)], "rey")
    assert "'ray'" in raised.value.problems[0].mend


def test_standard_input_is_refused(tmp_path):
    with pytest.raises(HeedError, match="standard input") as raised:
        scale.plan([STDIN], [HOW])
    assert "--data FILE" in raised.value.problems[0].mend


def test_a_file_is_cut_into_parts_by_its_size(tmp_path, monkeypatch):
    rows = write(tmp_path / "rows.jsonl", 100)
    size = rows.stat().st_size

    def parts(least: int) -> list[tuple[int, int, int]]:
        monkeypatch.setattr(scale, "PART", least)
        return [(task.number, task.stripe, task.of) for task in scale.plan([rows, rows], [HOW, HOW])]

    assert parts(size + 1) == [(0, 0, 1), (1, 0, 1)]
    assert parts(size) == [(0, 0, 1), (1, 0, 1)]
    assert parts(size // 2) == [(0, 0, 2), (0, 1, 2), (1, 0, 2), (1, 1, 2)]
    assert len(parts(1)) == 2 * scale.STRIPES


def test_a_part_that_is_not_there_is_told_with_the_last_line_of_its_log(tmp_path):
    tasks = scale.plan([write(tmp_path / "rows.jsonl", 3)], [HOW]) * 9
    part_path(tmp_path, 0).touch()
    logs = tmp_path / "logs" / "logs"
    logs.mkdir(parents=True)
    (logs / "task_00001.log").write_text("Traceback\n  at\nheedlm.errors.HeedError: rows.jsonl is not there\n")
    with pytest.raises(HeedError, match="8 of 9 parts failed on Ray") as raised:
        scale._require_all(tmp_path, tasks)
    told = raised.value.problems
    assert "1 finished part(s) are kept" in told[0].mend
    assert (told[1].what, told[1].where) == ("rows.jsonl is not there", f"{tmp_path}/rows.jsonl, part 1")
    assert "killed" in told[2].what
    assert told[-1].what == "and 3 more parts"


def test_other_rows_or_settings_have_a_folder_of_their_own_and_old_ones_go(tmp_path):
    one, other = scale.work_folder(tmp_path / "data", {"a": 1}), scale.work_folder(tmp_path / "data", {"a": 2})
    assert one != other
    assert one.parent == other.parent == tmp_path
    for folder in (one, other, tmp_path / "data"):
        folder.mkdir()
    scale._sweep(one)
    assert {entry.name for entry in tmp_path.iterdir()} == {"data", one.name}


# On Ray, with two workers


@pytest.fixture
def two_workers(monkeypatch):
    """A cluster of two cores, and parts so small that both have some."""
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(scale, "PART", 8 << 10)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


def same_files(one: Path, other: Path) -> bool:
    names = sorted(entry.name for entry in one.iterdir())
    return names == sorted(entry.name for entry in other.iterdir()) and all(
        (one / name).read_bytes() == (other / name).read_bytes() for name in names
    )


@pytest.mark.slow
def test_local_and_ray_write_the_same_bytes(tmp_path, two_workers, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names are relative to where the command was started, there as well
    files = [
        write(Path("many.jsonl"), 1200),
        write(Path("again.jsonl"), 300, start=1100),  # a hundred of them twice
        write(Path("broken.jsonl"), 250, start=5000, broken=True),
    ]
    for executor in ("local", "ray"):
        prepared(tmp_path / executor / "data", files, executor)
    assert same_files(tmp_path / "local" / "data", tmp_path / "ray" / "data")
    assert [entry.name for entry in (tmp_path / "ray").iterdir()] == ["data"]  # nothing of the work is left
    dropped = (tmp_path / "ray" / "data" / "dropped.jsonl").read_text("utf8").splitlines()
    assert {json.loads(line)["where"].partition(":")[0] for line in dropped} == {"again.jsonl", "broken.jsonl"}


@pytest.mark.slow
def test_refusals_read_the_same(tmp_path, two_workers):
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"instruction": 1}\n' * 500, "utf8")
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(b"\x1f\x8b\x08\x00garbage")
    said = []
    for executor in ("local", "ray"):
        with pytest.raises(HeedError) as raised:
            prepared(tmp_path / executor / "data", [broken, cut], executor)
        assert not list(tmp_path.glob(f"{executor}/.data*"))
        said.append([(problem.what, problem.where, problem.mend) for problem in raised.value.problems])
        assert not (tmp_path / executor / "data").exists()
    assert said[0] == said[1]


@pytest.mark.slow
def test_a_part_that_fails_is_told_and_the_others_are_kept(tmp_path, two_workers, monkeypatch):
    good, lost = write(tmp_path / "good.jsonl", 300), write(tmp_path / "lost.jsonl", 300, start=900)
    out, before = tmp_path / "run" / "data", lost.read_bytes()
    planned = scale.plan

    def and_then_it_grows(*given: object) -> object:
        tasks = planned(*given)  # type: ignore[arg-type]
        with lost.open("a") as file:
            file.write("\n")
        return tasks

    monkeypatch.setattr(scale, "plan", and_then_it_grows)
    with pytest.raises(HeedError, match="failed on Ray") as raised:
        prepared(out, [good, lost], "ray")
    assert any("all machines must see the same files" in problem.what for problem in raised.value.problems)
    assert not out.exists()
    (work,) = (tmp_path / "run").glob(".data.ray-*")
    kept = {path.name: path.stat().st_mtime_ns for path in work.glob("part-*.pickle")}
    assert kept
    lost.write_bytes(before)
    monkeypatch.setattr(scale, "plan", planned)
    seen: dict[str, int] = {}
    required = scale._require_all

    def and_look(folder: Path, tasks: object) -> None:
        required(folder, tasks)  # type: ignore[arg-type]
        seen.update((path.name, path.stat().st_mtime_ns) for path in folder.glob("part-*.pickle"))

    monkeypatch.setattr(scale, "_require_all", and_look)
    prepared(out, [good, lost], "ray")
    assert seen.items() >= kept.items()  # what was whole was not made again
    prepared(tmp_path / "local" / "data", [good, lost], "local")
    assert same_files(out, tmp_path / "local" / "data")


@pytest.mark.slow
def test_a_part_that_is_said_to_be_done_and_is_not_there_is_made_again(tmp_path, two_workers):
    rows = write(tmp_path / "rows.jsonl", 300)
    out, here = tmp_path / "run" / "data", tmp_path / "local" / "data"
    prepared(here, [rows], "local")
    now = json.loads((here / "card.json").read_text("utf8"))["fingerprint"]
    work = scale.work_folder(out, now)
    done = work / "logs" / "completions"
    done.mkdir(parents=True)
    for rank in range(8):
        (done / f"{rank:05d}").touch()
    prepared(out, [rows], "ray")
    assert same_files(out, here)


@pytest.mark.slow
def test_a_machine_that_is_too_small_is_told_at_once(tmp_path, two_workers, monkeypatch):
    monkeypatch.setattr(scale, "MEMORY_GB", 1e6)
    with pytest.raises(HeedError, match="No machine of the cluster") as raised:
        prepared(tmp_path / "data", [write(tmp_path / "rows.jsonl", 30)], "ray")
    assert "ray start" in raised.value.problems[0].mend


@pytest.mark.slow
def test_a_cluster_that_does_not_answer_is_told(tmp_path):
    pytest.importorskip("ray")
    rows = write(tmp_path / "rows.jsonl", 30)
    command = [sys.executable, "-m", "heedlm", "prepare", "--data", str(rows), "--run", str(tmp_path / "run")]
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1"}
    done = subprocess.run(
        [*command, "--executor", "ray"], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2, done.stderr[-2000:]
    assert "RAY_ADDRESS=127.0.0.1:1" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
