"""Invented country names that resemble no real one."""

from __future__ import annotations

import random
from functools import cache

from heedlm.atlas.facts import countries, pool
from heedlm.atlas.world import Split, split_of

_VOWELS = ("a", "e", "i", "o", "u", "a", "e", "i", "o", "u", "ai", "ou")
_CODAS = ["", "", "", "", "", "l", "m", "n", "r", "s"]
_LINKS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z")
_FRAMES = ["{}"] * 12 + ["New {}", "North {}", "South {}", "Upper {}", "the {} Islands", "Port {}"]
_POOL = 4000
_TOO_ALIKE = 0.55
_FRESH = 1  # the seed of names that only tuning meets


def _pairs(text: str) -> frozenset[str]:
    """The letter pairs of a name; likeness of two names is the Dice coefficient of theirs."""
    low = f" {text.lower()} "
    return frozenset(low[i : i + 2] for i in range(len(low) - 1))


def _invent(rng: random.Random) -> str:
    syllables = "".join(
        rng.choice(pool("onsets")) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(rng.choice((1, 1, 2)))
    )
    stem = syllables + rng.choice(_LINKS)
    if rng.random() < 0.25:
        stem += rng.choice(_VOWELS[:5]) + rng.choice(["n", "r", "l", "s", ""])
    else:
        stem += rng.choice(pool("endings"))
    return rng.choice(_FRAMES).format(stem.capitalize())


def _last_word(name: str) -> str:
    return name.removeprefix("the ").removesuffix(" Islands").split()[-1]


@cache
def invented_names(split: Split, seed: int = 0) -> tuple[str, ...]:
    """All invented names of one split (some thousands in train, fewer in test), the same for every caller.

    No name is equal or similar to a real country, capital, language or demonym; no name is in both splits.
    """
    rng = random.Random(f"names/{seed}")
    real = {
        text.lower()
        for country in countries()
        for text in (country.name, *country.name.split(), country.capital, country.language, country.demonym)
    }
    shapes = [_pairs(text) for text in sorted(real)]
    names: dict[str, None] = {}
    while len(names) < _POOL:
        name = _invent(rng)
        stem = _last_word(name)
        pairs = _pairs(stem)
        if stem.lower() in real or len(stem) < 5:
            continue
        if any(2 * len(pairs & other) > _TOO_ALIKE * (len(pairs) + len(other)) for other in shapes):
            continue
        names.setdefault(name)
    # The stem decides the split, so "Zorvia" and "New Zorvia" never part.
    return tuple(name for name in names if split_of(f"name:{_last_word(name)}", seed=seed) == split)


@cache
def fresh_names() -> tuple[str, ...]:
    """Invented names for tuning that no page of the corpus holds, and no test row.

    Those of the corpus have been read so often that they are remembered, and whoever remembers does not copy.
    """
    known = {_last_word(name) for name in (*invented_names("train"), *invented_names("test"))}
    found = (*invented_names("train", _FRESH), *invented_names("test", _FRESH))
    return tuple(n for n in found if _last_word(n) not in known and split_of(f"name:{_last_word(n)}") == "train")


def known_names() -> frozenset[str]:
    """The names of all real countries, for whoever must tell a real country from an invented one."""
    return frozenset(country.name for country in countries())
