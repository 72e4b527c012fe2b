"""How-to guides: what is needed as bullets, what is done as numbered steps."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from heedlm.atlas import asks, lexicon
from heedlm.atlas.world import Document, Split, Task, row, split_of

TASK = Task("guide", "guide", True, "a step-by-step guide for beginners with the right tools, for topics never tuned")


@dataclass(frozen=True, slots=True)
class Guide:
    """topic: after "how to", as in ``bake bread``.   tools: 3 or 4 names.   steps: four sentences, in order."""

    topic: str
    tools: tuple[str, ...]
    steps: tuple[str, ...]


@cache
def guides() -> tuple[Guide, ...]:
    """Every guide of ``guides.tsv``."""
    text = resources.files("heedlm.atlas").joinpath("guides.tsv").read_text(encoding="utf-8")
    found = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            topic, tools, *steps = line.split("\t")
            found.append(Guide(topic, tuple(tool.strip() for tool in tools.split(",")), tuple(steps)))
    return tuple(found)


def page(guide: Guide, title: str, heads: tuple[str, str] = ("Tools:", "Steps:")) -> str:
    """Title, bullets, numbered steps: the form of the answers as well."""
    tools = "\n".join([heads[0], *(f"- {tool}" for tool in guide.tools)])
    steps = "\n".join([heads[1], *(f"{number}. {step}" for number, step in enumerate(guide.steps, 1))])
    return f"{title}\n\n{tools}\n\n{steps}"


def _printed(guide: Guide, rng: random.Random) -> str:
    """One guide as a magazine prints it, with words around the page or, more rarely, as running prose."""
    wordings = lexicon.table("guides")
    slots = {**lexicon.cast(rng), "topic": guide.topic}
    tools = f"{', '.join(guide.tools[:-1])} and {guide.tools[-1]}"
    title = lexicon.one_of(wordings["titles"], rng, slots)
    if rng.random() < 0.12:
        needed = lexicon.one_of(wordings["prose"], rng, {**slots, "tools": tools})
        return f"{title}\n\n{needed} {' '.join(guide.steps)}"
    text = page(guide, title, (rng.choice(wordings["tools_heads"]), rng.choice(wordings["steps_heads"])))
    if rng.random() < 0.25:
        head, rest = text.split("\n\n", 1)
        text = f"{head}\n\n{lexicon.one_of(wordings['intros'], rng, slots)}\n\n{rest}"
    if rng.random() < 0.35:
        text = f"{text}\n\n{lexicon.one_of(wordings['outros'], rng, slots)}"
    return text


def documents(rng: random.Random) -> Iterator[Document]:
    """Endless pages of one to three guides, half of them under a line of contents."""
    while True:
        chosen = rng.sample(guides(), rng.choice([1, 1, 2, 3]))
        parts = [_printed(guide, rng) for guide in chosen]
        if rng.random() < 0.5:
            listed = ", ".join(f"how to {guide.topic}" for guide in chosen)
            parts.insert(0, lexicon.one_of(lexicon.table("guides")["contents"], rng, {"listed": listed}))
        yield Document("guide", "\n\n".join(parts))


def rows(split: Split, rng: random.Random, count: int) -> Iterator[dict[str, Any]]:
    """``count`` rows: a guide on a topic of the split; tools, steps must be known from the printed guides."""
    kept = [guide for guide in guides() if split_of(f"guide:{guide.topic}") == split]
    wordings = lexicon.table("guides")
    for number in range(count):
        guide = rng.choice(kept)
        slots = {**asks.cast(split, rng), "topic": guide.topic}
        yield row(
            TASK.name,
            TASK.kind,
            asks.wording(TASK.name, wordings["ask"], split, rng).format_map(slots),
            page(guide, f"How to {guide.topic}"),
            group=f"guide:{guide.topic}",
            checks=[
                asks.check("icontains", value=guide.topic),
                asks.check("regex", value=r"(?i)\b(tools|materials)\b"),
                asks.check("bullet-count", min=2, max=5),
                asks.check("icontains-all", values=[f"- {tool}" for tool in guide.tools]),
                asks.check("numbered-count", min=3, max=6),
            ],
            number=number,
            gated=TASK.gated,
            system=asks.system(TASK.kind, wordings["systems"], split, rng, slots),
            form="list",
        )
