"""Rows become tasks: items of one name, with the function that scores a reply."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from heedlm.errors import HeedError, Problem
from heedlm.eval.checks import example_problems, score_checks
from heedlm.eval.match import score_words
from heedlm.eval.scorers.registry import read_scorer
from heedlm.eval.scorers.scorer import Scorer
from heedlm.messages import Example, Score, Task

KINDS: tuple[str, ...] = (
    "facts",
    "data_analysis",
    "summarisation",
    "email",
    "creative_writing",
    "guide",
    "format",
    "translation",
    "chat",
    "system",
)

_METRICS: Mapping[Callable[[Example, str], Score], str] = {score_checks: "accuracy", score_words: "word_f1"}


def tasks_from(examples: Sequence[Example]) -> list[Task]:
    """The tasks that these rows make, in order of first appearance.

    `meta.task` names the task (default "held_out"), `meta.kind` its kind (default the name), `meta.gated` whether a
    gate asks for it (default no). A task whose rows carry `meta.scorer` is scored by it, one whose rows carry
    `meta.checks` by them, any other by shared words. Raises HeedError with every row that is broken: no answer at its
    end, checks in some rows of a task only, a broken check or scorer, what the scorer needs, a task with two kinds.
    """
    problems: list[Problem] = []
    by_name: dict[str, list[Example]] = {}
    for example in examples:
        by_name.setdefault(str(example.meta.get("task", "held_out")), []).append(example)
        if len(example.messages) < 2 or example.messages[-1].role != "assistant":
            what = "a row ends with the answer of the assistant"
            problems.append(Problem(what, _where(example), "add the answer, or drop the row"))
    tasks = []
    for name, rows in by_name.items():
        scorer, wrong = _scorer_of(name, rows)
        problems += wrong
        kinds = {str(row.meta.get("kind", name)): row for row in rows}
        if len(kinds) > 1:
            where = " and ".join(_where(row) for row in list(kinds.values())[:2])
            problems.append(Problem(f"task {name!r} has two kinds: {', '.join(kinds)}", where, "one kind for a task"))
        gated = all(row.meta.get("gated", False) is True for row in rows)
        tasks.append(Task(name, next(iter(kinds)), tuple(rows), scorer, gated))
    problems += _repeated(examples)
    if problems:
        raise HeedError.of(problems)
    return tasks


def _scorer_of(name: str, rows: Sequence[Example]) -> tuple[Callable[[Example, str], Score], list[Problem]]:
    """What scores the rows of one task, and what is wrong with that."""
    specs: dict[str, Example] = {}
    for row in rows:
        specs.setdefault(json.dumps(row.meta.get("scorer"), sort_keys=True, default=repr), row)
    if len(specs) > 1:
        where = " and ".join(_where(row) for row in list(specs.values())[:2])
        return score_words, [Problem(f"task {name!r} has two scorers", where, "one scorer for a task")]
    if rows[0].meta.get("scorer") is not None:
        scorer, problems = read_scorer(rows[0].meta["scorer"], _where(rows[0]))
        if scorer is None:
            return score_words, problems
        return scorer, [problem for row in rows for problem in scorer.item_problems(row)]
    if any("checks" in row.meta for row in rows):
        return score_checks, [problem for row in rows for problem in example_problems(row)]
    return score_words, []


def _repeated(examples: Sequence[Example]) -> list[Problem]:
    first: dict[str, Example] = {}
    problems = []
    for example in examples:
        if example.id in first:
            where = f"{_where(example)} and {first[example.id].source}"
            problems.append(Problem(f"id {example.id!r} is there twice", where, "give each row its own id"))
        first.setdefault(example.id, example)
    return problems


def _where(example: Example) -> str:
    return f"{example.source} (id {example.id})"


def metric(task: Task) -> str:
    """The field's word for what the scorer of a task measures: "accuracy" (share of items right), "word_f1", another
    scorer's own, or "score"."""
    return task.scorer.metric if isinstance(task.scorer, Scorer) else _METRICS.get(task.scorer, "score")
