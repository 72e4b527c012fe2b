"""What a training row's loss and the evaluation say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from heedlm.data.store import read_split
from heedlm.eval.arms import BASE, INSTRUCT
from heedlm.eval.log import read_items
from heedlm.runs import Run
from heedlm.train import worst as losses


class Result(NamedTuple):
    """What the evaluation found for a training row.

    task: of the row.   n: items of that task that were asked.   base, instruct: their mean scores.   own: score of the row
    itself, where it was asked (an evaluation of training rows).
    """

    task: str
    n: int
    base: float | None
    instruct: float
    own: float | None


# Nats per learned token. Under it the right token has, in the geometric mean, a probability of more than 0.6.
LEARNT = 0.5


class RowsReport(NamedTuple):
    """The rows of the highest loss (as in train.worst) with what the evaluation found, by id of the row.

    not_learnt: those of them whose loss was still `LEARNT` or more when they were met again; a row that was met once has
    the loss of before it was learnt from, which does not tell.
    """

    rows: int
    seen: int
    median: float
    worst: tuple[losses.RowHistory, ...]
    evaluation: dict[str, Result]
    not_learnt: tuple[str, ...] = ()


def joined_rows(run: Run, count: int) -> RowsReport:
    """The `count` rows of the highest loss at the end, each with the result of its task where the run was evaluated."""
    report = losses.worst_rows(run, count)
    missed = tuple(row.id for row in report.worst if row.times > 1 and row.last >= LEARNT)
    return RowsReport(*report, results_of(run, [row.id for row in report.worst]), missed)


def results_of(run: Run, ids: Sequence[str]) -> dict[str, Result]:
    """By id of a training row what its task came to; rows of a task that was not asked are left out.

    Empty where the run was not evaluated.
    """
    log = run.eval / "items.jsonl"
    if not log.is_file():
        return {}
    items = read_items(log)
    scores: dict[tuple[str, str], list[float]] = {}
    for item in items:
        scores.setdefault((item.task, item.arm), []).append(item.score)
    own = {item.id: item.score for item in items if item.arm == INSTRUCT}
    wanted = set(ids)
    found = {}
    for row in read_split(run.data / "train.jsonl"):
        if row.id in wanted:
            task = str(row.meta.get("task", "held_out"))
            asked = scores.get((task, INSTRUCT))
            if asked:
                found[row.id] = Result(task, len(asked), _mean(scores, task), _of(asked), own.get(row.id))
    return found


def _mean(scores: Mapping[tuple[str, str], Sequence[float]], task: str) -> float | None:
    found = scores.get((task, BASE))
    return _of(found) if found else None


def _of(scores: Sequence[float]) -> float:
    return sum(scores) / len(scores)


def _told(report: RowsReport) -> str:
    """How many of the rows were not learnt, in a sentence; a list of the worst says by itself only that there is a worst."""
    if not report.worst:
        return ""
    missed, again = len(report.not_learnt), [row for row in report.worst if row.times > 1]
    if not again:
        return (
            "Each of these rows was met once, and its loss is of before it was learnt from: it tells what was new to the "
            "model at the time, not what was not learnt."
        )
    limit = f"under {LEARNT} nats a token when they were met again"
    if not missed:
        some = "rows were" if len(again) == len(report.worst) else f"rows that were met again ({len(again):,}) were"
        return f"All of these {some} learnt: {limit}."
    if missed == len(report.worst):
        return (
            f"Not learnt: these {missed:,} rows, and perhaps more ({LEARNT} nats a token or more; --worst shows more)."
        )
    return f"Not learnt: {missed:,} of these rows; the others were {limit}, or met only once."


def as_text(report: RowsReport) -> str:
    """For the terminal: the rows, then their tasks, those that the tuned model is worst at first."""
    listed = losses.as_text(losses.RowsReport(report.rows, report.seen, report.median, report.worst))
    shown = "\n".join(filter(None, [_told(report), listed]))
    rows: dict[str, list[Result]] = {}
    for result in report.evaluation.values():
        rows.setdefault(result.task, []).append(result)
    if not rows:
        return shown
    lines = [shown, "How their tasks did in the evaluation (how many of these rows; base -> instruct on n items):"]
    for task, several in sorted(rows.items(), key=lambda pair: (pair[1][0].instruct, pair[0])):
        one = several[0]
        base = "not asked" if one.base is None else f"{one.base:.2f}"
        lines.append(f"  {len(several):3d}  {task}: {base} -> {one.instruct:.2f}  (n {one.n:,})")
    return "\n".join(lines)
