"""Rows that ask for a fact or a translation, with follow-up turns and in other forms."""

from __future__ import annotations

import json
from typing import Any

from heedlm.atlas.dialogues import lowered
from heedlm.atlas.facts import ASKED, UNKNOWN, Attribute, Country, fact_sentence, translation_sentence
from heedlm.atlas.hands import Asked, Hand
from heedlm.atlas.wordings import FOLLOW_UPS, QUESTIONS, SWITCHES, WORD_QUESTIONS

_NAME_ONLY = (
    "{q} Answer with the name only.",
    "Answer with one name only: {low}",
    "Only the name, no sentence: {low}",
    "{q} Reply with the name and nothing else.",
    "{q} The name is enough.",
    "In a single name: {low}",
)
_CAPITALS = (
    "{q} Answer in capital letters.",
    "Answer in capitals: {low}",
    "In capital letters: {low}",
    "{q} Write the answer in capitals.",
    "{q} Use capital letters only.",
    "Reply in capital letters, please: {low}",
)
_AS_JSON = (
    "{q} Answer as JSON.",
    "Answer as a JSON object: {low}",
    "{q} Give a JSON object with the country and the {a}.",
    "As JSON: {low}",
    "{q} Reply with JSON only.",
    "Return a JSON object: {low}",
)


def fact_record(country: Country, attribute: Attribute) -> dict[str, Any]:
    """The fact as ``meta.fact`` holds it, so that a report can find the right fact in another form."""
    return {"country": country.name, "attribute": attribute, "value": country.value(attribute)}


def question_of(hand: Hand, country: Country, attribute: Attribute) -> tuple[str, str]:
    """The question for a fact, and the key of its wording."""
    wording = hand.wording(f"facts_{attribute}", QUESTIONS[attribute])
    return wording.text.format(x=country.inner, X=country.first), wording.key


def any_attribute(hand: Hand) -> Attribute:
    """One of the attributes that tasks ask for."""
    return hand.rng.choice(ASKED)


def fact(hand: Hand, attribute: Attribute) -> Asked:
    """One fact of the next country, answered in the one sentence form of its attribute."""
    country = hand.countries.draw()
    asked, key = question_of(hand, country, attribute)
    answer = fact_sentence(country, attribute)
    extra = (("fact", fact_record(country, attribute)), ("wording", key))
    return Asked(asked, answer, country.key, ({"type": "equals", "value": answer},), extra=extra)


def unknown(hand: Hand) -> Asked:
    """A question about a country that does not exist."""
    name = hand.invented.draw()
    wording = hand.wording(f"facts_{(attribute := any_attribute(hand))}", QUESTIONS[attribute])
    asked = wording.text.format(x=name, X=name[0].upper() + name[1:])
    answer = UNKNOWN.format(x=name)
    checks = ({"type": "equals", "value": answer},)
    return Asked(asked, answer, f"name:{name}", checks, extra=(("unknown", True), ("wording", wording.key)))


def fact_in_form(hand: Hand) -> Asked:
    """A fact as a bare name, in capitals, or as a JSON object."""
    country, attribute = hand.countries.draw(), any_attribute(hand)
    asked, _ = question_of(hand, country, attribute)
    form = hand.rng.choice(("name", "capitals", "json"))
    bank = {"name": _NAME_ONLY, "capitals": _CAPITALS, "json": _AS_JSON}[form]
    wording = hand.wording(f"form_{form}", bank)
    user = wording.text.format(q=asked, low=lowered(asked), a=attribute)
    value = country.value(attribute)
    checks: tuple[dict[str, Any], ...]
    if form == "name":
        answer, checks = value, ({"type": "equals", "value": value},)
    elif form == "capitals":
        answer = fact_sentence(country, attribute).upper()
        checks = ({"type": "upper-case"}, {"type": "iequals", "value": answer})
    else:
        record = {"country": country.name, attribute: value}
        answer, checks = json.dumps(record), ({"type": "json-equals", "value": record},)
    extra = (("fact", fact_record(country, attribute)), ("wording", wording.key))
    return Asked(user, answer, country.key, checks, form=form, extra=extra)


def translation(hand: Hand) -> Asked:
    """An English word put into Hindi."""
    word = hand.words.draw()
    wording = hand.wording("translation", WORD_QUESTIONS)
    answer = translation_sentence(word)
    checks = ({"type": "equals", "value": answer},)
    return Asked(wording.text.format(w=word.english), answer, word.key, checks, extra=(("wording", wording.key),))


def _follow_up(hand: Hand, country: Country, attribute: Attribute) -> tuple[str, str, str]:
    """(user, assistant, wording key) of a second question about the same country."""
    wording = hand.wording(f"follow_{attribute}", FOLLOW_UPS[attribute])
    return wording.text, fact_sentence(country, attribute), wording.key


def _switch(hand: Hand, country: Country, attribute: Attribute) -> tuple[str, str, str]:
    """(user, assistant, wording key) of the same question about another country."""
    wording = hand.wording("switch", SWITCHES)
    return wording.text.format(x=country.inner), fact_sentence(country, attribute), wording.key


def chat(hand: Hand) -> Asked:
    """A follow-up that only the earlier turns make clear; only its last answer is the task."""
    country, other = hand.countries.take(2)
    first, second, third = hand.rng.sample(ASKED, 3)
    asked, _ = question_of(hand, country, first)
    turns = [(asked, fact_sentence(country, first))]
    shape = hand.rng.choice(("follow", "switch", "follow follow", "switch follow"))
    about, attribute = country, second
    if shape == "follow":
        last = _follow_up(hand, country, second)
    elif shape == "switch":
        about, attribute = other, first
        last = _switch(hand, other, first)
    elif shape == "follow follow":
        turns.append(_follow_up(hand, country, second)[:2])
        attribute = third
        last = _follow_up(hand, country, third)
    else:
        turns.append(_switch(hand, other, first)[:2])
        about = other
        last = _follow_up(hand, other, second)
    user, answer, key = last
    checks = ({"type": "equals", "value": answer},)
    extra = (("fact", fact_record(about, attribute)), ("wording", key), ("shape", shape))
    return Asked(user, answer, about.key, checks, history=tuple(turns), extra=extra)
