"""The order in which sequences become steps: seeded, complete, and resumable in O(1).

An epoch's whole plan follows from (seed, epoch, lengths), so a position is two integers and nothing else needs saving.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby, islice
from typing import NamedTuple

from heedlm.messages import Batch, Encoded
from heedlm.tokens.pack import best_fit_rows, pack, target_weight_sum
from heedlm.tokens.prefix import Tree, alone, computed_tokens, shared_prefixes

SAMPLE = 32  # steps that tell what sharing saves in an epoch


class StepBatch(NamedTuple):
    """What one optimiser step eats. weight_sum: over all micro-batches, counted before the first forward pass.

    tokens: of the sequences, a shared prefix counted for each that has it.
    """

    micro_batches: list[Batch]
    weight_sum: float
    tokens: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Loader:
    """Sequences grouped into steps of about `tokens_per_step` tokens, each split into rows of at most `micro_tokens`.

    Every sequence is seen exactly once per epoch; the sequences of one row (a conversation that had to be split) stay
    together, in one step where they fit. A step closes when what comes next would overfill it; the last of an epoch may be
    short. share: prefixes that sequences of a step have in common are computed once (tokens.prefix).
    """

    sequences: Sequence[Encoded]
    tokens_per_step: int
    micro_tokens: int
    seed: int
    share: bool = False

    def lengths(self) -> list[int]:
        """Tokens per sequence; asked of the token store where there is one, so that planning reads no tokens."""
        stored = getattr(self.sequences, "lengths", None)
        return stored() if stored is not None else [len(one.ids) for one in self.sequences]

    def epoch_plan(self, epoch: int) -> list[list[int]]:
        """Sequence indices per step for one epoch. Never empty steps; every index exactly once."""
        lengths = self.lengths()
        units = self._units()
        random.Random(f"{self.seed}/{epoch}").shuffle(units)
        steps: list[list[int]] = []
        held = self.tokens_per_step + 1
        for unit in units:
            whole = sum(lengths[index] for index in unit)
            if held + min(whole, self.tokens_per_step) > self.tokens_per_step:
                held = self.tokens_per_step + 1
            for index in unit:
                if held + lengths[index] > self.tokens_per_step:
                    steps.append([])
                    held = 0
                steps[-1].append(index)
                held += lengths[index]
        return steps

    def _units(self) -> list[list[int]]:
        """Sequence indices that stay together: those of one row."""
        stored = getattr(self.sequences, "units", None)
        names = stored() if stored is not None else range(len(self.sequences))
        return [list(indices) for _, indices in groupby(range(len(self.sequences)), key=names.__getitem__)]

    def steps_in_epoch(self, epoch: int) -> int:
        return len(self.epoch_plan(epoch))

    def saving(self) -> float:
        """Share of the tokens that need not be computed when prefixes are shared, over some steps of the first epoch."""
        total = computed = 0
        for step in islice(self.epoch_plan(0), SAMPLE):
            chosen = [self.sequences[i] for i in step]
            lengths = [len(s.ids) for s in chosen]
            total += sum(lengths)
            computed += sum(computed_tokens(tree, lengths) for tree in shared_prefixes(chosen, self.micro_tokens))
        return 1 - computed / total if total else 0.0

    def batches(self, epoch: int, skip: int = 0) -> Iterator[StepBatch]:
        """Steps of one epoch, beginning after the first `skip`; the next one is made while the caller works on this."""
        return ahead(self._step(step, epoch) for step in self.epoch_plan(epoch)[skip:])

    def _step(self, step: Sequence[int], epoch: int) -> StepBatch:
        chosen = [self.sequences[i] for i in step]
        lengths = [len(s.ids) for s in chosen]
        trees = shared_prefixes(chosen, self.micro_tokens) if self.share else alone(len(chosen))
        sizes = [computed_tokens(tree, lengths) for tree in trees]
        rows = best_fit_rows(sizes, max(self.micro_tokens, *sizes))
        micro = [self._pack([trees[i] for i in row], chosen, step) for row in rows]
        return StepBatch(
            micro_batches=[batch for batch in micro if len(batch.target_id)],
            weight_sum=target_weight_sum(chosen),
            tokens=sum(lengths),
            epoch=epoch,
        )

    @staticmethod
    def _pack(trees: Sequence[Tree], chosen: Sequence[Encoded], step: Sequence[int]) -> Batch:
        members = [member for tree in trees for member in tree.members]
        place = {member: at for at, member in enumerate(members)}
        placed = [Tree(tuple(place[member] for member in tree.members), tree.prefix) for tree in trees]
        return pack([chosen[i] for i in members], [step[i] for i in members], placed)


def ahead(batches: Iterable[StepBatch]) -> Iterator[StepBatch]:
    """The same batches in the same order, each made in another thread while the one before is used."""
    stream = iter(batches)
    with ThreadPoolExecutor(1, thread_name_prefix="heed-loader") as pool:
        following = pool.submit(next, stream, None)
        while (batch := following.result()) is not None:
            following = pool.submit(next, stream, None)
            yield batch
