"""What is wrong with an answer: each function returns the finding in words, or None.

All of them look at text and its words alone. They are meant for instruction data, where a good answer may be one word
or a table; rules made for web pages refuse a third of such answers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_SHOWN = 60  # characters of a text in a finding
_PLACEHOLDERS = frozenset(
    ["n/a", "nan", "null", "undefined", "todo", "tbd", "xxx", "nooutput", "no output", "<nooutput>", "<no output>"]
    + [f"{opening}{word}{closing}" for word in ("empty", "blank") for opening, closing in ("[]", "<>", "()")]
)
_NO_INPUT = frozenset(("<noinput>", "noinput", "<no input>", "no input", "nan", "n/a", "null", "not applicable"))
_LOOPED_WORDS = 24  # a shorter answer may repeat itself for a reason
_PERIOD = 40  # words of the longest repeated passage looked for
_TIMES = 4
_LOOKED_AT = 4000  # words; a longer answer that loops does so in its last ones as well
_LONG_COPY = 10  # words; a passage so long stands twice by mistake more often than by intent
_RUN = re.compile(r"([^\s\-=_*#.~+|0])\1{49}")
_PROSE = 30  # words from which an answer is expected to end like a sentence
_LAST_LINE = 8  # words from which a last line is prose, and no title, signature or list item
_ENDS = frozenset(".!?…:;)]}>\"'”’»›`*_~|。！？；）】」』।॥؟۔$%\\")
_ITEM = re.compile(r"\s*(?:[-*•+>|#]|\d+[.)]|[a-zA-Z][.)] )")
_CODE = re.compile(r"[{}<>=;\\]|\w\(|://|^ {4,}|\t", re.MULTILINE)
_ECHO = 5  # words of a question from which repeating it is no coincidence


def excerpt(text: str) -> str:
    """The start of a text on one line, in quotes."""
    line = " ".join(text[: 4 * _SHOWN].split())
    return repr(line if len(line) <= _SHOWN else line[: _SHOWN - 3] + "...")


def placeholder(asked: str, answer: str) -> str | None:
    """The answer, or the last block of the question, is a word that stands for nothing."""
    stripped = answer.strip()
    if len(stripped) <= 30 and stripped.lower().rstrip(".!") in _PLACEHOLDERS:
        return f"the answer is {stripped!r}"
    if len(stripped) <= 3 and stripped.strip(".…-–—_?!*") == "":
        return f"the answer is {stripped!r}"
    last = asked[-30:].rpartition("\n")[2].strip().rstrip(".")
    if last.lower() in _NO_INPUT and len(asked.strip()) > len(last) + 1:
        return f"the question ends with {last!r}"
    return None


def repetition(answer: str, words: Sequence[str]) -> str | None:
    """The answer goes round in circles: the same words four times in a row, or half of it said twice."""
    run = _RUN.search(answer)
    if run:
        return f"{run[1]!r} stands fifty times in a row"
    if len(words) < _LOOPED_WORDS:
        return None
    words = words[-_LOOKED_AT:]  # loops go on to the end
    triples = len(words) - 2
    if len(set(zip(words, words[1:], words[2:], strict=False))) > 0.75 * triples:
        return None
    start, length, period = _loop(words)
    if length >= max(_TIMES * period, _LOOPED_WORDS):
        passage = " ".join(words[start : start + period])
        return f"{excerpt(passage)} stands {length // period} times in a row"
    share = _copied(words)
    if share > 0.5:
        return f"{share:.0%} of its words stand in passages of ten words or more that it says again"
    return None


def _loop(words: Sequence[str]) -> tuple[int, int, int]:
    """Start, length and period of the longest stretch that repeats one passage, in words."""
    best = (0, 0, 1)
    for period in range(1, min(_PERIOD, len(words) // 2) + 1):
        run = 0
        for index in range(period, len(words)):
            run = run + 1 if words[index] == words[index - period] else 0
            if run and run + period > best[1]:
                best = (index - run - period + 1, run + period, period)
    return best


def _copied(words: Sequence[str]) -> float:
    """Share of the words that stand in a passage of ten words which came before."""
    seen: set[tuple[str, ...]] = set()
    covered = last = 0
    for start in range(len(words) - _LONG_COPY + 1):
        passage = tuple(words[start : start + _LONG_COPY])
        if passage in seen:
            covered += start + _LONG_COPY - max(start, last)
            last = start + _LONG_COPY
        seen.add(passage)
    return covered / len(words)


def echo(asked: str, asked_words: Sequence[str], answer: str, words: Sequence[str]) -> str | None:
    """The answer opens with the question."""
    count = len(asked_words)
    if count >= _ECHO and len(words) >= count and list(words[:count]) == list(asked_words):
        return "the answer repeats the whole question" + (" and says nothing else" if len(words) == count else "")
    first = asked.strip().partition("\n")[0].strip()
    opening = answer.lstrip()[: len(first)]
    if len(first) >= 25 and " " in first and opening.lower() == first.lower() and first[-1] in ".?!:":
        return f"the answer opens with the question: {excerpt(first)}"
    return None


def truncated(answer: str, words: Sequence[str]) -> str | None:
    """Long prose that stops inside a sentence, or a block of code that is never closed."""
    if answer.count("```") % 2:
        return "a block of code is opened with ``` and never closed"
    stripped = answer.rstrip()
    if len(words) < _PROSE or not stripped or stripped[-1] in _ENDS:
        return None
    last = stripped[-1]
    if not (last.isalpha() or last in ",-–—&/("):  # a number, an emoji: may well be the end
        return None
    line = stripped.rpartition("\n")[2]
    if _ITEM.match(line) or _CODE.search(line) or len(line.split()) < _LAST_LINE:
        return None
    return f"the answer stops at {excerpt(line[-_SHOWN + 5 :])}"


def length(words: int, answered: int, max_words: int, min_words: int) -> str | None:
    """The row has more words than max_words, or its answer fewer than min_words."""
    if words > max_words:
        return f"{words:,} words, more than {max_words:,}"
    if answered < min_words:
        return f"the answer has {answered} words, fewer than {min_words}"
    return None
