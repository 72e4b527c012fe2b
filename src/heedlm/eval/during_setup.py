"""The exam of a recipe: which suites, on which rows, and what must not be among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heedlm.config import Recipe, TrainConfig
from heedlm.errors import HeedError, Problem
from heedlm.eval.during import ITEMS, SHARE, Exam, Rules
from heedlm.eval.leaks import Leak, find_leaks
from heedlm.eval.suites.shipped import find, suite_tasks
from heedlm.eval.suites.suite import ITEM
from heedlm.messages import Example, Task
from heedlm.runs import Run

if TYPE_CHECKING:
    from heedlm.templates.chat import ChatTemplate

_SHOWN = 5  # rows that a refusal names
_BESIDE = ("score_items", "score_share", "best", "patience")


def check_exam(train: TrainConfig) -> None:
    """Raises HeedError for suites that are unknown or broken, and for what says nothing without them."""
    if train.score is None:
        idle = [f"train.{name}" for name in _BESIDE if getattr(train, name) is not None]
        if idle:
            what = f"{' and '.join(idle)} {'says' if len(idle) == 1 else 'say'} nothing: no suite is named to score on."
            raise HeedError(what, "train.score", "--set train.score=[held_out] scores on the validation rows")
        return
    problems: list[Problem] = []
    for name in dict.fromkeys(train.score):
        try:
            find(name)
        except HeedError as error:
            problems += [replace(one, where=one.where.replace("--suite", "train.score")) for one in error.problems]
    if problems:
        raise HeedError.of(problems)


def exam_of(recipe: Recipe, run: Run, splits: Mapping[str, Sequence[Example]], template: ChatTemplate) -> Exam | None:
    """The exam that a recipe wants, None where it wants none.

    splits: the rows of the run. A suite of the run's own rows (`held_out`) asks the validation rows, for what chooses must
    not be what tests. Raises HeedError where there are none, and for items that are among the rows of training or test.
    """
    train = recipe.train
    check_exam(train)
    if train.score is None:
        return None
    val = splits.get("val", ())
    if not val and (own := [name for name in train.score if find(name).rows]):
        what = f"The suite {own[0]} asks the run's own rows, and there are no validation rows."
        raise HeedError(
            what, "train.score", "--set data.val=0.1 (a tenth of the rows), or a suite with items of its own"
        )
    tasks = [
        spread(one.task, train.score_items or ITEMS) for one in suite_tasks(train.score, val, val, where=str(run.data))
    ]
    _refuse_leaks(tasks, splits)
    from heedlm.model.load import resolve
    from heedlm.tokens.tokenizer import load_tokenizer

    rules = Rules(train.score_share or SHARE, train.best == "score", train.patience)
    how: dict[str, Any] = {"max_tokens": recipe.eval.max_tokens, "batch_size": recipe.eval.batch_size}
    tokenizer = load_tokenizer(resolve(recipe.model.path), recipe.model.trust_remote_code)
    return Exam(tasks, tokenizer, template, run.root / "scores.jsonl", run.eval / "during.jsonl", rules, **how)


def spread(task: Task, most: int) -> Task:
    """The task with `most` of its items, evenly spread over it, each in all its forms."""
    ids = list(dict.fromkeys(example.meta.get(ITEM, example.id) for example in task.examples))
    kept = {ids[place * len(ids) // min(most, len(ids))] for place in range(min(most, len(ids)))}
    rows = tuple(example for example in task.examples if example.meta.get(ITEM, example.id) in kept)
    return replace(task, examples=rows)


def chosen_on(train: TrainConfig, suites: Sequence[str]) -> list[str]:
    """What the headline must say of suites on which the model was chosen, and which it is asked again at the end."""
    if train.score is None or (train.best is None and train.patience is None):
        return []
    asked = {_place(name) for name in suites}
    both = [name for name in train.score if _place(name) in asked and not find(name).rows]
    what = f"CHOSEN ON: {', '.join(both)} chose this model during training, so its score there is too good."
    return [what] if both else []


def _place(name: str) -> str:
    """A suite by its name, or by its file wherever it is named from."""
    return str(Path(name).resolve()) if Path(name).is_file() else name


def _refuse_leaks(tasks: Sequence[Task], splits: Mapping[str, Sequence[Example]]) -> None:
    items = [example for task in tasks for example in task.examples]
    for name, why in (("train", "are learned"), ("test", "are for the test, and must not choose the model")):
        leaks = find_leaks(items, splits.get(name, ()), edited=False)
        if leaks:
            raise _refused(leaks, len(items), name, why)


def _refused(leaks: Sequence[Leak], num_items: int, split: str, why: str) -> HeedError:
    what = f"{len(leaks):,} of {num_items:,} items of train.score stand among the {split} rows, which {why}."
    mend = "leave these items out of the suite; held_out asks validation rows, which are neither"
    places = [
        Problem(f"Item {leak.item.id!r}.", f"{leak.item.source} and {leak.row.source}") for leak in leaks[:_SHOWN]
    ]
    return HeedError.of([Problem(what, "train.score", mend), *places])
