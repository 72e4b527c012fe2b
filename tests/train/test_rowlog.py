"""The loss of each row: what the objective saw, attributed to the rows it came from."""

from __future__ import annotations

import math

import pytest
import torch

from heedlm.messages import Batch, Encoded
from heedlm.tokens.pack import pack
from heedlm.tokens.prefix import Tree
from heedlm.train import rowlog
from heedlm.train.forward import Packing, target_logits
from heedlm.train.loss import Forward, LossSum, token_nll
from heedlm.train.rowlog import RowLoss, RowLosses
from tests.families import build
from tests.train.test_loop import sequences

NOTHING = Forward(lambda batch: torch.zeros(0), lambda logits: logits)


def test_the_mean_of_a_row_is_that_of_the_row_alone() -> None:
    model = build("llama")
    forward = target_logits(model, Packing(False, ""))
    rows = [*sequences(4), Encoded((1, 2, 3), (0.0, 0.0, 0.0))]
    losses = RowLosses(token_nll)
    with torch.no_grad():
        for part in ([3, 0], [4, 1], [2]):
            result = losses(forward, pack([rows[i] for i in part], part))
            assert float(result.loss) == float(token_nll(forward, pack([rows[i] for i in part], part)).loss)
        found = losses.take()
        assert [one.row for one in found] == [0, 1, 2, 3]  # the fifth learns nothing
        for one in found:
            alone = token_nll(forward, pack([rows[one.row]])).nll
            assert one.tokens == len(alone)
            assert one.nll == pytest.approx(float(alone.mean()), rel=1e-5)
    assert losses.take() == []


def test_a_row_in_two_micro_batches_counts_once() -> None:
    def objective(forward: Forward, batch: Batch) -> LossSum:
        nll = batch.target_id.float()
        return LossSum(nll.sum(), nll, nll > 0)

    losses = RowLosses(objective)
    losses(NOTHING, pack([Encoded((0, 1), (0.0, 1.0))], [7]))
    losses(NOTHING, pack([Encoded((0, 3, 5), (0.0, 1.0, 1.0))], [7]))
    assert losses.take() == [RowLoss(7, 3.0, 3)]


def test_the_turns_of_a_conversation_are_told_apart() -> None:
    def objective(forward: Forward, batch: Batch) -> LossSum:
        nll = batch.target_id.float()
        return LossSum(nll.sum(), nll, nll > 0)

    talk = Encoded((0, 1, 2, 9, 5, 9, 9, 7, 7), (0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0))
    single = Encoded((0, 4), (0.0, 1.0))
    losses = RowLosses(objective)
    losses(NOTHING, pack([single, talk], [2, 1]))
    found = losses.take()
    assert found == [RowLoss(1, 4.4, 5, ((1.5, 2), (5.0, 1), (7.0, 2))), RowLoss(2, 4.0, 1)]


def test_a_turn_that_runs_from_a_shared_beginning_into_a_branch_is_one_turn() -> None:
    def objective(forward: Forward, batch: Batch) -> LossSum:
        nll = batch.target_id.float()
        return LossSum(nll.sum(), nll, nll > 0)

    rows = [Encoded((0, 1, 2, end), (0.0, 0.0, 1.0, 1.0)) for end in (3, 4)]
    losses = RowLosses(objective)
    losses(NOTHING, pack(rows, trees=[Tree((0, 1), 2)]))
    assert [(one.tokens, one.turns) for one in losses.take()] == [(2, ()), (2, ())]


def test_a_line_holds_a_step() -> None:
    line = rowlog.line(9, [RowLoss(3, 1.23456789, 5), RowLoss(8, 0.5, 2)])
    assert line == {"step": 9, "rows": [3, 8], "nll": [1.2346, 0.5], "tokens": [5, 2]}


def test_rows_are_named_worst_first_and_what_is_no_number_before_all() -> None:
    losses = [RowLoss(i, float(i), 1) for i in range(7)] + [RowLoss(99, math.nan, 1)]
    said = rowlog.named(losses, "row {}".format)
    assert (
        said
        == "rows of the batch, by loss: row 99 (nan); row 6 (6.00); row 5 (5.00); row 4 (4.00); row 3 (3.00); and 3 more"
    )
    assert rowlog.named(losses[:1], "row {}".format) == "rows of the batch, by loss: row 0 (0.00)"
    assert rowlog.named([], str) == "no rows"
