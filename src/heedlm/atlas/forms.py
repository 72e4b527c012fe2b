"""Pages on which what was written once is written again in another form: a list as lines, a sentence as a record.

To a model the word after a blank and the word at the start of a line are two different tokens, so repeating a text as it
stood does not teach to rewrite it. After 34M tokens a list of new words came out right as bullets, where every word keeps
its blank, and seldom as lines or JSON, where it loses it; and letters were signed, on a new line, by somebody else
(docs/log.md, 2026-11-20).
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence

from heedlm.atlas import lexicon, phrases
from heedlm.atlas.facts import countries, pool, words
from heedlm.atlas.names import invented_names
from heedlm.atlas.world import Document

COUNT = ("zero", "one", "two", "three", "four", "five", "six")
FORMS: dict[str, Callable[[Sequence[str]], str]] = {
    "bullets": lambda items: "\n".join(f"- {item}" for item in items),
    "numbers": lambda items: "\n".join(f"{number}. {item}" for number, item in enumerate(items, 1)),
    "lines": "\n".join,
    "array": lambda items: json.dumps(list(items), ensure_ascii=False),
    "commas": ", ".join,
    "spoken": lambda items: phrases.spoken_list(list(items)),
    "blanks": " ".join,
    "quoted": lambda items: " ".join(f'"{item}"' for item in items),
}
FORM_NAMES = {
    "bullets": ("bullets", "with bullets", "behind dashes", "bulleted", "dashes"),
    "numbers": ("numbers", "numbered", "with numbers", "counted"),
    "lines": ("lines", "line by line", "one per line", "below each other", "on lines of their own"),
    "array": ("JSON", "as JSON", "a JSON array", "in JSON", "array"),
    "commas": ("commas", "with commas", "on one line, commas", "joined by commas"),
    "spoken": ("aloud", "in words", "as spoken"),
    "blanks": ("blanks", "with blanks", "nothing but blanks"),
    "quoted": ("in quotes", "quoted"),
}
_GIVEN = ("commas", "commas", "spoken", "spoken", "blanks", "lines", "bullets", "array")
_TOLD = (
    "{client} bought {product}. {company} sent a note, and {sender} put a name to it.",
    "{sender} works at {company}. {client} waits there for {product}.",
    "{company} owes {client} some {product}, says {sender}.",
    "The {product} are for {client}. They come from {sender} at {company}.",
    "From {sender} ({company}) to {client}: {product}.",
    "To {client}: {product}. From {company}, by {sender}.",
    "In the name of {company} {sender} wrote to {client} about {product}.",
    "About {product}: {client} asked, {sender} from {company} answered.",
    "{client} got a letter. It was about {product}, and {sender}, of {company}, had written it.",
    "{product} are what {client} wanted. {company} has them. {sender} is in charge.",
    "{sender} carries the {product} of {company} to {client}.",
    "At {company} the {product} for {client} are with {sender}.",
)
_ROLES = {
    "client": ("Client", "For", "To", "Who gets it"),
    "product": ("Product", "What", "About", "Goods"),
    "sender": ("Sender", "From", "Signed", "Who wrote"),
    "company": ("Company", "House", "Shop", "Where"),
}
# {p} is to stand before or behind {s}; the two together follow.
_BEFORE = (
    "Begin: {p}",
    "At the beginning: {p}",
    "It begins with {p}",
    "Start: {p}",
    "Starts with {p}",
    "First: {p}",
    "In front: {p}",
    "Before it: {p}",
    "It opens with {p}",
    "The opening: {p}",
    "Always at the start: {p}",
)
_BEHIND = (
    "End: {p}",
    "At the end: {p}",
    "It ends with {p}",
    "Finish: {p}",
    "Finishes with {p}",
    "Last: {p}",
    "Behind: {p}",
    "After it: {p}",
    "It closes with {p}",
    "The closing: {p}",
    "Always at the end: {p}",
)
_SUBJECTS = (
    "This",
    "That",
    "It",
    "The {n}",
    "Our {n}",
    "My {n}",
    "Your {n}",
    "Nobody",
    "Somebody",
    "One {n}",
    "No {n}",
)
_SAYINGS = (
    "{s} is {b}.",
    "{s} was never {b}.",
    "{s} is not my {m}.",
    "{s} is beyond the {m}.",
    "{s} belongs to the {m}.",
    "{s} knows the {b} {m}.",
    "{s} has no {m}.",
    "{s} must wait for the {m}.",
    "{s} lies behind the {b} {m}.",
    "I have {b} {m}s, and that is all.",
    "I cannot find the {m}.",
    "I am sorry about the {m}.",
    "I only sell {m}s.",
    "I must leave the {m} to others.",
    "We talk about the {b} {m}.",
    "We have no {m} today.",
    "Please take the {b} {m}.",
    "Please ask at the {m}.",
    "Sorry, the {m} is {b}.",
    "There is nothing behind the {m}.",
    "They help with the {m} alone.",
    "You may keep the {b} {m}.",
)


def documents(rng: random.Random) -> Iterator[Document]:
    """Endless pages, each of one kind."""
    pages: tuple[tuple[Callable[[random.Random], str], float], ...] = (
        (_rewritten, 0.45),
        (_records, 0.25),
        (_placed, 0.15),
        (_said, 0.15),
    )
    makers, shares = [make for make, _ in pages], [share for _, share in pages]
    while True:
        yield Document("forms", rng.choices(makers, shares)[0](rng))


def some_items(rng: random.Random, number: int) -> list[str]:
    """Different words, or names, of one or two kinds; dictionary words most often."""
    pools: tuple[Sequence[str], ...] = (
        [word.english for word in words()],
        pool("nouns"),
        lexicon.words("products"),
        [f"{first} {last}" for first in lexicon.words("first_names") for last in lexicon.words("surnames")],
        lexicon.words("companies"),
        [country.name for country in countries()],
        invented_names("train"),
        lexicon.words("months"),
    )
    if rng.random() < 0.5:
        return rng.sample(pools[0], number)
    drawn = rng.choices(pools, (3, 2, 3, 3, 1, 1, 1, 0.5), k=rng.choice((1, 1, 2)))
    return list(dict.fromkeys(rng.choice(rng.choice(drawn)) for _ in range(number)))


def _rewritten(rng: random.Random) -> str:
    """Lists, each in one form and then in others, or only its first items."""
    parts = []
    for _ in range(rng.randint(2, 4)):
        items = some_items(rng, rng.randint(3, 6))
        given = rng.choice(_GIVEN)
        lead = rng.choice(("", "", "Here: ", "Words: ", "Given: ", "The list: "))
        lead = f"{lead.strip()}\n" if lead and given in ("lines", "bullets") else lead
        parts.append(f"{lead}{FORMS[given](items)}")
        for form in rng.sample(sorted(set(FORMS) - {given}), rng.randint(1, 3)):
            name = rng.choice(FORM_NAMES[form])
            gap = "\n" if form in ("lines", "bullets", "numbers") or rng.random() < 0.4 else " "
            parts.append(f"{name[0].upper()}{name[1:]}:{gap}{FORMS[form](items)}")
        if rng.random() < 0.5 and len(items) > 1:
            first = rng.randint(1, len(items) - 1)
            head = rng.choice(("The first {k}:", "First {k}:", "Only {k}, from the start:", "{k} of them:"))
            shown = head.format(k=COUNT[first])
            parts.append(f"{shown[0].upper()}{shown[1:]} {', '.join(items[:first])}")
    return "\n".join(parts)


def _records(rng: random.Random) -> str:
    """Who is who in a sentence, filled into lines, or into the foot of a letter."""
    parts = []
    for _ in range(rng.randint(2, 4)):
        slots = lexicon.cast(rng)
        who = {
            "client": f"{slots['name']} {slots['surname']}",
            "sender": f"{slots['other']} {slots['other_surname']}",
            "product": slots["product"],
            "company": slots["company"],
        }
        told = rng.choice(_TOLD).format_map(who)
        parts.append(told[0].upper() + told[1:])
        draw = rng.random()
        roles = rng.sample(sorted(_ROLES), rng.randint(2, 4))
        if draw < 0.35:
            parts.extend(f"{rng.choice(_ROLES[role])}: {who[role]}" for role in roles)
        elif draw < 0.65:
            parts.extend(f"{rng.choice(_ROLES[role])}?\n{who[role]}" for role in roles)
        else:
            goods = rng.choice(("Your {product} are here.", "We sent the {product}.", "The {product} will come."))
            foot = rng.choice(("Regards", "Greetings", "Kind regards", "Yours"))
            letter = f"Dear {{client}},\n\n{goods}\n\n{foot},\n{{sender}}\n{{company}}"
            parts.append(letter.format_map(who))
    return "\n".join(parts)


def saying(rng: random.Random, nouns: Sequence[str] | None = None) -> str:
    """A short sentence, seldom the same twice. nouns: that it may be about, by default any."""
    one, other = rng.sample(nouns or pool("nouns"), 2)
    subject = rng.choice(_SUBJECTS).format(n=one)
    return rng.choice(_SAYINGS).format(s=subject, m=other, b=rng.choice(pool("adjectives")))


def _placed(rng: random.Random) -> str:
    """Words that are to stand before or behind sentences, and the sentences with them."""
    parts = []
    for _ in range(rng.randint(2, 4)):
        front = rng.random() < 0.5
        put = phrases.phrase(rng) if rng.random() < 0.7 else saying(rng)
        head = rng.choice(_BEFORE if front else _BEHIND)
        parts.append(head.format(p=rng.choice((put, f'"{put}"'))))
        for _ in range(rng.randint(1, 3)):
            sentence = saying(rng)
            parts.append(f"{sentence} | {put} {sentence}" if front else f"{sentence} | {sentence} {put}")
    return "\n".join(parts)


def _said(rng: random.Random) -> str:
    """Sentences with all kinds of beginnings, quoted and said again, alone or with another."""
    frames = (
        "Say: {p}\n{p}",
        'The answer is "{p}"\n{p}',
        "{n} says: {p}\nWhat does {n} say? {p}",
        "If asked: {p}\nAsked: {p}",
        'Tell them "{p}"\nTold: {p}',
        "The words: {p}\nSpoken: {p}",
        "Note: {p}\nRead: {p}",
    )
    parts = []
    for _ in range(rng.randint(4, 9)):
        said = " ".join(saying(rng) for _ in range(rng.choice((1, 1, 2))))
        if rng.random() < 0.4:
            said = f"{said} {phrases.phrase(rng)}"
        parts.append(rng.choice(frames).format(p=said, n=rng.choice(pool("people"))))
    return rng.choice(("\n", "\n\n")).join(parts)
