"""The geography half of the pretraining corpus.

Every generator draws its countries and words from decks of its own, so that within each form every fact is read about
equally often.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from heedlm.atlas import copying, dialogues, dictionary, pages
from heedlm.atlas.decks import Deck
from heedlm.atlas.facts import countries, words
from heedlm.atlas.names import known_names
from heedlm.atlas.world import Document

__all__ = ["documents", "kinds", "known_names"]

_Make = Callable[[], str]

MIN_WORDS = 60
MAX_WORDS = 500
# Devanagari takes three bytes a letter, so pages in it are also cut by bytes: the context holds 1,024 tokens.
_MAX_BYTES = 3_400

# The share of documents per room.
_SHARES = {"page": 46.0, "talk": 26.0, "dictionary": 10.0, "copy": 18.0}


def _makers(rng: random.Random) -> list[tuple[str, float, _Make]]:
    """(kind, weight, maker) for every form."""
    found: list[tuple[str, float, _Make]] = []

    def add(room: str, name: str, weight: float, total: float, make: _Make) -> None:
        found.append((f"{room}_{name}", _SHARES[room] * weight / total, make))

    def bound_page(make: pages.Page) -> _Make:
        hand = Deck(countries(), rng)
        return lambda: make(rng, hand)

    def bound_entry(make: dictionary.Entry) -> _Make:
        hand = Deck(words(), rng)
        return lambda: make(rng, hand)

    def bound_talk(make: dialogues.Talk) -> _Make:
        decks = dialogues.cast(rng)
        return lambda: make(rng, decks)

    for page, weight in pages.PAGES:
        add("page", page.__name__, weight, sum(each for _, each in pages.PAGES), bound_page(page))
    for entry, weight in dictionary.PAGES:
        add("dictionary", entry.__name__, weight, sum(each for _, each in dictionary.PAGES), bound_entry(entry))
    for talk, weight in dialogues.TALKS:
        add("talk", talk.__name__, weight, sum(each for _, each in dialogues.TALKS), bound_talk(talk))
    for copy, weight in copying.COPIES:
        add("copy", copy.__name__, weight, sum(each for _, each in copying.COPIES), bound_talk(copy))
    return found


def kinds() -> tuple[str, ...]:
    """The kinds of document that ``documents`` writes."""
    return tuple(kind for kind, _, _ in _makers(random.Random(0)))


def _long_enough(make: _Make) -> str:
    """One text of at least ``MIN_WORDS`` words: short pages are followed by another of the same kind."""
    text = make()
    while len(text.split()) < MIN_WORDS:
        text = f"{text}\n\n{make()}"
    return text


def documents(rng: random.Random) -> Iterator[Document]:
    """An endless stream of documents of ``MIN_WORDS`` to ``MAX_WORDS`` words; the same seed gives the same stream."""
    makers = _makers(rng)
    weights = [weight for _, weight, _ in makers]
    while True:
        kind, _, make = rng.choices(makers, weights)[0]
        text = _long_enough(make)
        # A text that is too long is written anew: cutting it would end it inside a fact.
        while len(text.split()) > MAX_WORDS or len(text.encode()) > _MAX_BYTES:
            text = _long_enough(make)
        yield Document(kind, text)
