"""Sentences with choices: word lists and wordings are data, this expands them.

A wording such as ``"[Sales|Orders] of {product} rose."`` holds choices in square brackets and slots in braces. Slots
are filled from the cast of a page, a set of names drawn once so that a page agrees with itself.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import yaml

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_ARTICLE = re.compile(r"\b([Aa])(?= [aeiou])")

COUNT_WORDS = ("zero", "one", "two", "three")

Keep = Callable[[str], bool]


@cache
def table(name: str) -> dict[str, Any]:
    """The data file ``atlas/NAME.yaml``, read once. Callers do not change it."""
    text = resources.files("heedlm.atlas").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    loaded = yaml.safe_load(text)
    assert isinstance(loaded, dict), f"{name}.yaml holds a mapping"
    return loaded


@cache
def words(name: str) -> tuple[str, ...]:
    """One list of ``words.yaml``: products, first_names, surnames, companies, towns, months, weekdays."""
    return split(table("words")[name])


def split(text: str) -> tuple[str, ...]:
    """The parts of a comma-separated list."""
    return tuple(part.strip() for part in text.split(","))


def expand(text: str, rng: random.Random, slots: Mapping[str, str]) -> str:
    """Take one branch of every ``[a|b]``, fill the ``{slots}``; first letter a capital, ``a`` before a vowel ``an``."""
    chosen = _CHOICE.sub(lambda match: rng.choice(match.group(1).split("|")), text)
    filled = _ARTICLE.sub(r"\1n", chosen.format_map(slots))
    return filled[:1].upper() + filled[1:]


def one_of(options: Sequence[str], rng: random.Random, slots: Mapping[str, str]) -> str:
    """Expand one of the wordings."""
    return expand(rng.choice(options), rng, slots)


def cast(rng: random.Random, keep: Keep | None = None) -> dict[str, str]:
    """Names for one page: two people, a product, a company, a town, a weekday, a month, two numbers.

    ``keep`` says by key (``products:lamps``, ``towns:Linden``) which words may be taken; by default all.
    """
    people, families = _some("first_names", 2, rng, keep), _some("surnames", 2, rng, keep)
    return {
        "name": people[0],
        "other": people[1],
        "surname": families[0],
        "other_surname": families[1],
        "product": _some("products", 1, rng, keep)[0],
        "company": _some("companies", 1, rng, keep)[0],
        "town": _some("towns", 1, rng, keep)[0],
        "day": rng.choice(words("weekdays")),
        "month": rng.choice(words("months")),
        "number": str(rng.randint(11, 99)),
        "order": str(rng.randint(1000, 9999)),
    }


def _some(name: str, count: int, rng: random.Random, keep: Keep | None) -> list[str]:
    return rng.sample([word for word in words(name) if keep is None or keep(f"{name}:{word}")], count)
