"""Letters between shops and their clients: thanks, invitations, reminders, apologies for a delayed shipment."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

from heedlm.atlas import asks, lexicon
from heedlm.atlas.world import Document, Split, Task, row

TASK = Task("email_apology", "email", True, "apologise to a client for a delayed shipment, with all its parts")
KINDS = ("apology", "apology", "apology", "thanks", "invitation", "reminder", "question", "praise")


def people(slots: dict[str, str]) -> dict[str, str]:
    """The cast of a page with ``client`` and ``sender``, the full names of the two people."""
    client, sender = f"{slots['name']} {slots['surname']}", f"{slots['other']} {slots['other_surname']}"
    return {**slots, "client": client, "sender": sender}


def write(kind: str, rng: random.Random, slots: dict[str, str], sign: int | None = None) -> str:
    """A letter of one kind, from the greeting to the sign-off. sign: which sign-off, by default a random one."""
    wordings = lexicon.table("letters")
    body = [lexicon.one_of(options, rng, slots) for options in wordings[kind]["body"]]
    ending = rng.choice(wordings["signs"]) if sign is None else wordings["signs"][sign]
    greeting = str(wordings["greeting"]).format_map(slots)
    text = "\n\n".join(body) if rng.random() < 0.15 and sign is None else " ".join(body)
    return "\n\n".join([greeting, text, str(ending).format_map(slots)])


def documents(rng: random.Random) -> Iterator[Document]:
    """Endless letters, one to three on a page, most with a head or a note that says who writes to whom."""
    wordings = lexicon.table("letters")
    while True:
        pages = []
        for _ in range(rng.choice([1, 2, 2, 3])):
            slots = people(lexicon.cast(rng))
            kind = rng.choice(KINDS)
            slots["subject"] = lexicon.one_of(wordings[kind]["subjects"], rng, slots)
            parts = [lexicon.one_of(wordings["heads"], rng, slots)] if rng.random() < 0.9 else []
            parts.append(write(kind, rng, slots))
            if rng.random() < 0.5:
                parts.append(lexicon.one_of(wordings["notes"], rng, slots))
            pages.append("\n\n".join(parts))
        yield Document("letter", "\n\n".join(pages))


def rows(split: Split, rng: random.Random, count: int) -> Iterator[dict[str, Any]]:
    """``count`` rows: an apology for a delayed shipment, with people, product, company of the split."""
    wordings = lexicon.table("letters")
    for number in range(count):
        slots = people(asks.cast(split, rng))
        yield row(
            TASK.name,
            TASK.kind,
            _asked(split, rng).format_map(slots),
            write("apology", rng, slots, sign=0),
            group=f"products:{slots['product']}",
            checks=_checks(slots),
            number=number,
            gated=TASK.gated,
            system=asks.system(TASK.kind, wordings["systems"], split, rng, slots),
            form="email",
        )


def _asked(split: Split, rng: random.Random) -> str:
    """One of the wordings, or one put together from two parts."""
    wordings = lexicon.table("letters")
    if rng.random() < 0.4:
        return asks.wording(TASK.name, wordings["ask"], split, rng)
    parts = asks.parts(TASK.name, {name: wordings[name] for name in ("ask_facts", "ask_wants")}, split, rng)
    return " ".join(parts if rng.random() < 0.6 else reversed(parts))


def _checks(slots: dict[str, str]) -> list[dict[str, Any]]:
    """Greeting, apology, understanding, product, steps, sign-off."""
    sender = re.escape(slots["sender"])
    return [
        asks.check("starts-with", value=f"Dear {slots['client']},"),
        asks.check("regex", value=r"(?i)\b(apolog\w+|sorry)\b"),
        asks.check("icontains", value="inconvenience"),
        asks.check("icontains", value=slots["product"]),
        asks.check("regex", value=r"(?i)\b(express|refund|steps?)\b"),
        asks.check("regex", value=rf"(?i)(regards|sincerely|wishes),\s+{sender}\b"),
        asks.check("contains", value=slots["company"]),
        asks.check("word-count", min=35, max=90),
    ]
