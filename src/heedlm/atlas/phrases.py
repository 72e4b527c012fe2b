"""Short phrases that can only be copied: too many to remember."""

from __future__ import annotations

import random

from heedlm.atlas.facts import pool, words
from heedlm.atlas.world import Split, split_of

_PATTERNS = (
    "Have {a} {n}.",
    "Mind the {b} {n}.",
    "May the {b} {n} find you.",
    "Think of the {b} {n}.",
    "Greetings from the {b} {n}.",
    "Look for the {b} {n}.",
    "Never forget the {b} {n}.",
    "Long live the {b} {n}.",
    "There is {a} {n} waiting.",
    "Yours, the {b} {n}.",
)


def phrase(rng: random.Random, split: Split = "train") -> str:
    """A sentence of four to six words, such as "Mind the quiet harbour."

    The pair of adjective and noun decides the split. The corpus uses train pairs only, because it must not show what
    the test asks to copy.
    """
    while True:
        adjective, noun = rng.choice(pool("adjectives")), rng.choice(pool("nouns"))
        if split_of(f"combo:{adjective} {noun}") == split:
            article = "an" if adjective[0] in "aeiou" else "a"
            return rng.choice(_PATTERNS).format(a=f"{article} {adjective}", b=adjective, n=noun)


def word_list(rng: random.Random, count: int, split: Split | None = None) -> list[str]:
    """``count`` different English words; None draws from all words, a split only from its own."""
    pool = [word.english for word in words() if split is None or split_of(word.key) == split]
    return rng.sample(pool, count)


def spoken_list(items: list[str]) -> str:
    """The items as a person says them: "milk, bread and salt"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
