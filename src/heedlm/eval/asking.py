"""Many requests to one model, in an order and in batches that cost it least."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Literal, NamedTuple

from heedlm.errors import HeedError
from heedlm.eval.endpoint import from_endpoint
from heedlm.generate.remote import RemoteChat
from heedlm.messages import Chat, Reply, Request, Sampling

Per = Literal["text", "token", "byte"]

_OPENING = 200  # characters
_MANY = 8  # asks that open alike make batches of their own


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, and how its answer ends beside the model's own end.

    stop: texts that end the answer.   max_tokens: new tokens at most; None leaves it to the sampling.   choices: the
    answers that are compared by likelihood, nothing being generated; per: what their log-probability is divided by.
    temperature, seed: how this one is drawn; None leaves it to the sampling.
    """

    request: Request
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    choices: tuple[str, ...] = ()
    per: Per = "text"
    temperature: float | None = None
    seed: int | None = None


class Answers(NamedTuple):
    """One batch that came back: which asks, their replies, generated tokens of each (None: not known), wall time.

    prompt_tokens: of what was asked, where an endpoint counts them.
    """

    indices: list[int]
    replies: list[Reply]
    tokens: list[int | None]
    seconds: float
    prompt_tokens: list[int | None] | None = None


def answers(chat: Chat, asks: Sequence[Ask], sampling: Sampling, *, batch: int = 64) -> Iterator[Answers]:
    """Ask everything once, yielding each batch as it returns. Asks that end alike go together, longest first; of those,
    asks that open alike, for what they share is computed once.

    batch: requests handed over at once; to an endpoint they go one by one, so many at a time as it allows, and come back
    as they are answered. A request that fails becomes a reply with stop_reason "error" and the reason as text, and does
    not stop the others. What concerns all of them is raised: every request of the first batch is refused (HeedError), or
    an endpoint is down (`endpoint.Interrupted`).
    """
    yield from _chosen(chat, asks, batch)
    alike: dict[tuple[tuple[str, ...], int, float, int, str], list[int]] = {}
    common = Counter(_opening(ask.request) for ask in asks)
    for index, ask in enumerate(asks):
        if ask.choices:
            continue
        limit = sampling.max_tokens if ask.max_tokens is None else ask.max_tokens
        heat = sampling.temperature if ask.temperature is None else ask.temperature
        seed = sampling.seed if ask.seed is None else ask.seed
        opening = _opening(ask.request)
        key = (ask.stop, limit, heat, seed, opening if common[opening] >= _MANY else "")
        alike.setdefault(key, []).append(index)
    answered = False
    for (stop, limit, heat, seed, _), members in alike.items():
        decoding = replace(sampling, stop=(*sampling.stop, *stop), max_tokens=limit, temperature=heat, seed=seed)
        members.sort(key=lambda index: -_length(asks[index].request))
        if isinstance(chat, RemoteChat):
            for one in from_endpoint(chat, {index: asks[index].request for index in members}, decoding):
                yield Answers([one.number], [one.reply], [one.tokens], one.seconds, [one.prompt_tokens])
            continue
        for start in range(0, len(members), batch):
            indices = members[start : start + batch]
            begun = perf_counter()
            replies, refused = _replies(chat, [asks[index].request for index in indices], decoding)
            if len(indices) > 1 and len(refused) == len(indices) and not answered:
                raise refused[-1]  # it is not the request
            answered = answered or len(refused) < len(indices)
            tokens = [len(reply.ids) if reply.ids else None for reply in replies]
            yield Answers(indices, replies, tokens, perf_counter() - begun)


def _replies(chat: Chat, requests: Sequence[Request], sampling: Sampling) -> tuple[list[Reply], list[Exception]]:
    """A reply for each request, and what was raised for those that have none."""
    try:
        return chat.reply(requests, sampling), []
    except (HeedError, RuntimeError) as error:  # RuntimeError: a device that has no memory left for so many, or for one
        if len(requests) == 1:
            return [Reply(str(error), stop_reason="error")], [error]
    parts = [_replies(chat, [request], sampling) for request in requests]
    return [reply for part, _ in parts for reply in part], [error for _, part in parts for error in part]


def _chosen(chat: Chat, asks: Sequence[Ask], batch: int) -> Iterator[Answers]:
    """For each ask that has choices a reply that is the likeliest of them, its logprobs one figure per choice.

    Choices of the same figure, to the twelfth digit, are a tie: the reply is empty then, and nothing is guessed.
    """
    openings = {index: _opening(ask.request) for index, ask in enumerate(asks) if ask.choices}
    common = Counter(openings.values())
    alike = {index: opening if common[opening] >= _MANY else "" for index, opening in openings.items()}
    members = sorted(openings, key=lambda index: (alike[index], -_length(asks[index].request)))
    answered = False
    for start in range(0, len(members), batch):
        indices = members[start : start + batch]
        begun = perf_counter()
        replies, refused = _likeliest(chat, [asks[index] for index in indices])
        if len(indices) > 1 and len(refused) == len(indices) and not answered:
            raise refused[-1]  # it is not the request
        answered = answered or len(refused) < len(indices)
        yield Answers(indices, replies, [0 if reply.logprobs else None for reply in replies], perf_counter() - begun)


def _likeliest(chat: Chat, asks: Sequence[Ask]) -> tuple[list[Reply], list[Exception]]:
    rows = [(ask.request, _lead(ask.request) + choice) for ask in asks for choice in ask.choices]
    try:
        scored = iter(chat.score([request for request, _ in rows], [text for _, text in rows]))
    except (HeedError, RuntimeError) as error:
        if len(asks) == 1:
            return [Reply(str(error), stop_reason="error")], [error]
        parts = [_likeliest(chat, [ask]) for ask in asks]
        return [reply for part, _ in parts for reply in part], [one for _, part in parts for one in part]
    replies = []
    for ask in asks:
        figures = [math.fsum(found := next(scored)) / _size(ask.per, choice, len(found)) for choice in ask.choices]
        best = [choice for choice, figure in zip(ask.choices, figures, strict=True) if _same(figure, max(figures))]
        replies.append(Reply(best[0] if len(best) == 1 else "", logprobs=tuple(figures)))
    return replies, []


def _lead(request: Request) -> str:
    """The space that parts a text from what follows it; a chat template has its own mark there."""
    return " " if request.text and not request.text[-1].isspace() else ""


def _size(per: Per, choice: str, tokens: int) -> int:
    return {"text": 1, "token": max(1, tokens), "byte": max(1, len(choice.encode()))}[per]


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-12, abs_tol=0.0)


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
