"""/probs: how sure the model was of each token of its last answer, and what it would have said instead."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from heedlm.errors import HeedError
from heedlm.messages import Chat, Reply, Request, Sampling
from heedlm.serve.session import Session, asked

ALTERNATIVES = 5  # asked for beside each token
_SHOWN = 8  # of the least certain tokens
_STYLES = ((0.9, "green"), (0.5, "yellow"), (0.1, "magenta"), (0.0, "red"))


class Said(NamedTuple):
    """One token of an answer. text: empty for a part of a character.   logprob: nats.   others: likeliest tokens, best first."""

    text: str
    logprob: float
    others: tuple[tuple[str, float], ...]


def show_probabilities(session: Session, rest: str) -> None:
    """The last answer in the colours of its certainty, then its least certain tokens; all of them with `all`."""
    if session.last is None or session.reply is None or session.reply.stop_reason == "error":
        session.say("There is no answer yet whose tokens could be shown.\n", "dim")
        return
    if rest not in ("", "all"):
        session.refuse(f"/probs takes nothing, or `all`; not {rest!r}.")
        return
    chat = asked(session, session.last)
    try:
        said = probabilities(chat, session.last, session.reply, session.sampling)
    except HeedError as error:
        session.refuse(error)
        return
    if not said:
        session.say("The model said no token.\n", "dim")
        return
    for token in said:
        session.say(token.text, next(style for least, style in _STYLES if math.exp(token.logprob) >= least))
    mean = math.exp(sum(token.logprob for token in said) / len(said))
    session.say(f"\n({len(said):,} tokens, {mean:.1%} each, as a geometric mean)\n", "dim")
    places = range(len(said)) if rest == "all" else _unsure(said)
    session.say("".join(_line(place, said[place]) for place in places), "")


def probabilities(chat: Chat, request: Request, reply: Reply, sampling: Sampling) -> list[Said]:
    """Each token of a reply with its probability and its alternatives.

    An endpoint is asked the same again, with log-probabilities. Raises HeedError where it gives none.
    """
    from heedlm.generate.remote import RemoteChat

    if isinstance(chat, RemoteChat):
        from heedlm.generate.remote_probs import asked_again

        return [Said(*token) for token in asked_again(chat, request, sampling, ALTERNATIVES)]
    tokenizer = getattr(chat, "tokenizer", None)
    if tokenizer is None or len(reply.logprobs) != len(reply.ids):
        raise HeedError("This model does not tell how likely its tokens are.")
    from heedlm.serve.pieces import token_pieces, token_text

    others = reply.alternatives or ((),) * len(reply.ids)
    texts = token_pieces(tokenizer, reply.ids)
    return [
        Said(text, logprob, tuple((token_text(tokenizer, token), value) for token, value in beside))
        for text, logprob, beside in zip(texts, reply.logprobs, others, strict=True)
    ]


def _unsure(said: Sequence[Said]) -> list[int]:
    """Places of the least certain tokens, in the order of the answer; none that is as good as certain."""
    ranked = sorted(range(len(said)), key=lambda place: said[place].logprob)[:_SHOWN]
    return sorted(place for place in ranked if math.exp(said[place].logprob) < _STYLES[0][0])


def _line(place: int, token: Said) -> str:
    others = ", ".join(f"{text!r} {math.exp(value):.1%}" for text, value in token.others if text != token.text)
    instead = f"   instead: {others}" if others else ""
    return f"{place + 1:>5}  {token.text!r:<16} {math.exp(token.logprob):>6.1%}{instead}\n"
