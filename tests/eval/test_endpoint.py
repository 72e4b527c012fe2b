from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from heedlm.errors import HeedError
from heedlm.eval.arms import INSTRUCT, instruct
from heedlm.eval.endpoint import Interrupted
from heedlm.eval.evaluate import Arm, run_arm
from heedlm.eval.log import read_items
from heedlm.eval.task import tasks_from
from heedlm.messages import Sampling, Task

pytest.importorskip("openai")

from heedlm.generate.remote import RemoteChat
from tests.endpoints import Endpoint, served

from .scripted import example

ROOT = Path(__file__).resolve().parents[2]


def tasks(n: int = 20) -> list[Task]:
    return tasks_from([example(f"Question {number}?", f"Answer {number}.", id=str(number)) for number in range(n)])


def right(asked: str) -> str:
    return asked.replace("Question", "Answer").replace("?", ".")


def arm(server: Endpoint, concurrency: int = 2) -> Arm:
    return Arm(INSTRUCT, RemoteChat(server.url, "m", concurrency=concurrency, max_retries=0, timeout=10), instruct)


def test_every_item_is_asked_once_and_logged_as_it_comes(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with served(right) as server:
        items = run_arm(tasks(), arm(server), Sampling(), log=log)
    assert [item.score for item in items] == [1.0] * 20
    assert sorted(server.heard) == sorted(f"Question {number}?" for number in range(20))
    assert {item.tokens for item in read_items(log)} == {5}


def test_one_request_that_fails_is_counted_and_asked_again(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with served(lambda asked: 500 if "7" in asked else right(asked)) as server:
        items = run_arm(tasks(), arm(server), Sampling(), log=log)
        assert [item.id for item in items if item.error] == ["7", "17"]
        assert "500" in items[7].why
        server.say, server.heard = right, []
        items = run_arm(tasks(), arm(server), Sampling(), log=log)
    assert sorted(server.heard) == ["Question 17?", "Question 7?"]
    assert [item.score for item in items] == [1.0] * 20


def test_an_endpoint_that_goes_down_keeps_what_it_answered(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with served(right) as server:
        chat = arm(server, concurrency=1).chat

        def dies(asked: str) -> str:
            if len(server.heard) == 12:
                chat._client = chat._client.with_options(base_url="http://127.0.0.1:9/v1")  # type: ignore[attr-defined]
            return right(asked)

        server.say = dies
        with pytest.raises(Interrupted, match="cannot be reached"):
            run_arm(tasks(), Arm(INSTRUCT, chat, instruct), Sampling(), log=log)
        assert len(read_items(log)) == 12
        server.say, server.heard = right, []
        items = run_arm(tasks(), arm(server), Sampling(), log=log)
    assert len(server.heard) == 8  # nothing lost, nothing asked twice
    assert [item.score for item in items] == [1.0] * 20
    assert len(log.read_text().splitlines()) == 20


def test_an_endpoint_that_answers_nothing_stops_the_run_early(tmp_path: Path) -> None:
    def slowly(asked: str) -> int:
        time.sleep(0.02)
        return 503

    with served(slowly) as server:
        with pytest.raises(Interrupted, match="none of 8 requests"):
            run_arm(tasks(500), arm(server), Sampling(), log=tmp_path / "log.jsonl")
        assert len(server.heard) < 30


def test_a_wrong_key_or_model_is_no_interruption() -> None:
    with served(lambda asked: 401) as server, pytest.raises(HeedError, match="refuses"):
        run_arm(tasks(), arm(server), Sampling())


def test_few_items_that_all_fail_are_counted() -> None:
    with served(lambda asked: 500) as server:
        items = run_arm(tasks(3), arm(server), Sampling())
    assert [bool(item.error) for item in items] == [True] * 3


_WAITS = """
import sys
from pathlib import Path
from heedlm.eval.arms import INSTRUCT, instruct
from heedlm.eval.evaluate import Arm, run_arm
from heedlm.generate.remote import RemoteChat
from heedlm.messages import Sampling
from tests.eval.test_endpoint import tasks

chat = RemoteChat(sys.argv[1], "m", concurrency=2, timeout=60)
try:
    run_arm(tasks(), Arm(INSTRUCT, chat, instruct), Sampling(), log=Path(sys.argv[2]))
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_ctrl_c_waits_for_no_request_that_is_under_way(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    hang = threading.Event()

    def says(asked: str) -> str:
        if len(server.heard) > 6:
            hang.wait(50)
        return right(asked)

    with served(says) as server:
        process = subprocess.Popen([sys.executable, "-c", _WAITS, server.url, str(log)], cwd=ROOT)
        deadline = time.monotonic() + 60
        while len(server.heard) < 8 and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        hang.set()
    assert len(read_items(log)) == 6


@pytest.mark.parametrize("limit", [1, 3])
def test_as_many_requests_at_once_as_allowed_and_no_more(tmp_path: Path, limit: int) -> None:
    with served(right) as server:
        server.gate.clear()  # nobody is answered until as many are there as may be
        chat = RemoteChat(server.url, "m", concurrency=limit, max_retries=0, timeout=600)
        found: list[float] = []

        def ask() -> None:
            found.extend(item.score for item in run_arm(tasks(), Arm(INSTRUCT, chat, instruct), Sampling()))

        thread = threading.Thread(target=ask)
        thread.start()
        while server.at_once < limit and thread.is_alive():
            time.sleep(0.01)
        server.gate.set()
        thread.join()
    assert server.most_at_once == limit
    assert found == [1.0] * 20
