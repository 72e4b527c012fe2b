"""Lay encoded sequences end to end, without padding, and make the targets once.

This is the only place where a token meets its predecessor: the target shift of the whole project is in `pack`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from heedlm.errors import HeedError
from heedlm.messages import Batch, Encoded
from heedlm.tokens.prefix import Tree, alone

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


class _Row:
    """What a batch is made of, growing document by document."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.starts = [0]
        self.parents: list[int] = []
        self.targets: list[tuple[int, int, float, int]] = []

    def add(self, ids: Sequence[int], first_position: int, parent: int) -> tuple[int, int]:
        """Append a document. Returns its number and where it begins."""
        at = len(self.ids)
        self.ids.extend(ids)
        self.positions.extend(range(first_position, first_position + len(ids)))
        self.starts.append(len(self.ids))
        self.parents.append(parent)
        return len(self.parents) - 1, at


def pack(sequences: Sequence[Encoded], rows: Sequence[int] | None = None, trees: Sequence[Tree] | None = None) -> Batch:
    """One batch of documents laid end to end: a forest of depth one, or of depth two where prefixes are shared.

    rows: the training row each sequence came from (default: its index), carried to every target.
    trees: which sequences share a prefix (tokens.prefix; default: none does); the prefix stands once, before its branches.
    The hidden state at position i predicts the token at i + 1 *of the same sequence*, so no target crosses a boundary; a
    sequence's first token is never a target. The last state of a prefix predicts the first token of every branch, and a
    target inside the prefix stands once for each sequence that learns it. Zero-weight tokens are absent.
    """
    import torch

    assert sequences, "a batch holds at least one sequence"
    made = _Row()
    for tree in trees if trees is not None else alone(len(sequences)):
        parent, root = -1, 0
        if tree.prefix:
            parent, root = made.add(sequences[tree.members[0]].ids[: tree.prefix], 0, -1)
        for number in tree.members:
            sequence = sequences[number]
            _, own = made.add(sequence.ids[tree.prefix :], tree.prefix, parent)
            row = number if rows is None else rows[number]
            for place in range(1, len(sequence.ids)):
                if sequence.weights[place] > 0:
                    before = place - 1
                    state = root + before if before < tree.prefix else own + before - tree.prefix
                    made.targets.append((state, sequence.ids[place], sequence.weights[place], row))
    index, target, weight, row_of = zip(*made.targets, strict=True) if made.targets else ((), (), (), ())
    return Batch(
        ids=torch.tensor(made.ids, dtype=torch.long),
        positions=torch.tensor(made.positions, dtype=torch.long),
        starts=torch.tensor(made.starts, dtype=torch.int32),
        parents=torch.tensor(made.parents, dtype=torch.int32),
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
