"""What parts two instructions, block by block and word by word."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Literal, NamedTuple

from heedlm.instructions.blocks import Block, Instruction
from heedlm.instructions.front import LAYOUT

Sign = Literal[" ", "-", "+"]
_HEAD = ("name", "about", "notation", *LAYOUT, "budget", "characters", "tests", "checks")


class Change(NamedTuple):
    """One difference. what: "added", "removed", "changed" or "moved".   where: a block, or a part of the front matter.

    words: of a changed text: a sign and a run of words.
    """

    what: Literal["added", "removed", "changed", "moved"]
    where: str
    before: str = ""
    after: str = ""
    words: tuple[tuple[Sign, str], ...] = ()


def changes(before: Instruction, after: Instruction) -> list[Change]:
    """Everything that parts them, front matter first, then blocks in the order of `after`."""
    return [*_front(before, after), *_blocks(before, after)]


def _front(before: Instruction, after: Instruction) -> Iterator[Change]:
    for name in _HEAD:
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            yield Change("changed", name, _told(old), _told(new))
    for group in ("inputs", "outputs"):
        olds = {one.name: one for one in getattr(before, group)}
        news = {one.name: one for one in getattr(after, group)}
        for name in [*olds, *(name for name in news if name not in olds)]:
            where = f"{group[:-1]} {name}"
            if name not in news:
                yield Change("removed", where, _fields(olds[name]))
            elif name not in olds:
                yield Change("added", where, "", _fields(news[name]))
            elif olds[name] != news[name]:
                yield Change("changed", where, _fields(olds[name]), _fields(news[name]))
    if before.shots != after.shots:
        lost = [shot for shot in before.shots if shot not in after.shots]
        new = [shot for shot in after.shots if shot not in before.shots]
        what: Literal["changed", "moved"] = "changed" if lost or new else "moved"
        yield Change(what, "examples", f"{len(before.shots)}", f"{len(after.shots)} ({len(new)} new, {len(lost)} gone)")


def _blocks(before: Instruction, after: Instruction) -> Iterator[Change]:
    olds = {block.id: block for block in before.blocks}
    news = {block.id: block for block in after.blocks}
    both = [id_ for id_ in before.ids if id_ in news]
    order = [id_ for id_ in after.ids if id_ in olds]
    kept = _longest(both, order)
    for id_, block in olds.items():
        if id_ not in news:
            yield Change("removed", f"block {id_}", block.text)
    for id_, block in news.items():
        old = olds.get(id_)
        if old is None:
            yield Change("added", f"block {id_}", "", block.text)
            continue
        if old.text != block.text:
            yield Change("changed", f"block {id_}", old.text, block.text, tuple(word_changes(old.text, block.text)))
        settings = _settings(old), _settings(block)
        if settings[0] != settings[1]:
            yield Change("changed", f"block {id_}: attributes", *settings)
        if id_ not in kept or old.role != block.role:
            yield Change(
                "moved",
                f"block {id_}",
                f"{old.role}, place {before.ids.index(id_) + 1}",
                f"{block.role}, place {after.ids.index(id_) + 1}",
            )


def word_changes(before: str, after: str) -> Iterator[tuple[Sign, str]]:
    """Runs of words that are the same, gone or new."""
    old, new = (re.findall(r"\s+|\S+", text) for text in (before, after))
    for tag, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            yield " ", "".join(old[a:b])
            continue
        if b > a:
            yield "-", "".join(old[a:b])
        if d > c:
            yield "+", "".join(new[c:d])


def _longest(first: list[str], second: list[str]) -> set[str]:
    """Ids that keep their order: the longest run that both have in common."""
    matcher = difflib.SequenceMatcher(None, first, second, autojunk=False)
    return {id_ for match in matcher.get_matching_blocks() for id_ in first[match.a : match.a + match.size]}


def _settings(block: Block) -> str:
    named = ("kind", "title", "frozen", "optional", "repeat", "slot", "most", "variants")
    return ", ".join(f"{name}={_told(getattr(block, name))}" for name in named if getattr(block, name))


def _fields(one: Any) -> str:
    held = {field.name: getattr(one, field.name) for field in fields(one) if field.compare and field.name != "name"}
    return ", ".join(f"{key}={_told(value)}" for key, value in held.items() if value not in ("", (), None, False))


def _told(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 200 else text[:199] + "…"
