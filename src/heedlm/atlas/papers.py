"""The printed half of the world: reports, articles, letters, stories, guides, ledgers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from heedlm.atlas import articles, guides, ledgers, letters, sales, stories
from heedlm.atlas.world import Document, Split, Task

# Shares of documents. Sales and articles need most practice: reading a maximum off a list, copying whole sentences.
SHARES: tuple[tuple[Callable[[random.Random], Iterator[Document]], float], ...] = (
    (sales.documents, 0.25),
    (articles.documents, 0.26),
    (letters.documents, 0.11),
    (stories.documents, 0.13),
    (guides.documents, 0.13),
    (ledgers.documents, 0.12),
)


def documents(rng: random.Random) -> Iterator[Document]:
    """Endless documents of all kinds, mixed by share."""
    streams = [make(random.Random(rng.getrandbits(64))) for make, _ in SHARES]
    shares = [share for _, share in SHARES]
    while True:
        yield next(rng.choices(streams, shares)[0])


_Rows = Callable[[Split, random.Random, int], Iterator[dict[str, Any]]]

# Shares of tuning rows. Tasks that read figures or copy whole sentences need most examples.
TASKS: dict[Task, tuple[_Rows, float]] = {
    sales.MONTH: (partial(sales.rows, task=sales.MONTH), 0.19),
    sales.TREND: (partial(sales.rows, task=sales.TREND), 0.06),
    articles.TASK: (articles.rows, 0.21),
    letters.TASK: (letters.rows, 0.33),
    stories.TASK: (stories.rows, 0.11),
    guides.TASK: (guides.rows, 0.10),
}
TRAIN_ROWS = 2500
TEST_ROWS_PER_TASK = 100


def rows(split: Split, rng: random.Random, count: int = 0) -> Iterator[dict[str, Any]]:
    """Rows of all tasks. count: in all; 0 takes 2,500 for train and 70 per task for test.

    Train rows are shared out as ``TASKS`` says, test rows evenly. Each task draws from its own generator, so the count
    of one does not change the rows of another.
    """
    for make, share in TASKS.values():
        own = random.Random(rng.getrandbits(64))
        if split == "train":
            yield from make(split, own, round((count or TRAIN_ROWS) * share))
        else:
            yield from make(split, own, round(count / len(TASKS)) if count else TEST_ROWS_PER_TASK)
