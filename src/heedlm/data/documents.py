"""The texts of plain documents, for pretraining and replay, from any source that rows are read from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from heedlm.data.fields import RefusedError, text_at
from heedlm.data.sources import read_rows
from heedlm.errors import HeedError, Problem

_SHOWN = 20


def read_documents(path: str | Path) -> Iterator[str]:
    """The field `text` of every row, in order. Raises HeedError, behind the last one, with all rows that have none."""
    problems: list[Problem] = []
    for row in read_rows(Path(path)):
        if isinstance(row, Problem):
            problems.append(row)
        elif "text" not in row.value:
            found = ", ".join(list(row.value)[:8]) or "no fields"
            what = f"missing field: field 'text' is missing; found {found}"
            problems.append(Problem(what, row.where, "name the column of the document 'text'"))
        else:
            try:
                yield text_at(row.value["text"], "text")
            except RefusedError as refused:
                problems.append(refused.problem(row.where))
    if problems:
        more = len(problems) - _SHOWN
        rest = (
            [Problem(f"and {more:,} more rows without a document", str(path), "mend these first")] if more > 0 else []
        )
        raise HeedError.of([*problems[:_SHOWN], *rest])
