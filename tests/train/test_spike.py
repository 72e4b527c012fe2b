"""A run that diverges is stopped, one that is merely noisy is not."""

from __future__ import annotations

import random

import pytest

from heedlm.train.rowlog import RowLoss
from heedlm.train.spike import NATS, PATIENCE, Spike


def stops(losses: list[float], factor: float | None = 2.0) -> int | None:
    """The step, counted from 1, after which the rule stops the run."""
    spike = Spike(factor)
    return next((step for step, loss in enumerate(losses, start=1) if spike.after(step, loss)), None)


@pytest.mark.parametrize("before", [1, 2, 50])
def test_a_loss_that_rises_and_stays_up_stops_the_run(before: int) -> None:
    assert stops([1.5] * before + [8.0] * 50) == before + PATIENCE


def test_one_step_less_than_the_patience_does_not() -> None:
    calm = [1.5] * 10
    assert stops([*calm, *([8.0] * (PATIENCE - 1) + [1.6]) * 20]) is None


@pytest.mark.parametrize("level", [0.02, 1.0, 8.3])
def test_noise_of_small_runs_never_stops_them(level: float) -> None:
    chosen = random.Random(level)
    assert stops([level * chosen.lognormvariate(0.0, 0.5) for _ in range(5000)]) is None


def test_a_low_level_needs_more_than_a_multiple() -> None:
    """Rows that are known by heart: ten times their loss is still a good loss."""
    assert stops([0.02] * 30 + [0.2] * 100) is None
    assert stops([0.02] * 30 + [0.02 + NATS + 0.01] * 100) == 30 + PATIENCE


def test_a_high_level_needs_more_than_a_distance() -> None:
    """A new model at ln V: 2 nats above it are an early step with too high a rate, which comes back."""
    assert stops([8.3] * 5 + [11.0] * 100) is None


def test_the_level_follows_the_run_down() -> None:
    losses = [8.0 * 0.98**step for step in range(150)]
    assert losses[-1] < 0.5
    assert stops([*losses, *[7.0] * 20]) == len(losses) + PATIENCE


def test_null_never_stops() -> None:
    assert stops([1.0, *[1e6] * 100], factor=None) is None


def test_the_rows_are_those_of_the_batch_where_it_began() -> None:
    spike = Spike(2.0)
    spike.after(1, 1.0, [RowLoss(1, 1.0, 1)])
    for step in range(2, 2 + PATIENCE):
        stopped = spike.after(step, 9.0, [RowLoss(step, 9.0, 1)])
    assert stopped
    assert [one.row for one in spike.rows] == [2]
    assert spike.steps == list(range(2, 2 + PATIENCE))
    assert spike.level == 1.0
