"""The loss of every row at every step that showed it, one line per step in rows.jsonl."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch

from heedlm.messages import Batch
from heedlm.train.loss import Forward, LossSum, StepLoss

SHOWN = 5  # rows of a batch that a message names


class RowLoss(NamedTuple):
    """row: number of the training sequence.   nll: mean over its learned tokens, nats.   tokens: how many these are."""

    row: int
    nll: float
    tokens: int


class RowNames(NamedTuple):
    """Of a training sequence: where a person finds it, and which source it is from (None where all are from one)."""

    name: Callable[[int], str]
    source: Callable[[int], str] | None


class RowLosses:
    """An objective that remembers which row each loss belongs to, until it is asked; computes nothing of its own."""

    def __init__(self, objective: StepLoss) -> None:
        self._objective = objective
        self._seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __call__(self, forward: Forward, batch: Batch) -> LossSum:
        result = self._objective(forward, batch)
        self._seen.append((batch.target_row, result.nll))
        return result

    def take(self) -> list[RowLoss]:
        """Rows since the last call, each once, in the order of their numbers; one transfer from the device per step."""
        if not self._seen:
            return []
        rows = torch.cat([row for row, _ in self._seen]).cpu()
        nll = torch.cat([one for _, one in self._seen]).cpu().double()
        self._seen.clear()
        numbers, place, tokens = torch.unique(rows, return_inverse=True, return_counts=True)
        means = torch.zeros(len(numbers), dtype=torch.float64).index_add_(0, place, nll) / tokens
        return [RowLoss(*one) for one in zip(numbers.tolist(), means.tolist(), tokens.tolist(), strict=True)]


def together(parts: Iterable[Sequence[RowLoss]]) -> list[RowLoss]:
    """The rows of one step that several processes shared, in the order of their numbers; each is in one part only."""
    return sorted(row for part in parts for row in part)


def line(step: int, losses: Sequence[RowLoss]) -> dict[str, Any]:
    """A line of the log: parallel lists, for a step may show thousands of rows."""
    return {
        "step": step,
        "rows": [one.row for one in losses],
        "nll": [round(one.nll, 4) for one in losses],
        "tokens": [one.tokens for one in losses],
    }


def by_source(losses: Sequence[RowLoss], source: Callable[[int], str]) -> dict[str, float]:
    """Mean loss over the learned tokens of each source, in the order of their names."""
    sums: dict[str, tuple[float, int]] = {}
    for one in losses:
        total, tokens = sums.get(source(one.row), (0.0, 0))
        sums[source(one.row)] = total + one.nll * one.tokens, tokens + one.tokens
    return {name: round(total / tokens, 4) for name, (total, tokens) in sorted(sums.items())}


def named(losses: Sequence[RowLoss], name: Callable[[int], str]) -> str:
    """The rows of a batch in words, those of the highest loss first; one that is no number is higher than all."""
    order = sorted(losses, key=lambda one: (one.nll == one.nll, -one.nll))
    shown = "; ".join(f"{name(one.row)} ({one.nll:.2f})" for one in order[:SHOWN])
    more = f"; and {len(order) - SHOWN:,} more" if len(order) > SHOWN else ""
    return f"rows of the batch, by loss: {shown}{more}" if order else "no rows"
