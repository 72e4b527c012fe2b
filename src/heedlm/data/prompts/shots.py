"""Solved examples before a question: train rows of the same wording, never of the row's own group, never held-out ones."""

from __future__ import annotations

import bisect
import dataclasses
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from heedlm.data.card import about
from heedlm.data.prompts.apply import chance
from heedlm.data.split import Side
from heedlm.data.store import from_line, to_line
from heedlm.messages import Example, Message

if TYPE_CHECKING:
    from heedlm.data.spool import Spool

_FAR = 50  # places that are tried before an example is given up: neighbours may be of the row's own group


class Frame(NamedTuple):
    """How examples stand in one text. opener: before them.   shot, last: with {ask}, {answer} and {number} to fill in."""

    opener: str
    shot: str
    last: str
    between: str


FRAMES: tuple[Frame, ...] = (
    Frame("", "{ask}\nAnswer: {answer}", "{ask}\nAnswer:", "\n\n"),
    Frame("Here is how it is done.", "Example {number}\n\n{ask}\n\n{answer}", "Now this one:\n\n{ask}", "\n\n"),
    Frame("", "Input: {ask}\nOutput: {answer}", "Input: {ask}\nOutput:", "\n\n---\n\n"),
    Frame(
        "",
        "<example>\n<input>\n{ask}\n</input>\n<output>\n{answer}\n</output>\n</example>",
        "<input>\n{ask}\n</input>",
        "\n\n",
    ),
    Frame("Follow the pattern of the solved cases.", "{ask}\n=> {answer}", "{ask}\n=>", "\n\n"),
)


class Shots:
    """The train rows that can serve as examples, by wording, on rings: a row that is added later moves few others."""

    def __init__(self, spool: Spool, sides: Sequence[Side | None]) -> None:
        self._spool, self._forms = spool, spool.forms()
        self._rings: dict[str, list[tuple[int, int]]] = {}
        for index, side in enumerate(sides if self._forms else ()):
            how = spool.prompts(index)
            if side == "train" and how is not None and how.few_shot:
                for form in self._forms[index]:
                    self._rings.setdefault(form, []).append((spool.keys[index].prompt, index))
        for ring in self._rings.values():
            ring.sort()

    def before(self, index: int, line: bytes) -> tuple[bytes, Sequence[int]]:
        """The line of example `index` with examples before its question, as many as it draws, and its lengths."""
        how = self._spool.prompts(index)
        plain = line, self._spool.lengths(index)
        if how is None or not how.few_shot:
            return plain
        example = from_line(line, self._spool.where(index))
        rng = chance(how.seed, example.id, "shots")
        wanted = rng.randint(0, how.few_shot)
        chosen: list[int] = []
        for form in self._forms[index]:
            chosen = self._draw(self._rings.get(form, []), index, wanted, rng)
            if len(chosen) == wanted:
                break
        if not chosen:
            return plain
        shots = [from_line(self._spool.line(shot), self._spool.where(shot)) for shot in chosen]
        shown = with_shots(example, shots, rng)
        return to_line(shown), about(shown, "", None).lengths

    def _draw(self, ring: Sequence[tuple[int, int]], index: int, wanted: int, rng: random.Random) -> list[int]:
        keys = self._spool.keys
        chosen: list[int] = []
        groups = {keys[index].group}
        for _ in range(wanted):
            start = bisect.bisect_left(ring, (rng.getrandbits(64), 0))
            for step in range(min(_FAR, len(ring))):
                found = ring[(start + step) % len(ring)][1]
                if keys[found].group not in groups:
                    chosen.append(found)
                    groups.add(keys[found].group)
                    break
        return chosen


def with_shots(example: Example, shots: Sequence[Example], rng: random.Random) -> Example:
    """The example with others before its question, as earlier turns or in one text; their answers are given, not taught."""
    head = [message for message in example.messages[:-2] if message.role == "system"]
    asked, answered = example.messages[-2:]
    pairs = [(shot.messages[-2].content, shot.messages[-1].content) for shot in shots]
    frame = rng.choice(FRAMES) if rng.random() < 0.5 else None
    if frame is None:
        turns = [
            turn for ask, answer in pairs for turn in (Message("user", ask), Message("assistant", answer, weight=0.0))
        ]
        messages = (*head, *turns, asked, answered)
    else:
        told = [frame.shot.format(ask=ask, answer=answer, number=at) for at, (ask, answer) in enumerate(pairs, 1)]
        parts = [frame.opener] if frame.opener else []
        text = frame.between.join([*parts, *told, frame.last.format(ask=asked.content)])
        messages = (*head, dataclasses.replace(asked, content=text), answered)
    prompt = {**example.meta.get("prompt", {}), "shots": [shot.id for shot in shots]}
    return dataclasses.replace(example, messages=messages, meta={**example.meta, "prompt": prompt})
