"""Scorers of one answer out of several that are given: said by the model, or found by likelihood."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from heedlm.eval import text
from heedlm.eval.scorers.reading import note, unread
from heedlm.eval.scorers.scorer import Options, targets
from heedlm.eval.scorers.texts import normalised
from heedlm.messages import Example, Reply, Score

MARKS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SAID = re.compile(
    r"(?:\b(?:answer|choice|option)\b(?:\s+is)?\s*[:=]?\s*|\\boxed\{\s*(?:\\text\{)?)(?P<open>[(\[]?)(?P<mark>[A-Za-z])(?P<close>[)\]}]|(?![\w'’]))",
    re.IGNORECASE,
)
_ALONE = re.compile(r"[(\[]?(?P<mark>[A-Za-z])[)\].:]?")
_FIRST = re.compile(r"(?:[(\[](?P<a>[A-Za-z])[)\]]|(?P<b>[A-Z])[).:](?=\s)|(?P<c>[A-Z])(?=\n))")


def choices_of(example: Example) -> tuple[str, ...]:
    """The answers that an item offers, `meta.choices`."""
    return tuple(map(str, example.meta["choices"]))


def listed(choices: Sequence[str]) -> str:
    """The choices as a prompt shows them, one on each line, marked with letters."""
    return "\n".join(f"{mark}. {choice}" for mark, choice in zip(MARKS, choices, strict=False))


def right_choices(example: Example) -> set[int]:
    """Which of the choices are right: those whose text is a target, else those whose letter is one."""
    choices = choices_of(example)
    wanted = {text.collapse(target) for target in targets(example)}
    by_text = {place for place, choice in enumerate(choices) if text.collapse(choice) in wanted}
    return by_text or {MARKS.index(target) for target in wanted if len(target) == 1 and target in MARKS[: len(choices)]}


def choice_problems(example: Example, options: Options) -> list[tuple[str, str]]:
    """What is wrong with the choices of an item."""
    mend = 'give the item "choices": ["Paris", "Rome"] and "target": "Paris"'
    choices: Any = example.meta.get("choices")
    if not isinstance(choices, Sequence) or isinstance(choices, str) or not 2 <= len(choices) <= len(MARKS):
        return [(f"the item has no list of 2 to {len(MARKS)} choices", mend)]
    empty = [choice for choice in choices if not str(choice).strip()]
    same = len({text.collapse(str(choice)) for choice in choices}) < len(choices)
    found = [("a choice is empty", mend)] if empty else [("two choices are the same", mend)] if same else []
    if not found and not right_choices(example):
        found.append(
            (f"the target {targets(example)[0]!r} is none of the choices", "copy the text of the right choice")
        )
    return found


def choice(example: Example, reply: Reply, options: Options) -> Score:
    """1.0 when the reply names the right choice: by its letter, or with nothing but its text.

    A reply in which no letter is found but the text of exactly one choice occurs is read by that text, and counted.
    """
    choices, right = choices_of(example), right_choices(example)
    said = reply.text.replace("**", "").strip()
    place = _by_mark(said, len(choices))
    why = ""
    if place is None:
        plain = [normalised(option) or text.fold(option) for option in choices]
        whole = normalised(said) or text.fold(said)
        if whole in plain:
            place = plain.index(whole)
        else:
            named = _named(plain, f" {whole} ")
            if len(named) != 1:
                return unread("several choices" if named else "no choice", "the reply names no single choice")
            place, why = named[0], "choice by its text"
    shown = f"{MARKS[place]}. {choices[place]}"
    reason = "as the target" if place in right else f"expected {', '.join(MARKS[one] for one in sorted(right))}"
    return Score(float(place in right), shown, note(why, reason) if why else reason)


def _by_mark(said: str, most: int) -> int | None:
    """The choice whose letter the reply gives: alone, as "the answer is (B)", or at its beginning."""
    found: list[str] = []
    alone = _ALONE.fullmatch(said)
    if alone is not None:
        found = [alone["mark"]]
    else:
        for match in _SAID.finditer(said):
            # "the answer is a good one" names no choice: a small letter counts only in brackets.
            if match["mark"].isupper() or match["open"] or "boxed" in match[0]:
                found = [match["mark"]]
        first = _FIRST.match(said)
        if not found and first is not None:
            found = [first["a"] or first["b"] or first["c"]]
    place = MARKS.find(found[0].upper()) if found else -1
    return place if 0 <= place < most else None


def _named(plain: Sequence[str], whole: str) -> list[int]:
    """The choices whose words occur in the reply; one that is part of another named one ("York" in "New York") does not
    count."""
    named = [place for place, option in enumerate(plain) if f" {option} " in whole]
    return [
        place
        for place in named
        if not any(other != place and f" {plain[place]} " in f" {plain[other]} " for other in named)
    ]


def likelihood(example: Example, reply: Reply, options: Options) -> Score:
    """1.0 when the choice that the model finds most likely is a right one. The reply is that choice, found by asking."""
    choices, right = choices_of(example), right_choices(example)
    if reply.text not in choices:
        return unread("tie", "the most likely choices are equally likely")
    place = choices.index(reply.text)
    reason = "as the target" if place in right else f"expected {choices[min(right)]!r}, more likely was {reply.text!r}"
    return Score(float(place in right), reply.text, reason)
