"""Replies on their way to a client."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from heedlm.messages import Reply, ToolCall
from heedlm.serve.bridge import Bridge, Choice, Inbox, Piece, failed
from heedlm.serve.limits import Allowance
from heedlm.serve.metrics import Metrics
from heedlm.serve.options import Options
from heedlm.serve.pieces import chat_logprobs, completion_logprobs
from heedlm.serve.refusal import Refusal

LOG = logging.getLogger("heedlm.serve")
Receive = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Hall:
    """What every answer of a server needs."""

    bridge: Bridge
    metrics: Metrics
    tokens: Allowance
    options: Options


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a client wants its answer.

    chat: as /v1/chat/completions writes it.   model: the name it asked for.   usage: a last event says what was used.
    logprobs: whether they are told.   state: of the request, where the door wrote who asks and since when.
    """

    chat: bool
    model: str
    usage: bool
    logprobs: bool
    state: MutableMapping[str, Any]

    @property
    def deadline(self) -> float:
        return float(self.state["deadline"])


class Gone(Exception):
    """The client has left."""


async def news(inbox: Inbox, deadline: float) -> AsyncIterator[Piece]:
    """The pieces of all choices until the last has ended. Raises Gone, and Refusal when the time is over."""
    open_choices = len(inbox.choices)
    while open_choices:
        try:
            piece = await asyncio.wait_for(inbox.queue.get(), max(0.0, deadline - time.perf_counter()))
        except (TimeoutError, asyncio.TimeoutError):
            what = "The reply took longer than a request may take here."
            raise Refusal(504, what, "", "ask for fewer tokens, or ask again later", code="timeout") from None
        if piece is None:
            raise Gone
        open_choices -= piece.ended
        error = inbox.choices[piece.choice].error
        if error is not None:
            LOG.error("a pass of %s failed", inbox.choices[piece.choice].served.name, exc_info=error)
            raise failed(error)
        yield piece


async def watched(receive: Receive, inbox: Inbox) -> None:
    """Tell the inbox when the client leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass
    inbox.queue.put_nowait(None)


async def whole(hall: Hall, inbox: Inbox, wanted: Wanted, receive: Receive) -> dict[str, Any]:
    """All choices, finished, as one JSON object. Raises Gone and Refusal."""
    watcher = asyncio.create_task(watched(receive, inbox))
    try:
        async for _ in news(inbox, wanted.deadline):
            pass
        replies = [choice.reply() for choice in inbox.choices]
    finally:
        watcher.cancel()
        settle(hall, inbox, wanted)
    choices = [
        _chat_choice(choice, reply, wanted) if wanted.chat else _text_choice(choice, reply, wanted)
        for choice, reply in zip(inbox.choices, replies, strict=True)
    ]
    kind = "chat.completion" if wanted.chat else "text_completion"
    return {**head(kind, wanted), "choices": choices, "usage": used(inbox.choices)}


def head(kind: str, wanted: Wanted) -> dict[str, Any]:
    prefix = "chatcmpl" if wanted.chat else "cmpl"
    return {
        "id": f"{prefix}-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time.time()),
        "model": wanted.model,
    }


def _chat_choice(choice: Choice, reply: Reply, wanted: Wanted) -> dict[str, Any]:
    job = choice.asked.job
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or (None if reply.tool_calls else "")}
    if reply.reasoning is not None:
        message["reasoning_content"] = reply.reasoning
    if reply.tool_calls:
        message["tool_calls"] = tool_calls(reply.tool_calls)
    return {
        "index": choice.index,
        "message": message,
        "logprobs": chat_logprobs(choice.chat.tokenizer, job, 0, len(job.ids)) if wanted.logprobs else None,
        "finish_reason": finish_reason(reply),
    }


def _text_choice(choice: Choice, reply: Reply, wanted: Wanted) -> dict[str, Any]:
    job = choice.asked.job
    logprobs = completion_logprobs(choice.chat.tokenizer, job, 0, len(job.ids), 0) if wanted.logprobs else None
    return {"index": choice.index, "text": reply.text, "logprobs": logprobs, "finish_reason": finish_reason(reply)}


def finish_reason(reply: Reply) -> str:
    return "tool_calls" if reply.tool_calls else reply.stop_reason


def tool_calls(calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    """Calls in OpenAI's shape, each with an id to answer it by."""
    return [
        {
            "id": call.id or f"call_{secrets.token_hex(12)}",
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(dict(call.arguments), ensure_ascii=False)},
        }
        for call in calls
    ]


def used(choices: Sequence[Choice]) -> dict[str, Any]:
    """Tokens of a request: each prompt once, however many replies it got."""
    prompts = {choice.asked.prompt.ids: choice.asked.job.remembered for choice in choices}
    read, made = sum(map(len, prompts)), sum(len(choice.asked.job.ids) for choice in choices)
    return {
        "prompt_tokens": read,
        "completion_tokens": made,
        "total_tokens": read + made,
        "prompt_tokens_details": {"cached_tokens": sum(prompts.values())},
    }


def settle(hall: Hall, inbox: Inbox, wanted: Wanted) -> None:
    """The end of a request, however it came: places are given back, and what was used is counted."""
    left = hall.bridge.finish(inbox)
    if left:
        hall.metrics.count("heed_gone_total", left)
    if not inbox.choices:
        return
    name, usage = inbox.choices[0].served.name, used(inbox.choices)
    began = float(wanted.state["began"])
    hall.tokens.use(str(wanted.state["client"]), usage["total_tokens"])
    hall.metrics.count("heed_prompt_tokens_total", usage["prompt_tokens"], model=name)
    hall.metrics.count("heed_remembered_tokens_total", usage["prompt_tokens_details"]["cached_tokens"], model=name)
    hall.metrics.count("heed_completion_tokens_total", usage["completion_tokens"], model=name)
    first = [choice.first_token for choice in inbox.choices if choice.first_token is not None]
    if first:
        hall.metrics.time("heed_first_token_seconds", min(first) - began, model=name)
    hall.metrics.time("heed_request_seconds", time.perf_counter() - began, model=name)
    wanted.state["note"].update(
        model=name,
        prompt_tokens=usage["prompt_tokens"],
        completion_tokens=usage["completion_tokens"],
        **({"unfinished": left} if left else {}),
    )
    if hall.options.log_prompts:
        for choice in inbox.choices:
            LOG.info("asked %r answered %r", choice.asked.prompt.text, choice.asked.listener.stream.text)
