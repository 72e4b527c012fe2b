"""Pages on which a brief says, in one of very many ways, what the paper below it is about: who writes to whom, what is made.

A printed letter names its people where letters name them. To find them in a sentence that was never read, a model must
have met many sentences: with a dozen of them the base filled every record rightly and, after tuning, wrote to the right
client in one letter of four where the request was worded in a new way (docs/log.md, 2026-11-20).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from heedlm.atlas import guides, letters, lexicon, stories
from heedlm.atlas.names import invented_names
from heedlm.atlas.world import Document


def documents(rng: random.Random) -> Iterator[Document]:
    """Endless pages, each with one to three briefs of one kind and what came of them."""
    pages: tuple[tuple[Callable[[random.Random], str], float], ...] = (
        (_letter, 0.4),
        (_guide, 0.27),
        (_story, 0.18),
        (_unknown, 0.15),
    )
    makers, shares = [make for make, _ in pages], [share for _, share in pages]
    while True:
        make = rng.choices(makers, shares)[0]
        yield Document("brief", "\n\n".join(make(rng) for _ in range(rng.choice((1, 2, 2, 3)))))


def _letter(rng: random.Random) -> str:
    """Two sentences, one about client and product, one about sender and company, and the letter."""
    wordings = lexicon.table("briefs")
    slots = letters.people(lexicon.cast(rng))
    parts = [lexicon.one_of(wordings[name], rng, slots) for name in ("letter_for", "letter_by")]
    if rng.random() < 0.4:
        parts.reverse()
    kind = rng.choice(letters.KINDS)
    if rng.random() < 0.6:
        parts.insert(rng.randrange(3), lexicon.one_of(wordings["letter_kind"][kind], rng, slots))
    return f"{rng.choice((' ', chr(10))).join(parts)}\n\n{letters.write(kind, rng, slots)}"


def _guide(rng: random.Random) -> str:
    guide = rng.choice(guides.guides())
    slots = {**lexicon.cast(rng), "topic": guide.topic}
    brief = lexicon.one_of(lexicon.table("briefs")["guide"], rng, slots)
    return f"{brief}\n\n{guides.page(guide, f'How to {guide.topic}')}"


def _story(rng: random.Random) -> str:
    slots = lexicon.cast(rng)
    story = stories.write(rng.choice(stories.beginnings()), rng.choice(stories.endings()), rng, slots)
    named = {"a": story.begins, "b": story.ends, "hero": story.hero, "town": slots["town"]}
    wordings = lexicon.table("briefs")
    brief = lexicon.one_of(wordings["story"], rng, named)
    if rng.random() < 0.6:
        brief = f"{brief} {lexicon.one_of(wordings['story_hero'], rng, named)}"
    return f"{brief}\n\n{story.text}"


def _unknown(rng: random.Random) -> str:
    """Names that stand on no map, each said again and again: they are long, and every syllable has to be copied."""
    wordings = lexicon.table("briefs")
    lines = []
    for name in rng.sample(invented_names("train"), rng.randint(3, 6)):
        asked, told = (lexicon.one_of(wordings[part], rng, {"n": name}) for part in ("unknown", "unknown_told"))
        lines.append(f"{asked} {told}")
    return "\n".join(lines)
