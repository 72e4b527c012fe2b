"""The order in which sequences become steps: seeded, complete, and resumable in O(1).

An epoch's whole plan follows from (seed, epoch, lengths), so a position is two integers and nothing else needs saving.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from heedlm.messages import Batch, Encoded
from heedlm.tokens.pack import best_fit_rows, pack, target_weight_sum


class StepBatch(NamedTuple):
    """What one optimiser step eats. weight_sum: over all micro-batches, counted before the first forward pass."""

    micro_batches: list[Batch]
    weight_sum: float
    tokens: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Loader:
    """Sequences grouped into steps of about `tokens_per_step` tokens, each split into rows of at most `micro_tokens`.

    Every sequence is seen exactly once per epoch. A step closes when the next sequence would overfill it, so steps differ
    by less than one sequence; the last step of an epoch may be short.
    """

    sequences: Sequence[Encoded]
    tokens_per_step: int
    micro_tokens: int
    seed: int

    def lengths(self) -> list[int]:
        """Tokens per sequence; asked of the token store where there is one, so that planning reads no tokens."""
        stored = getattr(self.sequences, "lengths", None)
        return stored() if stored is not None else [len(one.ids) for one in self.sequences]

    def epoch_plan(self, epoch: int) -> list[list[int]]:
        """Sequence indices per step for one epoch. Never empty steps; every index exactly once."""
        lengths = self.lengths()
        order = list(range(len(self.sequences)))
        random.Random(f"{self.seed}/{epoch}").shuffle(order)
        steps: list[list[int]] = []
        held = self.tokens_per_step + 1
        for index in order:
            length = lengths[index]
            if held + length > self.tokens_per_step:
                steps.append([])
                held = 0
            steps[-1].append(index)
            held += length
        return steps

    def steps_in_epoch(self, epoch: int) -> int:
        return len(self.epoch_plan(epoch))

    def batches(self, epoch: int, skip: int = 0) -> Iterator[StepBatch]:
        """Steps of one epoch, beginning after the first `skip`."""
        for step in self.epoch_plan(epoch)[skip:]:
            chosen = [self.sequences[i] for i in step]
            rows = best_fit_rows([len(s.ids) for s in chosen], max(self.micro_tokens, max(len(s.ids) for s in chosen)))
            micro = [pack([chosen[i] for i in row], [step[i] for i in row]) for row in rows]
            yield StepBatch(
                micro_batches=[batch for batch in micro if len(batch.target_id)],
                weight_sum=target_weight_sum(chosen),
                tokens=sum(len(s.ids) for s in chosen),
                epoch=epoch,
            )
