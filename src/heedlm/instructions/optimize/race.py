"""Sequential halving on nested items: each round asks half as many candidates about twice as many items."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from heedlm.instructions.bench import Candidate
from heedlm.instructions.optimize.ledger import Exhausted, Ledger, fingerprint

_FEWEST = 8  # items of a first round


@dataclass(frozen=True, slots=True)
class Raced:
    """How far a candidate came. gain: mean score above the seat's on the items that both saw.   items: how many."""

    candidate: Candidate
    gain: float
    items: int


def cost(rivals: int, size: int, available: int, until: int = 1, known: Sequence[int] = ()) -> int:
    """Calls of a whole race with a first round on `size` items, the seat's among them, at most.

    known: for the seat and then for each rival, on how many of the first items it is known already; () nothing is.
    """
    seat, *others = known or (0,) * (rivals + 1)
    others.sort()  # those that are known least are the dearest, and may be those that stay
    total, before = 0, 0
    while True:
        size = min(size, available)
        total += sum(max(0, size - max(before, one)) for one in (seat, *others[:rivals]))
        if rivals <= until or size == available:
            return total
        rivals, before, size = math.ceil(rivals / 2), size, 2 * size


def first_round(rivals: int, calls: int, available: int, until: int = 1, known: Sequence[int] = ()) -> int:
    """The most items of a first round with which a race costs `calls` at most; 0 where even the fewest cost more."""
    low, high = 0, available
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if cost(rivals, middle, available, until, known) <= calls else (low, middle - 1)
    return low if low >= min(_FEWEST, available) else 0


def race(
    ledger: Ledger, seat: Candidate, rivals: Sequence[Candidate], items: Sequence[int], calls: int, until: int = 1
) -> list[Raced]:
    """All rivals, best first: those that came further before those that fell out; each with its gain over `seat`.

    The seat runs along in each round, so that every gain is of pairs. A budget that ends in the middle ends the race
    with what is known. until: rivals at which halving ends. Rivals for which `calls` do not reach are left out, the last
    ones first. Source: sequential halving, Karnin et al. 2013 (ICML).
    """
    alive = list({fingerprint(one): one for one in rivals if fingerprint(one) != fingerprint(seat)}.values())
    known = [_known(ledger, one, items) for one in (seat, *alive)]
    while alive and not (size := first_round(len(alive), calls, len(items), until, known)):
        alive.pop()
        known.pop()
    out: list[Raced] = []
    last: list[Raced] = []
    while alive:
        seen = items[:size]
        try:
            base, *found = ledger.scores([seat, *alive], seen)
        except Exhausted:
            break
        gains = [(sum(one) - sum(base)) / len(seen) for one in found]
        last = [Raced(one, gain, len(seen)) for one, gain in zip(alive, gains, strict=True)]
        last.sort(key=lambda one: -one.gain)  # stable: of equals the earlier move wins
        if len(alive) <= until or size == len(items):
            break
        keep = math.ceil(len(alive) / 2)
        out = last[keep:] + out
        alive, last = [one.candidate for one in last[:keep]], last[:keep]
        size = min(len(items), 2 * size)
    return last + out


def _known(ledger: Ledger, candidate: Candidate, items: Sequence[int]) -> int:
    """On how many of the first items a candidate is known."""
    found = ledger.known(candidate, ledger.measure)
    return next((number for number, item in enumerate(items) if item not in found), len(items))
