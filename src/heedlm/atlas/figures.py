"""Pages of plain figures: which of two is more, which is the highest, what is their order, did they rise or fall.

The highest of a list can be found by looking only once a model knows the order of the numbers, and reports alone did not
teach it: after 23M tokens the best month was right in 0.36 of new lists, where 0.2 is chance (docs/log.md, 2026-11-20).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from heedlm.atlas import lexicon, sales
from heedlm.atlas.world import Document

_PAIRS = (
    "{high} is more than {low}.",
    "{low} is less than {high}.",
    "{a} or {b}: {high} is more.",
    "Of {a} and {b} the higher is {high}.",
    "{a}, {b}: highest {high}, lowest {low}.",
)
_ORDERED = (
    "{given}. In order: {rising}.",
    "{given}. From the highest: {falling}.",
    "{given}. Highest: {high}.",
    "{given}. Highest: {high}, lowest: {low}.",
)
_CHANGES = (
    "From {a} to {b}: {word}.",
    "{a} at first, {b} at last: sales {word}.",
    "First {a}, then {b}. It {word}.",
)


def documents(rng: random.Random) -> Iterator[Document]:
    """Endless pages, each of one kind."""
    pages: tuple[Callable[[random.Random], str], ...] = (_pairs, _ordered, _changes, _months, _months, _months)
    while True:
        yield Document("figures", rng.choice(pages)(rng))


def _number(rng: random.Random) -> int:
    return rng.randint(10, 99)


def _pairs(rng: random.Random) -> str:
    """Two different numbers per line."""
    form = rng.choice(_PAIRS)
    lines = []
    for _ in range(rng.randint(8, 20)):
        a, b = rng.sample(range(10, 100), 2)
        lines.append(form.format(a=a, b=b, high=max(a, b), low=min(a, b)))
    return "\n".join(lines)


def _ordered(rng: random.Random) -> str:
    """Some numbers per line, put in order or searched for the ends."""
    form = rng.choice(_ORDERED)
    lines = []
    for _ in range(rng.randint(5, 12)):
        values = sales.clear_values(rng, rng.randint(3, 7))
        rising = sorted(values)
        slots = {"given": values, "rising": rising, "falling": rising[::-1]}
        written = {name: ", ".join(map(str, numbers)) for name, numbers in slots.items()}
        lines.append(form.format(**written, high=rising[-1], low=rising[0]))
    return "\n".join(lines)


def _changes(rng: random.Random) -> str:
    """Two numbers per line, and whether the second is more."""
    form = rng.choice(_CHANGES)
    lines = []
    for _ in range(rng.randint(8, 20)):
        a = _number(rng)
        b = a if rng.random() < 0.12 else _number(rng)
        word = "stayed level" if a == b else "rose" if b > a else "fell"
        lines.append(form.format(a=a, b=b, word=word))
    return "\n".join(lines)


def _months(rng: random.Random) -> str:
    """Monthly figures of several products, each with its best month, its trend, or both."""
    style = rng.choice(sales.STYLES)
    parts = []
    for product in rng.sample(lexicon.words("products"), rng.randint(2, 4)):
        figures = sales.draw(rng)
        best, trend = sales.closing(figures)
        told = rng.choice((f"{best} {trend}", f"{best} {trend}", best, trend))
        title = lexicon.expand("[Sales of {product}|{product}|Monthly sales, {product}]", rng, {"product": product})
        parts.append(f"{title}\n{sales.listing(figures, style)}\n{told}")
    return "\n\n".join(parts)
