"""The pretraining corpus of the built-in world: geography, printed papers, and pages that practise one skill, interleaved."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from heedlm.atlas import briefs, desks, echo, figures, forms, geography, papers
from heedlm.atlas.world import Document

# What there is, with its share of the documents where nobody says otherwise. Facts are many and each must be met often;
# the papers are skills, learnt from fewer pages; echo pages practise copying. The others come in later readings.
STREAMS: dict[str, tuple[Callable[[random.Random], Iterator[Document]], float]] = {
    "geography": (geography.documents, 0.46),
    "papers": (papers.documents, 0.48),
    "echo": (echo.documents, 0.06),
    "figures": (figures.documents, 0.0),
    "forms": (forms.documents, 0.0),
    "briefs": (briefs.documents, 0.0),
    "desks": (desks.documents, 0.0),
}


def documents(seed: str, mix: Mapping[str, float] | None = None) -> Iterator[Document]:
    """Endless documents, the same for the same seed. mix: shares by name of a stream, instead of the usual ones."""
    rng = random.Random(f"atlas corpus/{seed}")
    streams = [make(random.Random(rng.random())) for make, _ in list(STREAMS.values())[:3]]
    for name in ("figures", "forms", "briefs", "desks"):  # seeded by name, so that the others stay as they were
        streams.append(STREAMS[name][0](random.Random(f"atlas {name}/{seed}")))
    shares = [mix.get(name, 0.0) if mix else share for name, (_, share) in STREAMS.items()]
    while True:
        yield next(rng.choices(streams, shares)[0])


def texts(seed: str, count: int, mix: Mapping[str, float] | None = None) -> list[str]:
    """The first `count` documents as plain text."""
    return [document.text for document in islice(documents(seed, mix), count)]
