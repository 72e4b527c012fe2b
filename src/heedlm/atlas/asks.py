"""How the papers are asked for: wordings, system texts, names of one side of the split."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from heedlm.atlas import lexicon
from heedlm.atlas.world import Split, split_of

WITH_SYSTEM = 0.3  # share of rows that carry a system text: a role, an audience, a format that fits the answer anyway


def cast(split: Split, rng: random.Random) -> dict[str, str]:
    """Names that belong to one side of the split alone: products, people, companies, towns."""
    return lexicon.cast(rng, lambda key: split_of(key) == split)


def wording(task: str, options: Sequence[str], split: Split, rng: random.Random) -> str:
    """A wording of the instruction.

    Tuning rows use only wordings whose key ``wording:TASK/INDEX`` is not held out. Test rows use those that are held
    out in two of three rows, otherwise any: a wording that was tuned, about things that were not.
    """
    return options[_choose(f"wording:{task}", len(options), split, rng)]


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
