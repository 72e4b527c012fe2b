"""Task families of the built-in world for instructions: what is asked, how it is judged, and what people would write.

Made with the generators of the built-in world (src/heedlm/atlas). For each family three instructions written by hand lie in
benchmarks/prompts: a short one, a full one with rules, and one with three solved examples. Where a fourth lies, it holds other
wordings of its blocks, for an optimiser to choose among.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PROMPTS = Path(__file__).resolve().parent / "prompts"
STYLES = ("short", "full", "shown")

Row = dict[str, Any]


def _facts(side: Any, rng: random.Random) -> Iterator[tuple[Any, str, str]]:
    """Questions about countries, each with the name that answers it and the sentence that does."""
    from heedlm.atlas import asked_facts, hands

    cards = hands.hand(side, rng)
    while True:
        asked = asked_facts.fact(cards, asked_facts.any_attribute(cards))
        yield asked, dict(asked.extra)["fact"]["value"], asked.answer


def name(side: Any, rng: random.Random) -> Iterator[Row]:
    """The bare name that answers a question about a country."""
    for asked, value, _ in _facts(side, rng):
        wanted = [{"type": "iequals", "value": value}]
        yield {"vars": {"question": asked.user}, "target": value, "assert": wanted, "group": asked.group}


def capitals(side: Any, rng: random.Random) -> Iterator[Row]:
    """A fact about a country in capital letters."""
    for asked, value, told in _facts(side, rng):
        wanted = [{"type": "upper-case"}, {"type": "icontains", "value": value}]
        yield {"vars": {"question": asked.user}, "target": told.upper(), "assert": wanted, "group": asked.group}


def framed(begin: str = "", end: str = "") -> Callable[[Any, random.Random], Iterator[Row]]:
    """A fact about a country behind words with which every answer begins, or before words with which it ends."""

    def made(side: Any, rng: random.Random) -> Iterator[Row]:
        for asked, value, told in _facts(side, rng):
            wanted = [{"type": "contains", "value": value}]
            wanted = [{"type": "starts-with", "value": begin}, *wanted] if begin else wanted
            wanted = [*wanted, {"type": "ends-with", "value": end}] if end else wanted
            target = " ".join(part for part in (begin, told, end) if part)
            yield {"vars": {"question": asked.user}, "target": target, "assert": wanted, "group": asked.group}

    return made


def record(side: Any, rng: random.Random) -> Iterator[Row]:
    """A fact about a country as a JSON object with the country and what was asked for."""
    for asked, _, _ in _facts(side, rng):
        fact = dict(asked.extra)["fact"]
        told = {"country": fact["country"], fact["attribute"]: fact["value"]}
        wanted = [{"type": "json-equals", "value": told}]
        yield {"vars": {"question": asked.user}, "target": json.dumps(told), "assert": wanted, "group": asked.group}


def month(side: Any, rng: random.Random) -> Iterator[Row]:
    """Sales of some months: the best one, then how they changed from the first to the last."""
    from heedlm.atlas import sales

    yield from _sold(sales.rows(side, rng, 10**9, sales.MONTH))


def trend(side: Any, rng: random.Random) -> Iterator[Row]:
    """Sales of some months: how they changed from the first to the last, with both figures."""
    from heedlm.atlas import sales

    yield from _sold(sales.rows(side, rng, 10**9, sales.TREND))


def _sold(rows: Iterator[Row]) -> Iterator[Row]:
    """The figures of rows alone, without what the row asks; judged as the world judges the row."""
    for row in rows:
        asked = row["messages"][-2]["content"]
        figures = max(asked.split("\n\n"), key=lambda part: sum(sign.isdigit() for sign in part))
        target = row["messages"][-1]["content"]
        yield {"vars": {"figures": figures}, "target": target, "assert": row["meta"]["checks"]}


def array(side: Any, rng: random.Random) -> Iterator[Row]:
    """Three to five words as a JSON array."""
    from heedlm.atlas import hands, phrases

    cards = hands.hand(side, rng)
    while True:
        items = [word.english for word in cards.words.take(rng.randint(3, 5))]
        given = phrases.spoken_list(items) if rng.random() < 0.5 else ", ".join(items)
        wanted = [{"type": "json-equals", "value": items}]
        yield {"vars": {"words": given}, "target": json.dumps(items), "assert": wanted}


def list_(side: Any, rng: random.Random) -> Iterator[Row]:
    """Three to five words, written as a bulleted list."""
    from heedlm.atlas import copying, hands, phrases

    cards = hands.hand(side, rng)
    while True:
        items = [word.english for word in cards.words.take(rng.randint(3, 5))]
        given = phrases.spoken_list(items) if rng.random() < 0.5 else ", ".join(items)
        yield {"vars": {"words": given}, "target": copying.listed(items, "bullets")}


def summary(side: Any, rng: random.Random) -> Iterator[Row]:
    """An article, in one sentence that names who and what it is about and invents nothing."""
    from heedlm.atlas import articles

    for row in articles.rows(side, rng, 10**9):
        checks = row["meta"]["checks"]
        if checks[0].get("equal") == 1:
            paper = checks[2]["text"]
            target = row["messages"][-1]["content"]
            yield {"vars": {"article": paper}, "target": target, "assert": checks, "group": row["group"]}


FAMILIES: dict[str, Callable[[Any, random.Random], Iterator[Row]]] = {
    "name": name,
    "capitals": capitals,
    "opening": framed(begin="Thank you for asking."),
    "signed": framed(end="Your guide, Ivan."),
    "record": record,
    "label": framed(begin="Answer:"),
    "closing": framed(end="Have a nice day."),
    "array": array,
    "month": month,
    "trend": trend,
    "list": list_,
    "summary": summary,
}
LIMITS = {
    "name": 16,
    "capitals": 32,
    "opening": 24,
    "signed": 24,
    "record": 32,
    "label": 24,
    "closing": 24,
    "array": 32,
    "month": 40,
    "trend": 24,
    "list": 24,
    "summary": 40,
}  # tokens of an answer at most


def rows(family: str, side: str, count: int, seed: int = 0) -> list[Row]:
    """Cases of one side, all of them different. side: "train" to search on, "test" for the sealed ones."""
    found: dict[str, Row] = {}
    for row in FAMILIES[family](side, random.Random(f"{seed}/{family}/{side}")):
        key = " ".join(json.dumps(row["vars"], sort_keys=True).split()).casefold()
        found.setdefault(key, {"id": f"{side}-{len(found)}", **row})
        if len(found) == count:
            return list(found.values())
    raise AssertionError("families never end")


def parts(family: str, searched: int, sealed: int, seed: int = 0) -> tuple[list[Row], list[Row]]:
    """Cases to search on and sealed ones, both of the side that tuning never saw; no country is in both."""
    found: dict[bool, dict[str, Row]] = {True: {}, False: {}}
    wanted = {True: sealed, False: searched}
    for row in FAMILIES[family]("test", random.Random(f"{seed}/{family}/parts")):
        key = " ".join(json.dumps(row["vars"], sort_keys=True).split()).casefold()
        kept_back = zlib.crc32(str(row.get("group", key)).encode()) % 2 == 0
        part = found[kept_back]
        if len(part) < wanted[kept_back]:
            part.setdefault(key, {"id": f"{'sealed' if kept_back else 'search'}-{len(part)}", **row})
        if all(len(found[side]) == wanted[side] for side in found):
            break
    return list(found[False].values()), list(found[True].values())
