"""All that is to be known about one row on its own: its example as a line, and the few numbers that are compared later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from heedlm.data.card import LICENCES, About, about
from heedlm.data.clean.rules import Action, Finding, Limits, clean, words_of
from heedlm.data.decontaminate import ShortItems
from heedlm.data.duplicates import duplicate_key
from heedlm.data.items import Item
from heedlm.data.prompts.apply import Prompting, prompt_rows
from heedlm.data.schema import to_examples
from heedlm.data.shapes import shape_of
from heedlm.data.sources import Row
from heedlm.data.split import Keys, keys_of
from heedlm.data.store import to_line
from heedlm.data.words import Line, line_of, told
from heedlm.errors import Problem
from heedlm.messages import Example

MASKED = "masked"  # in meta of a row: the rules that took something out of it


class Examiner(NamedTuple):
    """What to look at. mapping: our field name -> the name in the file.   actions, limits: of cleaning.   short: items.

    prompts: how a row of columns becomes conversations; None where rows are conversations already.   licence: of rows that
    name none.
    """

    mapping: Mapping[str, str]
    actions: Mapping[str, Action]
    limits: Limits
    short: ShortItems
    prompts: Prompting | None = None
    licence: str | None = None


class Examined(NamedTuple):
    """An example that could be kept. line: of a split file.   duplicate: equal for equal conversations.

    findings: of cleaning.   words: for near-duplicates and contamination.   short: items of a few words that it holds.
    forms: names of the wording, under which other rows can serve as examples for it.   only_taught: it is nothing to be
    tested by: what it asks says little of the row ("write a good review"), so that others ask the same.   mends: a person
    wrote it in place of a model's reply, to be learned.
    """

    where: str
    id: str
    line: bytes
    duplicate: int
    keys: Keys
    about: About
    findings: tuple[Finding, ...]
    words: Line
    short: tuple[Item, ...]
    forms: tuple[str, ...] = ()
    only_taught: bool = False
    mends: bool = False


def examine(row: Row | Problem, how: Examiner) -> list[Examined | Problem]:
    """What a row gives: its examples, or the problems in their place."""
    if isinstance(row, Problem):
        return [row]
    if how.prompts is not None:
        made = prompt_rows(row, how.prompts)
        return [
            one
            if isinstance(one, Problem)
            else _look(one.example, one.shape, how)._replace(forms=one.forms, only_taught=one.inverted)
            for one in made
        ]
    found = to_examples(row, how.mapping)
    shape = shape_of(row.value, how.mapping) or ""
    return [one if isinstance(one, Problem) else _look(one, shape, how) for one in found]


def _look(example: Example, shape: str, how: Examiner) -> Examined:
    if how.licence is not None and not any(example.meta.get(name) for name in LICENCES):
        example = replace(example, meta={**example.meta, LICENCES[0]: how.licence})
    contents = words_of(example)
    cleaned = clean(example, contents, how.actions, how.limits)
    if cleaned.example is not example:
        masked = sorted({finding.rule for finding in cleaned.findings if how.actions.get(finding.rule) == "mask"})
        example = replace(cleaned.example, meta={MASKED: masked, **cleaned.example.meta})
        contents = words_of(example)
    texts = (message.content for message in example.messages if message.role in ("user", "tool"))
    return Examined(
        example.source,
        example.id,
        to_line(example),
        duplicate_key(example),
        keys_of(example),
        about(example, shape, cleaned.language),
        cleaned.findings,
        line_of(example, told(example, contents)),
        tuple(how.short.find(texts)),
        mends=bool(example.rejected) and example.meta.get("by") == "human",
    )
