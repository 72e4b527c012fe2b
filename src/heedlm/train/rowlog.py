"""The loss of every row at every step that showed it, one line per step in rows.jsonl."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import torch

from heedlm.messages import Batch
from heedlm.train.loss import Forward, LossSum, StepLoss

SHOWN = 5  # rows of a batch that a message names


class RowLoss(NamedTuple):
    """row: number of the training sequence.   nll: mean over its learned tokens, nats.   tokens: how many these are.

    turns: the same two of each run of learned tokens, which is a turn of the model; of a row with one turn, nothing.
    """

    row: int
    nll: float
    tokens: int
    turns: tuple[tuple[float, int], ...] = ()


class RowNames(Protocol):
    """What is known of training sequences beside their tokens (train.rownames)."""

    def name(self, sequence: int) -> str:
        """Where a person finds it."""

    def figures(self, losses: Sequence[RowLoss]) -> dict[str, Any]:
        """What a step's record holds about groups of rows."""


class RowLosses:
    """An objective that remembers which row each loss belongs to, until it is asked; computes nothing of its own."""

    def __init__(self, objective: StepLoss) -> None:
        self._objective = objective
        self._seen: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def __call__(self, forward: Forward, batch: Batch) -> LossSum:
        result = self._objective(forward, batch)
        self._seen.append((batch.target_row, batch.positions[batch.target_index], result.nll))
        return result

    def take(self) -> list[RowLoss]:
        """Rows since the last call, each once, in the order of their numbers; one transfer from the device per step."""
        if not self._seen:
            return []
        rows, places, nll = (torch.cat(parts).cpu() for parts in zip(*self._seen, strict=True))
        self._seen.clear()
        order = places.argsort(stable=True)
        order = order[rows[order].argsort(stable=True)]
        rows, places, nll = rows[order], places[order], nll[order].double()
        begins = torch.ones(len(rows), dtype=torch.bool)
        begins[1:] = (rows[1:] != rows[:-1]) | (places[1:] > places[:-1] + 1)
        tokens = torch.diff(begins.nonzero()[:, 0], append=torch.tensor([len(rows)]))
        sums = torch.zeros(len(tokens), dtype=torch.float64).index_add_(0, begins.cumsum(0) - 1, nll)
        found: dict[int, list[tuple[float, int]]] = {}
        for row, total, number in zip(rows[begins].tolist(), sums.tolist(), tokens.tolist(), strict=True):
            found.setdefault(row, []).append((total, number))
        return [_row_loss(row, parts) for row, parts in found.items()]


def _row_loss(row: int, parts: Sequence[tuple[float, int]]) -> RowLoss:
    tokens = sum(number for _, number in parts)
    turns = tuple((total / number, number) for total, number in parts) if len(parts) > 1 else ()
    return RowLoss(row, sum(total for total, _ in parts) / tokens, tokens, turns)


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


def named(losses: Sequence[RowLoss], name: Callable[[int], str]) -> str:
    """The rows of a batch in words, those of the highest loss first; one that is no number is higher than all."""
    order = sorted(losses, key=lambda one: (one.nll == one.nll, -one.nll))
    shown = "; ".join(f"{name(one.row)} ({one.nll:.2f})" for one in order[:SHOWN])
    more = f"; and {len(order) - SHOWN:,} more" if len(order) > SHOWN else ""
    return f"rows of the batch, by loss: {shown}{more}" if order else "no rows"
