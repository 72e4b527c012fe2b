"""The pretraining corpus of the built-in world: geography, printed papers and pages of copying, interleaved."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice

from heedlm.atlas import echo, geography, papers
from heedlm.atlas.world import Document

# Facts are many and each must be met often; the papers are skills, learnt from fewer pages; echo pages practise copying.
SHARES = (0.46, 0.48, 0.06)


def documents(seed: str) -> Iterator[Document]:
    """Endless documents, the same for the same seed."""
    rng = random.Random(f"atlas corpus/{seed}")
    streams = [make(random.Random(rng.random())) for make in (geography.documents, papers.documents, echo.documents)]
    while True:
        yield next(rng.choices(streams, SHARES)[0])


def texts(seed: str, count: int) -> list[str]:
    """The first `count` documents as plain text."""
    return [document.text for document in islice(documents(seed), count)]
