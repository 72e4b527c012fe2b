"""What all right answers have in common, as sentences that a model can be told."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

FEWEST = 8  # answers from which on what they share is no accident
_WORDS = 6  # of the longest answer that counts as a name or a phrase
_SENTENCES = 3  # more of them are not counted out to a model
_OPENING = 8  # characters of an opening that is more than an article
_NUMBER = re.compile(r"[-+]?\d[\d.,]*%?")
_END = re.compile(r"[.!?](?=\s|$)")
_BULLETS = {"- ": re.compile(r"- \S.*"), "* ": re.compile(r"\* \S.*"), "1. ": re.compile(r"\d+\. \S.*")}


def forms(answers: Sequence[str]) -> list[str]:
    """Sentences that hold for each of the answers; none for fewer than 8 of them, or for answers that are all the same."""
    told = [one.strip() for one in answers]
    if len(told) < FEWEST or len(set(told)) < 2 or not all(told):
        return []
    keys = _keys(told)
    if keys is not None:
        named = ", ".join(json.dumps(key, ensure_ascii=False) for key in keys)
        shape = f" It has {'the keys' if len(keys) > 1 else 'the key'} {named}." if keys and _sayable(named) else ""
        return [f"Reply with one JSON object and nothing else.{shape}"]
    return [*_shape(told), *_case(told), *_ends(told)]


def _keys(told: Sequence[str]) -> list[str] | None:
    """The keys that all the objects have, in the order of the first; None where some answer is no JSON object."""
    found = []
    for one in told:
        try:
            value = json.loads(one)
        except ValueError:
            return None
        if not isinstance(value, dict):
            return None
        found.append(value)
    return [key for key in found[0] if all(key in one for one in found)]


def _shape(told: Sequence[str]) -> list[str]:
    if all(_NUMBER.fullmatch(one) for one in told):
        return ["Reply with a number and nothing else."]
    for mark, line in _BULLETS.items():
        if all(all(line.fullmatch(part) for part in one.split("\n")) for one in told):
            begins = (
                'begins with "- "'
                if mark == "- "
                else "begins with its number"
                if mark == "1. "
                else 'begins with "* "'
            )
            return [f"Write a list with one item on each line. Each line {begins}."]
    if any("\n" in one for one in told):
        return []
    ends = {len(_END.findall(one)) if one[-1] in ".!?" else 0 for one in told}
    if ends == {0}:
        most = max(len(one.split()) for one in told)
        if most > _WORDS:
            return []
        return ["Reply with one word." if most == 1 else f"Reply with the answer alone, in {most} words at most."]
    if len(ends) == 1 and (count := ends.pop()) <= _SENTENCES:
        return ["Reply with one sentence." if count == 1 else f"Reply with {count} sentences."]
    return []


def _case(told: Sequence[str]) -> list[str]:
    if all(one.isupper() for one in told):
        return ["Write in capital letters only."]
    return ["Write in small letters only."] if all(one.islower() for one in told) else []


def _ends(told: Sequence[str]) -> list[str]:
    """The words with which all answers begin, and those with which all end."""
    opening = _shared(told)
    opening = opening if any(one == opening for one in told) else opening[: opening.rfind(" ") + 1]
    closing = _shared([one[::-1] for one in told])[::-1]
    closing = closing if any(one == closing for one in told) else closing[closing.find(" ") :] if " " in closing else ""
    found = []
    for verb, words in (("Begin", opening.strip()), ("End", closing.strip())):
        if len(words) >= _OPENING and _sayable(words) and '"' not in words:
            found.append(f'{verb} every answer with "{words}"')
    return [one if one[-2] in ".!?" else f"{one}." for one in found]


def _shared(told: Sequence[str]) -> str:
    """The signs with which all begin."""
    first, last = min(told), max(told)
    same = next((at for at, sign in enumerate(first) if at >= len(last) or sign != last[at]), len(first))
    return first[:same]


def _sayable(words: str) -> bool:
    """Whether the words can stand in a block: nothing that opens a value, and one line."""
    return not any(mark in words for mark in ("{", "}", "\n"))
