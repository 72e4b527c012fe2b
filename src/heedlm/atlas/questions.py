"""The geography half of the instruction rows.

Train rows use only countries, words, names, phrases, wordings and combinations that are not held out; in every test
row the country, the words, the name or the phrase is held out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from heedlm.atlas import asked_facts, asked_lists, asked_rules
from heedlm.atlas.facts import ASKED, Attribute, countries
from heedlm.atlas.hands import Asked, Hand, hand
from heedlm.atlas.systems import idle_system
from heedlm.atlas.world import Split, Task, row, split_of

TASKS: tuple[Task, ...] = (
    Task("facts_capital", "facts", True, "the capital of a country"),
    Task("facts_currency", "facts", True, "the currency of a country"),
    Task("facts_language", "facts", True, "an official language of a country"),
    Task("facts_continent", "facts", True, "the continent of a country"),
    Task("unknown_country", "facts", True, "an honest answer about a country that does not exist"),
    Task(
        "format", "format", True, "the words of the prompt as bullets, numbers, JSON, one line, lines, or the first k"
    ),
    Task("format_fact", "format", False, "a fact as a bare name, in capitals, or as a JSON object"),
    Task("translation", "translation", True, "an English word put into Hindi"),
    Task("chat", "chat", True, "a follow-up turn that the earlier turns explain"),
    Task("system_scope", "system", True, "a fact inside the field of the system text, its fallback sentence outside"),
    Task("system_phrase", "system", True, "answers that begin or end with a phrase of the system text"),
    Task("system_persona", "system", True, "answers with the signature of the system text"),
    Task("system_tone", "system", True, "answers in the tone that the system text names"),
    Task("system_format", "system", True, "answers in the frame that the system text names"),
    Task("system_capitals", "system", False, "answers in capitals because the system text says so"),
)

DEFAULT_ROWS = 3_000
# Train rows per task when the total is their sum; other totals scale them.
_SHARES = {
    "facts_capital": 90,
    "facts_currency": 90,
    "facts_language": 90,
    "facts_continent": 90,
    "unknown_country": 450,
    "format": 680,
    "format_fact": 130,
    "translation": 110,
    "chat": 150,
    "system_scope": 600,
    "system_phrase": 360,
    "system_persona": 120,
    "system_tone": 150,
    "system_format": 200,
    "system_capitals": 80,
}
_TEST_ROWS = 80
_TEST_UNKNOWN = 100
# How often an ordinary row carries a system text that changes nothing.
_IDLE_SHARE = 0.15


def _facts(attribute: Attribute) -> Callable[[Hand], Asked]:
    return lambda cards: asked_facts.fact(cards, attribute)


_WRITERS: dict[str, Callable[[Hand], Asked]] = {
    **{f"facts_{attribute}": _facts(attribute) for attribute in ASKED},
    "unknown_country": asked_facts.unknown,
    "format": asked_lists.in_form,
    "format_fact": asked_facts.fact_in_form,
    "translation": asked_facts.translation,
    "chat": asked_facts.chat,
    "system_scope": asked_rules.scoped,
    "system_phrase": asked_rules.kept_phrase,
    "system_persona": asked_rules.signed,
    "system_tone": asked_rules.toned,
    "system_format": asked_rules.framed,
    "system_capitals": asked_rules.shouted,
}


def counts(split: Split, total: int = DEFAULT_ROWS) -> dict[str, int]:
    """Rows per task. Train rows add up to about ``total``; test rows do not depend on it."""
    if split == "train":
        whole = sum(_SHARES.values())
        return {task.name: max(1, round(total * _SHARES[task.name] / whole)) for task in TASKS}
    held = sum(split_of(country.key) == "test" for country in countries())
    sizes = {task.name: held if task.name.startswith("facts_") else _TEST_ROWS for task in TASKS}
    return {**sizes, "unknown_country": _TEST_UNKNOWN}


def rows(split: Split, rng: random.Random, total: int = DEFAULT_ROWS) -> Iterator[dict[str, Any]]:
    """Instruction rows of one split, task by task, each different from all before; the same seed gives the same rows.

    split="test": every held-out country once per fact task, about 80 rows for each other task.
    """
    sizes = counts(split, total)
    for task in TASKS:
        cards = hand(split, rng)
        seen: set[tuple[object, ...]] = set()
        number = 0
        while number < sizes[task.name]:
            asked = _WRITERS[task.name](cards)
            if task.kind != "system" and rng.random() < _IDLE_SHARE:
                asked = replace(asked, system=idle_system(cards))
            content = (asked.system, asked.history, asked.user)
            if content in seen:
                continue
            seen.add(content)
            yield row(
                task.name,
                task.kind,
                asked.user,
                asked.answer,
                group=asked.group,
                checks=asked.checks,
                number=number,
                gated=task.gated,
                system=asked.system,
                history=asked.history,
                form=asked.form,
                extra=dict(asked.extra),
            )
            number += 1
