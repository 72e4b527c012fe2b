"""Rows that ask for the words of the prompt in a given form."""

from __future__ import annotations

from typing import Any

from heedlm.atlas import lexicon
from heedlm.atlas.copying import listed
from heedlm.atlas.facts import pool
from heedlm.atlas.hands import Asked, Hand
from heedlm.atlas.phrases import spoken_list
from heedlm.atlas.world import split_of

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


def _items(hand: Hand, number: int) -> list[str]:
    """Dictionary words; in half of the train rows any other words, for whoever knows all that may come need not look."""
    if hand.split == "test" or hand.rng.random() < 0.5:
        return [word.english for word in hand.words.take(number)]
    pools = (pool("nouns"), pool("adjectives"), lexicon.words("products"), lexicon.words("first_names"))
    kinds = ("word", "word", "products", "first_names")
    kept = [w for kind, words in zip(kinds, pools, strict=True) for w in words if split_of(f"{kind}:{w}") == "train"]
    return hand.rng.sample(list(dict.fromkeys(kept)), number)


def in_form(hand: Hand) -> Asked:
    """Three to five words in one of six forms."""
    form = hand.rng.choice(tuple(_BANKS))
    items = _items(hand, hand.rng.randint(3, 5))
    wording = hand.wording(f"format_{form}", _BANKS[form])
    spoken = form == "commas" or hand.rng.random() < 0.4
    given = spoken_list(items) if spoken else ", ".join(items)
    count = hand.rng.randint(1, len(items) - 1) if form == "first" else len(items)
    chosen = items[:count]
    answer = listed(chosen, "commas" if form == "first" else form)
    user = wording.text.format(g=given, k=_NUMBERS[count - 1] if form == "first" else "")
    group = f"list:{' '.join(items)}"
    return Asked(user, answer, group, _checks(form, chosen, answer), form=form, extra=(("wording", wording.key),))
