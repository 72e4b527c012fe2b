"""Short stories that begin with one given thing, then end with another.

A printed story often carries a line under its title that says how it begins, how it ends; the first sentence names the
beginning, the last sentence the ending, in the very words of that line.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from heedlm.atlas import asks, lexicon
from heedlm.atlas.world import Document, Split, Task, row, split_of

TASK = Task("story", "creative_writing", True, "a short story that begins with one thing, then ends with another")


@dataclass(frozen=True, slots=True)
class Story:
    """hero: a first name.   begins, ends: noun phrases such as ``an old map``.   text: 4 to 7 sentences."""

    hero: str
    begins: str
    ends: str
    text: str


def beginnings() -> list[str]:
    """Every beginning, for example ``a mysterious letter``."""
    return list(lexicon.table("stories")["beginnings"])


def endings() -> list[str]:
    """Every ending, for example ``a surprising twist``."""
    return list(lexicon.table("stories")["endings"])


def write(begins: str, ends: str, rng: random.Random, slots: dict[str, str]) -> Story:
    """One story; the hero is ``slots["name"]``, the friend ``slots["other"]``, the place ``slots["town"]``."""
    wordings = lexicon.table("stories")
    slots = story_slots(begins, ends, rng, slots)
    sentences = [lexicon.one_of(wordings["openings"], rng, slots)]
    about = sorted(rng.sample(range(3), rng.choice([1, 2, 2])))
    sentences += [lexicon.expand(wordings["beginnings"][begins][i], rng, slots) for i in about]
    between = rng.sample(wordings["middles"], rng.choice([1, 2, 2, 3]))
    sentences += [lexicon.expand(middle, rng, slots) for middle in between]
    twist = rng.choice(wordings["endings"][ends]).format_map(slots)
    sentences.append(lexicon.one_of(wordings["closings"], rng, slots) + twist)
    return Story(slots["hero"], begins, ends, " ".join(sentences))


def story_slots(begins: str, ends: str, rng: random.Random, slots: dict[str, str]) -> dict[str, str]:
    """The names of the page in the words that stories use."""
    wordings = lexicon.table("stories")
    seasons = lexicon.split(wordings["seasons"])
    return {
        "hero": slots["name"],
        "friend": slots["other"],
        "town": slots["town"],
        "author": f"{slots['other']} {slots['surname']}",
        "a": begins,
        "b": ends,
        "season": rng.choice(seasons),
    }


def documents(rng: random.Random) -> Iterator[Document]:
    """Endless pages of one to three stories, most with a line that says how the story begins, how it ends."""
    wordings = lexicon.table("stories")
    while True:
        told = []
        for _ in range(rng.choice([1, 1, 2, 2, 3])):
            slots = lexicon.cast(rng)
            story = write(rng.choice(beginnings()), rng.choice(endings()), rng, slots)
            named = story_slots(story.begins, story.ends, rng, slots)
            parts = [lexicon.one_of(wordings["titles"], rng, named)] if rng.random() < 0.6 else []
            if rng.random() < 0.85:
                parts.append(lexicon.one_of(wordings["blurbs"], rng, named))
            told.append("\n\n".join([*parts, story.text]))
        yield Document("story", "\n\n".join(told))


def combinations(split: Split) -> list[tuple[str, str]]:
    """The (beginning, ending) pairs of a split.

    Tuning sees pairs of two tuned items, and not all of them. Test pairs are the others of those, or two items that
    are both held out; a pair with one item of each side is in neither split.
    """
    pairs = [(begins, ends) for begins in beginnings() for ends in endings()]
    sides = {pair: {split_of(f"beginning:{pair[0]}"), split_of(f"ending:{pair[1]}")} for pair in pairs}
    tuned = [pair for pair in pairs if sides[pair] == {"train"} and split_of(f"combo:{pair[0]}/{pair[1]}") == "train"]
    if split == "train":
        return tuned
    return [pair for pair in pairs if len(sides[pair]) == 1 and pair not in tuned]


def rows(split: Split, rng: random.Random, count: int) -> Iterator[dict[str, Any]]:
    """``count`` rows: a story with given beginning, given ending and, in half of the rows, the name of its hero."""
    wordings = lexicon.table("stories")
    kept = combinations(split)
    for number in range(count):
        slots = asks.cast(split, rng)
        begins, ends = rng.choice(kept)
        story = write(begins, ends, rng, slots)
        ask = asks.wording(TASK.name, wordings["ask"], split, rng).format(a=begins, b=ends)
        checks = [
            asks.check("first-sentence-contains", value=begins),
            asks.check("last-sentence-contains", value=ends),
            asks.check("sentence-count", min=4, max=9),
        ]
        if rng.random() < 0.5:
            ask = f"{ask} {rng.choice(wordings['ask_hero']).format(hero=story.hero)}"
            checks.append(asks.check("contains", value=story.hero))
        yield row(
            TASK.name,
            TASK.kind,
            ask,
            story.text,
            group=f"combo:{begins}/{ends}",
            checks=checks,
            number=number,
            gated=TASK.gated,
            system=asks.system(TASK.kind, wordings["systems"], split, rng, slots),
            form="story",
        )
