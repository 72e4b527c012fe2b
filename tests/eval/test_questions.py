"""What was asked is kept once, and read again with all that a reader needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from heedlm.errors import HeedError
from heedlm.eval.questions import keep_questions, question, read_questions
from heedlm.eval.task import tasks_from
from heedlm.messages import Message, ToolCall

from .scripted import example


def test_what_was_asked_comes_back(tmp_path: Path) -> None:
    log = tmp_path / "items.jsonl"
    calls = (ToolCall("weather", {"city": "Rome"}),)
    row = example("And now?", "Sunny.", id="a", group="g", system="Be brief. 🙂")
    turns = (row.messages[0], Message("assistant", "", tool_calls=calls), Message("tool", "sun"), *row.messages[1:])
    row = replace(row, messages=turns)
    keep_questions(log, tasks_from([row]))
    ((place, found),) = read_questions(log).items()
    assert place == ("facts", "a", question(row))
    assert found.messages == row.messages[:-1]
    assert (found.reference, found.group) == ("Sunny.", "g")


def test_each_question_stands_once_and_a_changed_one_beside_it(tmp_path: Path) -> None:
    log = tmp_path / "items.jsonl"
    rows = [example(f"Question {n}?", "yes", id=str(n)) for n in range(3)]
    for _ in range(2):
        keep_questions(log, tasks_from(rows))
    assert len(read_questions(log)) == 3
    keep_questions(log, tasks_from([example("Another?", "yes", id="0"), *rows[1:]]))
    assert len((tmp_path / "questions.jsonl").read_text().splitlines()) == 4
    assert read_questions(tmp_path / "elsewhere" / "items.jsonl") == {}


def test_a_torn_last_line_is_written_again_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    log, file = tmp_path / "items.jsonl", tmp_path / "questions.jsonl"
    tasks = tasks_from([example(f"Question {n}?", "yes", id=str(n)) for n in range(2)])
    keep_questions(log, tasks)
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    assert len(read_questions(log)) == 1
    keep_questions(log, tasks)
    assert file.read_bytes() == whole
    for line in ("{}", "[]", "x", '{"version": 9}'):
        file.write_text(line + "\n")
        with pytest.raises(HeedError, match="no question of version 1") as caught:
            read_questions(log)
        assert "questions.jsonl:1" in str(caught.value)
