"""The scorer that reads a number from a reply."""

from __future__ import annotations

import math
import re
from fractions import Fraction

from heedlm.eval.scorers.reading import unread
from heedlm.eval.scorers.scorer import Options, targets
from heedlm.messages import Example, Reply, Score

_LONGEST = 400  # characters; what is longer is no number that anybody means
# Thousands are parted, in groups of three, by the mark that is not the decimal one, or by one of these. A plain space
# parts them only where the comma is the decimal mark, as it is usual there: "100 200 300" is three numbers in English.
_PARTING = "\u00a0\u2009\u202f_'’"
_MARKED = re.compile(r"(?:####|\\boxed\s*\{|\banswer\b(?:\s+is)?\s*[:=]?)", re.IGNORECASE)


def _parting(decimal: str) -> str:
    return ("," if decimal == "." else ". ") + _PARTING


def _pattern(decimal: str) -> re.Pattern[str]:
    other = _parting(decimal)
    point = re.escape(decimal)
    grouped = rf"\d{{1,3}}(?P<part>[{re.escape(other)}])\d{{3}}(?:(?P=part)\d{{3}})*(?!\d)"
    return re.compile(
        rf"(?<!\w)(?<!\d{point})(?P<sign>[-+−–]?[$€£₹]?[-−]?)"
        rf"(?P<body>(?:{grouped}|\d+)(?:{point}\d+)?|{point}\d+)(?!\d)"
        r"(?:[eE](?P<power>[-+]?\d{1,3})(?![\w]))?(?:\s?/\s?(?P<under>\d+)(?![\d/]))?"
    )


_PATTERNS = {decimal: _pattern(decimal) for decimal in (".", ",")}


def numbers(text: str, decimal: str = ".") -> list[Fraction]:
    """Every number of a text in its order: signs, thousands, decimals, powers of ten, fractions such as 3/4, digits of
    any script.

    A dash between two numbers ("5-7") is no sign.   >>> numbers("about -1,234.50 of 3/4")  ->  [-1234.5, 0.75]
    """
    return [value for _, value in _placed(text, decimal)]


def _placed(text: str, decimal: str) -> list[tuple[int, Fraction]]:
    """The numbers with the places at which they start."""
    found = []
    for match in _PATTERNS[decimal].finditer(text):
        body = match["body"]
        if len(match[0]) > _LONGEST:
            continue
        for mark in _parting(decimal):
            body = body.replace(mark, "")
        body = "".join(str(int(char)) if char.isdigit() else char for char in body.replace(decimal, "."))
        value = Fraction(f"0{body}" if body.startswith(".") else body)
        if match["power"]:
            value *= Fraction(10) ** int(match["power"])
        if match["under"]:
            if int(match["under"]) == 0:
                continue
            value /= int(match["under"])
        before = text[max(0, match.start() - 8) : match.start()].rstrip(" ")[-1:]
        minus = any(mark in match["sign"] for mark in "-−–") and not before.isdigit()
        found.append((match.start(), -value if minus else value))
    return found


def read_number(text: str, decimal: str, which: str) -> Fraction | None:
    """The number that a reply answers with.

    which: "marked" takes the first number after the last `####`, `\\boxed{` or "answer", and where there is none the last
    number of all; "last" and "first" look at nothing but the order; "only" wants exactly one.
    """
    found = _placed(text, decimal)
    if not found or (which == "only" and len({value for _, value in found}) > 1):
        return None
    if which == "marked":
        marks = [mark.end() for mark in _MARKED.finditer(text) if mark.end() <= found[-1][0]]
        if marks:
            return next(value for start, value in found if start >= marks[-1])
    return found[0][1] if which in ("first", "only") else found[-1][1]


def numeric(example: Example, reply: Reply, options: Options) -> Score:
    """1.0 when the number of the reply is a target within the tolerances; a target may have text around its number."""
    found = read_number(reply.text, options["decimal"], options["which"])
    if found is None:
        many = options["which"] == "only" and numbers(reply.text, options["decimal"])
        return unread("several numbers", "one was asked for") if many else unread("no number", "the reply holds none")
    wanted = [number for target in targets(example) if (number := _target(target, options)) is not None]
    near = [number for number in wanted if _near(found, number, options)]
    said = _written(found)
    if near:
        return Score(1.0, said, "as the target")
    return Score(0.0, said, f"expected {' or '.join(map(_written, wanted[:3]))}, found {said}")


def numeric_problems(example: Example, options: Options) -> list[tuple[str, str]]:
    return [
        (f"the target {target!r} holds no number", 'write the number that is right, for example "target": 42')
        for target in targets(example)
        if _target(target, options) is None
    ]


def _target(target: str, options: Options) -> Fraction | None:
    return read_number(target, options["decimal"], "marked")


def _near(found: Fraction, wanted: Fraction, options: Options) -> bool:
    allowed = max(Fraction(str(options["tolerance"])), abs(wanted) * Fraction(str(options["relative"])))
    return abs(found - wanted) <= allowed


def _written(value: Fraction) -> str:
    if value.denominator == 1 and abs(value) < 10**15:
        return str(value.numerator)
    try:
        shown = float(value)
    except OverflowError:
        shown = math.inf
    return f"{shown:.10g}"
