"""Killed, interrupted, run again: no answer is paid for twice, and none is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

from heedlm.synth.marks import marked
from tests.endpoints import Endpoint, asked, endpoint

QUIET = {**os.environ, "OMP_NUM_THREADS": "1"}
QUIET.pop("OPENAI_API_KEY", None)
ROWS = 30


def command(place: Endpoint, data: Path, out: Path, mode: str = "answer", *more: str) -> list[str]:
    words = [sys.executable, "-m", "heedlm", "synth", mode, str(data), "--model", f"{place.url}#tiny"]
    return [*words, "--out", str(out), "--json", *more]


def start(words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=QUIET)


def finish(words: list[str]) -> dict[str, Any]:
    done = subprocess.run(words, capture_output=True, text=True, env=QUIET, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def heard(process: subprocess.Popen[str]) -> str:
    """The next line that it says on standard error."""
    assert process.stderr is not None
    return process.stderr.readline()


def events(out: Path, kind: str) -> int:
    path = out / "record" / "journal.jsonl"
    return path.read_bytes().count(b'"event": "%s"' % kind.encode()) if path.is_file() else 0


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{number}?"}) + "\n" for number in range(ROWS)))
    return path


class Holding:
    """Answers the first `free` requests, and holds all others back until it is let go."""

    def __init__(self, free: int) -> None:
        self.left, self.go, self.lock = free, threading.Event(), threading.Lock()

    def __call__(self, body: dict[str, Any]) -> str:
        with self.lock:
            held, self.left = self.left <= 0, self.left - 1
        if held:
            self.go.wait(60)
        return f"To {asked(body)}"


def test_kill_9_with_answers_under_way(prompts: Path, tmp_path: Path) -> None:
    """Every answer that reached the disk is paid for once; what was under way counts, and is asked again."""
    say = Holding(11)
    with endpoint(say) as place:
        words = command(place, prompts, tmp_path / "out", "answer", "--concurrency", "4")
        process = start(words)
        wait_for(lambda: events(tmp_path / "out", "got") == 11 and place.at_once == 4)
        process.kill()
        process.communicate()
        assert not (tmp_path / "out" / "rows.jsonl").exists()
        held = place.heard[11:]
        assert len(held) == 4
        before = set(place.heard[:11])
        say.left = 10**6
        place.answered.clear()
        done = finish(words)
        again = place.heard[15:]
        say.go.set()
    assert not before & set(again)
    assert sorted(again) == sorted({f"{number}?" for number in range(ROWS)} - before)
    assert set(held) <= set(again)
    assert (done["rows"], done["reused"], done["spent"]["requests"], done["spent"]["unsure_requests"]) == (
        ROWS,
        11,
        ROWS + 4,
        4,
    )
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    assert [row["messages"][1]["content"] for row in rows] == [f"To {number}?" for number in range(ROWS)]


def test_kill_9_at_any_moment(tmp_path: Path) -> None:
    """Self-instruct, whose later calls depend on earlier answers, killed again and again."""
    chance = random.Random(0)

    def say(body: dict[str, Any]) -> str:
        time.sleep(0.01)
        text = asked(body)
        if "new tasks of this kind" not in text:
            return f"Answer to {text}"
        own = random.Random(text)
        return marked([" ".join(f"w{own.randrange(10**6)}" for _ in range(6)) for _ in range(8)], "task")

    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text("".join(json.dumps({"prompt": f"Seed {n} asks {n}x {n}y."}) + "\n" for n in range(9)))
    with endpoint(say) as place:
        more = ("--rows", "40", "--concurrency", "3")
        words = command(place, seeds, tmp_path / "out", "self-instruct", *more)
        for _ in range(3):
            had = events(tmp_path / "out", "sent")
            process = start(words)
            some = chance.randrange(3, 16)
            wait_for(lambda had=had, some=some, process=process: events(tmp_path / "out", "sent") >= had + some)  # type: ignore[misc]
            process.kill()
            process.communicate()
        done = finish(words)
        whole = finish(command(place, seeds, tmp_path / "whole", "self-instruct", *more))
    lost = done["spent"]["unsure_requests"]
    assert lost <= 3 * 3
    assert done["spent"]["requests"] == whole["spent"]["requests"] + lost  # nothing more was asked than what was lost
    assert done["rows"] == 40

    def rows(out: Path) -> list[str]:
        return [json.loads(line)["messages"] for line in (out / "rows.jsonl").read_text().splitlines()]

    assert rows(tmp_path / "out") == rows(tmp_path / "whole")


def test_ctrl_c_waits_for_what_is_paid_and_says_how_to_go_on(prompts: Path, tmp_path: Path) -> None:
    say = Holding(5)
    with endpoint(say) as place:
        words = command(place, prompts, tmp_path / "out", "answer", "--concurrency", "3")
        process = start(words)
        wait_for(lambda: events(tmp_path / "out", "got") == 5 and place.at_once == 3)
        process.send_signal(signal.SIGINT)
        waits = heard(process)
        assert process.poll() is None  # it waits for the three
        say.go.set()
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (130, "")
        assert "Waiting for 3 answer(s) under way" in waits
        assert "Go on with: heed synth answer" in err
        assert "Traceback" not in err
        assert events(tmp_path / "out", "got") == len(place.heard) == 8
        done = finish(words)
        assert (done["rows"], done["reused"], done["spent"]["unsure_requests"]) == (ROWS, 8, 0)
        assert max(place.answered.values()) == 1
        assert len(place.heard) == ROWS


def test_a_second_ctrl_c_leaves_at_once(prompts: Path, tmp_path: Path) -> None:
    say = Holding(2)
    with endpoint(say) as place:
        words = command(place, prompts, tmp_path / "out", "answer", "--concurrency", "2")
        process = start(words)
        wait_for(lambda: events(tmp_path / "out", "got") == 2 and place.at_once == 2)
        process.send_signal(signal.SIGINT)
        assert "Ctrl-C again" in heard(process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 130
        assert "Go on with" in err
        assert "Traceback" not in err
        say.go.set()
        done = finish(words)
    assert (done["rows"], done["spent"]["requests"], done["spent"]["unsure_requests"]) == (ROWS, ROWS + 2, 2)


def test_done_is_done(prompts: Path, tmp_path: Path) -> None:
    with endpoint(lambda body: f"To {asked(body)}") as place:
        words = command(place, prompts, tmp_path / "out")
        first = finish(words)
        rows = (tmp_path / "out" / "rows.jsonl").read_bytes()
        second = finish(words)
        assert len(place.heard) == ROWS
    assert (first["reused"], second["reused"]) == (0, ROWS)
    assert (tmp_path / "out" / "rows.jsonl").read_bytes() == rows
