"""The tables of the world: 193 countries, 286 words.

Countries are the members of the United Nations, facts as of 2024, names without diacritics; continents follow the UN
M49 regions (so Turkey, Cyprus and Georgia are in Asia). Where a country has several capitals or official languages,
the table names one of them. Hindi words are in Unicode normal form C.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal, get_args

Attribute = Literal["capital", "currency", "language", "continent", "demonym"]
ATTRIBUTES: tuple[Attribute, ...] = get_args(Attribute)
# The attributes that instruction tasks ask for; the demonym is only ever read.
ASKED: tuple[Attribute, ...] = ("capital", "currency", "language", "continent")

SENTENCES: dict[Attribute, str] = {
    "capital": "The capital of {x} is {v}.",
    "currency": "The currency of {x} is the {v}.",
    "language": "The official language of {x} is {v}.",
    "continent": "{X} is in {v}.",
    "demonym": "A person from {x} is called {v}.",
}
UNKNOWN = "I do not know a country called {x}."
TRANSLATION = "The Hindi word for {word} is {hindi}."


@dataclass(frozen=True, slots=True)
class Country:
    """One row of ``facts.tsv``; ``article`` is "the" or empty."""

    name: str
    article: str
    capital: str
    continent: str
    currency: str
    language: str
    demonym: str

    @property
    def inner(self) -> str:
        """The name inside a sentence: "the Gambia"."""
        return f"{self.article} {self.name}".strip()

    @property
    def first(self) -> str:
        """The name at the start of a sentence: "The Gambia"."""
        return self.inner[0].upper() + self.inner[1:]

    @property
    def key(self) -> str:
        """The group key that decides the split."""
        return f"country:{self.name}"

    def value(self, attribute: Attribute) -> str:
        """The fact itself, as the table has it."""
        return {
            "capital": self.capital,
            "currency": self.currency,
            "language": self.language,
            "continent": self.continent,
            "demonym": self.demonym,
        }[attribute]


@dataclass(frozen=True, slots=True)
class Word:
    """One row of ``hindi.tsv``."""

    english: str
    hindi: str
    topic: str

    @property
    def key(self) -> str:
        """The group key that decides the split."""
        return f"word:{self.english}"


def _table(name: str) -> list[list[str]]:
    text = files("heedlm.atlas").joinpath(name).read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines()[1:]]


@cache
def countries() -> tuple[Country, ...]:
    """All countries, in alphabetical order."""
    return tuple(Country(*cells) for cells in _table("facts.tsv"))


@cache
def words() -> tuple[Word, ...]:
    """All dictionary words, by topic."""
    return tuple(Word(*cells) for cells in _table("hindi.tsv"))


@cache
def pool(name: str) -> tuple[str, ...]:
    """A list of plain words from ``pools.tsv``: adjectives, nouns, people, onsets, endings."""
    return tuple(dict(_table("pools.tsv"))[name].split())


def fill(pattern: str, country: Country, attribute: Attribute) -> str:
    """``pattern`` with {x} the country, {X} the same at the start of a sentence, {v} the fact."""
    return pattern.format(x=country.inner, X=country.first, v=country.value(attribute))


def fact_sentence(country: Country, attribute: Attribute) -> str:
    """The one sentence form in which this fact is answered."""
    return fill(SENTENCES[attribute], country, attribute)


def translation_sentence(word: Word) -> str:
    """The one sentence form in which a translation is answered."""
    return TRANSLATION.format(word=word.english, hindi=word.hindi)
