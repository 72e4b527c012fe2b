"""A compiled text cut into stretches, each with the block it belongs to and the input that wrote it, and tokens of each block."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from heedlm.instructions.compile import Compiled
from heedlm.instructions.frame import Frame
from heedlm.instructions.wire import FRAME, Placed, tokens_of


class Stretch(NamedTuple):
    """A piece of a text. block: "" for marks of the template and white space between blocks.   name: the input that it is
    a value of; "" for the author's words."""

    text: str
    block: str = FRAME
    name: str = ""


class Part(NamedTuple):
    """A text that a model sees, or one message of it. role: "" for the whole text."""

    role: str
    stretches: tuple[Stretch, ...]


def stretches(text: str, spans: Sequence[Placed]) -> tuple[Stretch, ...]:
    """The whole text, cut where a block or a value begins or ends. Joined the pieces are the text."""
    cuts = sorted({0, len(text), *(edge for one in spans for edge in (one.start, one.end) if 0 <= edge <= len(text))})
    found: list[Stretch] = []
    for start, end in pairwise(cuts):
        block = _inner([one for one in spans if not one.name and one.start <= start and end <= one.end])
        value = _inner([one for one in spans if one.name and one.start <= start and end <= one.end])
        found.append(Stretch(text[start:end], block.block if block else FRAME, value.name if value else ""))
    return tuple(found)


def parts_of(compiled: Compiled) -> tuple[Part, ...]:
    """What the model sees in stretches: one text where its template is known, else message by message."""
    if compiled.wire is not None:
        return (Part("", stretches(compiled.wire.text, compiled.wire.spans)),)
    return tuple(
        Part(
            message.role,
            stretches(
                message.content,
                [Placed(one.start, one.end, one.block, one.name) for one in compiled.spans if one.message == number],
            ),
        )
        for number, message in enumerate(compiled.messages)
    )


def tokens_by_block(compiled: Compiled, frame: Frame | None) -> dict[str, int] | None:
    """Tokens of each block, "" for the template's own; None where no tokenizer is known."""
    if frame is None or compiled.wire is None:
        return None
    return dict(tokens_of(frame, compiled.wire, compiled.as_text).by_block)


def _inner(found: Sequence[Placed]) -> Placed | None:
    """The shortest: what lies inside another one."""
    return min(found, key=lambda one: one.end - one.start, default=None)
