"""Is there anything to gain? Changes of all kinds are tried on a few items before the budget is spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from heedlm.instructions.bench import Candidate
from heedlm.instructions.optimize.ledger import Ledger, fingerprint

PROBES = 12  # changes tried
ITEMS = 32  # items each is tried on, where a quarter of the budget reaches for them
NEAR_ZERO = 0.05  # mean score up to which right answers are too rare to steer a search
_FEWEST = 8


@dataclass(frozen=True, slots=True)
class Headroom:
    """What the changes did on the probe items.

    seed: mean score of the seed.   best: of the best change, flattered by having been chosen.   oracle: if each item had
    the best of all its answers.   low: of the worst change.   changed: share of items on which any change does otherwise.
    tried: changes.   why: no headroom, in a sentence; "" where there is some.   blind: neither the seed nor any change is
    right on more than NEAR_ZERO of the items, and the model tells how likely it finds the right answers.
    """

    items: int
    tried: int
    seed: float
    best: float
    low: float
    oracle: float
    changed: float
    why: str = ""
    blind: bool = False


def headroom(
    ledger: Ledger,
    seed: Candidate,
    changes: Sequence[Candidate],
    items: Sequence[int],
    dev: Sequence[int],
    *,
    reflected: bool = False,
) -> Headroom:
    """Try the seed and up to PROBES changes on the first ITEMS items; the first round of a race knows them then. A small
    budget tries on fewer items, 8 at least. dev: on which a seed that is right on all of them has to be right as well.   reflected: a strong
    model is to propose other words, so that changes which do nothing are no reason to stop.

    changes: taken in turn from the stages, so that the first of them are of all kinds. Raises Exhausted.
    """
    distinct = {fingerprint(one): one for one in changes if fingerprint(one) != fingerprint(seed)}
    tried = list(distinct.values())[:PROBES]
    seen = items[: min(ITEMS, max(_FEWEST, ledger.left // 4 // (len(tried) + 1)))]
    base, *found = ledger.scores([seed, *tried], seen)
    means = [sum(one) / len(seen) for one in found] or [sum(base) / len(seen)]
    columns = list(zip(base, *found, strict=True))
    oracle = sum(max(column) for column in columns) / len(seen)
    mean = sum(base) / len(seen)
    blind = ledger.tells_likelihood and max(mean, *means) <= NEAR_ZERO
    why = ""
    if not tried and not reflected:
        why = "nothing may be changed: all blocks are frozen, and no layout is left to try"
    elif min(base) >= 1:
        if min(ledger.scores([seed], dev)[0]) >= 1:
            why = f"the seed is right on all {len(seen) + len(dev)} items that were tried"
    elif oracle <= mean and not blind and not reflected:
        why = f"none of {len(tried)} changes does better on any of {len(seen)} items"
    changed = sum(len(set(column)) > 1 for column in columns) / len(seen)
    return Headroom(len(seen), len(tried), mean, max(means), min(means), oracle, changed, why, blind and not why)
