"""Many requests to one model, in an order and in batches that cost it least."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import NamedTuple

from heedlm.errors import HeedError
from heedlm.messages import Chat, Reply, Request, Sampling

_OPENING = 200  # characters
_MANY = 8  # asks that open alike make batches of their own


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, and how its answer ends beside the model's own end.

    stop: texts that end the answer.   max_tokens: new tokens at most; None leaves it to the sampling.
    """

    request: Request
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None


class Answers(NamedTuple):
    """One batch that came back: which asks, their replies, for each the error that took its place ("" if none), wall
    time."""

    indices: list[int]
    replies: list[Reply]
    errors: list[str]
    seconds: float


def answers(chat: Chat, asks: Sequence[Ask], sampling: Sampling, *, batch: int = 64) -> Iterator[Answers]:
    """Ask everything once, yielding each batch as it returns. Asks that end alike go together, longest first; of those,
    asks that open alike, for what they share is computed once.

    batch: requests handed over at once. A request that the model refuses (HeedError) becomes a reply with stop_reason
    "error" and does not stop the others; a batch of several in which every request is refused raises, because then it
    is not the request.
    """
    alike: dict[tuple[tuple[str, ...], int, str], list[int]] = {}
    common = Counter(_opening(ask.request) for ask in asks)
    for index, ask in enumerate(asks):
        limit = sampling.max_tokens if ask.max_tokens is None else ask.max_tokens
        opening = _opening(ask.request)
        alike.setdefault((ask.stop, limit, opening if common[opening] >= _MANY else ""), []).append(index)
    for (stop, limit, _), members in alike.items():
        decoding = replace(sampling, stop=(*sampling.stop, *stop), max_tokens=limit)
        members.sort(key=lambda index: -_length(asks[index].request))
        for start in range(0, len(members), batch):
            indices = members[start : start + batch]
            begun = perf_counter()
            replies, errors = _replies(chat, [asks[index].request for index in indices], decoding)
            yield Answers(indices, replies, errors, perf_counter() - begun)


def _replies(chat: Chat, requests: Sequence[Request], sampling: Sampling) -> tuple[list[Reply], list[str]]:
    try:
        return chat.reply(requests, sampling), [""] * len(requests)
    except HeedError as error:
        if len(requests) == 1:
            return [Reply("", stop_reason="error")], [str(error)]
        last = error
    parts = [_replies(chat, [request], sampling) for request in requests]
    errors = [error for _, part in parts for error in part]
    if all(errors):
        raise last
    return [reply for part, _ in parts for reply in part], errors


def _opening(request: Request) -> str:
    """The beginning of a plain text, or the whole of a system text: long enough that two alike are no accident."""
    if request.text is not None:
        return request.text[:_OPENING] if len(request.text) > _OPENING else ""
    system = [message.content for message in request.messages[:1] if message.role == "system"]
    return system[0] if system and len(system[0]) >= _OPENING else ""


def _length(request: Request) -> int:
    if request.text is not None:
        return len(request.text)
    return sum(len(message.content) for message in request.messages)
