"""What can be answered, which of it is right, and how it is listed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from heedlm.data.fields import RefusedError, show
from heedlm.data.prompts.read import plain
from heedlm.data.prompts.template import Choices
from heedlm.templates.sandbox import DRAWS, fill, value_of

MOST_GATHERED = 50  # different values of a column that are still choices and not texts
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Listed(NamedTuple):
    """style: how they are marked.   names: as a template reads them (see template.GIVEN)."""

    style: str
    names: Mapping[str, Any]


def listed(
    choices: Choices,
    values: Mapping[str, Any],
    styles: Sequence[str],
    rng: random.Random,
    *,
    labels: Mapping[str, str],
    gathered: Sequence[str] = (),
) -> Listed:
    """The choices of a row in the order and with the marks that `rng` gives.

    labels: value in the file -> choice, from the recipe.   gathered: the choices of a template that takes them from the
    data. Raises RefusedError for a row whose right choice is not among them, FillError.
    """
    if choices.text:
        parts = [part.strip() for part in fill(choices.text, {**values, DRAWS: rng}).split("|||")]
        return Listed("", {"answer_choices": [part for part in parts if part]})
    found = _own(choices, values) or list(choices.names or gathered)
    right = _right(choices, values, found, labels)
    order = list(range(len(found)))
    if choices.shuffled:
        rng.shuffle(order)
    shown = [found[index] for index in order]
    usable = [style for style in styles if len(shown) <= len(_LETTERS) or not style.strip("().").isalpha()]
    style = rng.choice(usable or ["-"])
    marks = [_mark(style, place) for place in range(len(shown))]
    place = order.index(right)
    bare = style in ("-", "*")
    names = {
        "choices": shown,
        "options": "\n".join(f"{mark} {text}" for mark, text in zip(marks, shown, strict=True)),
        "choice": found[right],
        "mark": found[right] if bare else marks[place].rstrip(".") if "(" in style else marks[place].rstrip(".)"),
        "marked": found[right] if bare else f"{marks[place]} {found[right]}",
    }
    return Listed(style, names)


def _mark(style: str, place: int) -> str:
    letter = _LETTERS[place % len(_LETTERS)]
    return style.replace("A", letter).replace("a", letter.lower()).replace("1", str(place + 1))


def _own(choices: Choices, values: Mapping[str, Any]) -> list[str]:
    """The choices that a row brings, or none."""
    if not choices.each:
        return []
    found = value_of(choices.each, values)
    if not isinstance(found, (list, tuple)) or len(found) < 2:
        raise RefusedError(
            "choice not in list", f"{choices.each!r} gives {show(found)}, expected two choices or more", "mend the row"
        )
    texts = [str(one).strip() for one in found]
    if not all(texts) or len(set(texts)) < len(texts):
        raise RefusedError("choice not in list", f"two choices are the same, or one is empty: {texts}", "mend the row")
    return texts


def _right(choices: Choices, values: Mapping[str, Any], found: Sequence[str], labels: Mapping[str, str]) -> int:
    """The place of the right choice: by the recipe's labels, the template's values, its text, its letter, its number."""
    value = value_of(choices.right, values)
    spelt = plain(value)
    name = labels.get(spelt, choices.values.get(spelt))
    if name in found:
        return found.index(name)
    texts = [plain(one) for one in found]
    if spelt in texts:
        return texts.index(spelt)
    open_list = not choices.values and not labels  # where values are spelt out, nothing is guessed
    if open_list and isinstance(value, str) and len(spelt) == 1 and spelt.upper() in _LETTERS[: len(found)]:
        return _LETTERS.index(spelt.upper())
    if open_list and spelt.isascii() and spelt.isdigit() and int(spelt) < len(found):
        return int(spelt)
    known = ", ".join([*choices.values, *labels] if not open_list else found)
    raise RefusedError(
        "choice not in list",
        f"{choices.right!r} is {show(value)}, expected one of: {known}",
        "say what the value means, labels: {VALUE: CHOICE} beside prompts, or mend the row",
    )
