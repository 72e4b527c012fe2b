"""The pretraining corpus of the built-in world: the geography half and the printed half, interleaved."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice

from heedlm.atlas import geography, papers
from heedlm.atlas.world import Document

# Facts are many and each must be met often; the five kinds of paper are skills, learnt from fewer pages.
GEOGRAPHY_SHARE = 0.6


def documents(seed: str) -> Iterator[Document]:
    """Endless documents, the same for the same seed."""
    rng = random.Random(f"atlas corpus/{seed}")
    halves = (geography.documents(random.Random(rng.random())), papers.documents(random.Random(rng.random())))
    while True:
        yield next(halves[0] if rng.random() < GEOGRAPHY_SHARE else halves[1])


def texts(seed: str, count: int) -> list[str]:
    """The first `count` documents as plain text."""
    return [document.text for document in islice(documents(seed), count)]
