"""Lay encoded sequences end to end, without padding, and make the targets once.

This is the only place where a token meets its predecessor: the target shift of the whole project is in `pack`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from heedlm.errors import HeedError
from heedlm.messages import Batch, Encoded

if TYPE_CHECKING:
    import torch


class TooLong(HeedError):
    """A sequence is longer than the row that should hold it; the caller owns the choice of what to do."""


def best_fit_rows(lengths: Sequence[int], row_tokens: int) -> list[list[int]]:
    """Assign sequences to rows, longest first, each into the fullest row that still holds it.

    lengths: tokens per sequence, each in 1..row_tokens.   Returns indices per row, in the order placed.
    Raises TooLong if a length exceeds row_tokens.   Source: best-fit decreasing, arXiv 2404.10830.

    >>> best_fit_rows([3, 5, 2], 5)
    [[1], [0, 2]]
    """
    rows: list[list[int]] = []
    by_room: dict[int, list[int]] = {}  # free tokens -> rows with exactly that much room
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        length = lengths[index]
        if length > row_tokens:
            raise TooLong(f"A sequence is too long: {length:,} tokens, row holds {row_tokens:,}.", f"sequence {index}")
        room = min((r for r, which in by_room.items() if r >= length and which), default=None)
        if room is None:
            row = len(rows)
            rows.append([])
            room = row_tokens
        else:
            row = by_room[room].pop()
        rows[row].append(index)
        by_room.setdefault(room - length, []).append(row)
    return rows


def pack(sequences: Sequence[Encoded], rows: Sequence[int] | None = None) -> Batch:
    """One batch of documents laid end to end: a forest of depth one.

    rows: the training row each sequence came from (default: its index), carried to every target.
    The hidden state at position i predicts the token at i + 1 *of the same document*, so no target crosses a boundary;
    a document's first token is never a target. Weights are those of the predicted token. Zero-weight tokens are absent.
    """
    import torch

    assert sequences, "a batch holds at least one sequence"
    ids: list[int] = []
    positions: list[int] = []
    starts = [0]
    index: list[int] = []
    target: list[int] = []
    weight: list[float] = []
    row_of: list[int] = []
    for number, sequence in enumerate(sequences):
        offset = len(ids)
        row = number if rows is None else rows[number]
        for place in range(1, len(sequence.ids)):
            if sequence.weights[place] > 0:
                index.append(offset + place - 1)
                target.append(sequence.ids[place])
                weight.append(sequence.weights[place])
                row_of.append(row)
        ids.extend(sequence.ids)
        positions.extend(range(len(sequence.ids)))
        starts.append(len(ids))
    return Batch(
        ids=torch.tensor(ids, dtype=torch.long),
        positions=torch.tensor(positions, dtype=torch.long),
        starts=torch.tensor(starts, dtype=torch.int32),
        parents=torch.full((len(sequences),), -1, dtype=torch.int32),
        target_index=torch.tensor(index, dtype=torch.long),
        target_id=torch.tensor(target, dtype=torch.long),
        target_weight=torch.tensor(weight, dtype=torch.float32),
        target_row=torch.tensor(row_of, dtype=torch.long),
    )


def target_weight_sum(sequences: Sequence[Encoded]) -> float:
    """Sum of the weights that `pack` will turn into targets (the first token of a sequence has no predecessor)."""
    return float(sum(sum(sequence.weights[1:]) for sequence in sequences))


def to_device(batch: Batch, device: torch.device | str) -> Batch:
    """The same batch on another device."""
    return Batch(*(getattr(batch, name).to(device, non_blocking=True) for name in Batch.__dataclass_fields__))
