"""Which 64-bit names were seen, and where first: a table of some thirty bytes per name, a quarter of what a dict takes."""

from __future__ import annotations

from array import array

_SMALLEST = 1 << 10  # places; always a power of two
_FULL = 0.6  # share of places that are taken at most


class Ledger:
    """Names (0 to 2**64 - 1) with a number (0 to 2**32 - 1) each, by open addressing."""

    def __init__(self) -> None:
        self._names, self._numbers = array("Q", bytes(8 * _SMALLEST)), array("I", bytes(4 * _SMALLEST))
        self._count = 0
        self._zero: int | None = None  # the number of the name 0, which marks an empty place

    def __len__(self) -> int:
        return self._count + (self._zero is not None)

    def first(self, name: int, number: int) -> int:
        """The number that a name was first given: this one, where it is new."""
        if name == 0:
            self._zero = number if self._zero is None else self._zero
            return self._zero
        place = self._place(name)
        if self._names[place] == name:
            return self._numbers[place]
        self._names[place], self._numbers[place] = name, number
        self._count += 1
        if self._count > _FULL * len(self._names):
            self._grow()
        return number

    def _place(self, name: int) -> int:
        """Where a name stands, or would."""
        mask = len(self._names) - 1
        place = (name ^ (name >> 32)) & mask
        while (there := self._names[place]) and there != name:
            place = (place + 1) & mask
        return place

    def _grow(self) -> None:
        names, numbers = self._names, self._numbers
        self._names, self._numbers = array("Q", bytes(16 * len(names))), array("I", bytes(8 * len(names)))
        for name, number in zip(names, numbers, strict=True):
            if name:
                place = self._place(name)
                self._names[place], self._numbers[place] = name, number
