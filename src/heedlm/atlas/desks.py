"""Pages of people at a desk: what they were told to say, and what they say; who writes to whom, in very many wordings.

Two skills of instruction tuning are hard to learn from its own few rows. One is to find who receives and who writes in a
sentence worded in a new way: the base gave the letter to the wrong person in a fifth of such sentences. The other is to
decide whether a rule applies to a question and then to repeat the rule's words, not similar ones (docs/log.md, 2026-11-20).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from heedlm.atlas import asks, guides, letters, lexicon
from heedlm.atlas.dialogues import question
from heedlm.atlas.facts import ASKED, countries, fact_sentence, pool, translation_sentence, words
from heedlm.atlas.forms import COUNT, FORM_NAMES, FORMS, saying, some_items
from heedlm.atlas.phrases import phrase, spoken_list
from heedlm.atlas.wordings import WORD_QUESTIONS
from heedlm.atlas.world import Document

_LAYOUTS = (
    "{a} {b}",
    "{a} {b}",
    "{a}\n{b}",
    "# {t}\n{a}\n\n# {u}\n{b}",
    "# {t}\n\n- {a}\n- {b}",
    "<{low}>{a}</{low}>\n<{under}>{b}</{under}>",
    "{t}: {a}\n{u}: {b}",
    "**{t}:** {a}\n**{u}:** {b}",
    "[{low}] {a}\n[{under}] {b}",
    "{up}\n{a}\n\n{deep}\n{b}",
    "1. {a}\n2. {b}",
    "- {a}\n- {b}",
)
_HEADS = (
    ("Desk", "Order"),
    ("Who", "How"),
    ("Place", "Custom"),
    ("House", "Sign"),
    ("Room", "Note"),
    ("Keeper", "Word"),
)


def documents(rng: random.Random) -> Iterator[Document]:
    """Endless pages, each of one kind."""
    pages: tuple[tuple[Callable[[random.Random], str], float], ...] = (
        (_letters, 0.33),
        (_field, 0.22),
        (_always, 0.17),
        (_noted, 0.28),
    )
    makers, shares = [make for make, _ in pages], [share for _, share in pages]
    while True:
        yield Document("desk", rng.choices(makers, shares)[0](rng))


def _bank(name: str) -> list[str]:
    options = lexicon.table("desks")[name]
    assert isinstance(options, list)
    return options


def _listed(text: str, rng: random.Random) -> str:
    return rng.choice(lexicon.split(text))


def _letters(rng: random.Random) -> str:
    """Sentences that say who receives and who writes, each with lines, questions or a short letter that tells it again."""
    table = lexicon.table("desks")
    parts = []
    for _ in range(rng.randint(2, 4)):
        slots = lexicon.cast(rng)
        if rng.random() < 0.4:
            slots |= asks.strangers(rng)
        slots = letters.people(slots)
        if rng.random() < 0.25:
            told = [lexicon.one_of(table["both"], rng, slots)]
        else:
            told = [lexicon.one_of(table["gets"], rng, slots), lexicon.one_of(table["writes"], rng, slots)]
            if rng.random() < 0.5:
                told.reverse()
        if rng.random() < 0.4:
            kind = rng.choice(("apology", "apology", "other"))
            told.insert(rng.randint(0, len(told)), lexicon.one_of(table["kinds"][kind], rng, slots))
        parts.append(f"{' '.join(told)}{_told_again(rng, slots, table)}")
    return "\n\n".join(parts)


def _told_again(rng: random.Random, slots: dict[str, str], table: dict[str, dict[str, list[str]]]) -> str:
    draw = rng.random()
    roles = rng.sample(("client", "sender", "product", "company"), rng.randint(2, 4))
    if draw < 0.25:
        return "".join(f"\n{rng.choice(table['roles'][role])}: {slots[role]}" for role in roles)
    if draw < 0.5:
        return "".join(f"\n{rng.choice(table['roles'][role])}? {slots[role]}" for role in roles)
    if draw < 0.62:
        return f"\n\n{letters.write('apology', rng, slots, sign=0)}"
    news = lexicon.one_of(_bank("news"), rng, slots)
    foot = rng.choice(("Kind regards", "Regards", "Yours sincerely", "Greetings"))
    return f"\n\nDear {slots['client']},\n\n{news}\n\n{foot},\n{slots['sender']}\n{slots['company']}"


def _headed(rng: random.Random, one: str, other: str) -> str:
    """Two sentences in one of the layouts of a notice."""
    head, under = rng.choice(_HEADS)
    names = {
        "t": head,
        "u": under,
        "low": head.lower(),
        "under": under.lower(),
        "up": head.upper(),
        "deep": under.upper(),
    }
    return rng.choice(_LAYOUTS).format(a=one, b=other, **names)


def _cast(rng: random.Random) -> dict[str, str]:
    one, other = rng.sample(pool("nouns"), 2)
    keeper = _listed(str(lexicon.table("desks")["keepers"]), rng) if rng.random() < 0.6 else rng.choice(pool("people"))
    numbers = {"i": str(rng.randint(2, 90)), "j": str(rng.randint(2, 90)), "n": str(rng.randint(1, 40))}
    topic = rng.choice(guides.guides()).topic
    capital = keeper[0].upper() + keeper[1:]
    day = rng.choice(lexicon.words("weekdays"))
    return {"k": keeper, "K": capital, "a": one, "b": other, "topic": topic, "day": day, **numbers}


def _geography(rng: random.Random) -> tuple[str, str]:
    country, attribute = rng.choice(countries()), rng.choice(ASKED)
    return question(rng, country, attribute), fact_sentence(country, attribute)


def _hindi(rng: random.Random) -> tuple[str, str]:
    word = rng.choice(words())
    return rng.choice(WORD_QUESTIONS).format(w=word.english), translation_sentence(word)


_FIELDS = {"geography": _geography, "hindi": _hindi}


def _repeated(rng: random.Random) -> str:
    """Words to repeat: seldom the same twice, often polite, often two sentences."""
    draw = rng.random()
    one = lexicon.one_of(_bank("polite"), rng, {}) if draw < 0.6 else saying(rng)
    return f"{one} {phrase(rng)}" if rng.random() < 0.6 else one if rng.random() < 0.7 else phrase(rng)


def _talk(rng: random.Random, slots: dict[str, str], turns: list[tuple[str, str]]) -> str:
    asker = _listed(str(lexicon.table("desks")["asker"]), rng)
    answerer = rng.choice(("Answer", "A", "Clerk", "Desk", slots["K"]))
    gap = rng.choice(("\n", "\n\n"))
    return gap.join(f"{asker}: {asked}{gap}{answerer}: {answered}" for asked, answered in turns)


def _field(rng: random.Random) -> str:
    """A desk for one subject: its questions are answered, all others get the words of the notice."""
    slots = _cast(rng)
    field = rng.choice(tuple(_FIELDS))
    named = {**slots, "f": _listed(lexicon.table("desks")["fields"][field], rng), "p": _repeated(rng)}
    within, without = (lexicon.one_of(_bank(name), rng, named) for name in ("within", "without"))
    turns = []
    for _ in range(rng.randint(2, 5)):
        draw = rng.random()
        if draw < 0.45:
            turns.append(_FIELDS[field](rng))
        elif draw < 0.75:
            (other,) = set(_FIELDS) - {field}
            turns.append((_FIELDS[other](rng)[0], named["p"]))
        else:
            turns.append((lexicon.one_of(_bank("other"), rng, _cast(rng)), named["p"]))
    return f"{_headed(rng, within, without)}\n\n{_talk(rng, slots, turns)}"


def _always(rng: random.Random) -> str:
    """A rule for all that is said: words before it, words behind it, a name below, or nothing."""
    slots = _cast(rng)
    kind = rng.choices(("first", "last", "named", "idle"), (0.38, 0.38, 0.14, 0.1))[0]
    said = f"Your {slots['k'].removeprefix('the ')}, {rng.choice(pool('people'))}." if kind == "named" else ""
    said = said or (phrase(rng) if rng.random() < 0.6 else saying(rng))
    named = {**slots, "p": said}
    rule = lexicon.one_of(_bank(kind), rng, named)
    before = lexicon.one_of(_bank("idle"), rng, named)
    turns = []
    for _ in range(rng.randint(2, 4)):
        asked, told = rng.choice((_geography, _geography, _hindi))(rng)
        turns.append((asked, f"{said} {told}" if kind == "first" else told if kind == "idle" else f"{told} {said}"))
    return f"{_headed(rng, before, rule)}\n\n{_talk(rng, slots, turns)}"


def _noted(rng: random.Random) -> str:
    """Lists inside sentences, each taken down in another form."""
    parts = [_note(rng) for _ in range(rng.randint(2, 5))]
    return rng.choice(("\n\n", "\n\n", "\n")).join(parts)


def _note(rng: random.Random) -> str:
    items = some_items(rng, rng.randint(3, 6))
    said = spoken_list(items) if rng.random() < 0.5 else ", ".join(items)
    slots = {**_cast(rng), "g": said}
    if len(items) > 2 and rng.random() < 0.2:
        first = rng.randint(1, len(items) - 1)
        wording, items = rng.choice(_bank("noted_first")), items[:first]
        slots["count"], form = COUNT[first], "commas"
    else:
        wording, form = rng.choice(_bank("noted")), rng.choice(("bullets", "numbers", "lines", "array", "commas"))
    name = rng.choice([name for name in FORM_NAMES[form] if " " in name and not name.startswith("a ")])
    slots |= {"form": name, "Form": name[0].upper() + name[1:]}
    gap = " " if form == "commas" and rng.random() < 0.5 else rng.choice(("\n", "\n\n"))
    return f"{lexicon.expand(wording, rng, slots)}{gap}{FORMS[form](items)}"
