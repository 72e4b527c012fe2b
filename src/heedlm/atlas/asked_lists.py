"""Rows that ask for the words of the prompt in a given form."""

from __future__ import annotations

from typing import Any

from heedlm.atlas import lexicon
from heedlm.atlas.copying import listed
from heedlm.atlas.hands import Asked, Hand
from heedlm.atlas.phrases import spoken_list

_BANKS: dict[str, list[str]] = lexicon.table("lists")
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
