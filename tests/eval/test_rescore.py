from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from heedlm.errors import HeedError
from heedlm.eval.arms import BASE, INSTRUCT, bare, instruct
from heedlm.eval.evaluate import Arm, run_arm
from heedlm.eval.log import read_items
from heedlm.eval.rescore import rescored
from heedlm.eval.task import tasks_from
from heedlm.messages import Example, Message, Reply, Sampling, Task

from .scripted import ScriptedChat, example

ROWS = [example(f"Question {n}?", "yes", id=str(n)) for n in range(6)]


def asked(folder: Path, tasks: list[Task], arms: tuple[str, ...] = (BASE, INSTRUCT), name: str = "m") -> Path:
    log = folder / "items.jsonl"
    for arm in arms:
        chat = ScriptedChat(lambda request: Reply("Yes"), name=name)
        run_arm(tasks, Arm(arm, chat, bare if arm == BASE else instruct), Sampling(), log=log)
    return log


def test_new_checks_score_old_replies_and_the_log_learns_it(tmp_path: Path) -> None:
    log = asked(tmp_path, tasks_from(ROWS))
    assert {item.score for item in read_items(log)} == {0.0}
    loose = [replace(row, meta={**row.meta, "checks": [{"type": "iequals", "value": "yes"}]}) for row in ROWS]
    _, items = rescored(tasks_from(loose), log, "heed eval RUN")
    assert {item.score for item in items} == {1.0}
    assert sorted((i.arm, i.id) for i in read_items(log)) == sorted((i.arm, i.id) for i in items)
    assert {item.score for item in read_items(log)} == {1.0}
    size = log.stat().st_size
    rescored(tasks_from(loose), log, "heed eval RUN")
    assert log.stat().st_size == size  # nothing changed, nothing written


def test_another_question_under_an_old_id_is_refused(tmp_path: Path) -> None:
    log = asked(tmp_path, tasks_from(ROWS))
    other = [replace(ROWS[0], messages=(Message("user", "Something else?"), ROWS[0].messages[-1])), *ROWS[1:]]
    with pytest.raises(HeedError, match="another question now") as caught:
        rescored(tasks_from(other), log, "heed eval RUN")
    assert "heed eval RUN" in str(caught.value)


def test_only_what_every_arm_has_answered_is_compared(tmp_path: Path) -> None:
    log = asked(tmp_path, tasks_from(ROWS[:4]))
    asked(tmp_path, tasks_from(ROWS), (BASE,))
    tasks, items = rescored(tasks_from(ROWS), log, "heed eval RUN", (BASE, INSTRUCT))
    assert [len(task.examples) for task in tasks] == [4]
    assert len(items) == 8


def test_a_log_of_several_models_under_one_arm_is_refused(tmp_path: Path) -> None:
    log = asked(tmp_path, tasks_from(ROWS[:3]), name="first")
    asked(tmp_path, tasks_from(ROWS[3:]), name="second")
    with pytest.raises(HeedError, match="answered by several models: first, second"):
        rescored(tasks_from(ROWS), log, "heed eval RUN")


def test_no_log_and_a_log_of_other_items(tmp_path: Path) -> None:
    with pytest.raises(HeedError, match="Nothing was asked yet"):
        rescored(tasks_from(ROWS), tmp_path / "none.jsonl", "heed eval RUN")
    log = asked(tmp_path, tasks_from(ROWS[:3]))
    other: list[Example] = [replace(row, id=f"new {row.id}") for row in ROWS]
    with pytest.raises(HeedError, match="no item that every arm has answered"):
        rescored(tasks_from(other), log, "heed eval RUN")
