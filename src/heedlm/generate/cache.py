"""A key/value cache whose rows may leave and join while the others go on.

Transformers' own dynamic layers copy every key and value at each step (`torch.cat`); here a step writes one column into
room that is already there. Rows are aligned at their ends: column T - 1 holds the newest token of every row, a shorter
row has padding on its left.   B rows, H heads, T columns, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import (
    Cache,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionLayer,
)

_ROOM = 64  # columns made at a time beyond what is asked for


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer in buffers [B, H, T + room, D]; `keys` and `values` are views of what is filled.

    Sliding-window layers use it too: the mask keeps the window, and the columns before it are merely kept longer.
    """

    def __init__(self) -> None:
        super().__init__()
        self._buffers: list[torch.Tensor] = []
        self._length = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append columns; return all keys and values so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._buffers = [_empty_like(states, states.shape[-2]) for states in (key_states, value_states)]
        end = self._length + key_states.shape[-2]
        if end > self._buffers[0].shape[-2]:
            self._buffers = [_grown(old, self._length, end + end // 2) for old in self._buffers]
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, self._length : end] = states
        self._show(end)
        return self.keys, self.values

    def _show(self, length: int) -> None:
        self._length = length
        self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)

    def keep_rows(self, rows: Sequence[int], first: int) -> None:
        """Keep `rows`, in this order, and of their columns those from `first`. A row that stays where it is costs
        nothing (see `survivors`)."""
        for buffer in self._buffers:
            for place, row in enumerate(rows):
                if place != row:
                    assert row >= len(rows), "a row may only move down into a free place"
                    buffer[place, :, : self._length] = buffer[row, :, : self._length]
        self._buffers = [buffer[: len(rows), :, first:] for buffer in self._buffers]
        self._show(self._length - first)

    def spread(self, starts: Sequence[int]) -> None:
        """Of one row make many: row b begins at column starts[b] with the first columns of the old row."""
        columns, spread = self._length, []
        for old in self._buffers:
            new = old.new_zeros(len(starts), old.shape[1], columns + _ROOM, old.shape[3])
            for row, start in enumerate(starts):
                new[row, :, min(start, columns) : columns] = old[0, :, : max(0, columns - start)]
            spread.append(new)
        self._buffers = spread
        self._show(columns)

    def join(self, other: RoomyLayer) -> None:
        """Take the rows of `other` below ours, all ends aligned."""
        length = max(self._length, other._length)
        joined = []
        for ours, theirs in zip(self._buffers, other._buffers, strict=True):
            batch = ours.shape[0] + theirs.shape[0]
            buffer = ours.new_zeros(batch, ours.shape[1], length + _ROOM, ours.shape[3])
            buffer[: ours.shape[0], :, length - self._length : length] = ours[:, :, : self._length]
            buffer[ours.shape[0] :, :, length - other._length : length] = theirs[:, :, : other._length]
            joined.append(buffer)
        self._buffers = joined
        self._show(length)


def new_cache(model: PreTrainedModel) -> Cache:
    """An empty cache for `model`: roomy layers where it keeps keys and values, its own kind elsewhere."""
    cache = DynamicCache(config=model.config)
    plain = (DynamicLayer, DynamicSlidingWindowLayer)
    cache.layers = [RoomyLayer() if type(layer) in plain else layer for layer in cache.layers]
    if cache.layer_class_to_replicate is DynamicLayer:
        cache.layer_class_to_replicate = RoomyLayer
    return cache


def joinable(cache: Cache) -> bool:
    """Whether rows may join: every layer is of a kind whose rows we know how to lay together."""
    return all(type(layer) in (RoomyLayer, LinearAttentionLayer) or _stores_nothing(layer) for layer in cache.layers)


def resumable(cache: Cache) -> bool:
    """Whether several tokens may follow what is cached: so it is with keys and values; a recurrent layer may insist on
    one token at a time."""
    return all(type(layer) is RoomyLayer or _stores_nothing(layer) for layer in cache.layers)


def survivors(num_rows: int, leaving: Sequence[int]) -> list[int]:
    """Which old row stands at each place after `leaving` left: the last rows fill the gaps, so that few rows move.

    >>> survivors(5, [0, 3])
    [4, 1, 2]
    """
    gone = set(leaving)
    rows = list(range(num_rows - len(gone)))
    spare = [row for row in range(len(rows), num_rows) if row not in gone]
    for place in rows:
        if place in gone:
            rows[place] = spare.pop()
    return rows


def keep_rows(cache: Cache, rows: Sequence[int], first: int) -> None:
    """Keep only `rows` of every layer, in this order (as `survivors` gives it), and forget the columns before `first`.

    first: above 0 only where the cache is `joinable`.
    """
    index: torch.Tensor | None = None
    for layer in cache.layers:
        if isinstance(layer, RoomyLayer):
            if layer.is_initialized:
                layer.keep_rows(rows, first)
        elif not _stores_nothing(layer):
            index = torch.tensor(list(rows)) if index is None else index
            layer.reorder_cache(index)


def spread(cache: Cache, starts: Sequence[int]) -> None:
    """Give the one row of a `resumable` cache to many rows, each from its column starts[b] on; what lies left of it is
    padding."""
    for layer in cache.layers:
        if isinstance(layer, RoomyLayer) and layer.is_initialized:
            layer.spread(starts)


def join(cache: Cache, other: Cache) -> None:
    """Lay the rows of `other` below those of `cache`, all ends aligned. Both are `joinable`."""
    for ours, theirs in zip(cache.layers, other.layers, strict=True):
        if isinstance(ours, RoomyLayer):
            if ours.is_initialized:
                ours.join(theirs)
        elif isinstance(ours, LinearAttentionLayer):
            for states in ("conv_states", "recurrent_states"):
                mine, yours = getattr(ours, states), getattr(theirs, states)
                for key, state in mine.items():
                    if state is not None:
                        mine[key] = torch.cat([state, yours[key]])


def _stores_nothing(layer: object) -> bool:
    """Layers without a memory of their own; older transformers have no class for them."""
    return type(layer).__name__ == "DummyLayer"


def _empty_like(states: torch.Tensor, columns: int) -> torch.Tensor:
    batch, heads, _, size = states.shape
    return states.new_zeros(batch, heads, columns + _ROOM, size)


def _grown(old: torch.Tensor, filled: int, columns: int) -> torch.Tensor:
    new = _empty_like(old, columns)
    new[:, :, :filled] = old[:, :, :filled]
    return new
