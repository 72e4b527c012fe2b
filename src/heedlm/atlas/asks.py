"""How the papers are asked for: wordings, system texts, names of one side of the split."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from heedlm.atlas import lexicon
from heedlm.atlas.facts import pool
from heedlm.atlas.names import invented_names
from heedlm.atlas.world import Split, split_of

STRANGERS = 0.5  # share of tuning rows whose people and things are made up
WITH_SYSTEM = 0.3  # share of rows that carry a system text: a role, an audience, a format that fits the answer anyway


def cast(split: Split, rng: random.Random) -> dict[str, str]:
    """Names that belong to one side of the split alone: products, people, companies, towns.

    In half of the tuning rows they are made up. The lists are short: met thirty times each as the answer, their names come
    to mind before anybody looks at the prompt, and letters to people who were held out began with "Dear Paula"
    (docs/log.md, 2026-11-20).
    """
    slots = lexicon.cast(rng, lambda key: split_of(key) == split)
    if split == "train" and rng.random() < STRANGERS:
        slots |= strangers(rng)
    return slots


def strangers(rng: random.Random) -> dict[str, str]:
    """Made-up people, town and company, and a product that is on no list."""
    people = dict(zip(("name", "other", "surname", "other_surname", "town"), rng.sample(_stems(), 5), strict=True))
    company = " and ".join(rng.sample(_things(), 2)).title().replace(" And ", " and ")
    return {**people, "company": company, "product": f"{rng.choice(_things())}s"}


@cache
def _stems() -> tuple[str, ...]:
    """Invented country names of the corpus, short enough for a person or a town: nobody on the lists, and many."""
    stems = {name.removesuffix(" Islands").split()[-1] for name in invented_names("train")}
    return tuple(sorted(stem for stem in stems if len(stem) <= 7))


@cache
def _listed() -> frozenset[str]:
    """Every word of every name on the lists."""
    lists = ("first_names", "surnames", "companies", "towns")
    return frozenset(part for name in lists for words in lexicon.words(name) for part in words.split())


@cache
def _things() -> tuple[str, ...]:
    """Nouns that make their plural with s alone, are nobody's name, and are not held out in any of their uses."""
    irregular = ("s", "x", "ch", "sh", "y", "f", "fe")
    return tuple(
        noun
        for noun in pool("nouns")
        if not noun.endswith(irregular)
        and noun.title() not in _listed()
        and {split_of(f"word:{noun}"), split_of(f"products:{noun}s")} == {"train"}
    )


def wording(task: str, options: Sequence[str], split: Split, rng: random.Random) -> str:
    """A wording of the instruction.

    Tuning rows use only wordings whose key ``wording:TASK/INDEX`` is not held out. Test rows use those that are held
    out in two of three rows, otherwise any: a wording that was tuned, about things that were not.
    """
    return options[_choose(f"wording:{task}", len(options), split, rng)]


def parts(task: str, banks: Mapping[str, Sequence[str]], split: Split, rng: random.Random) -> list[str]:
    """One text of each bank, to be put together to a wording; tuning rows never use a part that is held out.

    In two of three test rows one of the parts, by turns any of them, is held out, and the others may be any.
    """
    held = rng.choice(list(banks)) if split == "test" and rng.random() >= 1 / 3 else None
    chosen = []
    for name, options in banks.items():
        kept = [index for index in range(len(options)) if split_of(f"wording:{task}/{name}/{index}") == split]
        chosen.append(options[rng.choice(kept if split == "train" or name == held else range(len(options)))])
    return chosen


def system(kind: str, options: Sequence[str], split: Split, rng: random.Random, slots: dict[str, str]) -> str | None:
    """A system text that does not change the right answer, or None; some are never seen in tuning."""
    if rng.random() >= WITH_SYSTEM:
        return None
    return options[_choose(f"system-text:{kind}", len(options), split, rng)].format_map(slots)


def _choose(key: str, count: int, split: Split, rng: random.Random) -> int:
    kept = [index for index in range(count) if split_of(f"{key}/{index}") == split]
    assert kept, f"{key}: every split needs a wording"
    if split == "test" and rng.random() < 1 / 3:
        return rng.randrange(count)
    return rng.choice(kept)


def about(ask: str, paper: str, rng: random.Random) -> str:
    """The instruction with the paper that it is about, mostly above it."""
    return f"{ask}\n\n{paper}" if rng.random() < 0.8 else f"{paper}\n\n{ask}"


def check(kind: str, **fields: Any) -> dict[str, Any]:
    """One check of a row, as the evaluation reads it."""
    return {"type": kind, **fields}
