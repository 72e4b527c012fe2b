"""A key/value cache whose rows leave and join while the others go on.

Transformers' own dynamic layers copy every key and value at each step (`torch.cat`); here a step writes one column into
room that is already there. Rows are aligned at their ends: column T - 1 holds the newest token of every row, a shorter
row has padding on its left.   B rows, H heads, T columns, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
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
_SPARE = 4  # rows made at a time beyond what is asked for, where rows join


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer in buffers [rows, H, columns, D] with room on every side but the top.

    `keys` and `values` are views of what is filled: the first rows, and the columns begin..end - 1. Room at the right takes
    the next tokens, room at the bottom rows that join, room at the left rows that join and are longer than all others: none
    of the three copies what is there. Whatever a view shows as padding is zero, never what another row left behind.
    Sliding-window layers use it too: the mask keeps the window, and the columns before it are merely kept longer.
    """

    def __init__(self) -> None:
        super().__init__()
        self._buffers: list[torch.Tensor] = []
        self._rows = self._begin = self._end = 0

    @property
    def length(self) -> int:
        """Columns in the view."""
        return self._end - self._begin

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append columns; return all keys and values so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._rows, columns = key_states.shape[0], key_states.shape[-2] + _ROOM
            self._buffers = [_zeros(states, self._rows, columns) for states in (key_states, value_states)]
        end = self._end + key_states.shape[-2]
        if end > self._buffers[0].shape[-2]:
            more = max(_ROOM, self.length // 2) + key_states.shape[-2]
            self._move(rows=self._buffers[0].shape[0], left=0, right=more)
            end = self._end + key_states.shape[-2]
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[: self._rows, :, self._end : end] = states
        self._show(self._begin, end)
        return self.keys, self.values

    def _show(self, begin: int, end: int) -> None:
        self._begin, self._end = begin, end
        self.keys, self.values = (buffer[: self._rows, :, begin:end] for buffer in self._buffers)

    def _move(self, *, rows: int, left: int, right: int) -> None:
        """Lay what is there into new buffers of `rows` rows, with so much room at either side."""
        length, moved = self.length, []
        for old in self._buffers:
            new = _zeros(old, rows, left + length + right)
            new[: self._rows, :, left : left + length] = old[: self._rows, :, self._begin : self._end]
            moved.append(new)
        self._buffers = moved
        self._show(left, left + length)

    def keep_rows(self, rows: Sequence[int], first: int) -> None:
        """Keep `rows`, in this order, and of their columns those from `first`. A row that stays where it is costs
        nothing (see `survivors`)."""
        for buffer in self._buffers:
            for place, row in enumerate(rows):
                if place != row:
                    assert row >= len(rows), "a row may only move down into a free place"
                    buffer[place, :, self._begin : self._end] = buffer[row, :, self._begin : self._end]
        self._rows = len(rows)
        self._show(self._begin + first, self._end)

    def spread(self, starts: Sequence[int], columns: int, room: int) -> None:
        """Of one row make many: row b begins at column starts[b] with the first columns of the old row, up to `columns`."""
        spread = []
        for old in self._buffers:
            new = _zeros(old, len(starts), columns + room)
            for row, start in enumerate(starts):
                filled = max(0, columns - start)
                new[row, :, columns - filled : columns] = old[0, :, self._begin : self._begin + filled]
            spread.append(new)
        self._buffers, self._rows = spread, len(starts)
        self._show(0, columns)

    def crop(self, length: int) -> None:
        """Forget the columns behind the first `length`."""
        self._show(self._begin, self._begin + length)

    def join(self, other: RoomyLayer) -> None:
        """Take the rows of `other` below ours, all ends aligned."""
        rows, length = self._rows + other._rows, max(self.length, other.length)
        have, _, columns, _ = self._buffers[0].shape
        if rows > have or length > self._end:
            self._move(
                rows=max(have, rows + max(_SPARE, rows // 2)) if rows > have else have,
                left=length - self.length + _ROOM,
                right=max(_ROOM, columns - self._end),
            )
        begin = self._end - length
        for ours, theirs in zip(self._buffers, other._buffers, strict=True):
            ours[: self._rows, :, begin : self._begin] = 0
            ours[self._rows : rows, :, begin : self._end - other.length] = 0
            added = theirs[: other._rows, :, other._begin : other._end]
            ours[self._rows : rows, :, self._end - other.length : self._end] = added
        self._rows = rows
        self._show(begin, self._end)

    def cut_out(self, row: int, start: int, end: int) -> None:
        """Keep one row, and of it the columns start..end - 1, as a copy without any room."""
        self._buffers = [states[row : row + 1, :, start:end].clone() for states in (self.keys, self.values)]
        self._rows = 1
        self._show(0, end - start)

    @property
    def num_bytes(self) -> int:
        return sum(buffer.numel() * buffer.element_size() for buffer in self._buffers)


def _zeros(like: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    return like.new_zeros(rows, like.shape[1], columns, like.shape[3])


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


def spread(cache: Cache, starts: Sequence[int], columns: int, room: int = _ROOM) -> Cache:
    """A cache of many rows, each from its column starts[b] up to `columns` filled with the first columns of the one row
    of a `resumable` cache, which stays as it is. What lies left of a row is padding.   room: for so many columns more."""
    made = copy(cache)
    made.layers = [copy(layer) for layer in cache.layers]
    for layer in made.layers:
        if isinstance(layer, RoomyLayer) and layer.is_initialized:
            layer.spread(starts, columns, room)
    return made


def crop(cache: Cache, length: int) -> None:
    """Take a `resumable` cache back to its first `length` columns."""
    for layer in cache.layers:
        if isinstance(layer, RoomyLayer) and layer.is_initialized:
            layer.crop(length)


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


def one_row(cache: Cache, row: int, start: int, end: int) -> Cache:
    """A cache of one row: a copy of the columns start..end - 1 of that row of a `resumable` cache."""
    made = copy(cache)
    made.layers = [copy(layer) for layer in cache.layers]
    for layer in made.layers:
        if isinstance(layer, RoomyLayer) and layer.is_initialized:
            layer.cut_out(row, start, end)
    return made


def num_bytes(cache: Cache) -> int:
    """Bytes that the keys and values of a `resumable` cache take, with the room around them."""
    return sum(layer.num_bytes for layer in cache.layers if isinstance(layer, RoomyLayer))
