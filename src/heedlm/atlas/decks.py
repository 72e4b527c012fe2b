"""Drawing without replacement: every item comes once before any comes again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Deck(Generic[T]):
    """An endless shuffled deck over ``items``; it holds what is left of the current round."""

    def __init__(self, items: Sequence[T], rng: random.Random) -> None:
        self._items = list(items)
        self._rng = rng
        self._left: list[T] = []

    def draw(self) -> T:
        """The next item."""
        if not self._left:
            self._left = self._items.copy()
            self._rng.shuffle(self._left)
        return self._left.pop()

    def take(self, count: int) -> list[T]:
        """The next ``count`` different items (``count`` at most the number of items)."""
        assert count <= len(self._items), "a hand holds each item once"
        hand: list[T] = []
        later: list[T] = []
        while len(hand) < count:
            item = self.draw()
            (later if item in hand else hand).append(item)
        # A card met twice at the seam of two rounds goes back, so that exposure stays equal.
        self._left.extend(later)
        return hand
