"""Printed questions: quizzes without answers, conversations with them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from heedlm.atlas.decks import Deck
from heedlm.atlas.facts import (
    ASKED,
    UNKNOWN,
    Attribute,
    Country,
    Word,
    countries,
    fact_sentence,
    translation_sentence,
    words,
)
from heedlm.atlas.names import invented_names
from heedlm.atlas.wordings import FOLLOW_UPS, QUESTIONS, SWITCHES, WORD_QUESTIONS


@dataclass(frozen=True, slots=True)
class Cast:
    """The decks from which a conversation draws."""

    countries: Deck[Country]
    words: Deck[Word]
    invented: Deck[str]


def cast(rng: random.Random) -> Cast:
    """Fresh decks; invented names are those of the train split only."""
    return Cast(Deck(countries(), rng), Deck(words(), rng), Deck(invented_names("train"), rng))


Exchange = list[tuple[str, str]]

_REMARKS = (
    "That is a question that many people get wrong.",
    "Think before you turn the page.",
    "Write your answer on a card.",
    "This one is easy for sailors.",
    "A good pupil knows it at once.",
    "Is it harder than the last one?",
    "It is asked in every school.",
    "The answers are at the end of the book.",
    "Few people can say.",
    "Take your time.",
    "Who knows it without a map?",
    "It came up in the last round.",
    "Nobody at our table could tell.",
    "Ask your neighbour.",
    "This is worth two points.",
    "It is a question for a rainy evening.",
    "Even teachers must look it up.",
    "We will come back to it next week.",
)
_QUIZ_TITLES = ("Quiz", "Questions for the evening", "Round {n}", "Test yourself", "Exercise {n}", "Who knows?")
_OTHER_QUESTIONS = (
    "How do you make a good soup?",
    "Which is the longest river you have seen?",
    "Who was your first teacher?",
    "What did you read last winter?",
    "How many cities can you name?",
    "Why do people collect old maps?",
    "Where would you like to live?",
)
_SPEAKERS = (
    ("Teacher", "Pupil"),
    ("Visitor", "Guide"),
    ("Child", "Grandmother"),
    ("Traveller", "Clerk"),
    ("Mira", "Tom"),
    ("Reader", "Librarian"),
    ("Q", "A"),
    ("Question", "Answer"),
    ("Guest", "Host"),
    ("Anna", "Uncle Karl"),
)
_SHORT = ("In one word: {q}", "Only the name: {q}", "Quick round: {q}", "Answer with the name only: {q}")


def question(rng: random.Random, country: Country, attribute: Attribute) -> str:
    """The fact asked for, in any wording."""
    return rng.choice(QUESTIONS[attribute]).format(x=country.inner, X=country.first)


def quiz(rng: random.Random, decks: Cast) -> str:
    """Questions and remarks, never an answer: what a base model has read of bare questions."""
    parts: list[str] = []
    remarks = rng.choice((0.15, 0.5, 0.8))
    for _ in range(rng.randint(9, 20)):
        draw = rng.random()
        if draw < 0.78:
            parts.append(question(rng, decks.countries.draw(), rng.choice(ASKED)))
        elif draw < 0.9:
            parts.append(rng.choice(WORD_QUESTIONS).format(w=decks.words.draw().english))
        elif draw < 0.95:
            parts.append(question_about(rng, decks.invented.draw()))
        else:
            parts.append(rng.choice(_OTHER_QUESTIONS))
        if rng.random() < remarks:
            parts.append(rng.choice(_REMARKS))
    if rng.random() < 0.2:
        parts.insert(0, rng.choice(_QUIZ_TITLES).format(n=rng.randint(1, 60)) + ".")
    if rng.random() < 0.15:
        return "\n".join(f"{number}. {part}" for number, part in enumerate(parts, 1))
    return rng.choice((" ", " ", "\n")).join(parts)


def question_about(rng: random.Random, name: str) -> str:
    """A question about an invented country."""
    return rng.choice(QUESTIONS[rng.choice(ASKED)]).format(x=name, X=name[0].upper() + name[1:])


def _fact_exchange(rng: random.Random, decks: Cast) -> Exchange:
    """One question with its answer, and sometimes what follows from it."""
    if rng.random() < 0.16:
        name = decks.invented.draw()
        return [(question_about(rng, name), UNKNOWN.format(x=name))]
    country = decks.countries.draw()
    attribute, second, third = rng.sample(ASKED, 3)
    turns = [(question(rng, country, attribute), fact_sentence(country, attribute))]
    draw = rng.random()
    if draw < 0.35:
        turns.append((rng.choice(FOLLOW_UPS[second]), fact_sentence(country, second)))
        if rng.random() < 0.4:
            turns.append((rng.choice(FOLLOW_UPS[third]), fact_sentence(country, third)))
    elif draw < 0.5:
        other = decks.countries.draw()
        turns.append((rng.choice(SWITCHES).format(x=other.inner), fact_sentence(other, attribute)))
        if rng.random() < 0.4:
            turns.append((rng.choice(FOLLOW_UPS[second]), fact_sentence(other, second)))
    return turns


def _short_exchange(rng: random.Random, decks: Cast) -> Exchange:
    """A question with the bare value, or the sentence in capitals, as its answer."""
    country, attribute = decks.countries.draw(), rng.choice(ASKED)
    asked = question(rng, country, attribute)
    if rng.random() < 0.6:
        return [(rng.choice(_SHORT).format(q=lowered(asked)), country.value(attribute))]
    return [(f"In capital letters: {lowered(asked)}", fact_sentence(country, attribute).upper())]


def _word_exchange(rng: random.Random, decks: Cast) -> Exchange:
    word = decks.words.draw()
    return [(rng.choice(WORD_QUESTIONS).format(w=word.english), translation_sentence(word))]


def lowered(sentence: str) -> str:
    """``sentence`` as it stands after a colon; the pronoun "I" keeps its capital."""
    return sentence if sentence.startswith("I ") else sentence[0].lower() + sentence[1:]


_Kind = Callable[[random.Random, Cast], Exchange]


def _printed(rng: random.Random, decks: Cast, kinds: tuple[_Kind, ...], size: int) -> str:
    asker, answerer = rng.choice(_SPEAKERS)
    gap = rng.choice(("\n", "\n\n"))
    blocks = []
    for _ in range(size):
        turns = rng.choice(kinds)(rng, decks)
        blocks.append("\n".join(f"{asker}: {asked}\n{answerer}: {answered}" for asked, answered in turns))
    return gap.join(blocks)


def conversation(rng: random.Random, decks: Cast) -> str:
    """A printed conversation about countries."""
    return _printed(rng, decks, (_fact_exchange,), rng.randint(4, 9))


def mixed_conversation(rng: random.Random, decks: Cast) -> str:
    """A printed conversation about countries and words."""
    return _printed(rng, decks, (_fact_exchange, _word_exchange), rng.randint(4, 9))


def short_conversation(rng: random.Random, decks: Cast) -> str:
    """A printed quick round: bare names and capitals."""
    return _printed(rng, decks, (_short_exchange,), rng.randint(5, 11))


def told_conversation(rng: random.Random, decks: Cast) -> str:
    """The same in prose, with quotation marks."""
    who = rng.choice(("the old teacher", "the guide", "the clerk", "her uncle", "the librarian"))
    parts = [f"In the afternoon people came with questions, and {who} answered them all."]
    for _ in range(rng.randint(4, 7)):
        for asked, answered in _fact_exchange(rng, decks):
            verb = rng.choice(("asked a visitor", "asked a boy", "said a girl", "asked somebody", "said the next one"))
            parts.append(f'"{asked}" {verb}. "{answered}" said {who}.')
    return " ".join(parts)


Talk = Callable[[random.Random, Cast], str]

TALKS: tuple[tuple[Talk, float], ...] = (
    (quiz, 12),
    (conversation, 9),
    (mixed_conversation, 6),
    (short_conversation, 5),
    (told_conversation, 3),
)
