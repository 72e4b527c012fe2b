"""`heed rows`: which of the rows of the highest loss were not learnt, and which were merely the last of those that were."""

from __future__ import annotations

import pytest

from heedlm.eval.rows_join import LEARNT, RowsReport, as_text
from heedlm.train.worst import RowHistory


def told(*rows: tuple[float, float, int]) -> str:
    """What is said of rows with a first and a last loss, met so many times."""
    worst = tuple(
        RowHistory(n, f"row-{n}", f"rows:{n}", "Q", "A", first, last, times, 4)
        for n, (first, last, times) in enumerate(rows)
    )
    missed = tuple(row.id for row in worst if row.times > 1 and row.last >= LEARNT)
    return as_text(RowsReport(50, 40, 0.1, worst, {}, missed))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (((3.0, 0.4, 3), (3.0, 0.02, 3)), "All of these rows were learnt: under 0.5 nats a token"),
        (((3.0, 2.4, 3), (3.0, 0.5, 2)), "Not learnt: these 2 rows, and perhaps more"),
        (((3.0, 2.4, 3), (3.0, 0.49, 3)), "Not learnt: 1 of these rows; the others were under 0.5"),
        (((3.0, 3.0, 1), (2.0, 2.0, 1)), "Each of these rows was met once"),
        (((3.0, 3.0, 1), (2.0, 0.1, 2)), "All of these rows that were met again (1) were learnt"),
        ((), "40 of 50 training rows were seen"),
    ],
)
def test_the_list_says_which_of_its_rows_were_not_learnt(rows: tuple[tuple[float, float, int], ...], said: str) -> None:
    assert told(*rows).startswith(said)
    assert "40 of 50 training rows were seen" in told(*rows)
