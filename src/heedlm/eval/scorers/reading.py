"""How the answer is found in a reply: reasoning taken off, and every fallback said by its name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from heedlm.messages import Reply, Score

# Opening and closing mark of thoughts, as families of open models write them into the text where no template keeps
# them apart.
_THOUGHTS: tuple[tuple[str, str], ...] = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis", "<|channel|>final<|message|>"),
)
_NOTE = re.compile(r"\[([a-z][a-z -]*)\] ")


class Parted(NamedTuple):
    """A text taken apart. closed: whether the reasoning came to an end."""

    answer: str
    reasoning: str
    closed: bool = True


def parted(text: str) -> Parted:
    """The answer without the reasoning before it.

    Only reasoning that begins the text is taken off, or a text whose beginning stood in the prompt, so that nothing but
    the closing mark is left of it. Reasoning that never ends leaves an empty answer: it was no answer.
    """
    begun = text.lstrip()
    for opening, closing in _THOUGHTS:
        if begun.startswith(opening):
            inside, found, answer = begun[len(opening) :].partition(closing)
            return Parted(answer.strip(), inside.strip(), bool(found)) if found else Parted("", inside.strip(), False)
        before, found, answer = begun.partition(closing)
        if found and opening not in before:
            return Parted(answer.strip(), before.strip())
    return Parted(text, "")


def without_reasoning(reply: Reply) -> Reply:
    """The reply with its reasoning, where the text begins with some, in its own field."""
    found = parted(reply.text)
    if not found.reasoning and found.closed and found.answer == reply.text:
        return reply
    reasoning = "\n".join(part for part in (reply.reasoning, found.reasoning) if part)
    return replace(reply, text=found.answer, reasoning=reasoning or None)


def loose_variants(reply: str) -> list[str]:
    """The reply, and what is left of it without its first line, its last line, both, and its asterisks.

    A rule is kept loosely when one of them keeps it: "Sure, here it is:" and bold type are forgiven.
    Source: arXiv 2311.07911, section 2.2.
    """
    lines = reply.split("\n")
    cut = [reply, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return list(dict.fromkeys([*cut, *(part.replace("*", "") for part in cut)]))


def note(name: str, why: str) -> str:
    """A reason that begins with the name of what was done in place of plain reading; `notes` counts them."""
    return f"[{name}] {why}"


def unread(name: str, why: str) -> Score:
    """The score of a reply in which no answer was found: 0, nothing guessed, counted under `name`."""
    return Score(0.0, "", note(name, why))


def notes(whys: Iterable[str]) -> Counter[str]:
    """How often each fallback was taken, by its name, over the reasons of many scores."""
    return Counter(found[1] for why in whys if (found := _NOTE.match(why)))
