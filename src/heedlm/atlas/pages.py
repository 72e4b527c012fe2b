"""Reference pages about countries: prose, tables, lists, records, headings."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from heedlm.atlas.decks import Deck
from heedlm.atlas.facts import ATTRIBUTES, Attribute, Country, fact_sentence, fill
from heedlm.atlas.wordings import BACKWARD, FORWARD

Hand = Deck[Country]
Page = Callable[[random.Random, Hand], str]

_TITLES = (
    "A short atlas",
    "Notes on countries",
    "From the geography book",
    "Countries at a glance",
    "For travellers",
    "The atlas, page {n}",
    "Geography, lesson {n}",
    "World facts",
)
_LABELS: dict[Attribute, tuple[str, ...]] = {
    "capital": ("capital", "Capital", "Capital city"),
    "currency": ("currency", "Currency", "Money"),
    "language": ("language", "Official language", "Language"),
    "continent": ("continent", "Continent", "Part of the world"),
    "demonym": ("people", "Demonym", "A person is called"),
}
_CAPS_LABELS: dict[Attribute, str] = {
    "capital": "CAPITAL",
    "currency": "CURRENCY",
    "language": "OFFICIAL LANGUAGE",
    "continent": "CONTINENT",
    "demonym": "PEOPLE",
}


def _title(rng: random.Random) -> str:
    return rng.choice(_TITLES).format(n=rng.randint(1, 200))


def told(rng: random.Random, country: Country, attribute: Attribute) -> str:
    """The fact as a sentence: about half the time in the answer form, else in another wording."""
    if rng.random() < 0.5:
        return fact_sentence(country, attribute)
    bank = BACKWARD if rng.random() < 0.2 else FORWARD
    return fill(rng.choice(bank[attribute]), country, attribute)


def _shuffled(rng: random.Random) -> list[Attribute]:
    return rng.sample(ATTRIBUTES, len(ATTRIBUTES))


def prose(rng: random.Random, hand: Hand) -> str:
    """One paragraph per country, all five facts in any order."""
    paragraphs = [
        " ".join(told(rng, country, attribute) for attribute in _shuffled(rng))
        for country in hand.take(rng.randint(2, 6))
    ]
    return "\n\n".join(([_title(rng)] if rng.random() < 0.5 else []) + paragraphs)


def headed(rng: random.Random, hand: Hand) -> str:
    """One section per country under its name, in plain, hash or capital headings."""
    style = rng.choice(("{}", "# {}", "## {}", "{}:", "* {} *"))
    capitals = rng.random() < 0.4
    parts = []
    for country in hand.take(rng.randint(2, 6)):
        name = country.name.upper() if capitals else country.name
        facts = " ".join(told(rng, country, attribute) for attribute in _shuffled(rng))
        parts.append(f"{style.format(name)}\n{facts}")
    return "\n\n".join(parts)


def one_fact(rng: random.Random, hand: Hand) -> str:
    """One attribute of many countries, in the answer form or one other wording."""
    attribute = rng.choice(ATTRIBUTES)
    pattern = FORWARD[attribute][0] if rng.random() < 0.6 else rng.choice(FORWARD[attribute][1:])
    lines = [fill(pattern, country, attribute) for country in hand.take(rng.randint(8, 20))]
    return rng.choice((" ", "\n")).join(lines)


def mixed_facts(rng: random.Random, hand: Hand) -> str:
    """Single facts of many countries, each about something else, so that no neighbour helps."""
    lines = [fact_sentence(country, rng.choice(ATTRIBUTES)) for country in hand.take(rng.randint(8, 20))]
    return rng.choice((" ", "\n")).join(lines)


def backward(rng: random.Random, hand: Hand) -> str:
    """Facts told from the value to the country."""
    lines = []
    for country in hand.take(rng.randint(8, 18)):
        attribute = rng.choice(ATTRIBUTES)
        lines.append(fill(rng.choice(BACKWARD[attribute]), country, attribute))
    return rng.choice((" ", "\n")).join(lines)


def pipe_table(rng: random.Random, hand: Hand) -> str:
    """A table with bars, some columns, any column order."""
    columns = _shuffled(rng)[: rng.randint(1, 5)]
    head = ["Country", *(rng.choice(_LABELS[column][:2]) for column in columns)]
    rows = [head, ["---"] * len(head)] if rng.random() < 0.7 else [head]
    for country in hand.take(rng.randint(6, 13)):
        rows.append([country.name, *(country.value(column) for column in columns)])
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in rows)
    return f"{_title(rng)}\n\n{table}" if rng.random() < 0.5 else table


def colon_list(rng: random.Random, hand: Hand) -> str:
    """A record per country, one labelled line per fact."""
    which = rng.randrange(3)
    mark = rng.choice(("", "", "- ", "* "))
    parts = []
    for country in hand.take(rng.randint(3, 7)):
        lines = [f"{mark}{_LABELS[column][which]}: {country.value(column)}" for column in _shuffled(rng)]
        parts.append("\n".join([rng.choice(("{}", "{}", "Country: {}")).format(country.name), *lines]))
    return "\n\n".join(parts)


def cards(rng: random.Random, hand: Hand) -> str:
    """Flash cards with bare names."""
    style = rng.choice(("{c} - {a}: {v}", "{a} of {x}: {v}", "{c}, {a}: {v}", "{c}: {v}", "{c} ({a}): {v}"))
    attribute = rng.choice(ATTRIBUTES)
    one = style == "{c}: {v}" or rng.random() < 0.5
    lines = [f"Cards: {_LABELS[attribute][1].lower()}"] if one else ["Cards"]
    for country in hand.take(rng.randint(10, 22)):
        asked = attribute if one else rng.choice(ATTRIBUTES)
        label = _LABELS[asked][1].lower()
        label = label if "{c}" in style else label[0].upper() + label[1:]
        lines.append(style.format(c=country.name, x=country.inner, a=label, v=country.value(asked)))
    return "\n".join(lines)


def capitals(rng: random.Random, hand: Hand) -> str:
    """The same facts printed in capital letters, as headings or as whole sentences."""
    lines = []
    style = rng.randrange(4)
    for country in hand.take(rng.randint(5, 9)):
        first, second = _shuffled(rng)[:2]
        if style == 0:
            lines.append(f"{_CAPS_LABELS[first]} OF {country.inner.upper()}: {country.value(first).upper()}")
            lines.append(fact_sentence(country, first))
        elif style == 1:
            lines.append(fact_sentence(country, first).upper())
            lines.append(fact_sentence(country, second).upper())
        elif style == 2:
            lines.append(fact_sentence(country, first))
            lines.append(f"In capitals: {fact_sentence(country, first).upper()}")
        else:
            lines.append(country.name.upper())
            lines.extend(f"{_CAPS_LABELS[each]}: {country.value(each).upper()}" for each in (first, second))
    return "\n".join(lines)


def records(rng: random.Random, hand: Hand) -> str:
    """JSON records, one per line, with one to five facts."""
    columns = _shuffled(rng)[: rng.choice((1, 1, 1, 2, 5))]
    lines = [
        json.dumps({"country": country.name, **{column: country.value(column) for column in columns}})
        for country in hand.take(rng.randint(4, 10))
    ]
    return "\n".join(lines)


def region(rng: random.Random, hand: Hand) -> str:
    """Some countries of one continent, listed first and then described."""
    anchor = hand.draw()
    found = [anchor]
    for country in hand.take(40):
        if country.continent == anchor.continent and country not in found and len(found) < 8:
            found.append(country)
    names = ", ".join(country.name for country in found)
    place = anchor.continent.upper() if rng.random() < 0.3 else anchor.continent
    head = rng.choice(("Countries of {}: {}.", "Some countries of {} are these: {}.", "{} holds, among others, {}."))
    lines = [head.format(place, names)]
    for country in found:
        lines.append(fact_sentence(country, "continent"))
        lines.extend(told(rng, country, attribute) for attribute in rng.sample(ATTRIBUTES[:3], 2))
    return " ".join(lines)


def compared(rng: random.Random, hand: Hand) -> str:
    """Two countries side by side."""
    lines = []
    for _ in range(rng.randint(3, 6)):
        left, right = hand.take(2)
        attribute = rng.choice(ATTRIBUTES)
        second = fact_sentence(right, attribute)
        joint = second if attribute == "continent" and not right.article else second[0].lower() + second[1:]
        lines.append(f"{fact_sentence(left, attribute)[:-1]}, and {joint}")
        lines.append(told(rng, right, rng.choice(ATTRIBUTES)))
    return " ".join(lines)


# Weights of the forms, in documents.
PAGES: tuple[tuple[Page, float], ...] = (
    (prose, 9),
    (headed, 5),
    (one_fact, 8),
    (mixed_facts, 8),
    (backward, 3),
    (pipe_table, 4),
    (colon_list, 4),
    (cards, 4),
    (capitals, 7),
    (records, 5),
    (region, 3),
    (compared, 2),
)
