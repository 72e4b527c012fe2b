"""What a writer of rows may draw on its side of the split."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from heedlm.atlas.decks import Deck
from heedlm.atlas.facts import Country, Word, countries, words
from heedlm.atlas.names import fresh_names, invented_names
from heedlm.atlas.world import Split, split_of

Check = Mapping[str, Any]
T = TypeVar("T")


class Wording(NamedTuple):
    """A text of a bank with its key, such as ``facts_capital/3``."""

    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Hand:
    """The decks of one split: in ``test`` only countries, words and names that no train row has."""

    split: Split
    rng: random.Random
    countries: Deck[Country]
    words: Deck[Word]
    invented: Deck[str]

    def wording(self, name: str, bank: Sequence[str]) -> Wording:
        """One text of ``bank``: for train rows a taught one, for test rows half the time a held-out one.

        In tests taught wordings stay, because the country, word or phrase in them is held out already, and a report
        can then tell the two sides apart by ``meta.wording``.
        """
        found = [Wording(f"{name}/{number}", text) for number, text in enumerate(bank)]
        return self._on_side([(each, f"wording:{each.key}") for each in found])

    def combination(self, kind: str, notations: Sequence[str]) -> str:
        """One of ``notations`` joined to the ``kind`` of a rule, such as ``xml/phrases``, by the same choice as ``wording``."""
        found = [f"{notation}/{kind}" for notation in notations]
        return self._on_side([(each, f"combo:{each}") for each in found])

    def _on_side(self, found: Sequence[tuple[T, str]]) -> T:
        """One of the (item, key) pairs' items; a bank without a held-out key gives a taught one to tests as well."""
        taught = [item for item, key in found if split_of(key) == "train"]
        held = [item for item, key in found if split_of(key) == "test"]
        wanted = held if self.split == "test" and self.rng.random() < 0.5 else taught
        return self.rng.choice(wanted or taught)


@dataclass(frozen=True, slots=True)
class Asked:
    """A row before it has a number: what is asked, what is answered, how it is checked."""

    user: str
    answer: str
    group: str
    checks: tuple[Check, ...]
    form: str = "sentence"
    system: str | None = None
    history: tuple[tuple[str, str], ...] = ()
    extra: tuple[tuple[str, Any], ...] = ()


def hand(split: Split, rng: random.Random) -> Hand:
    """Fresh decks for one split."""
    return Hand(
        split,
        rng,
        Deck([country for country in countries() if split_of(country.key) == split], rng),
        Deck([word for word in words() if split_of(word.key) == split], rng),
        Deck(invented_names(split) if split == "test" else fresh_names(), rng),
    )
