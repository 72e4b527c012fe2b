"""How the words, sentences, lines and list items of a reply are counted."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# A mark in . ! ? ends a sentence when white space or nothing follows its closing quotes and brackets. The danda of
# Hindi ends one wherever it stands, because it is often written without a space after it.
_END = re.compile(r"(?P<marks>[.!?…]+)(?P<close>[\"'”’)\]»]*)(?=\s|$)|[।॥]+[\"'”’)\]»]*")
_VISIBLE = re.compile(r"\S")
_BULLET = re.compile(r"^[ \t]*[-*•][ \t]+\S", re.MULTILINE)
_NUMBERED = re.compile(r"^[ \t]*(\d{1,9})[.)][ \t]+\S", re.MULTILINE)
_LIST_MARK = re.compile(r"^\s*(?:[-*•]|\d{1,9}[.)]|#{1,6})\s+")
_HEADING = re.compile(r"^(#{1,6}[ \t].*)$", re.MULTILINE)
_NEW_BLOCK = re.compile(r"\n\s*\n|\n(?=[ \t]*(?:[-*•]|\d{1,9}[.)]|#{1,6})[ \t])")
_NO_PARAGRAPH = re.compile(r"[ \t]*(?:#{1,6}[ \t]|(?:[-*_][ \t]*){3,}$)")
# Thai, Lao, Burmese, Khmer, Japanese and Chinese are written without spaces between words.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
# Abbreviations before which a sentence never ends, and those that end one if a capital letter follows.
_TITLES = frozenset(("mr", "mrs", "ms", "dr", "prof", "rev", "hon", "st", "mt", "vs", "e.g", "i.e", "cf"))
_SHORTENED = frozenset(("etc", "vol", "fig", "approx", "dept", "inc", "ltd", "co", "corp", "jr", "sr", "a.m", "p.m"))


@lru_cache(maxsize=4096)
def in_word(char: str) -> bool:
    """Whether a character is part of a word in any script."""
    # Letters, digits and the marks that vowels are written with: `\w` of `re` would cut Devanagari words at each
    # vowel sign. The two joiners hold Devanagari clusters together and are part of the word as well.
    return unicodedata.category(char)[0] in "LMN" or char in "\u200c\u200d"


def collapse(text: str) -> str:
    """The text in Unicode's composed form with every run of white space as one space, ends stripped."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def fold(text: str) -> str:
    """`collapse`, and case folded: for comparisons that ignore case."""
    return collapse(unicodedata.normalize("NFC", text).casefold())


def words(text: str) -> list[str]:
    """The words of a text: what white space and dashes separate, if it holds a letter or a digit.

    Punctuation at the ends is cut off, inside it stays: "follow-up", "don't", "3.5" and "D.C" are one word each.
    """
    found = []
    for piece in re.sub(r"[—–]|--+", " ", text).split():
        first, last = 0, len(piece)
        while first < last and not in_word(piece[first]):
            first += 1
        while last > first and not in_word(piece[last - 1]):
            last -= 1
        if first < last:
            found.append(piece[first:last])
    return found


def occurrences(wanted: str, text: str, inside: bool = False) -> int:
    """How often a word or phrase stands in a text as whole words, case folded.

    inside: as a part of other words as well. In scripts that set no spaces between words every place counts.
    """
    wanted, said = fold(wanted), fold(text)
    if inside:
        return said.count(wanted) if wanted else 0
    found, place = 0, said.find(wanted) if wanted else -1
    while place >= 0:
        end = place + len(wanted)
        goes_on = end < len(said) and _spaced(said[end]) and _spaced(wanted[-1])
        within = goes_on or (place > 0 and _spaced(said[place - 1]) and _spaced(wanted[0]))
        found += not within
        place = said.find(wanted, place + 1 if within else end)
    return found


def _spaced(char: str) -> bool:
    return in_word(char) and not _UNSPACED.match(char)


def sentences(text: str) -> list[str]:
    """The sentences of a text, in order, list marks removed. Words after the last full stop count as a sentence.

    A blank line, a list item or a heading ends a sentence as well. Not an end: the full stop of a common abbreviation
    or of an initial ("St. Lucia", "J. Smith"), an ellipsis or a closing quote that a lower-case letter follows ("Who
    is it?" she asked).
    """
    found = []
    for block in _NEW_BLOCK.split(_HEADING.sub(r"\1\n", text)):
        block = _LIST_MARK.sub("", block)
        start = 0
        for match in _END.finditer(block):
            if _ends_sentence(block, match):
                found.append(collapse(block[start : match.end()]))
                start = match.end()
        found.append(collapse(block[start:]))
    return [sentence for sentence in found if any(map(in_word, sentence))]


def _ends_sentence(block: str, match: re.Match[str]) -> bool:
    marks, close = match["marks"], match["close"]
    if marks is None:
        return True
    follows = _VISIBLE.search(block, match.end())
    if follows is None:
        return True
    lower = follows[0].islower()
    if lower and (close or marks in ("…", "...", "..")):
        return False
    if marks != "." or close:
        return True
    window = block[max(0, match.start() - 40) : match.start()]  # no abbreviation is longer; a whole block would be slow
    last = re.split(r"\s", window)[-1].lstrip("\"'“‘([«")
    if len(last) == 1 and last.isupper() and last != "I":
        return False
    name = last.casefold()
    shortened = name in _SHORTENED or re.fullmatch(r"(?:[a-z]\.)+[a-z]", name)
    return name not in _TITLES and not (shortened and lower)


def lines(text: str) -> list[str]:
    """The lines that hold more than white space."""
    return [line for line in text.splitlines() if line.strip()]


def paragraphs(text: str, separator: str | None = None) -> list[str]:
    """What blank lines, or a separator of the writer's choice, keep apart; headings and ruled lines alone are none."""
    pieces = re.split(r"\n[ \t]*(?:\r?\n[ \t]*)+", text) if separator is None else text.split(separator)
    blocks = ["\n".join(line for line in lines(piece) if not _NO_PARAGRAPH.match(line)) for piece in pieces]
    return [block.strip() for block in blocks if any(map(in_word, block))]


def bullets(text: str) -> int:
    """How many lines start with "- ", "* " or "• " and go on."""
    return len(_BULLET.findall(text))


def numbers(text: str) -> list[int]:
    """The numbers of the lines that start like "1. " or "2) ", in order of appearance."""
    return [int(number) for number in _NUMBERED.findall(text)]
