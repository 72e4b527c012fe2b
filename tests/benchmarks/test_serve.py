"""The benchmark of serving: a wrong answer is seen, growing memory is seen, and a small run of it works as a whole."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from heedlm.generate.chat import load_chat
from heedlm.messages import Message, Reply, Request, Sampling

PEER = Path(__file__).resolve().parents[2] / ".bench" / "transformers" / "bin" / "python"
FIGURES = ("ratio_8", "ratio_32", "ratio_1_vs_generate", "first_token_ratio_8", "memory_ratio", "startup_seconds")


def test_questions_are_different_ones_and_some_are_long(bench: Path) -> None:
    serve = importlib.import_module("serve")
    asked = serve.requests(24, 5, seed=1, long_ones=8)
    sizes = [len(one.text.split()) for one in asked]
    assert len(set(asked)) == 24
    assert [size > 400 for size in sizes] == [at % 8 == 0 for at in range(24)]
    assert max(len(one.text.split()) for one in serve.requests(24, 5, seed=1)) < 64


def test_wrong_answers_are_told_from_near_ties(bench: Path) -> None:
    serve, load = importlib.import_module("serve"), importlib.import_module("serve_load")
    folder = serve.served_folder("tiny")
    chat = load_chat(folder)
    asked = load.Asked("Where?", 8)
    reply = chat.reply([Request((Message("user", asked.text),))], Sampling(max_tokens=8, top_logprobs=2))[0]
    assert len(reply.text) > 8

    def of(gap: float) -> Reply:
        """The reply, as if the two likeliest tokens were so far apart at each place."""
        apart = tuple(((best[0][0], -1.0), (best[1][0], -1.0 - gap)) for best in reply.alternatives)
        return Reply(reply.text, ids=reply.ids, alternatives=apart)

    def counted(text: str, right: Reply, problem: str = "") -> tuple[int, int]:
        seen = load.Soaked(answers=[(asked, load.Answer(text, 8, 0.1, 0.2, problem))])
        found: tuple[int, int] = serve.wrong_answers(folder, seen, {asked: right})
        return found

    clear, tied = of(1.0), of(serve.NEAR_TIE / 2)
    assert counted(reply.text, clear) == (0, 0)
    assert counted("", clear, "status 500") == (0, 0), "it is counted as a crash already"
    other = reply.text[:5] + "\u2603" + reply.text[6:]
    for text in (other, reply.text[:-1], reply.text + "more", ""):
        assert counted(text, clear) == (1, 0), text
        assert counted(text, tied) == (0, 1), text


def test_memory_is_looked_at_once_it_is_filled(bench: Path) -> None:
    serve = importlib.import_module("serve")
    assert serve.memory_of([1, 5, 9, 10, 10, 10, 10, 10, 10]) == (10, 10)
    early, late = serve.memory_of([10, 10, 10, 10, 10, 10, 11, 12, 13])
    assert late / early - 1 > serve.FLAT
    assert serve.memory_of([7]) == (7, 7)


def ran(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    serve = importlib.import_module("serve")
    monkeypatch.setattr(sys, "argv", ["serve.py", "--quick", "--threads", "1", *options])
    assert serve.main() == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    return found


def test_a_small_soak_finds_nothing_wrong(
    bench: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = ran(monkeypatch, capsys, "--only-soak")
    assert (found["soak_crashes"], found["soak_wrong"]) == (0, 0)
    assert found["soak_answers"] > 0
    assert isinstance(found["soak_memory_flat"], bool)


@pytest.mark.slow
def test_a_small_run_against_the_peer_has_all_figures(
    bench: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not PEER.exists():
        pytest.skip("transformers serve is not installed: make bench-setup")
    monkeypatch.setenv("HEED_PEER_TRANSFORMERS", str(PEER))
    found = ran(monkeypatch, capsys, "--soak")
    assert all(found[name] > 0 for name in FIGURES), found
    assert (found["soak_crashes"], found["soak_wrong"]) == (0, 0)
