"""Rows whose system text gives a rule that the answer must keep."""

from __future__ import annotations

from dataclasses import dataclass, replace

from heedlm.atlas import lexicon
from heedlm.atlas.asked_facts import any_attribute, fact_record, question_of
from heedlm.atlas.facts import fact_sentence, pool, translation_sentence
from heedlm.atlas.forms import saying
from heedlm.atlas.hands import Asked, Check, Hand
from heedlm.atlas.phrases import phrase
from heedlm.atlas.systems import ruled
from heedlm.atlas.wordings import WORD_QUESTIONS
from heedlm.atlas.world import split_of

_BANKS: dict[str, list[str]] = lexicon.table("rules")
_JOBS = ("guide", "helper", "librarian", "teacher", "host", "clerk")
# What a tone sounds like: the tuning rows show it, the system text only names it.
_TONES = {"cheerful": "Gladly!", "formal": "Certainly.", "modest": "I may be wrong."}
_FRAMES = {"brackets": "[{t}]", "dash": "- {t}", "label": "Answer: {t}"}
_FIELDS = {"geography": ("countries", "geography"), "hindi": ("Hindi words", "translations into Hindi")}


def _worded(hand: Hand, bank: str) -> str:
    return hand.wording(bank, _BANKS[bank]).text


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of a system text; {t} in ``answer`` and in the checks' values stands for the fact sentence."""

    kind: str
    name: str
    text: str
    answer: str
    checks: tuple[Check, ...]
    role: str | None = None


def _begins(kind: str, name: str, text: str, words: str) -> Rule:
    checks = ({"type": "starts-with", "value": words}, {"type": "contains", "value": "{t}"})
    return Rule(kind, name, text, f"{words} {{t}}", checks)


def _ends(kind: str, name: str, text: str, words: str, role: str | None = None) -> Rule:
    checks = ({"type": "ends-with", "value": words}, {"type": "contains", "value": "{t}"})
    return Rule(kind, name, text, f"{{t}} {words}", checks, role)


def _under(hand: Hand, rule: Rule) -> Asked:
    """A fact of the next country under ``rule``."""
    country, attribute = hand.countries.draw(), any_attribute(hand)
    asked, key = question_of(hand, country, attribute)
    told = fact_sentence(country, attribute)
    system, combo = ruled(hand, rule.kind, rule.text, rule.role)
    checks = tuple({**check, "value": check["value"].replace("{t}", told)} for check in rule.checks)
    extra = (("fact", fact_record(country, attribute)), ("wording", key), ("combo", combo))
    answer = rule.answer.replace("{t}", told)
    return Asked(asked, answer, country.key, checks, form=rule.name, system=system, extra=extra)


def kept_phrase(hand: Hand) -> Asked:
    """Every answer begins or ends with a phrase that only the system text knows."""
    words = phrase(hand.rng, hand.split)
    if hand.rng.random() < 0.5:
        return _under(hand, _begins("phrases", "phrase_begin", _worded(hand, "phrase_begin").format(p=words), words))
    return _under(hand, _ends("phrases", "phrase_end", _worded(hand, "phrase_end").format(p=words), words))


def signed(hand: Hand) -> Asked:
    """A persona that signs its answers; the names of the test are in no train row."""
    names = [name for name in pool("people") if split_of(f"person:{name}") == hand.split]
    name, job = hand.rng.choice(names), hand.rng.choice(_JOBS)
    signature = f"Your {job}, {name}."
    text = _worded(hand, "signature").format(p=signature)
    return _under(hand, _ends("signature", "signature", text, signature, f"You are {name}, a {job}."))


def toned(hand: Hand) -> Asked:
    """A cheerful, formal or modest answer."""
    tone = hand.rng.choice(tuple(_TONES))
    return _under(hand, _begins("voice", f"tone-{tone}", _worded(hand, f"tone_{tone}"), _TONES[tone]))


def framed(hand: Hand) -> Asked:
    """An answer in brackets, after a dash, or after a label."""
    frame = hand.rng.choice(tuple(_FRAMES))
    text, pattern = _worded(hand, f"frame_{frame}"), _FRAMES[frame]
    return _under(hand, Rule("frames", f"frame_{frame}", text, pattern, ({"type": "equals", "value": pattern},)))


def shouted(hand: Hand) -> Asked:
    """An answer in capital letters because the system text says so."""
    asked = _under(hand, Rule("capitals", "upper", _worded(hand, "capitals"), "{t}", ()))
    answer = asked.answer.upper()
    return replace(asked, answer=answer, checks=({"type": "upper-case"}, {"type": "iequals", "value": answer}))


def _off_topic(hand: Hand, field: str) -> tuple[str, str]:
    """(question, group) outside ``field``."""
    draw = hand.rng.random()
    if draw < 0.35 and field == "hindi":
        country = hand.countries.draw()
        return question_of(hand, country, any_attribute(hand))[0], country.key
    if draw < 0.35:
        word = hand.words.draw()
        return hand.wording("translation", WORD_QUESTIONS).text.format(w=word.english), word.key
    one, two = hand.rng.sample(_nouns(hand), 2)
    numbers = {"i": hand.rng.randint(2, 90), "j": hand.rng.randint(2, 90)}
    return _worded(hand, "other").format(a=one, b=two, **numbers), f"word:{one}"


def _fallback(hand: Hand) -> str:
    """What is said to questions outside the field. In most train rows any sentence may be: forty polite ones are soon known
    by heart, and then one that is new is begun rightly and ended like one of them.
    """
    any_words = hand.split == "train" and hand.rng.random() < 0.6
    first = saying(hand.rng, _nouns(hand)) if any_words else _worded(hand, "sorry")
    return f"{first} {phrase(hand.rng, hand.split)}"


def _nouns(hand: Hand) -> list[str]:
    return [noun for noun in pool("nouns") if split_of(f"word:{noun}") == hand.split]


def scoped(hand: Hand) -> Asked:
    """A field of work: questions inside it are answered, others get the fallback sentence of the system text."""
    field = "geography" if hand.rng.random() < 0.7 else "hindi"
    fallback = _fallback(hand)
    rule = _worded(hand, "decline").format(f=hand.rng.choice(_FIELDS[field]), p=fallback)
    system, combo = ruled(hand, "topic", rule, _worded(hand, f"field_{field}"))
    inside = hand.rng.random() < 0.5
    if not inside:
        (user, group), answer = _off_topic(hand, field), fallback
    elif field == "geography":
        country, attribute = hand.countries.draw(), any_attribute(hand)
        user, group, answer = question_of(hand, country, attribute)[0], country.key, fact_sentence(country, attribute)
    else:
        word = hand.words.draw()
        user, group = hand.wording("translation", WORD_QUESTIONS).text.format(w=word.english), word.key
        answer = translation_sentence(word)
    checks = ({"type": "equals", "value": answer},)
    extra = (("combo", combo), ("in_scope", inside))
    return Asked(user, answer, group, checks, "fact" if inside else "fallback", system, extra=extra)
