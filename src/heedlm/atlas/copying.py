"""Pages in which what was given early must be repeated later.

They teach a small model to copy, to keep a rule over several answers, and to write one list in several forms.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence

from heedlm.atlas.dialogues import Cast, question
from heedlm.atlas.facts import ASKED, fact_sentence, pool, translation_sentence
from heedlm.atlas.phrases import phrase, spoken_list, word_list
from heedlm.atlas.wordings import WORD_QUESTIONS

_PLACES = ("museum", "station", "library", "school", "harbour office", "town hall", "hotel", "bookshop")
_ROLES = ("guide", "clerk", "teacher", "librarian", "porter", "host")

Copy = Callable[[random.Random, Cast], str]


def notices(rng: random.Random, _decks: Cast) -> str:
    """Signs and notes, quoted twice."""
    frames = (
        "Sign: '{p}' The sign read: {p}",
        'The note said "{p}" and she read it aloud: "{p}"',
        "Motto of the {b}: {p} Over the door of the {b} stood the motto. {p}",
        "{n} wrote: {p} The next day {n} wrote the same words again: {p}",
        "First line: {p}\nSecond line, the same: {p}",
        "Repeat after me: {p}\n{p}",
        "Original: {p}\nCopy: {p}",
        "{n} called: {p} The echo answered: {p} {p}",
    )
    parts = [
        rng.choice(frames).format(p=phrase(rng), n=rng.choice(pool("people")), b=rng.choice(_PLACES))
        for _ in range(rng.randint(5, 12))
    ]
    return rng.choice(("\n", "\n\n")).join(parts)


def repeats(rng: random.Random, decks: Cast) -> str:
    """A long list in no order, and the same list again: the plainest practice in looking back.

    Without pages of this kind a small model learns late to copy what it has just read (a 2.5M-parameter model not at
    all within 4M tokens), and until then it answers every question about the wrong country.
    """
    parts: list[str] = []
    for _ in range(rng.randint(1, 2)):
        source = rng.randrange(4)
        size = rng.randint(6, 16)
        if source == 0:
            items = [country.inner for country in decks.countries.take(size)]
        elif source == 1:
            items = [decks.invented.draw() for _ in range(size)]
        elif source == 2:
            items = word_list(rng, size)
        else:
            items = [rng.choice((rng.choice(pool("nouns")), rng.choice(pool("people")))) for _ in range(size)]
        mark = rng.choice((", ", " ", "\n", "; "))
        heads = rng.choice((("List", "Again"), ("Read", "Say"), ("First", "Second"), ("Here", "There"), ("A", "B")))
        gap = rng.choice((" ", "\n"))
        parts.extend(f"{head}:{gap}{mark.join(items)}" for head in (*heads, heads[1])[: rng.randint(2, 3)])
    return "\n".join(parts)


def _rule(rng: random.Random, rule: str, about: str) -> str:
    """A rule as a house would print it."""
    return rng.choice(
        (
            f"{about}\nRule: {rule}",
            f"# {about}\n\n- {rule}",
            f"{about}. {rule}",
            f"{about}\n\n## Rule\n{rule}",
            f"The rule of the house: {rule} {about}.",
        )
    )


def _speakers(rng: random.Random) -> tuple[str, str]:
    return rng.choice((("Visitor", "Guide"), ("Guest", "Clerk"), ("Q", "A"), ("Child", "Teacher"), ("Caller", "Voice")))


def _talk(asker: str, answerer: str, turns: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"{asker}: {asked}\n{answerer}: {answered}" for asked, answered in turns)


def kept_phrase(rng: random.Random, decks: Cast) -> str:
    """A rule that every answer begins or ends with given words, and answers that keep it."""
    parts = []
    for _ in range(rng.randint(2, 3)):
        words, last = phrase(rng), rng.random() < 0.5
        rule = rng.choice(
            (
                "{v} every answer with the words: {p}",
                "Each answer {s} with: {p}",
                '{v} each reply with "{p}"',
                "Always {w} with the sentence: {p}",
            )
        ).format(v="End" if last else "Begin", s="ends" if last else "begins", w="end" if last else "begin", p=words)
        turns = []
        for country in decks.countries.take(rng.randint(1, 3)):
            attribute = rng.choice(ASKED)
            fact = fact_sentence(country, attribute)
            turns.append((question(rng, country, attribute), f"{fact} {words}" if last else f"{words} {fact}"))
        about = f"At the {rng.choice(_PLACES)} of {rng.choice(pool('people'))}"
        parts.append(f"{_rule(rng, rule, about)}\n{_talk(*_speakers(rng), turns)}")
    return "\n\n".join(parts)


def kept_signature(rng: random.Random, decks: Cast) -> str:
    """Somebody who signs every answer."""
    parts = []
    for _ in range(rng.randint(2, 4)):
        name, role = rng.choice(pool("people")), rng.choice(_ROLES)
        rule = rng.choice(("{n} signs every answer: Your {r}, {n}.", "Sign each answer with: Your {r}, {n}."))
        turns = []
        for country in decks.countries.take(rng.randint(1, 2)):
            attribute = rng.choice(ASKED)
            turns.append(
                (question(rng, country, attribute), f"{fact_sentence(country, attribute)} Your {role}, {name}.")
            )
        about = f"{name} is the {role} of the {rng.choice(_PLACES)}"
        parts.append(f"{_rule(rng, rule.format(n=name, r=role), about)}\n{_talk(*_speakers(rng), turns)}")
    return "\n\n".join(parts)


def other_question(rng: random.Random) -> str:
    """A question that has nothing to do with countries or Hindi words."""
    one, two = rng.sample(pool("nouns"), 2)
    return rng.choice(
        (
            "How do I paint the {a}?",
            "Write a poem about the {a} and the {b}.",
            "Tell me a joke about the {a}.",
            "What does the {a} cost?",
            "Who made the {a}?",
            "Can you repair my {a}?",
            "What is {i} plus {j}?",
            "Is the {a} older than the {b}?",
            "Write an email about my {a}.",
            "How do I clean the {a}?",
        )
    ).format(a=one, b=two, i=rng.randint(2, 90), j=rng.randint(2, 90))


def _inside(rng: random.Random, decks: Cast, field: str) -> tuple[str, str]:
    """(question, answer) about the field."""
    if field == "Hindi words":
        word = decks.words.draw()
        return rng.choice(WORD_QUESTIONS).format(w=word.english), translation_sentence(word)
    country, attribute = decks.countries.draw(), rng.choice(ASKED)
    return question(rng, country, attribute), fact_sentence(country, attribute)


def kept_field(rng: random.Random, decks: Cast) -> str:
    """Somebody who answers questions about one field, and all others with one fixed sentence."""
    parts = []
    for _ in range(rng.randint(1, 3)):
        fields = ("countries", "Hindi words") if rng.random() < 0.7 else ("Hindi words", "countries")
        fallback = phrase(rng) if rng.random() < 0.5 else f"Sorry, that is not my field. {phrase(rng)}"
        rule = rng.choice(
            (
                "Answer questions about {f}. To all other questions say: {p}",
                "Only {f} are explained here. Whoever asks for something else hears: {p}",
                "If a question is not about {f}, the answer is: {p}",
            )
        ).format(f=fields[0], p=fallback)
        turns = []
        for _ in range(rng.randint(2, 4)):
            draw = rng.random()
            if draw < 0.5:
                turns.append(_inside(rng, decks, fields[0]))
            elif draw < 0.65:
                turns.append((_inside(rng, decks, fields[1])[0], fallback))
            else:
                turns.append((other_question(rng), fallback))
        about = f"The {rng.choice(_ROLES)} of the {rng.choice(_PLACES)}"
        parts.append(f"{_rule(rng, rule, about)}\n{_talk(*_speakers(rng), turns)}")
    return "\n\n".join(parts)


def listed(items: Sequence[str], form: str) -> str:
    """``items`` written in a form: bullets, numbered, json, commas or lines."""
    if form == "bullets":
        return "\n".join(f"- {item}" for item in items)
    if form == "numbered":
        return "\n".join(f"{number}. {item}" for number, item in enumerate(items, 1))
    if form == "json":
        return json.dumps(list(items))
    return (", " if form == "commas" else "\n").join(items)


_FORM_HEADS = {
    "bullets": ("As a bulleted list:", "With a dash before each:", "Bullets:"),
    "numbered": ("As a numbered list:", "With numbers:", "Numbered:"),
    "json": ("As a JSON array:", "In JSON:", "The JSON array:"),
    "commas": ("On one line, with commas:", "Separated by commas:", "With commas:"),
    "lines": ("One word per line:", "Each on its own line:", "Line by line:"),
}


def list_forms(rng: random.Random, _decks: Cast) -> str:
    """One list of words in several forms."""
    parts = []
    for _ in range(rng.randint(2, 4)):
        items = word_list(rng, rng.randint(3, 6))
        given = rng.choice((", ".join(items), spoken_list(items), listed(items, "lines")))
        frame = rng.choice(("The words are {g}.", "Words: {g}.", "{g}.", "Take these words: {g}."))
        parts.append(frame.format(g=given))
        for form in rng.sample(sorted(_FORM_HEADS), rng.randint(1, 3)):
            parts.append(f"{rng.choice(_FORM_HEADS[form])}\n{listed(items, form)}")
        if rng.random() < 0.5:
            first = rng.randint(1, len(items) - 1)
            count = ("one", "two", "three", "four", "five")[first - 1]
            parts.append(f"Only the first {count}: {', '.join(items[:first])}")
    return "\n".join(parts)


COPIES: tuple[tuple[Copy, float], ...] = (
    (repeats, 8),
    (notices, 5),
    (kept_phrase, 5),
    (kept_signature, 2),
    (kept_field, 4),
    (list_forms, 6),
)
