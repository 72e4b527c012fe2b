"""What a model is sent for a request, in segments by origin and in tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from heedlm.generate.chat import LocalChat
from heedlm.instructions.wire import Placed
from heedlm.messages import Example, Request, Segment
from heedlm.serve.pieces import token_pieces
from heedlm.serve.policy import ServerPolicy
from heedlm.templates.chat import plain, segments
from heedlm.templates.controls import SEAM
from heedlm.templates.render import render_request, template_controls
from heedlm.templates.segments import context_segments
from heedlm.tokens.encode import encode


def rendered(chat: LocalChat, request: Request, policy: ServerPolicy | None = None) -> dict[str, Any]:
    """Text, segments and ids of a request; of an answered one (its last turn is the assistant's) with what is learned.

    policy: the instruction that conversations are put under; segments then name their block, and the input that wrote them.
    Raises HeedError where the template refuses the conversation, or where an answer has no exact boundary.
    """
    placed: Sequence[Placed] | None = None
    if policy is not None and request.text is None:
        spoken = policy.spoken(chat, request)
        request, placed = replace(request, messages=spoken.messages), policy.placed(chat, spoken)
    if request.text is not None:
        found, ids = [Segment(request.text, 0.0, "prompt")], chat.render(request).ids
    elif request.messages[-1].role == "assistant":
        example = Example("request", request.messages, "messages", None, request.tools, request.template_kwargs)
        # Where a template rewrites history there is a sequence for each answer; the last one is what is asked about.
        found = segments(chat.template, chat.tokenizer, example)[-1]
        ids = encode(chat.tokenizer, found).ids
    else:
        text = render_request(chat.template, chat.tokenizer, request)
        controls = template_controls(chat.template, chat.tokenizer)
        found = list(context_segments(controls, text, request.messages))
        ids = chat.render(request).ids
    if placed is not None:
        found = _cut(found, placed)
    pieces = token_pieces(chat.tokenizer, ids)
    places = _places(found, pieces)
    shown: list[dict[str, Any]] = [
        {
            "text": plain(segment.text),
            "origin": segment.origin,
            "weight": segment.weight,
            "ids": [token for token, place in zip(ids, places, strict=True) if place == at],
        }
        for at, segment in enumerate(found)
    ]
    if placed is not None:
        _name_blocks(shown, placed)
    return {
        "text": "".join(str(one["text"]) for one in shown),
        "ids": list(ids),
        "num_tokens": len(ids),
        "segments": shown,
        "tokens": [
            {"id": token, "text": piece, "segment": place}
            for token, piece, place in zip(ids, pieces, places, strict=True)
        ],
        "neutralised": sum(segment.text.count(SEAM) for segment in found),
    }


def _cut(found: Sequence[Segment], placed: Sequence[Placed]) -> list[Segment]:
    """The segments, cut where a block or a value begins or ends; places are counted without seams."""
    edges = {edge for one in placed for edge in (one.start, one.end)}
    made: list[Segment] = []
    at = 0
    for segment in found:
        start = 0
        for number, char in enumerate(segment.text):
            if at in edges and number > start and char != SEAM:
                made.append(replace(segment, text=segment.text[start:number]))
                start = number
            at += char != SEAM
        if start < len(segment.text) or not segment.text:
            made.append(replace(segment, text=segment.text[start:]))
    return made


def _name_blocks(shown: Sequence[dict[str, Any]], placed: Sequence[Placed]) -> None:
    """Say of each segment in which block it stands, and which input wrote it; nothing of marks of the template."""
    at = 0
    for one in shown:
        end = at + len(one["text"])
        for key, inside in (("block", [p for p in placed if not p.name]), ("input", [p for p in placed if p.name])):
            around = [p for p in inside if p.start <= at and end <= p.end and end > at]
            if around:
                inner = min(around, key=lambda p: p.end - p.start)
                one[key] = inner.name if key == "input" else inner.block
        at = end


def _places(found: Sequence[Segment], pieces: Sequence[str]) -> list[int]:
    """The segment in which each token begins. A token that opens a text, and is not in it, belongs to the first."""
    ends, total = [], 0
    for segment in found:
        total += len(plain(segment.text))
        ends.append(total)
    # What the tokens spell may begin before the text does: a BOS that a tokenizer writes before plain text.
    at = min(0, total - sum(map(len, pieces)))
    places, place = [], 0
    for piece in pieces:
        while place < len(ends) - 1 and at >= ends[place]:
            place += 1
        places.append(place)
        at += len(piece)
    return places
