"""`heed judge` at an endpoint: killed, gone on with, and no paid call twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

from tests.endpoints import asked, endpoint
from tests.eval.judge.logs import by_truth, evaluated, prefers
from tests.typed import Heed

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def right(number: int) -> str:
    return f"Answer {number}."


def wrong(number: int) -> str:
    return f"No idea, {number}."


def got(folder: Path) -> int:
    path = next((folder / "judge" / "judges").glob("*/journal.jsonl"), folder / "none")
    return path.read_bytes().count(b'"event": "got"') if path.is_file() else 0


def test_kill_9_and_the_same_command_repeats_no_paid_call(tmp_path: Path) -> None:
    place = evaluated(tmp_path, {"base": wrong, "instruct": right}, n=20)
    sound, free, lock, go = prefers(by_truth), [11], threading.Lock(), threading.Event()

    def say(body: dict[str, Any]) -> str:
        with lock:
            held, free[0] = free[0] <= 0, free[0] - 1
        if held:
            go.wait(60)
        return sound(asked(body))

    with endpoint(say) as server:
        words = [sys.executable, "-m", "heedlm", "judge", place, "--by", f"{server.url}#judge", "--json"]
        words += ["--concurrency", "3"]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT)
        deadline = time.monotonic() + 100
        while (got(tmp_path) < 11 or server.at_once < 3) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
        process.communicate()
        assert got(tmp_path) == 11
        assert not (tmp_path / "judge" / "report.json").exists()
        paid = set(server.heard[:11])
        before = len(server.heard)
        free[0] = 10**6
        done = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, timeout=120, check=False)
        go.set()
        assert done.returncode == 0, done.stderr
        assert not paid & set(server.heard[before:])
        assert len(server.heard) - before == 40 - 11
        told = json.loads(done.stdout)
        assert (told["pairs"][0]["all"]["wins"], told["reused"]) == (20, 11)
        assert told["spent"]["requests"] == 43
        assert told["spent"]["unsure_requests"] == 3
        after = len(server.heard)
        again = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, timeout=120, check=False)
        assert len(server.heard) == after
        assert json.loads(again.stdout)["pairs"] == told["pairs"]


def test_the_command_at_an_endpoint(heed: Heed, tmp_path: Path) -> None:
    place = evaluated(tmp_path, {"base": wrong, "instruct": right}, n=8)
    with endpoint(lambda body: prefers(by_truth)(asked(body))) as server:
        log = tmp_path / "items.jsonl"
        log.write_text(log.read_text().replace("instruct sum-instruct", f"my-judge {server.url}"))
        by = ("--by", f"{server.url}#my-judge")
        code, out, err = heed("judge", place, *by, "--budget-requests", 6, "--concurrency", 1)
        assert code == 1
        assert "Judged by my-judge, not verified" in out
        assert "SELF: the judge is instruct itself" in out
        assert "Stopped: the next call could exceed the budget of 6 requests" in err
        code, out, err = heed("judge", place, *by, "--how", "pairs")
        assert code == 0, err
        assert str(tmp_path / "judge" / "report.html") in err
        assert "instruct wins 100" in out
        assert len(server.heard) == 16
        code, out, err = heed("judge", place, *by, "--quiet", "--json", "--price-in", 1, "--price-out", 2)
        assert (code, err) == (0, "")
        assert json.loads(out)["spent"]["money"] == "0.00032"
    page = (tmp_path / "judge" / "report.html").read_text()
    assert "nothing of it verified" in page
    assert "http://" not in page.replace(server.url, "")


def test_an_endpoint_that_refuses_the_key_keeps_what_was_answered(heed: Heed, tmp_path: Path) -> None:
    place = evaluated(tmp_path, {"base": wrong, "instruct": right}, n=6)
    with endpoint(lambda body: 401 if len(server.heard) > 4 else prefers(by_truth)(asked(body))) as server:
        by = ("--by", f"{server.url}#my-judge", "--concurrency", 1)
        code, _, err = heed("judge", place, *by)
        assert code == 2
        assert "check the API key" in err
        assert "asks nothing twice" in err
        server.say = lambda body: prefers(by_truth)(asked(body))
        assert heed("judge", place, *by)[0] == 0
    assert len(server.heard) == 12 + 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("{log}",), "No judge is named"),
        (("{log}", "--by", "127.0.0.1:8000/v1"), "without its protocol"),
        (("{log}", "--by", "./nowhere"), "no model folder"),
        (("nowhere", "--by", "atlas"), "Nothing was evaluated here yet"),
        (("{log}", "--by", "atlas", "--how", "stars"), "no way 'stars'"),
        (("{log}", "--by", "atlas", "--labls", "x"), "did you mean --labels"),
        ((), "for example: heed judge"),
    ],
)
def test_mistakes_of_the_command(heed: Heed, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    log = evaluated(tmp_path, {"base": wrong, "instruct": right}, n=2)
    code, out, err = heed("judge", *(argument.format(log=log) for argument in arguments))
    assert (code, out) == (2, "")
    assert said in err
