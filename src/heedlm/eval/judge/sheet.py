"""A sheet on which people say which of two replies is better, without knowing whose they are."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

from heedlm.errors import HeedError
from heedlm.eval.judge.cases import Case
from heedlm.eval.text import collapse
from heedlm.messages import Message
from heedlm.runs import write_text

COLUMNS = ("task", "id", "first", "second", "question", "reply_1", "reply_2", "winner")


def write_sheet(path: Path, cases: Sequence[Case], names: Sequence[str]) -> int:
    """One row for each pair with the first contender, its `winner` to be filled in: 1, 2 or tie; how many rows.

    Which reply stands first follows from the item, as a coin would have it. The same text twice is left out. Raises
    HeedError for a file that is there, which may hold somebody's work, and where there is no pair.
    """
    if path.exists():
        raise HeedError(
            "There is a file of this name, and it may hold somebody's work.", str(path), "choose another name"
        )
    file = io.StringIO(newline="")
    table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    table.writeheader()
    rows = 0
    for case in cases:
        for name in names[1:]:
            pair = (names[0], name)
            if not all(one in case.replies for one in pair) or _same(case, pair):
                continue
            shown = in_order(case.task, case.id, *pair)
            texts = [case.replies[one] for one in shown]
            told = (case.task, case.id, *pair, _question(case.question.messages), *texts, "")
            table.writerow(dict(zip(COLUMNS, told, strict=True)))
            rows += 1
    if not rows:
        raise HeedError(
            "There is no pair to label: where both replied, they said the same.", str(path), "take more items"
        )
    write_text(path, file.getvalue())
    return rows


def in_order(task: str, id_: str, first: str, second: str) -> tuple[str, str]:
    """The two contenders in the order in which a sheet shows them."""
    coin = hashlib.sha256("\n".join((task, id_, first, second)).encode()).digest()[0] % 2
    return (second, first) if coin else (first, second)


def _same(case: Case, pair: tuple[str, str]) -> bool:
    return collapse(case.replies[pair[0]]) == collapse(case.replies[pair[1]])


def _question(turns: Sequence[Message]) -> str:
    return turns[0].content if len(turns) == 1 else "\n\n".join(f"[{turn.role}] {turn.content}" for turn in turns)
