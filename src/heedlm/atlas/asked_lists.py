"""Rows that ask for the words of the prompt in a given form."""

from __future__ import annotations

from typing import Any

from heedlm.atlas.copying import listed
from heedlm.atlas.hands import Asked, Hand
from heedlm.atlas.phrases import spoken_list

_BANKS: dict[str, tuple[str, ...]] = {
    "bullets": (
        "Write these words as a bulleted list: {g}",
        "Make a bulleted list of these words: {g}",
        "Put these words into a list with bullets: {g}",
        "Turn the words into bullets: {g}",
        "List these words with a dash before each: {g}",
        "Here are some words: {g}. Write them as a bulleted list.",
        "I need a bulleted list of {g}.",
        "Please show {g} as bullets.",
        "Bullets, please, for these words: {g}",
        "These words as a list with dashes: {g}",
        "Show each of {g} behind a dash.",
        "A bulleted list, please: {g}",
    ),
    "numbered": (
        "Write these words as a numbered list: {g}",
        "Make a numbered list of these words: {g}",
        "Number these words: {g}",
        "Turn the words into a numbered list: {g}",
        "List these words with numbers: {g}",
        "Here are some words: {g}. Write them as a numbered list.",
        "I need a numbered list of {g}.",
        "Please show {g} with numbers.",
        "Numbers, please, before these words: {g}",
        "These words as a list with numbers: {g}",
        "Count these words off, one per line: {g}",
        "A numbered list, please: {g}",
    ),
    "json": (
        "Write these words as a JSON array: {g}",
        "Make a JSON array of these words: {g}",
        "Put these words into a JSON array: {g}",
        "Turn the words into JSON: {g}",
        "Give me these words as JSON: {g}",
        "Here are some words: {g}. Write them as a JSON array.",
        "I need a JSON array of {g}.",
        "Please show {g} in JSON.",
        "Return {g} as a JSON array.",
        "A JSON array, please: {g}",
        "These words as JSON: {g}",
        "Show a JSON array with {g}.",
    ),
    "commas": (
        "Write these words on one line, with commas: {g}",
        "Separate these words by commas: {g}",
        "Put these words on one line with commas: {g}",
        "Turn the words into a line with commas: {g}",
        "Give me these words with commas between them: {g}",
        "Here are some words: {g}. Write them with commas.",
        "I need a line with commas of {g}.",
        "Please show {g} with commas.",
        "These words with commas: {g}",
        "Commas between these words, please: {g}",
        "One line with commas, please: {g}",
        "Join {g} with commas.",
    ),
    "lines": (
        "Write one word per line: {g}",
        "Put each of these words on its own line: {g}",
        "Write these words one per line: {g}",
        "Turn the words into lines: {g}",
        "Give me these words line by line: {g}",
        "Here are some words: {g}. Write one word per line.",
        "I need one line for each of {g}.",
        "Please show {g} line by line.",
        "These words, each on its own line: {g}",
        "One line per word, please: {g}",
        "A new line for every word: {g}",
        "Write {g} below each other.",
    ),
    "first": (
        "Write the first {k} of these words: {g}",
        "Give me only the first {k} of these words: {g}",
        "List the first {k} words: {g}",
        "Which are the first {k} of these words: {g}",
        "Take only the first {k}: {g}",
        "Here are some words: {g}. Write the first {k}.",
        "I need the first {k} of {g}.",
        "Please show only the first {k} of {g}.",
        "Only the first {k}, please: {g}",
        "From these words take the first {k}: {g}",
        "The first {k} of these, please: {g}",
        "Write only {k} of these words, from the beginning: {g}",
        "Stop after the first {k}: {g}",
        "Name the first {k} of {g}.",
    ),
}
_NUMBERS = ("one", "two", "three", "four")


def _checks(form: str, items: list[str], answer: str) -> tuple[dict[str, Any], ...]:
    if form == "json":
        return ({"type": "json-equals", "value": items},)
    exact: dict[str, Any] = {"type": "equals", "value": answer}
    if form == "bullets":
        return (exact, {"type": "bullet-count", "equal": len(items)})
    if form == "numbered":
        return (exact, {"type": "numbered-count", "equal": len(items)})
    return (exact, {"type": "line-count", "equal": len(items) if form == "lines" else 1})


def in_form(hand: Hand) -> Asked:
    """Three to five words in one of six forms."""
    form = hand.rng.choice(tuple(_BANKS))
    items = [word.english for word in hand.words.take(hand.rng.randint(3, 5))]
    wording = hand.wording(f"format_{form}", _BANKS[form])
    spoken = form == "commas" or hand.rng.random() < 0.4
    given = spoken_list(items) if spoken else ", ".join(items)
    count = hand.rng.randint(1, len(items) - 1) if form == "first" else len(items)
    chosen = items[:count]
    answer = listed(chosen, "commas" if form == "first" else form)
    user = wording.text.format(g=given, k=_NUMBERS[count - 1] if form == "first" else "")
    group = f"list:{' '.join(items)}"
    return Asked(user, answer, group, _checks(form, chosen, answer), form=form, extra=(("wording", wording.key),))
