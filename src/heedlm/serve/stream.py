"""A reply as a stream of server-sent events, one for each piece of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from starlette.responses import Response

from heedlm.serve.answers import Gone, Hall, Wanted, finish_reason, head, news, settle, tool_calls, used, watched
from heedlm.serve.bridge import Choice, Inbox, Piece
from heedlm.serve.pieces import chat_logprobs, completion_logprobs, token_text
from heedlm.serve.refusal import Refusal, body_of

_LINGER = 5.0  # seconds that a client may let one event lie once its time is over


class Events(Response):
    """The answer of a request whose choices have begun."""

    media_type = "text/event-stream"

    def __init__(self, hall: Hall, inbox: Inbox, wanted: Wanted) -> None:
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self.raw_headers = [pair for pair in self.raw_headers if pair[0] != b"content-length"]
        self._hall, self._inbox, self._wanted = hall, inbox, wanted

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        watcher = asyncio.create_task(watched(receive, self._inbox))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for event in self._events():
                # A client that does not read holds its place no longer than its time.
                left = max(0.0, self._wanted.deadline - time.perf_counter()) + _LINGER
                await asyncio.wait_for(send({"type": "http.response.body", "body": event, "more_body": True}), left)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (Gone, TimeoutError, asyncio.TimeoutError):
            pass
        finally:
            watcher.cancel()
            with suppress(asyncio.CancelledError):
                await watcher
            settle(self._hall, self._inbox, self._wanted)

    async def _events(self) -> AsyncIterator[bytes]:
        writer = _Writer(self._inbox, self._wanted)
        try:
            for event in writer.opening():
                yield event
            async for piece in news(self._inbox, self._wanted.deadline):
                for event in writer.piece(piece):
                    yield event
            if self._wanted.usage:
                yield writer.usage()
        except Refusal as refusal:
            yield _event(body_of(refusal))
        yield b"data: [DONE]\n\n"


class _Writer:
    """The events of one request."""

    def __init__(self, inbox: Inbox, wanted: Wanted) -> None:
        self._choices = inbox.choices
        self._wanted = wanted
        self._head = head("chat.completion.chunk" if wanted.chat else "text_completion", wanted)
        self._told = [0] * len(inbox.choices)  # tokens whose log-probabilities are out
        self._offset = [0] * len(inbox.choices)  # characters of those tokens

    def opening(self) -> list[bytes]:
        if not self._wanted.chat:
            return []
        return [self._chat(choice, {"role": "assistant", "content": ""}, 0) for choice in self._choices]

    def piece(self, piece: Piece) -> list[bytes]:
        """The events of one piece; with the last one comes everything that is told at the end."""
        choice = self._choices[piece.choice]
        if not self._wanted.chat:
            return self._text(choice, piece)
        events = []
        if piece.thought:
            events.append(self._chat(choice, {"reasoning_content": piece.thought}, piece.num_tokens))
        if piece.text:
            events.append(self._chat(choice, {"content": piece.text}, piece.num_tokens))
        if piece.ended:
            reply = choice.reply()
            calls = [{"index": at, **call} for at, call in enumerate(tool_calls(reply.tool_calls))]
            if choice.rest or choice.rest_thought or calls or self._told[choice.index] < self._sure(piece):
                delta = {"content": choice.rest} if choice.rest else {}
                delta |= {"reasoning_content": choice.rest_thought} if choice.rest_thought else {}
                events.append(
                    self._chat(choice, {**delta, **({"tool_calls": calls} if calls else {})}, piece.num_tokens)
                )
            events.append(self._chat(choice, {}, 0, finish_reason(reply)))
        return events

    def usage(self) -> bytes:
        return _event({**self._head, "choices": [], "usage": used(self._choices)})

    def _sure(self, piece: Piece) -> int:
        return piece.num_tokens if self._wanted.logprobs else 0

    def _chat(self, choice: Choice, delta: dict[str, Any], num_tokens: int, finish: str | None = None) -> bytes:
        """One event; with the log-probabilities of the tokens up to `num_tokens` that are not out yet."""
        told, logprobs = self._told[choice.index], None
        if self._wanted.logprobs and num_tokens > told:
            logprobs = chat_logprobs(choice.chat.tokenizer, choice.asked.job, told, num_tokens)
            self._told[choice.index] = num_tokens
        shown = {"index": choice.index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return self._chunk(shown)

    def _text(self, choice: Choice, piece: Piece) -> list[bytes]:
        """The event of a piece of plain text."""
        finish = finish_reason(choice.reply()) if piece.ended else None
        at, told, logprobs = choice.index, self._told[choice.index], None
        if self._wanted.logprobs and piece.num_tokens > told:
            tokenizer, job = choice.chat.tokenizer, choice.asked.job
            logprobs = completion_logprobs(tokenizer, job, told, piece.num_tokens, self._offset[at])
            self._offset[at] += sum(len(token_text(tokenizer, token)) for token in job.ids[told : piece.num_tokens])
            self._told[at] = piece.num_tokens
        text = choice.rest if piece.ended else piece.text
        return [self._chunk({"index": at, "text": text, "logprobs": logprobs, "finish_reason": finish})]

    def _chunk(self, shown: dict[str, Any]) -> bytes:
        return _event({**self._head, "choices": [shown], **({"usage": None} if self._wanted.usage else {})})


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
