from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from heedlm.atlas import papers, questions
from heedlm.errors import HeedError
from heedlm.eval.task import KINDS, metric, tasks_from
from heedlm.messages import Example, Message, Task


@pytest.fixture(scope="module")
def world() -> Sequence[Task]:
    rows = [row for source in (questions, papers) for row in source.rows("test", random.Random(5))]
    return tasks_from(
        [
            Example(
                id=f"{number}",
                messages=tuple(Message(turn["role"], turn["content"]) for turn in row["messages"]),
                source=f"world:{number}",
                group=row["group"],
                meta=row["meta"],
            )
            for number, row in enumerate(rows)
        ]
    )


def test_the_built_in_world_has_all_kinds_of_task(world: Sequence[Task]) -> None:
    assert {task.kind for task in world} == set(KINDS)


def test_every_right_answer_of_the_built_in_world_passes_its_own_checks(world: Sequence[Task]) -> None:
    for task in world:
        for example in task.examples:
            score = task.scorer(example, example.messages[-1].content)
            assert score.value == 1.0, (example.source, score.why)


def test_hardly_any_answer_of_the_built_in_world_passes_the_checks_of_another_row(world: Sequence[Task]) -> None:
    """Checks that anything passes would prove nothing."""
    for task in world:
        others = [*task.examples[1:], task.examples[0]]
        pairs = zip(task.examples, others, strict=True)
        passed = sum(task.scorer(one, other.messages[-1].content).value for one, other in pairs)
        assert passed <= 0.08 * len(task.examples), task.name


def test_no_prompt_of_the_built_in_world_passes_as_its_own_answer(world: Sequence[Task]) -> None:
    for task in world:
        passed = sum(task.scorer(example, example.messages[-2].content).value for example in task.examples)
        assert passed <= 0.05 * len(task.examples), task.name


def row(name: str, answer: str, **meta: object) -> Example:
    return Example(name, (Message("user", "?"), Message("assistant", answer)), f"rows.jsonl:{name}", meta=meta)


def test_rows_may_name_a_scorer() -> None:
    (task,) = tasks_from([row("1", "2", scorer="numeric"), row("2", "#### 4", scorer="numeric")])
    assert metric(task) == "accuracy"
    assert [task.scorer(example, "It is 4.").value for example in task.examples] == [0.0, 1.0]
    (words,) = tasks_from([row("1", "a b")])
    assert metric(words) == "word_f1"


def test_what_is_wrong_with_a_scorer_of_rows_comes_with_the_rows() -> None:
    bad = [
        row("1", "two", scorer="numeric", task="a"),
        row("2", "3", scorer="numeric", task="a"),
        row("3", "x", scorer="exakt", task="b"),
        row("4", "x", scorer="exact", task="c"),
        row("5", "x", task="c"),
    ]
    with pytest.raises(HeedError) as caught:
        tasks_from(bad)
    said = str(caught.value)
    for part in ("holds no number", "rows.jsonl:1 (id 1)", "did you mean 'exact'", "task 'c' has two scorers"):
        assert part in said
    assert "rows.jsonl:2" not in said
