"""What a model is sent for a request, in segments by origin and in tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from heedlm.generate.chat import LocalChat
from heedlm.messages import Example, Request, Segment
from heedlm.serve.pieces import token_pieces
from heedlm.templates.chat import plain, segments
from heedlm.templates.controls import SEAM
from heedlm.templates.render import render_request, template_controls
from heedlm.templates.segments import context_segments
from heedlm.tokens.encode import encode


def rendered(chat: LocalChat, request: Request) -> dict[str, Any]:
    """Text, segments and ids of a request; of an answered one (its last turn is the assistant's) with what is learned.

    Raises HeedError where the template refuses the conversation, or where an answer has no exact boundary.
    """
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
    pieces = token_pieces(chat.tokenizer, ids)
    places = _places(found, pieces)
    shown = [
        {
            "text": plain(segment.text),
            "origin": segment.origin,
            "weight": segment.weight,
            "ids": [token for token, place in zip(ids, places, strict=True) if place == at],
        }
        for at, segment in enumerate(found)
    ]
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
