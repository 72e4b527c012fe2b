"""Named blocks as one text, in one of several notations, so that a model does not lean on one of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

Notation = Literal["plain", "markdown", "xml", "labels", "mix"]
NOTATIONS: tuple[Notation, ...] = ("plain", "markdown", "xml", "labels")
_NUMBERED = frozenset({"steps"})

Filled = Sequence[tuple[str, Sequence[str]]]
"""Names of blocks with their texts, filled in."""


def drawn(notation: Notation, rng: random.Random) -> Notation:
    """The notation itself, or, of `mix`, one of them."""
    return rng.choice(NOTATIONS) if notation == "mix" else notation


def written(blocks: Filled, notation: Notation) -> str:
    """Blocks in a notation, in their order.

    A block without a name is text as it stands. In `plain` names are left out and several items follow each other.
    """
    return "\n\n".join(filter(None, (_block(name, items, notation) for name, items in blocks))).strip()


def _block(name: str, items: Sequence[str], notation: Notation) -> str:
    texts = [item.strip() for item in items if item.strip()]
    if not texts:
        return ""
    if not name:
        return "\n\n".join(texts)
    if notation == "plain":
        return ("\n" if name in _NUMBERED else " ").join(texts)
    body = texts[0] if len(texts) == 1 else "\n".join(f"{_bullet(name, at)} {text}" for at, text in enumerate(texts, 1))
    if notation == "markdown":
        return f"# {_title(name)}\n{body}"
    if notation == "xml":
        return f"<{name}>\n{body}\n</{name}>"
    return f"{_title(name).upper()}:{' ' if len(texts) == 1 and chr(10) not in body else chr(10)}{body}"


def _bullet(name: str, place: int) -> str:
    return f"{place}." if name in _NUMBERED else "-"


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()
