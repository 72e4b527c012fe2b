"""Items of an evaluation that stand among the rows a model was trained on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from heedlm.data.decontaminate import Items
from heedlm.data.duplicates import squeeze
from heedlm.data.items import item_of
from heedlm.data.words import WordFile, line_of, told, words
from heedlm.errors import HeedError, Problem
from heedlm.messages import Example

TAUGHT = "taught"  # where an item's meta says that it stands in the training rows on purpose: a mended answer
_SHOWN = 10  # rows that a refusal names


class Leak(NamedTuple):
    """An item and a training row that holds it. how: "the same question", or what share of its words was found."""

    item: Example
    row: Example
    how: str


def find_leaks(items: Sequence[Example], training: Sequence[Example], *, edited: bool = True) -> list[Leak]:
    """Every item whose question is asked in a training row, with the first such row.

    Questions are the same when their user and tool turns have the same words in the same order, whatever the system
    text, case and punctuation.   edited: look as well for rows that hold question and answer of an item with changed
    words, as `heed prepare` does within a run. Items that are taught on purpose are no leaks.
    """
    items = [item for item in items if item.meta.get(TAUGHT) is not True]
    found = _asked_again(items, training)
    if edited and items and training:
        for leak in _edited([item for item in items if item.id not in found], training):
            found.setdefault(leak.item.id, leak)
    return [found[item.id] for item in items if item.id in found]


def find_taught(items: Sequence[Example], training: Sequence[Example]) -> list[Leak]:
    """The items that were trained on as they should be: cases of mended answers."""
    return list(_asked_again([item for item in items if item.meta.get(TAUGHT) is True], training).values())


def _asked_again(items: Sequence[Example], training: Sequence[Example]) -> dict[str, Leak]:
    """By the id of an item, the first training row that asks the same."""
    asked = {key: row for row in reversed(training) for key in _questions(row)}
    rows = {item.id: (item, asked.get(_key(_turns(item, len(item.messages) - 1)))) for item in items}
    return {name: Leak(item, row, "the same question") for name, (item, row) in rows.items() if row is not None}


def refuse(leaks: Sequence[Leak], num_items: int) -> HeedError:
    """The error that names the rows."""
    mend = "leave the items out, or count them with --allow-leak: the headline will say so"
    told_ = [
        Problem(f"Item {leak.item.id!r} was trained on ({leak.how}).", f"{leak.item.source} and {leak.row.source}")
        for leak in leaks[:_SHOWN]
    ]
    more = f"; the first {_SHOWN} are named" if len(leaks) > _SHOWN else ""
    what = f"{len(leaks):,} of {num_items:,} items overlap with the training rows{more}."
    return HeedError.of([Problem(what, mend=mend), *told_])


def caveat(leaks: Sequence[Leak], num_items: int) -> str:
    """The same as a line for the headline."""
    return f"LEAK: {len(leaks):,} of {num_items:,} items were in the training rows."


def caveat_of_taught(leaks: Sequence[Leak], num_items: int) -> str:
    """What the headline says of items that are taught on purpose."""
    return (
        f"TAUGHT: {len(leaks):,} of {num_items:,} items are mended answers that were trained on, to see that they hold."
    )


def _questions(row: Example) -> Iterator[str]:
    """What is asked before each answer of a row."""
    for place, message in enumerate(row.messages):
        if message.role == "assistant" and place:
            yield _key(_turns(row, place))


def _turns(example: Example, end: int) -> str:
    return "\n".join(turn.content for turn in example.messages[:end] if turn.role in ("user", "tool"))


def _key(text: str) -> str:
    return " ".join(words(text)) or squeeze(text)


def _edited(items: Sequence[Example], training: Sequence[Example]) -> Iterator[Leak]:
    wanted = Items(item_of(item, item.id) for item in items)
    by_id = {item.id: item for item in items}
    with tempfile.TemporaryDirectory() as folder:
        file = WordFile(Path(folder) / "words")
        try:
            for row in training:
                file.add(line_of(row, told(row, [words(turn.content) for turn in row.messages])))
            wanted.discount(file, lambda row: True)
            for hit in wanted.find(file, lambda row: True):
                if hit.kind == "prompt and answer":
                    yield Leak(by_id[hit.item.of], training[hit.row], f"{hit.share:.0%} of its words, and its answer")
        finally:
            file.close()
