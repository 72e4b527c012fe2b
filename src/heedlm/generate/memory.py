"""What earlier prompts began with, kept so that the next one need not compute it again.

One system text before every question, a conversation that goes on: the keys and values of a beginning are the same each
time. Kept beginnings are cut out of a running batch as copies of one row; the ones used longest ago make room.
"""

from __future__ import annotations

from collections.abc import Sequence

from transformers.cache_utils import Cache

from heedlm.generate import cache as kv

_WORTH = 32  # tokens: a shorter beginning is computed again faster than it is looked after
_ROOM = 64  # columns beyond the prompts, for the first tokens of the replies


class Memory:
    """Beginnings by their ids, up to `budget` bytes of keys and values. Used by one thread."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.bytes = 0
        self._kept: dict[tuple[int, ...], tuple[Cache, int]] = {}  # the one used last stands last

    def __len__(self) -> int:
        return len(self._kept)

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self.bytes = 0

    def opened(self, prompts: Sequence[Sequence[int]], starts: Sequence[int]) -> tuple[Cache | None, int]:
        """A cache for left-padded rows, filled with what all begin with, and how many columns that are; None and 0 where
        nothing is known that all begin with. One token of each prompt is left to be computed."""
        ids, same = self._longest(prompts[0])
        same = min([same, *(_same(ids, prompt) for prompt in prompts[1:]), *(len(prompt) - 1 for prompt in prompts)])
        if same < _WORTH:
            return None, 0
        self._kept[ids] = self._kept.pop(ids)
        room = max(map(len, prompts)) - same + _ROOM
        return kv.spread(self._kept[ids][0], starts, same, room=room), same

    def shared(self, prompt: Sequence[int]) -> int:
        """How many tokens of a prompt alone need not be computed."""
        same = min(self._longest(prompt)[1], len(prompt) - 1)
        return same if same >= _WORTH else 0

    def alike(self, one: Sequence[int], other: Sequence[int]) -> bool:
        """Whether two prompts go together: they begin with the same known text, or neither with any."""
        (mine, same), (yours, as_long) = self._longest(one), self._longest(other)
        if same < _WORTH or as_long < _WORTH:
            return same < _WORTH and as_long < _WORTH
        # Two entries may part late: what counts is that little is computed twice.
        return mine == yours or _same(mine, other) + _WORTH >= as_long

    def keep(self, ids: Sequence[int], cache: Cache, row: int, start: int) -> None:
        """Keep the columns of one row, which begins at column `start` of `cache` with these ids."""
        wanted = tuple(ids)
        known, same = self._longest(wanted)
        if len(wanted) < same + _WORTH:
            return
        taken = kv.one_row(cache, row, start, start + len(wanted))
        size = kv.num_bytes(taken)
        if size > self.budget:
            return
        if same == len(known) and known:  # the new one goes on where the old one ends
            self.bytes -= self._kept.pop(known)[1]
        self._kept[wanted] = (taken, size)
        self.bytes += size
        while self.bytes > self.budget:
            oldest = next(iter(self._kept))
            self.bytes -= self._kept.pop(oldest)[1]

    def _longest(self, prompt: Sequence[int]) -> tuple[tuple[int, ...], int]:
        """The kept ids that share most with `prompt`, from its first token, and how many; the one used last of equals."""
        found: tuple[tuple[int, ...], int] = ((), 0)
        for ids in self._kept:
            same = _same(ids, prompt)
            if same and same >= found[1]:
                found = ids, same
        return found


def _same(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with, found by halving: comparing slices is far quicker than comparing tokens."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if tuple(one[low:middle]) == tuple(other[low:middle]):
            low = middle
        else:
            high = middle - 1
    return low
