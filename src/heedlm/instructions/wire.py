"""The text that a model sees, made by the one renderer, with the proof that every block reached it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from heedlm.errors import HeedError
from heedlm.instructions.frame import Frame
from heedlm.messages import Message
from heedlm.templates.controls import SEAM, plain, sanitize_with
from heedlm.templates.render import render, template_controls

if TYPE_CHECKING:
    from heedlm.instructions.compile import Span

_NO_USER = "the instruction has no message of the user, which this template needs: add user: and under it {{ text }}"
FRAME = ""  # the name of what belongs to no block: marks of the template, white space between blocks


class Placed(NamedTuple):
    """A block, or a value in it, in the text. name: the input; "" for the block as a whole."""

    start: int
    end: int
    block: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Wire:
    """What a model is sent. text: for a person.   seamed: with seams in control tokens that somebody typed.

    spans: of blocks and values in `text`.   stop: texts that end the reply.   hidden_system: a system text that the
    template put in by itself; "" for none.
    """

    text: str
    seamed: str = field(repr=False)
    spans: tuple[Placed, ...]
    stop: tuple[str, ...]
    hidden_system: str = ""


def put_on_wire(
    frame: Frame, messages: Sequence[Message], spans: Sequence[Span], cue_block: str, cue: str | None
) -> Wire:
    """Render messages, put the cue behind, and find every block again. Raises HeedError where one is lost."""
    asked = any(message.role == "user" for message in messages)
    try:
        seamed = render(frame.template, frame.tokenizer, messages, add_generation_prompt=True)
    except HeedError as error:
        if asked:
            raise
        raise HeedError(error.problems[0].what, frame.model or frame.format, _NO_USER) from None
    text = plain(seamed)
    starts = _starts(frame, text, messages)
    placed: list[Placed] = []
    lost: dict[str, None] = {}
    for span in spans:
        content = messages[span.message].content
        part = content[span.start : span.end]
        start = starts[span.message]
        if start is not None:
            at = start + span.start
            if text[at : at + len(part)] != part:  # trimmed at an end
                kept = part.strip()
                at = text.find(kept, max(0, at - 1))
                part = kept
        else:
            at, part = text.find(part.strip()), part.strip()
        if at < 0:
            lost[span.block] = None
            continue
        placed.append(Placed(at, at + len(part), span.block, span.name))
    if lost:
        what = f"the template {frame.template.name!r} loses blocks: {', '.join(lost)}"
        mend = "put the instruction into the user message (--placement user), or choose another format"
        mend = mend if asked else _NO_USER
        raise HeedError(what, frame.model or frame.format, mend)
    if cue:
        control = sanitize_with(template_controls(frame.template, frame.tokenizer), cue).text
        lead = frame.sides.lead
        placed.append(Placed(len(text) + len(lead), len(text) + len(lead) + len(cue), cue_block))
        seamed, text = seamed + lead + control, text + lead + cue
    system = any(message.role == "system" for message in messages)
    return Wire(text, seamed, tuple(placed), frame.stop, "" if system else frame.hidden_system)


def _starts(frame: Frame, text: str, messages: Sequence[Message]) -> list[int | None]:
    """Where the text of each message begins, counted from its first character, trimmed or not; None where it is lost."""
    found: list[int | None] = []
    cursor = 0
    for message in messages:
        content = message.content
        kept = content.strip()
        at = text.find(content, cursor)
        cut = 0
        if at < 0:
            at, cut = text.find(kept, cursor), len(content) - len(content.lstrip())
        if at < 0:
            at = text.find(kept)
        found.append(at - cut if at >= 0 else None)
        cursor = max(cursor, at + len(kept)) if at >= 0 else cursor
    return found


class Tokens(NamedTuple):
    """The tokens of a text. spans: start and end of each in the text.   by_block: how many belong to each block."""

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    blocks: tuple[str, ...]
    by_block: Mapping[str, int]


def tokens_of(frame: Frame, wire: Wire, as_text: bool) -> Tokens:
    """The ids that an engine makes of the text, each with the block that it belongs to.

    A token belongs to the block in which its first visible character stands; marks of the template belong to none ("").
    """
    from heedlm.tokens.encode import ids_of, text_ids

    tokenizer = frame.tokenizer
    ids = text_ids(tokenizer, wire.text) if as_text else ids_of(tokenizer, [wire.seamed])[0]
    spans = _token_spans(frame, wire.text if as_text else wire.seamed, ids)
    owner = [FRAME] * (len(wire.text) + 1)
    for placed in sorted((one for one in wire.spans if not one.name), key=lambda one: one.start - one.end):
        owner[placed.start : placed.end] = [placed.block] * (placed.end - placed.start)
    blocks = []
    for start, end in spans:
        piece = wire.text[start:end]
        first = start + len(piece) - len(piece.lstrip())
        blocks.append(owner[first if first < end else start])
    by_block: dict[str, int] = {}
    for block in blocks:
        by_block[block] = by_block.get(block, 0) + 1
    return Tokens(tuple(ids), tuple(spans), tuple(blocks), by_block)


def _token_spans(frame: Frame, seamed: str, ids: Sequence[int]) -> list[tuple[int, int]]:
    """Where each token stands in the text without seams.

    Read off the tokenizer piece by piece, and where it cannot tell (no offsets, another reading), off the lengths of
    what the tokens spell.
    """
    tokenizer = frame.tokenizer
    found: list[tuple[int, int]] = []
    base = 0
    read: list[int] = []
    if getattr(tokenizer, "is_fast", False):
        for piece in seamed.split(SEAM):
            encoded = tokenizer(piece, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
            read += encoded["input_ids"]
            found += [(base + start, base + end) for start, end in encoded["offset_mapping"]]
            base += len(piece)
        extra = len(ids) - len(read)
        if extra >= 0 and read == list(ids[extra:]):  # what is before stands there without being in the text: a BOS
            return [(0, 0)] * extra + found
    total = len(plain(seamed))
    lengths = [max(1, len(str(tokenizer.decode([one])))) for one in ids]
    scale = total / max(1, sum(lengths))
    found, at = [], 0.0
    for length in lengths:
        found.append((int(at), int(at + length * scale)))
        at += length * scale
    return found
