"""Short articles whose paragraphs open with their main point, printed with a summary in one, two or three sentences.

An article has three paragraphs: what happened, how, what comes next. Each opens with a key sentence of at most twelve
words. The summary in N sentences is the first N key sentences, word for word: well defined and checkable.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from heedlm.atlas import asks, lexicon
from heedlm.atlas.world import Document, Split, Task, row, split_of

TASK = Task("summarisation", "summarisation", True, "summarise an article in exactly one, two or three sentences")
POINTS = ("what", "how", "next")


@dataclass(frozen=True, slots=True)
class Article:
    """topic: ``kind:thing``.   keys: the three key sentences.   entities: per key, what a summary must name.

    body: the paragraphs, without the title.
    """

    topic: str
    title: str
    keys: tuple[str, ...]
    entities: tuple[tuple[str, ...], ...]
    body: str

    def summary(self, count: int) -> str:
        """The first ``count`` (1..3) points, one sentence each."""
        return " ".join(self.keys[:count])


def topics() -> list[str]:
    """Every topic an article can have, as ``kind:thing``."""
    kinds = lexicon.table("articles")
    return [f"{kind}:{thing}" for kind in kinds for thing in lexicon.split(kinds[kind]["things"])]


def write(topic: str, rng: random.Random, slots: dict[str, str]) -> Article:
    """One article on a topic with the names of ``slots``; 5 to 7 sentences."""
    kind, thing = topic.split(":")
    wordings = lexicon.table("articles")[kind]
    slots = {**slots, "thing": thing}
    keys: list[str] = []
    entities: list[tuple[str, ...]] = []
    paragraphs: list[str] = []
    details = rng.choice([(1, 1, 0), (1, 1, 1), (1, 1, 1), (1, 1, 1), (2, 1, 1), (1, 2, 1)])
    for point, more in zip(POINTS, details, strict=True):
        pattern = rng.choice(wordings[point])
        keys.append(lexicon.expand(pattern, rng, slots))
        entities.append(tuple(slots[slot] for slot in ENTITIES if "{" + slot + "}" in pattern))
        told = rng.sample(wordings[f"{point}_more"], more)
        paragraphs.append(" ".join([keys[-1], *(lexicon.expand(detail, rng, slots) for detail in told)]))
    title = lexicon.one_of(wordings["titles"], rng, slots)
    return Article(topic, title, tuple(keys), tuple(entities), "\n\n".join(paragraphs))


ENTITIES = ("thing", "town", "name", "surname", "other", "other_surname", "company", "number", "month", "day")


def _brief(article: Article, rng: random.Random) -> str:
    """The summary as magazines print it: one to three of the lengths, in any order, each announced by its number."""
    if rng.random() < 0.08:
        return "In brief:\n" + "\n".join(f"- {key}" for key in article.keys)
    lines = []
    for count in rng.sample((1, 2, 3), rng.choice([1, 2, 2, 3])):
        number = lexicon.COUNT_WORDS[count] if rng.random() < 0.85 else str(count)
        noun = "sentence" if count == 1 else "sentences"
        lead = rng.choice(["In", "In", "Summary in", "The article in"])
        lines.append(f"{lead} {number} {noun}: {article.summary(count)}")
    return "\n\n".join(["In brief", *lines]) if rng.random() < 0.3 else "\n\n".join(lines)


def _printed(rng: random.Random) -> str:
    """One article on a page, most followed by a summary."""
    slots = lexicon.cast(rng)
    article = write(rng.choice(topics()), rng, slots)
    parts = [article.title]
    byline = rng.random()
    if byline < 0.15:
        parts.append(f"By {rng.choice(lexicon.words('first_names'))} {rng.choice(lexicon.words('surnames'))}")
    elif byline < 0.3:
        parts.append(f"{slots['town']}, {rng.choice(lexicon.words('weekdays'))}")
    parts.append(article.body)
    if rng.random() < 0.9:
        parts.append(_brief(article, rng))
    return "\n\n".join(parts)


def documents(rng: random.Random) -> Iterator[Document]:
    """Endless pages of one article, at times two."""
    while True:
        yield Document("article", "\n\n".join(_printed(rng) for _ in range(rng.choice([1, 1, 1, 2]))))


def rows(split: Split, rng: random.Random, count: int) -> Iterator[dict[str, Any]]:
    """``count`` rows: an article on a topic of the split, to be summarised in one, two or three sentences."""
    kept = [topic for topic in topics() if split_of(f"topic:{topic}") == split]
    wordings = lexicon.table("summaries")
    for number in range(count):
        slots = asks.cast(split, rng)
        article = write(rng.choice(kept), rng, slots)
        length = rng.choice((1, 2, 3))
        word = lexicon.COUNT_WORDS[length] if rng.random() < 0.9 else str(length)
        ask = asks.wording(TASK.name, wordings["ask"], split, rng)
        ask = ask.format(count=word, sentences="sentence" if length == 1 else "sentences")
        paper = f"{article.title}\n\n{article.body}"
        named = sorted({entity for entities in article.entities[:length] for entity in entities})
        yield row(
            TASK.name,
            TASK.kind,
            asks.about(ask, paper, rng),
            article.summary(length),
            group=f"topic:{article.topic}",
            checks=[
                asks.check("sentence-count", equal=length),
                asks.check("icontains-all", values=named),
                asks.check("words-from", text=paper),
            ],
            number=number,
            gated=TASK.gated,
            system=asks.system(TASK.kind, wordings["systems"], split, rng, slots),
        )
