"""Names of rows, and means over groups of them."""

from __future__ import annotations

from heedlm.train.rowlog import RowLoss
from heedlm.train.rownames import by_source, by_turn


def test_the_loss_of_a_source_is_the_mean_over_its_tokens() -> None:
    losses = [RowLoss(0, 1.0, 1), RowLoss(1, 4.0, 2), RowLoss(2, 7.0, 5)]
    assert by_source(losses, lambda row: "b" if row < 2 else "a") == {"a": 7.0, "b": 3.0}


def test_the_loss_of_a_turn_is_the_mean_over_its_tokens() -> None:
    talk, single = RowLoss(1, 4.4, 5, ((1.5, 2), (5.0, 1), (7.0, 2))), RowLoss(2, 4.0, 1)
    assert by_turn([talk, single]) == {"1": round(7 / 3, 4), "2": 5.0, "3": 7.0}
    many = RowLoss(0, 1.0, 7, tuple((float(turn), 1) for turn in range(7)))
    assert by_turn([many]) == {"1": 0.0, "2": 1.0, "3": 2.0, "4": 3.0, "5+": 5.0}


def test_rows_of_one_turn_are_not_told_apart() -> None:
    assert by_turn([RowLoss(2, 4.0, 1)]) == by_turn([]) == {}
