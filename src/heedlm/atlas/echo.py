"""Pages on which a list is read out and then read out again: the plainest practice in copying.

Without them a model of this size learns every form of the corpus and none of its copying: after 6.4M tokens it wrote
perfect letters to the wrong client (docs/log.md, 2026-11-20). The second reading can only be predicted by looking back.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from heedlm.atlas import lexicon, phrases
from heedlm.atlas.facts import countries, words
from heedlm.atlas.names import invented_names
from heedlm.atlas.world import Document

_HEADS = (
    "Roll call",
    "The list",
    "Stock taking",
    "Order",
    "Names on the board",
    "In the box",
    "Read aloud",
    "Inventory",
)
_AGAIN = ("Again", "Once more", "The same again", "Second reading", "Checked", "Repeated", "Copy")
_BETWEEN = (" ", " ", ", ", "\n", "; ", " - ", " / ")
MIN_ITEMS, MAX_ITEMS = 4, 24


def documents(rng: random.Random) -> Iterator[Document]:
    """Endless pages of lists, each read two or three times, exactly."""
    pools = _pools()
    while True:
        yield Document("echo", "\n\n".join(_page(rng, pools) for _ in range(rng.choice((1, 1, 2)))))


def _pools() -> tuple[Callable[[random.Random], str], ...]:
    names = [country.name for country in countries()]
    invented = invented_names("train")  # test names stay unseen
    english = [word.english for word in words()]
    hindi = [word.hindi for word in words()]
    printed = [lexicon.words(name) for name in ("products", "first_names", "surnames", "towns", "companies")]
    return (
        lambda rng: rng.choice(names),
        lambda rng: rng.choice(invented),
        lambda rng: rng.choice(english),
        lambda rng: rng.choice(hindi),
        lambda rng: str(rng.randint(10, 99)),
        lambda rng: rng.choice(rng.choice(printed)),
        lambda rng: f"{rng.choice(printed[1])} {rng.choice(printed[2])}",
        lambda rng: phrases.phrase(rng),
    )


def _page(rng: random.Random, pools: tuple[Callable[[random.Random], str], ...]) -> str:
    drawn = rng.sample(pools, rng.randint(1, 3))
    items = [rng.choice(drawn)(rng) for _ in range(rng.randint(MIN_ITEMS, MAX_ITEMS))]
    between = rng.choice(_BETWEEN)
    body = between.join(items)
    gap = "\n" if between == "\n" or rng.random() < 0.5 else " "
    readings = [f"{rng.choice(_HEADS)}:{gap}{body}"]
    readings += [f"{rng.choice(_AGAIN)}:{gap}{body}" for _ in range(rng.choice((1, 1, 2)))]
    return "\n".join(readings)
