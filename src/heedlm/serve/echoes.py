"""Given texts with their log-probabilities, as evaluation tools ask for them: /v1/completions with `echo`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import MutableMapping, Sequence
from itertools import accumulate
from typing import Any

from heedlm.errors import HeedError
from heedlm.generate.chat import LocalChat
from heedlm.serve.answers import Hall, Wanted, head
from heedlm.serve.bridge import Prompted
from heedlm.serve.models import Served
from heedlm.serve.pieces import token_pieces, token_text
from heedlm.serve.refusal import Refusal
from heedlm.serve.shapes import CompletionBody


def check_echo(body: CompletionBody) -> None:
    """Raises Refusal for an echo with anything more, and for no tokens without one."""
    if not body.echo:
        raise Refusal(422, "No new token is asked for, and no echo.", "max_tokens", "1 at least, or add echo: true")
    if body.max_tokens != 0:
        raise Refusal(422, "echo gives a prompt back as it is.", "max_tokens", "max_tokens: 0 with echo")
    if body.stream or (body.n or 1) > 1:
        field = "stream" if body.stream else "n"
        raise Refusal(422, f"An echo has no {field}.", field, f"remove {field}")


async def echo(
    hall: Hall, served: Served, asked: Sequence[Prompted], body: CompletionBody, state: MutableMapping[str, Any]
) -> dict[str, Any]:
    """The prompts, each with the log-probabilities of its tokens where they are wanted. Raises Refusal."""
    wanted = Wanted(False, served.name, False, body.logprobs is not None, state)
    choices, read = [], 0
    for index, one in enumerate(asked):
        ids = _ids(served.chat, one)
        read += len(ids)
        text = one.request.text or ""
        logprobs = None
        if body.logprobs is not None:
            left = max(0.0, wanted.deadline - time.perf_counter())
            try:
                found = await asyncio.wait_for(hall.bridge.score(served, ids, body.logprobs), left)
            except (TimeoutError, asyncio.TimeoutError):
                raise Refusal(504, "The prompt took longer than a request may take here.", code="timeout") from None
            logprobs = _logprobs(served.chat, ids, text, found.logprobs, found.alternatives)
        choices.append({"index": index, "text": text, "logprobs": logprobs, "finish_reason": "length"})
    hall.tokens.use(str(state["client"]), read)
    hall.metrics.count("heed_prompt_tokens_total", read, model=served.name)
    state["note"].update(model=served.name, prompt_tokens=read)
    usage = {
        "prompt_tokens": read,
        "completion_tokens": 0,
        "total_tokens": read,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    return {**head("text_completion", wanted), "choices": choices, "usage": usage}


def _ids(chat: LocalChat, one: Prompted) -> tuple[int, ...]:
    """The ids of a prompt; the context holds them all."""
    ids = one.ids if one.ids is not None else chat.render(one.request).ids
    limit = chat.context
    if limit is not None and len(ids) > limit:
        what = f"The prompt is too long: {len(ids):,} tokens; the model's context holds {limit:,}."
        raise HeedError(what, "prompt", "score the text in parts")
    return ids


def _logprobs(
    chat: LocalChat,
    ids: Sequence[int],
    text: str,
    logprobs: Sequence[float],
    alternatives: Sequence[Sequence[tuple[int, float]]],
) -> dict[str, Any]:
    """Tokens, what each is worth, and where each begins in `text`; a BOS before the text begins where the text does."""
    pieces = token_pieces(chat.tokenizer, ids)
    before = sum(map(len, pieces)) - len(text)
    starts = [
        max(0, end - len(piece) - before) for end, piece in zip(accumulate(map(len, pieces)), pieces, strict=True)
    ]
    top = [{token_text(chat.tokenizer, token): value for token, value in reversed(others)} for others in alternatives]
    return {
        "tokens": pieces,
        "token_logprobs": [None, *logprobs],
        "top_logprobs": [None, *top] if top else None,
        "text_offset": starts,
    }
