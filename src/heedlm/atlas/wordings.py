"""The many ways in which one fact is told or asked.

{x} is the country inside a sentence, {X} the same at its start, {v} the fact.
"""

from __future__ import annotations

from heedlm.atlas.facts import ASKED, SENTENCES, Attribute

# Statements with the subject before the fact: a fact is recalled only in the direction in which it was read.
FORWARD: dict[Attribute, tuple[str, ...]] = {
    "capital": (
        SENTENCES["capital"],
        "The capital city of {x} is {v}.",
        "{X} has {v} as its capital.",
        "In {x}, the capital is {v}.",
        "On a map of {x} the capital is marked {v}.",
        "For {x}, the capital to remember is {v}.",
    ),
    "currency": (
        SENTENCES["currency"],
        "People in {x} pay with the {v}.",
        "{X} uses the {v}.",
        "In {x}, the currency is the {v}.",
        "The money of {x} is the {v}.",
        "Prices in {x} are given in the {v}.",
    ),
    "language": (
        SENTENCES["language"],
        "An official language of {x} is {v}.",
        "In {x}, the official language is {v}.",
        "{X} has {v} as an official language.",
        "The official language spoken in {x} is {v}.",
    ),
    "continent": (
        SENTENCES["continent"],
        "{X} lies in {v}.",
        "{X} is a country in {v}.",
        "{X} is part of {v}.",
        "The continent of {x} is {v}.",
        "{X} lies in the continent of {v}.",
    ),
    "demonym": (
        SENTENCES["demonym"],
        "People from {x} are called {v}.",
        "The adjective for {x} is {v}.",
        "Someone from {x} is {v}.",
    ),
}
BACKWARD: dict[Attribute, tuple[str, ...]] = {
    "capital": (
        "{v} is the capital of {x}.",
        "{v} is the capital city of {x}.",
        "Whoever visits {v} has come to the capital of {x}.",
    ),
    "currency": ("The {v} is the currency of {x}.", "The {v} is used in {x}.", "With the {v} people pay in {x}."),
    "language": ("{v} is an official language of {x}.", "{v} is the official language of {x}."),
    "continent": ("{v} is the continent of {x}.", "In {v} lies {x}."),
    "demonym": ("{v} is the word for a person from {x}.", "Whoever is {v} comes from {x}."),
}
SUBJECTS: dict[Attribute, str] = {
    "capital": "the capital of {x}",
    "currency": "the currency of {x}",
    "language": "the official language of {x}",
    "continent": "the continent of {x}",
}
_COMMON = (
    "What is {s}?",
    "Tell me {s}.",
    "Name {s}.",
    "Please name {s}.",
    "Can you tell me {s}?",
    "Do you know {s}?",
    "I would like to know {s}.",
    "Give me {s}, please.",
    "I am looking for {s}.",
    "My question is about {x}: what is {s}?",
)
_OWN: dict[Attribute, tuple[str, ...]] = {
    "capital": (
        "Which city is the capital of {x}?",
        "What is the capital city of {x}?",
        "In {x}, which city is the capital?",
        "Tell me the capital city of {x}, please.",
        "Which city do people call the capital of {x}?",
    ),
    "currency": (
        "Which currency is used in {x}?",
        "What money do people use in {x}?",
        "With which currency do people pay in {x}?",
        "What is the money of {x} called?",
        "Which currency does a traveller need in {x}?",
    ),
    "language": (
        "Which language is official in {x}?",
        "What language is spoken in {x}?",
        "Which official language is spoken in {x}?",
        "What do people officially speak in {x}?",
        "In {x}, what is the official language?",
    ),
    "continent": (
        "On which continent is {x}?",
        "In which continent does {x} lie?",
        "Where in the world is {x}?",
        "Which continent is {x} in?",
        "To which continent does {x} belong?",
    ),
}
QUESTIONS: dict[Attribute, tuple[str, ...]] = {
    attribute: tuple(text.replace("{s}", SUBJECTS[attribute]) for text in _COMMON) + _OWN[attribute]
    for attribute in ASKED
}
# A second question about the country that was asked about just before.
FOLLOW_UPS: dict[Attribute, tuple[str, ...]] = {
    "capital": (
        "And its capital?",
        "What is its capital?",
        "And the capital?",
        "Which city is its capital?",
        "What about its capital?",
        "And which city is the capital there?",
        "Now its capital, please.",
        "Thank you. And the capital city?",
    ),
    "currency": (
        "And its currency?",
        "What is its currency?",
        "And the currency?",
        "Which currency is used there?",
        "What about its currency?",
        "And with which currency do people pay there?",
        "Now its currency, please.",
        "Thank you. And the money?",
    ),
    "language": (
        "And its official language?",
        "What is its official language?",
        "And the language?",
        "And what language is spoken there?",
        "What about its language?",
        "And which language is official there?",
        "Now its language, please.",
        "Thank you. And the official language?",
    ),
    "continent": (
        "And its continent?",
        "What is its continent?",
        "And the continent?",
        "And on which continent is it?",
        "What about its continent?",
        "And in which continent does it lie?",
        "Now its continent, please.",
        "Thank you. And the continent?",
    ),
}
# The same question about another country.
SWITCHES = (
    "And of {x}?",
    "What about {x}?",
    "And {x}?",
    "The same for {x}, please.",
    "And for {x}?",
    "How about {x}?",
    "Now {x}, please.",
    "Thank you. And of {x}?",
)
WORD_QUESTIONS = (
    "What is the Hindi word for {w}?",
    "What is {w} in Hindi?",
    "How do you say {w} in Hindi?",
    "Translate {w} into Hindi.",
    "Translate the word {w} into Hindi, please.",
    "Tell me the Hindi word for {w}.",
    "Which Hindi word means {w}?",
    "I would like to know the Hindi word for {w}.",
    "Please give me the Hindi for {w}.",
    "Do you know the Hindi word for {w}?",
    "What do people who speak Hindi call {w}?",
    "Give the Hindi translation of {w}.",
)
