"""Which rows a run has not learnt: the log of row losses, put beside the rows themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

from heedlm.data.store import read_split
from heedlm.errors import HeedError
from heedlm.messages import Example
from heedlm.runs import Run
from heedlm.tokens.store import TokenFile, open_split


class RowHistory(NamedTuple):
    """A training row and its loss (nats per learned token) when it was first and when it was last seen.

    row: its line in data/train.jsonl.   id, source, prompt, answer: as they stand there.   times: how often it was seen.
    """

    row: int
    id: str
    source: str
    prompt: str
    answer: str
    first: float
    last: float
    times: int
    tokens: int


class RowsReport(NamedTuple):
    """rows: of the training split.   seen: of these.   median: of the last losses.   worst: highest last loss first."""

    rows: int
    seen: int
    median: float
    worst: tuple[RowHistory, ...]


class _Sum(NamedTuple):
    """Losses of a row's sequences, summed over their tokens: at the first and at the last sight of each."""

    first: float = 0.0
    last: float = 0.0
    times: int = 0
    tokens: int = 0


def worst_rows(run: Run, count: int) -> RowsReport:
    """The rows of the highest loss at their last sight. A row that was split into several sequences counts as one.

    Raises HeedError for a run without the log.
    """
    train = open_split(run.tokens, "train") if run.rows.is_file() else None
    if train is None:
        raise HeedError(
            "This run has no log of its rows.", str(run.rows), "heed train writes one; pretraining has none"
        )
    sums: dict[int, _Sum] = {}
    for sequence, (first, last, times, tokens) in _sights(run, train).items():
        row = train.row_of(sequence)
        one = sums.get(row, _Sum())
        times = max(one.times, times)
        sums[row] = _Sum(one.first + first * tokens, one.last + last * tokens, times, one.tokens + tokens)
    lasts = {row: one.last / one.tokens for row, one in sums.items()}
    chosen = sorted(lasts, key=lambda row: (-lasts[row], row))[:count]
    total, found = 0, {}
    for total, example in enumerate(read_split(run.data / "train.jsonl"), start=1):
        if total - 1 in sums and lasts[total - 1] >= lasts[chosen[-1]]:
            found[total - 1] = _history(total - 1, example, sums[total - 1])
    middle = sorted(lasts.values())[len(lasts) // 2] if lasts else 0.0
    return RowsReport(total, len(sums), middle, tuple(found[row] for row in chosen))


def _history(row: int, example: Example, one: _Sum) -> RowHistory:
    asked = [turn.content for turn in example.messages[:-1]][-1:] or [""]
    first, last = one.first / one.tokens, one.last / one.tokens
    answer = example.messages[-1].content
    return RowHistory(row + 1, example.id, example.source, asked[0], answer, first, last, one.times, one.tokens)


def _sights(run: Run, train: TokenFile) -> dict[int, tuple[float, float, int, int]]:
    """By sequence: loss at the first and at the last sight, number of sights, learned tokens.

    Where a sequence comes several times in an epoch, all of them are sights of its first place.
    """
    found: dict[int, tuple[float, float, int, int]] = {}
    for sequences, losses, tokens in _lines(run):
        for sequence, loss, count in zip(sequences, losses, tokens, strict=True):
            if sequence < len(train):  # what follows are replayed documents
                place = train.stored(sequence)
                first, _, times, _ = found.get(place, (loss, loss, 0, count))
                found[place] = (first, loss, times + 1, count)
    return found


def _lines(run: Run) -> Iterator[tuple[list[int], list[float], list[int]]]:
    """Complete lines of the log; one that a kill cut is left out."""
    with run.rows.open(encoding="utf8") as file:
        for line in file:
            if line.endswith("\n"):
                record = json.loads(line)
                yield record["rows"], record["nll"], record["tokens"]


def as_text(report: RowsReport) -> str:
    """For the terminal: per row its losses, its place, and how its last exchange begins."""
    lines = [
        f"{report.seen:,} of {report.rows:,} training rows were seen; half of them end at a loss below {report.median:.2f}.",
        "Highest at the end (first -> last, nats per learned token; times seen):",
    ]
    for one in report.worst:
        lines.append(f"{one.first:6.2f} -> {one.last:5.2f}  {one.times}x  {one.id}  {one.source}")
        lines.append(f"    {_short(one.prompt)}")
        lines.append(f"    => {_short(one.answer)}")
    return "\n".join(lines)


def _short(text: str, width: int = 72) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 3] + "..."
