"""Old replies under the checks of today: a log is scored again, and no model is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from heedlm.errors import HeedError, Problem
from heedlm.eval.evaluate import scored_again
from heedlm.eval.log import Item, append_items, read_items
from heedlm.eval.questions import keep_questions, question
from heedlm.messages import Task


def rescored(tasks: Sequence[Task], log: Path, mend: str, needed: Sequence[str] = ()) -> tuple[list[Task], list[Item]]:
    """The tasks with the examples that every needed arm has answered, and all their items scored again.

    needed: arms; none: every arm of the log.   mend: the command that asks what is missing. What changed is added to the
    log. Raises HeedError for a log that is not there, that no item of these tasks is in, where a question is no longer
    the one that was answered, or where an arm was answered by several models.
    """
    if not log.is_file():
        raise HeedError("Nothing was asked yet, so there is nothing to score again.", str(log), mend)
    examples = {(task.name, example.id): (task, example) for task in tasks for example in task.examples}
    problems: list[Problem] = []
    items, changed = [], []
    models: dict[str, set[str]] = {}
    for old in read_items(log):
        found = examples.get((old.task, old.id))
        if found is None or (old.stop_reason == "error" and not old.error):
            continue
        if old.question and old.question != question(found[1]):
            what = f"Item {old.id!r} is another question now than the one that was answered."
            problems.append(Problem(what, found[1].source, mend))
            continue
        new = scored_again(old, *found)
        items.append(new)
        models.setdefault(old.arm, set()).update([old.model] if old.model else [])  # version 1 did not say
        if new != old:
            changed.append(new)
    for arm, names in models.items():
        if len(names) > 1:
            problems.append(
                Problem(f"Arm {arm!r} was answered by several models: {', '.join(sorted(names))}.", str(log), mend)
            )
    if problems:
        raise HeedError.of(problems[:20])
    arms = set(needed) or set(models)
    answered: dict[tuple[str, str], set[str]] = {}
    for item in items:
        answered.setdefault((item.task, item.id), set()).add(item.arm)
    left = [
        replace(task, examples=tuple(one for one in task.examples if arms <= answered.get((task.name, one.id), set())))
        for task in tasks
    ]
    left = [task for task in left if task.examples]
    if not items or not left:
        raise HeedError("The log holds no item that every arm has answered.", str(log), mend)
    append_items(log, changed)
    keep_questions(log, tasks)
    kept = {(task.name, example.id) for task in left for example in task.examples}
    return left, [item for item in items if (item.task, item.id) in kept]
