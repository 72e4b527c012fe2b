"""Rows examined by other processes give the same as here, in the same order, and no process is left behind."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from heedlm.config import DataConfig
from heedlm.data import crew as room
from heedlm.data.checks import checks_of
from heedlm.data.clean.rules import Limits
from heedlm.data.crew import Crew, crew_size
from heedlm.data.decontaminate import ShortItems
from heedlm.data.examine import Examined, Examiner
from heedlm.data.prepare import Source, prepare
from heedlm.data.sources import Row
from heedlm.errors import HeedError, Problem

HOW = Examiner({}, {"email": "mask"}, Limits(1000, 0), ShortItems({}))


def rows(number: int) -> list[Row | Problem]:
    made: list[Row | Problem] = [
        Row({"prompt": f"{n}?", "completion": f"a{n}@example.org"}, f"x:{n}") for n in range(number)
    ]
    made[number // 2 : number // 2] = [Problem("broken JSON: here", "x:0"), Row({"prompt": "no answer"}, "x:0")]
    return made


def broken(number: int):
    yield from rows(number)
    raise HeedError("archive is cut off", "x")


@pytest.mark.parametrize("number", [0, 1, 200, 201, 1500])
def test_two_processes_give_what_one_gives(number):
    with Crew(1) as one, Crew(2) as two:
        here = list(one.examined(iter(rows(number)), HOW))
        assert list(two.examined(iter(rows(number)), HOW)) == here
        other = HOW._replace(actions={})
        assert list(two.examined(iter(rows(3)), other)) == list(one.examined(iter(rows(3)), other))
    assert len(here) == number + 2
    assert sum(isinstance(found[0], Examined) for found in here) == number


@pytest.mark.parametrize("size", [1, 2])
def test_an_error_comes_behind_the_rows_before_it(size):
    seen = []
    with Crew(size) as crew, pytest.raises(HeedError, match="cut off"):
        for found in crew.examined(broken(450), HOW):
            seen += found
    assert len(seen) == 452


def test_no_process_is_left_when_the_work_is_given_up():
    with pytest.raises(RuntimeError), Crew(2) as crew:
        processes = [worker._process for worker in crew._workers]
        for _ in crew.examined(iter(rows(5000)), HOW):
            raise RuntimeError
    assert all(process.returncode is not None for process in processes)


def test_a_mistake_of_ours_in_a_process_is_raised_here():
    with Crew(2) as crew, pytest.raises(AttributeError):
        list(crew.examined(iter([None]), HOW))  # type: ignore[list-item]


def test_the_size_follows_the_files_and_the_cores(tmp_path, monkeypatch):
    small, large = tmp_path / "small.jsonl", tmp_path / "large.jsonl"
    small.write_text("{}")
    with large.open("wb") as file:
        file.truncate(room._WORTH)
    assert crew_size([small]) == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    assert crew_size([small, large]) == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    assert crew_size([large]) == 1


def test_preparing_with_more_processes_writes_the_same_bytes(tmp_path):
    source = tmp_path / "rows.jsonl"
    values: list[dict[str, Any]] = [{"prompt": f"What is {i}?", "completion": f"It is {i % 50}."} for i in range(900)]
    values[500:500] = [{"prompt": "x"}, values[3], {"id": "a", **values[4]}, {"id": "a", **values[5]}]
    source.write_text("".join(json.dumps(value) + "\n" for value in values))
    for name, workers in (("one", 1), ("two", 2)):
        checks = checks_of(DataConfig())
        options = {"val": 0.1, "test": 0.1, "seed": 0, "checks": checks, "workers": workers}
        prepare([Source(source)], tmp_path / name, **options)
    names = {path.name for path in (tmp_path / "one").iterdir()}
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_a_process_that_is_ended_from_outside_is_told_and_nothing_is_written(tmp_path, monkeypatch):
    """As the system does where memory runs out."""
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps({"prompt": f"{n}?", "completion": "b"}) + "\n" for n in range(3000)))
    started = room._Worker.__init__

    def killed(worker):
        started(worker)
        worker._process.kill()
        worker._process.wait()

    monkeypatch.setattr(room._Worker, "__init__", killed)
    with pytest.raises(HeedError, match="ended from outside") as told:
        prepare([Source(source)], tmp_path / "out", val=0.1, test=0.1, seed=0, workers=2)
    assert f"with rows from {source}:1 on" in told.value.problems[0].where
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


KILLED = """
import sys
from heedlm.data.crew import Crew
from tests.data.test_crew import HOW, rows
with Crew(2) as crew:
    for _ in crew.examined(iter(rows(3000)), HOW):
        print(*(worker._process.pid for worker in crew._workers), flush=True)
        sys.stdin.read()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_processes_end_when_the_one_that_feeds_them_is_killed(how):
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 2
    process.send_signal(how)
    process.wait()
    while any(_runs(pid) for pid in pids):
        time.sleep(0.05)
    assert process.stderr.read() == b""  # they write into a pipe that nobody reads any more, and keep it to themselves
    for pipe in (process.stdin, process.stdout, process.stderr):
        assert pipe is not None
        pipe.close()


def test_a_process_whose_answer_nobody_waits_for_ends_without_a_word():
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    words, env = [sys.executable, "-m", "heedlm.data.crew"], {**os.environ, "PYTHONPATH": path}
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, env=env) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        pickle.dump((HOW, rows(3)), process.stdin)
        process.stdin.flush()
        assert process.stderr.read() == b""
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, env=env) as process:
        assert process.communicate(pickle.dumps((HOW, rows(3)))[:50]) == (b"", b"")  # killed while it sent a batch


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
