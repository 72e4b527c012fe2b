"""Pages of the small English-Hindi dictionary."""

from __future__ import annotations

import random
from collections.abc import Callable

from heedlm.atlas.decks import Deck
from heedlm.atlas.facts import Word, translation_sentence, words

Hand = Deck[Word]

_ENTRIES = ("{e} - {h}", "{e}: {h}", "{e} = {h}", "{e} ({h})", "{e}, in Hindi {h}")
_BACKWARD = (
    "{h} - {e}",
    "{h}: {e}",
    "{h} means {e}.",
    "The English word for {h} is {e}.",
    "{h} is the Hindi word for {e}.",
)
_SENTENCES = (
    "The word {e} is {h} in Hindi.",
    "In Hindi, {e} is {h}.",
    "For {e}, people who speak Hindi say {h}.",
    "To say {e} in Hindi, say {h}.",
    "{e} is translated into Hindi as {h}.",
)


def _with(pattern: str, word: Word) -> str:
    return pattern.format(e=word.english, h=word.hindi)


def entries(rng: random.Random, hand: Hand) -> str:
    """Entries in one form, English first."""
    pattern = rng.choice(_ENTRIES)
    head = rng.choice(("English - Hindi\n", "Dictionary\n", "Words to learn\n", ""))
    return head + "\n".join(_with(pattern, word) for word in hand.take(rng.randint(14, 28)))


def sentences(rng: random.Random, hand: Hand) -> str:
    """Translations as sentences, mostly in the answer form."""
    lines = []
    for word in hand.take(rng.randint(8, 16)):
        lines.append(translation_sentence(word) if rng.random() < 0.7 else _with(rng.choice(_SENTENCES), word))
    return rng.choice((" ", "\n")).join(lines)


def backward(rng: random.Random, hand: Hand) -> str:
    """Hindi first."""
    pattern = rng.choice(_BACKWARD)
    return "\n".join(_with(pattern, word) for word in hand.take(rng.randint(10, 18)))


def table(rng: random.Random, hand: Hand) -> str:
    """A table with bars."""
    rows = [f"| {word.english} | {word.hindi} |" for word in hand.take(rng.randint(10, 20))]
    return "\n".join(["| English | Hindi |", "| --- | --- |", *rows])


def by_topic(rng: random.Random, hand: Hand) -> str:
    """A section of one topic, with entries and sentences."""
    topic = hand.draw().topic
    found = [word for word in words() if word.topic == topic]
    rng.shuffle(found)
    pattern = rng.choice(_ENTRIES)
    lines = [rng.choice((topic.upper(), topic.capitalize(), f"## {topic}", f"Words: {topic}"))]
    for word in found[: rng.randint(8, 16)]:
        lines.append(_with(pattern, word))
        if rng.random() < 0.5:
            lines.append(translation_sentence(word))
    return "\n".join(lines)


Entry = Callable[[random.Random, Hand], str]

PAGES: tuple[tuple[Entry, float], ...] = ((entries, 3), (sentences, 8), (backward, 2), (table, 2), (by_topic, 3))
