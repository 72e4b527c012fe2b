"""Whether a suite can be passed, and cannot be passed by saying nothing."""

from __future__ import annotations

from collections.abc import Sequence

from heedlm.errors import Problem
from heedlm.eval.match import reference
from heedlm.eval.scorers.registry import judged
from heedlm.eval.scorers.scorer import Scorer
from heedlm.eval.suites.suite import SuiteTask
from heedlm.messages import Example, Reply, Task

# What an item holds is no reply to them: a choice is found by asking, a reply ends or not, an answer is not a refusal.
_NOT_BY_TARGET = ("likelihood", "stop", "refusal")
_QUIET = ("stop", "length", "tool_call")  # an empty reply may be right there


def doubts(tasks: Sequence[SuiteTask]) -> list[Problem]:
    """Items whose own answer does not score 1, and items that an empty reply passes; each item once."""
    found: dict[tuple[str, str], Problem] = {}
    for suite_task in tasks:
        for example in suite_task.task.examples:
            problem = _doubt(suite_task.task, example)
            if problem is not None:
                found.setdefault((problem.what, problem.where), problem)
    return list(found.values())


def _doubt(task: Task, example: Example) -> Problem | None:
    name = task.scorer.kind.name if isinstance(task.scorer, Scorer) else ""
    where = f"{example.source} (id {example.meta.get('item', example.id)})"
    answer = reference(example)
    if answer.strip() and name not in _NOT_BY_TARGET:
        score = judged(task, example, Reply(answer, tool_calls=example.messages[-1].tool_calls))
        if score.value < 1.0:
            what = f"the item's own answer scores {score.value:.2f}: {score.why}"
            return Problem(what, where, "mend the answer, or what it is scored by")
    if name not in _QUIET and judged(task, example, Reply("")).value >= 1.0:
        return Problem("an empty reply passes", where, "ask for something that has to be there")
    return None
