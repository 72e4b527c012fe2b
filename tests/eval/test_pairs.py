from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from heedlm.eval.arms import instruct
from heedlm.eval.evaluate import Arm
from heedlm.eval.pairs import Contender, PairsReport, against_first, ask_all
from heedlm.eval.pairs_report import pairs_headline, pairs_json, pairs_markdown, pairs_terminal, write_pairs
from heedlm.eval.task import tasks_from
from heedlm.messages import Request, Sampling, Task

from .scripted import ScriptedChat, example

N = 80


def tasks() -> list[Task]:
    rows = [example(f"Question {n}?", "yes", id=str(n), task="a" if n < 40 else "b", kind="k") for n in range(N)]
    return tasks_from(rows)


def contender(name: str, share: float, opened: list[str] | None = None) -> Contender:
    """Right on the first `share` of every ten items."""

    def answer(request: Request) -> str:
        return "yes" if int(request.messages[-1].content.split()[1].rstrip("?")) % 10 < 10 * share else "no"

    def open_() -> Arm:
        (opened if opened is not None else []).append(name)
        return Arm(name, ScriptedChat(answer, name=name), instruct)

    return Contender(name, open_, "messages")


def compared(*shares: float, same_recipe: bool = False) -> PairsReport:
    contenders = [contender(f"m{place}", share) for place, share in enumerate(shares)]
    items = ask_all(tasks(), contenders, Sampling(), lambda arm: {})
    names = [one.name for one in contenders]
    pairs, seeds = against_first(tasks(), items, names, same_recipe=same_recipe)
    return PairsReport(tuple(names), dict.fromkeys(names, "messages"), pairs, seeds)


def test_each_model_is_compared_with_the_first() -> None:
    report = compared(0.3, 0.6, 0.3)
    better, same = report.pairs
    assert (better.first, better.second, same.second) == ("m0", "m1", "m2")
    assert better.all.mean == pytest.approx(0.3)
    assert better.all.low > 0
    assert (same.all.mean, same.all.p) == (0.0, 1.0)
    assert [task.n for task in better.report.tasks] == [40, 40]
    assert all(task.p_holm >= task.p for pair in report.pairs for task in pair.report.tasks)
    assert better.report.tasks[0].p_holm == pytest.approx(4 * better.report.tasks[0].p)  # four tests in all
    said = pairs_headline(report)
    assert "m1 is better than m0 by 30 points on 80 items" in said
    assert "No sure difference between m2 and m0" in said
    assert "so many show one from" in said


def test_one_model_is_open_at_a_time_and_asked_once(tmp_path: Path) -> None:
    opened: list[str] = []
    checked: list[str] = []
    contenders = [contender("x", 0.5, opened), contender("y", 0.5, opened)]
    log = tmp_path / "items.jsonl"
    for _ in range(2):
        ask_all(tasks(), contenders, Sampling(), lambda arm: {}, log=log, check=lambda arm: checked.append(arm.name))
    assert opened == checked == ["x", "y", "x", "y"]
    assert len(log.read_text().splitlines()) == 2 * N


def test_one_recipe_under_several_seeds() -> None:
    report = compared(0.3, 0.5, 0.6, 0.7, same_recipe=True)
    assert report.seeds is not None
    assert report.seeds.by_seed == pytest.approx((0.2, 0.3, 0.4))
    assert report.seeds.mean == pytest.approx(0.3)
    widest = max(pair.all.high - pair.all.low for pair in report.pairs)
    assert report.seeds.interval.high - report.seeds.interval.low > widest
    assert "The recipe over 3 seeds: +30.0 points" in pairs_markdown(report)


def test_a_report_for_programs_pull_requests_and_terminals(tmp_path: Path) -> None:
    report = compared(0.3, 0.6)
    files = write_pairs(report, tmp_path)
    found = json.loads(files[0].read_text())
    assert found == json.loads(json.dumps(pairs_json(report)))
    (pair,) = found["pairs"]
    assert (pair["first"], pair["second"], pair["outcomes"]) == ("m0", "m1", {"win": 24, "loss": 0})
    for task in pair["tasks"]:
        assert task["low"] <= task["difference"] <= task["high"]
        assert task["difference"] == pytest.approx(task["second"] - task["first"])
        assert 0 < task["smallest_difference"] <= 1
    text = files[1].read_text()
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert len({line.count(" | ") for line in table[:4]}) == 1
    assert any(line.startswith("| all items | 80 |") for line in table)
    out = io.StringIO()
    Console(file=out, width=80).print(pairs_terminal(report))
    assert max(map(len, out.getvalue().splitlines())) <= 80
    assert "all items" in out.getvalue()
