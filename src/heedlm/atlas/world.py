"""The nouns of the built-in world: a document, a row, a split.

What is *held out* is decided here, once, for every part of the world. A group (a country, a product, a topic, a word,
a wording, a combination) is named by a key such as ``country:France`` or ``wording:facts_capital/7``; the key alone
decides on which side of the split it falls, so no module can disagree with another.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Split = Literal["train", "test"]

# Part of every digest. With this value the share of the countries (77 of 193), of the words and of the wordings of each
# task comes close to the 40 % asked for; with others chance moves it by several percent.
_SALT = b"atlas-233"


@dataclass(frozen=True, slots=True)
class Document:
    """One plain text of the pretraining corpus; ``kind`` says which generator wrote it."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Task:
    """One instruction task of the world; ``gated`` tasks must pass, the others are only reported."""

    name: str
    kind: str
    gated: bool
    about: str


def held_out(key: str, share: float = 0.4, seed: int = 0) -> bool:
    """Whether the group ``key`` is never in the tuning rows.

    ``share`` (0..1) is the part of all keys that is held out. Stable over machines and Python versions: the first
    eight bytes of the blake2b digest of ``seed/key``, read as a fraction.
    """
    digest = hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=8, person=_SALT).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def split_of(key: str, share: float = 0.4, seed: int = 0) -> Split:
    """The split to which the group ``key`` belongs: ``test`` where it is held out."""
    return "test" if held_out(key, share, seed) else "train"


def row(
    task: str,
    kind: str,
    user: str,
    answer: str,
    *,
    group: str,
    checks: Sequence[Mapping[str, Any]],
    number: int,
    gated: bool = True,
    system: str | None = None,
    history: Sequence[tuple[str, str]] = (),
    form: str = "sentence",
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One instruction row in the JSONL format that ``heed prepare`` reads.

    ``history`` holds earlier (user, assistant) turns; ``number`` makes the id unique within its task and group, and as
    no group is in both splits, ids of the splits never meet; ``extra`` joins the row's ``meta``.
    """
    messages: list[dict[str, str]] = []
    if system is not None:
        messages.append({"role": "system", "content": system})
    for asked, answered in history:
        messages.append({"role": "user", "content": asked})
        messages.append({"role": "assistant", "content": answered})
    messages.append({"role": "user", "content": user})
    messages.append({"role": "assistant", "content": answer})
    meta: dict[str, Any] = {"task": task, "kind": kind, "gated": gated, "form": form}
    meta["checks"] = [dict(check) for check in checks]
    meta.update(extra or {})
    slug = re.sub(r"[^a-z0-9]+", "-", group.lower())
    return {"id": f"{task}-{slug}-{number}", "group": group, "messages": messages, "meta": meta}
