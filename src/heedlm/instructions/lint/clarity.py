"""Finders of 2xx: words and sentences that cannot be followed, measured or told apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations

from heedlm.eval.text import words
from heedlm.instructions.lint.orders import first_words
from heedlm.instructions.lint.rule import Fix, Hit, Sentence, Subject, bare
from heedlm.instructions.lint.words import (
    ACRONYMS,
    BRIBES,
    FILLERS,
    GENERIC_ROLE,
    IMPERATIVES,
    IMPOSSIBLE,
    LANGUAGES,
    MEASURE,
    META,
    NEGATIVE,
    POSITIVE_TURN,
    RELATIVE_TIME,
    SHOUTED,
    UNMEASURED,
    VAGUE,
)

MOST_WORDS = 35
MOST_RULES = 10
_VAGUE = re.compile(r"\b(?:" + "|".join(map(re.escape, sorted(VAGUE, key=len, reverse=True))) + r")\b", re.IGNORECASE)
_UNMEASURED = re.compile(r"\b(?:" + "|".join(UNMEASURED) + r")\b", re.IGNORECASE)
_SHOUTED = re.compile(r"(?<![\w\"'])(?:" + "|".join(sorted(SHOUTED, key=len, reverse=True)) + r")(?![\w\"'])")
_LOUD = {word for one in SHOUTED for word in one.split()} | ACRONYMS
_CAPITALS = re.compile(r"(?<!\w)[A-Z]+(?:['’-][A-Z]+)*(?:[^\w\0]+[A-Z]+(?:['’-][A-Z]+)*)*(?!\w)")
_OPENS = re.compile(r"(?:^\s*(?:[-*•>]\s+|\d+[.)]\s+|#+\s+)?|[.!?]\s+)[*_(]*$")  # before the first word of a sentence
_QUOTED = re.compile(r"\"[^\"]*\"|“[^”]*”|`[^`]*`|(?<!\w)'[^'\n]{1,80}'(?!\w)")
_FILLER = re.compile(r"\b(?:" + "|".join(map(re.escape, FILLERS)) + r")\b,? ?", re.IGNORECASE)
_NUMBERS = {
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
}
_AMOUNT = r"(\d+|" + "|".join(_NUMBERS) + r")"
_UNIT = r"(sentence|paragraph|bullet|word|step|line|item)s?\b"


def unquoted(text: str) -> str:
    """A sentence without what it quotes: words that are named are not used."""
    return _QUOTED.sub('""', text)


def vague_word(subject: Subject) -> Iterator[Hit]:
    for one in subject.english:
        found = _VAGUE.search(unquoted(one.text))
        if found is not None:
            yield Hit(one.where, f"{found[0]!r} can mean anything: {_short(one.text)}", one.block.id)


def negative_only(subject: Subject) -> Iterator[Hit]:
    for one in subject.english:
        match = re.match(NEGATIVE, one.text, re.IGNORECASE)
        if match is not None and not re.search(POSITIVE_TURN, one.text[match.end() :], re.IGNORECASE):
            yield Hit(one.where, f"says only what not to do: {_short(one.text)}", one.block.id)


def shouting(subject: Subject) -> Iterator[Hit]:
    for block in subject.own:
        if subject.spoken != "English" or block.kind in ("examples", "data"):
            continue
        raw = block.text.split("\n")
        for number, line in enumerate(bare(block.text).split("\n"), start=1):
            plain = unquoted(line)
            found = _SHOUTED.findall(plain)
            if not found and plain.count("!!") < 1:
                continue
            held = raw[number - 1]
            calm = _calm(held) if held == line else held
            fix = Fix(block.text_line + number - 1, held, calm) if calm != held else None
            yield Hit(block.at(number), f"shouts: {', '.join(dict.fromkeys(found)) or '!!'}", block.id, fix=fix)


def _calm(line: str) -> str:
    """A line without its shouts; the line itself where they take other words with them, since nobody can tell from capitals
    which of those is a name. What is quoted stays."""
    quotes = _QUOTED.findall(line)
    plain = _QUOTED.sub("\0", line)
    if plain.count("\0") != len(quotes):
        return line
    for run in _CAPITALS.finditer(plain):
        words_ = re.findall(r"[A-Z]+(?:['’-][A-Z]+)*", run[0])
        if _SHOUTED.search(run[0]) and any(len(word) > 1 and word not in _LOUD for word in words_):
            return line

    def spoken(match: re.Match[str]) -> str:
        word = match[0].lower()
        return word[:1].upper() + word[1:] if _OPENS.search(plain[: match.start()]) else word

    calm = re.sub(r"!{2,}", "!", _SHOUTED.sub(spoken, plain))
    kept = iter(quotes)
    return re.sub("\0", lambda _: next(kept), calm)


def bribe_or_threat(subject: Subject) -> Iterator[Hit]:
    for one in subject.english:
        if re.search(BRIBES, one.text, re.IGNORECASE):
            yield Hit(one.where, f"promises or threatens: {_short(one.text)}", one.block.id)


def filler(subject: Subject) -> Iterator[Hit]:
    if subject.spoken != "English":
        return
    for block in subject.own:
        if block.kind in ("examples", "data", "init", "cue"):
            continue
        raw = block.text.split("\n")
        for number, line in enumerate(bare(block.text).split("\n"), start=1):
            found = _FILLER.search(unquoted(line))
            if found is None:
                continue
            held = raw[number - 1]
            short = _without_filler(held) if held == line and '"' not in held else held
            fix = Fix(block.text_line + number - 1, held, short) if short != held else None
            yield Hit(block.at(number), f"{found[0].strip(' ,')!r} says nothing to a model", block.id, fix=fix)


def _without_filler(line: str) -> str:
    """Without the filler, where what is left still begins with a verb."""
    match = re.match(r"(\s*(?:[-*•]|\d+[.)])?\s*)(.*)", line, re.DOTALL)
    assert match is not None
    rest = _FILLER.sub("", match[2], count=1).strip()
    found = first_words(rest)
    if not found or found[0].lower() not in IMPERATIVES:
        return line
    return match[1] + rest[:1].upper() + rest[1:]


def impossible_order(subject: Subject) -> Iterator[Hit]:
    for one in subject.english:
        if re.search(IMPOSSIBLE, unquoted(one.text), re.IGNORECASE):
            yield Hit(one.where, f"cannot be followed by trying: {_short(one.text)}", one.block.id)


def long_sentence(subject: Subject) -> Iterator[Hit]:
    for one in subject.sentences:
        count = len(words(one.text))
        if count > MOST_WORDS:
            yield Hit(one.where, f"a sentence of {count} words", one.block.id)


def stacked_actions(subject: Subject) -> Iterator[Hit]:
    for one in subject.english:
        clauses = re.split(r",|;|\band then\b|\bthen\b|\band\b|\bor\b", unquoted(one.text))
        orders = [found[0] for clause in clauses if (found := first_words(clause)) and found[0].lower() in IMPERATIVES]
        if len(orders) >= 4:
            yield Hit(one.where, f"{len(orders)} orders in one sentence: {', '.join(orders).lower()}", one.block.id)


def unmeasured_length(subject: Subject) -> Iterator[Hit]:
    for one in subject.english:
        found = _UNMEASURED.search(unquoted(one.text))
        if found is None or one.block.kind not in (
            "task",
            "constraints",
            "output_format",
            "steps",
            "goal",
            "verbosity",
        ):
            continue
        if not re.search(MEASURE, one.text, re.IGNORECASE):
            yield Hit(one.where, f"{found[0]!r} without a number: {_short(one.text)}", one.block.id)


def contradiction(subject: Subject) -> Iterator[Hit]:
    sentences = [
        one for one in subject.english if one.block.kind not in ("fallback", "notation", "verbosity", "commands")
    ]
    for first, second in combinations(_claims(sentences), 2):
        topic, side, one = first
        if topic == second[0] and side != second[1]:
            other = second[2]
            what = f"contradicts line {one.block.at(one.line).rpartition(':')[2]} ({_short(one.text)}): {_short(other.text)}"
            yield Hit(other.where, what, other.block.id)
    yield from _intervals(sentences)


_SIDES = (
    ("JSON", "only", r"\bjson\b.*\b(?:nothing else|and no other|only)\b|\bonly\b.*\bjson\b"),
    (
        "JSON",
        "more",
        r"^(?:then |also |and |afterwards )?(?:explain|justify|describe your reasoning|give your reasons)\b",
    ),
    (
        "lists",
        "none",
        r"\b(?:no|without|avoid|not use|never use|do not use) (?:any )?(?:bullets?|lists?|bullet points?)\b",
    ),
    (
        "lists",
        "some",
        r"\b(?:use|with|as|in|write) (?:a |an )?(?:numbered |bulleted |bullet )?(?:bullets|list|bullet points)\b",
    ),
    ("Markdown", "none", r"\b(?:no|without|not use|never use) markdown\b|\bplain text\b"),
    ("Markdown", "some", r"\b(?:use|in|as|with) (?:markdown|bold|headings|a table)\b"),
    ("case", "small", r"\b(?:in |only |all )(?:lower ?case|small letters)\b"),
    ("case", "capital", r"\b(?:in |only |all )(?:upper ?case|capital letters|capitals)\b"),
)


def _claims(sentences: list[Sentence]) -> list[tuple[str, str, Sentence]]:
    found = []
    for one in sentences:
        text = unquoted(one.text)
        for topic, side, pattern in _SIDES:
            if re.search(pattern, text, re.IGNORECASE):
                found.append((topic, side, one))
                break
        speaks = re.search(
            rf"\b(?:answer|reply|write|respond|speak)\b[^.,;]*\bin ({'|'.join(LANGUAGES)})\b", text, re.IGNORECASE
        )
        if speaks is not None:
            found.append(("language", speaks[1].lower(), one))
    return found


def _intervals(sentences: list[Sentence]) -> Iterator[Hit]:
    """Counts of one unit that no answer can have at once; counts of a part (each, per) are left alone."""
    held: dict[str, tuple[int, int, Sentence]] = {}
    for one in sentences:
        if re.search(r"\b(?:each|per|every|of at most|summary|title|heading|field|quote)\b", one.text, re.IGNORECASE):
            continue
        for low, high, unit in _counts(one.text):
            before = held.get(unit)
            if before is not None and (low > before[1] or high < before[0]):
                what = f"no answer has both: {_short(before[2].text)} and {_short(one.text)}"
                yield Hit(one.where, what, one.block.id)
            elif before is None:
                held[unit] = (low, high, one)


def _counts(text: str) -> Iterator[tuple[int, int, str]]:
    many = 10**9

    def number(word: str) -> int:
        return _NUMBERS.get(word.lower()) or int(word)

    for match in re.finditer(rf"\b(?:exactly|in) {_AMOUNT} (?:\w+ )?{_UNIT}", text, re.IGNORECASE):
        yield number(match[1]), number(match[1]), match[2].lower()
    for match in re.finditer(
        rf"\b(?:at most|no more than|up to|maximum of|fewer than) {_AMOUNT} {_UNIT}", text, re.IGNORECASE
    ):
        yield 0, number(match[1]), match[2].lower()
    for match in re.finditer(
        rf"\b(?:at least|no fewer than|minimum of|more than) {_AMOUNT} {_UNIT}", text, re.IGNORECASE
    ):
        yield number(match[1]), many, match[2].lower()
    for match in re.finditer(rf"\b{_AMOUNT} (?:to|and|-) {_AMOUNT} {_UNIT}", text, re.IGNORECASE):
        yield number(match[1]), number(match[2]), match[3].lower()


def repeated_instruction(subject: Subject) -> Iterator[Hit]:
    seen: list[tuple[set[tuple[str, ...]], Sentence]] = []
    for one in subject.sentences:
        if one.block.kind == "reminder":
            continue
        said = [word.lower() for word in words(one.text)]
        grams = {tuple(said[at : at + 3]) for at in range(max(1, len(said) - 2))} if len(said) >= 4 else set()
        for others, other in seen:
            if grams and len(grams & others) / len(grams | others) >= 0.8:
                line = other.block.at(other.line).rpartition(":")[2]
                yield Hit(one.where, f"says again what line {line} says", one.block.id)
                break
        seen.append((grams, one))


def empty_persona(subject: Subject) -> Iterator[Hit]:
    for one in subject.english:
        if one.block.kind in ("role", "task") and re.match(GENERIC_ROLE, one.text, re.IGNORECASE):
            yield Hit(one.where, f"a role without a trade, a reader or a place: {_short(one.text)}", one.block.id)


def too_many_rules(subject: Subject) -> Iterator[Hit]:
    for block in subject.own:
        if block.kind == "constraints":
            rules = sum(bool(re.match(r"\s*(?:[-*•]|\d+[.)])\s", line)) for line in block.text.split("\n"))
            if rules > MOST_RULES:
                yield Hit(block.at(0), f"{rules} rules; small models keep about {MOST_RULES}", block.id)


def branching(subject: Subject) -> Iterator[Hit]:
    for one in subject.english:
        branches = len(
            re.findall(r"\b(?:if|else if|otherwise|else|in case|unless)\b", unquoted(one.text), re.IGNORECASE)
        )
        if branches >= 3:
            yield Hit(one.where, f"{branches} branches in one sentence: {_short(one.text)}", one.block.id)


def relative_time(subject: Subject) -> Iterator[Hit]:
    dated = any(re.search(r"date|today|time|now|year", one.name, re.IGNORECASE) for one in subject.instruction.inputs)
    for one in subject.english if not dated else ():
        found = re.search(RELATIVE_TIME, unquoted(one.text), re.IGNORECASE)
        if found is not None:
            yield Hit(one.where, f"{found[0]!r}, and no input holds a date", one.block.id)


def meta_text(subject: Subject) -> Iterator[Hit]:
    for block in subject.own:
        for number, line in enumerate(bare(block.text).split("\n"), start=1):
            if re.match(META, line.strip(" -*#"), re.IGNORECASE):
                yield Hit(
                    block.at(number), f"a note about the file is sent to the model: {_short(line.strip())}", block.id
                )


def _short(text: str, most: int = 70) -> str:
    return repr(text if len(text) <= most else text[: most - 1] + "…")
