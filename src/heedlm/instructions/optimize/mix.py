"""Moves of several stages together: a balanced draw of combinations tells what each move is worth, and the best are raced.

One move after the other misses what helps only in company: a shorter task may show its worth only where the rules are gone.
A balanced draw puts every level of every slot with many others; main effects of such a draw are those of a fractional
factorial design (Box, Hunter and Hunter, Statistics for Experimenters, 2005, chapter 6).
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Sequence
from itertools import product

from heedlm.instructions.bench import Candidate
from heedlm.instructions.optimize.ledger import Exhausted, Ledger, fingerprint
from heedlm.instructions.optimize.moves import Move
from heedlm.instructions.optimize.race import race

_ITEMS = 12  # on which every combination of the draw is tried
_FEWEST, _MOST = 12, 96  # combinations of the draw
_PREDICTED, _SEEN = 12, 6  # rivals of the race: those that the effects promise most, and the best of the draw
_SWEEPS = 20  # over the slots when effects are fitted
_PRIOR = 2.0  # combinations at no effect that each level is taken to have been in beside its own: few tell little
_LEVELS = 3  # of each slot that the prediction looks at
_SLOTS = 7  # with the largest effects, of which all combinations are looked at

Way = tuple[int, ...]  # a level for each slot; 0 is "as it is"


def best_of_mix(
    ledger: Ledger,
    seat: Candidate,
    moves: Sequence[Move],
    items: Sequence[int],
    calls: int,
    draw: random.Random,
    usable: Callable[[Candidate], bool] = lambda candidate: True,
) -> Candidate | None:
    """The best combination of moves of any stages, one of each slot at a time; None where nothing beats the seat.

    About half of the calls go to a draw of combinations on the first items, the rest to a race of those that it promises.
    usable: whether a candidate compiles; only those cost a call. None, and nothing asked, where `calls` do not reach.
    """
    began = ledger.calls
    rivals = _promising(ledger, seat, moves, items, calls // 2, draw, usable)
    ended = race(ledger, seat, rivals, items, calls - (ledger.calls - began))
    best = max(ended, key=lambda one: (one.items, one.gain), default=None)
    return best.candidate if best is not None and best.gain > 0 else None


def _promising(
    ledger: Ledger,
    seat: Candidate,
    moves: Sequence[Move],
    items: Sequence[int],
    calls: int,
    draw: random.Random,
    usable: Callable[[Candidate], bool],
) -> list[Candidate]:
    """Combinations that the effects of a draw promise most, then the best of the draw itself."""
    slots = _slots(moves)
    levels = [len(own) + 1 for own in slots]
    size = min(_ITEMS, len(items))
    count = min(_MOST, calls // max(1, size) - 1)
    if not slots or count < _FEWEST:
        return []
    made: dict[str, tuple[Candidate, Way]] = {}
    for way in _design(levels, count, draw):
        one = _made(seat, slots, way)
        if one is not None and usable(one):
            made.setdefault(fingerprint(one), (one, way))
    tried = [one for one, _ in made.values()]
    try:
        (base, *rows) = ledger.scores([seat, *tried], items[:size])
    except Exhausted:
        return []
    gains = [(sum(row) - sum(base)) / size for row in rows]
    effects = fitted([way for _, way in made.values()], gains, levels)
    promised = [one for way in best_ways(effects, _PREDICTED) if (one := _made(seat, slots, way)) is not None]
    observed = [tried[place] for place in sorted(range(len(tried)), key=lambda place: -gains[place])[:_SEEN]]
    found = {fingerprint(one): one for one in (*(one for one in promised if usable(one)), *observed)}
    return [one for key, one in found.items() if key != fingerprint(seat)]


def _slots(moves: Iterable[Move]) -> list[list[Move]]:
    """The moves by slot, in the order in which the slots first come."""
    found: dict[str, list[Move]] = {}
    for move in moves:
        found.setdefault(move.slot, []).append(move)
    return list(found.values())


def _design(levels: Sequence[int], count: int, draw: random.Random) -> list[Way]:
    """`count` ways in which each level of a slot comes equally often, up to one; "as it is" as often as all others of a
    slot with one move only."""
    columns = []
    for many in levels:
        column = [place % many for place in range(count)]
        draw.shuffle(column)
        columns.append(column)
    return list(dict.fromkeys(zip(*columns, strict=True)))


def _made(seat: Candidate, slots: Sequence[Sequence[Move]], way: Way) -> Candidate | None:
    """The seat with a move of each slot that is not "as it is"; a move that no longer applies is left out."""
    at = seat
    for levels, level in zip(slots, way, strict=True):
        if level:
            at = levels[level - 1].on(at) or at
    return None if at is seat else at


def fitted(ways: Sequence[Way], gains: Sequence[float], levels: Sequence[int]) -> list[list[float]]:
    """The effect of each level of each slot beside "as it is", fitted as a sum by sweeps over the slots."""
    effects = [[0.0] * many for many in levels]
    mean = sum(gains) / max(1, len(gains))
    for _ in range(_SWEEPS):
        for slot, own in enumerate(effects):
            totals, counts = [0.0] * len(own), [_PRIOR] * len(own)
            for way, gain in zip(ways, gains, strict=True):
                others = sum(effects[other][level] for other, level in enumerate(way) if other != slot)
                totals[way[slot]] += gain - mean - others
                counts[way[slot]] += 1
            own[:] = [total / count for total, count in zip(totals, counts, strict=True)]
    return [[effect - own[0] for effect in own] for own in effects]


def best_ways(effects: Sequence[Sequence[float]], count: int) -> list[Way]:
    """The ways with the largest sums of effects, largest first. Of slots that matter little only the best level is taken."""
    order = [sorted(range(len(own)), key=lambda level, own=own: -own[level]) for own in effects]  # type: ignore[misc]
    weight = [max(own) - min(own) for own in effects]
    wide = set(sorted(range(len(effects)), key=lambda slot: -weight[slot])[:_SLOTS])
    choices = [levels[: _LEVELS if slot in wide else 1] for slot, levels in enumerate(order)]
    total = lambda way: sum(own[level] for own, level in zip(effects, way, strict=True))  # noqa: E731
    return heapq.nlargest(count, product(*choices), key=total)
