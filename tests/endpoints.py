"""An endpoint on this machine that follows a script and counts what it was asked and what it answered."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Endpoint:
    """say: the answer to a request: a text, a JSON object, a status that is no success, or (status, headers, JSON
    object); may be changed at any time.   hears: what of a request's body it is given.

    heard, keys: the text of every request, and the key it came with.   answered: how often each was answered with 200, to the last byte.
    gate: held back while it is not set.   tokens: of every answer, or None where the endpoint does not count.
    """

    say: Callable[[Any], Any]
    hears: Callable[[dict[str, Any]], Any] = lambda body: body
    tokens: tuple[int, int] | None = (10, 5)
    heard: list[str] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)
    most_at_once: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)
    at_once: int = 0


def asked(body: dict[str, Any]) -> str:
    """The last message of a request."""
    return str(body["messages"][-1]["content"])


def completion(text: str | None, finish: str = "stop", tokens: tuple[int, int] | None = (10, 5)) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    told = {
        "id": "1",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    }
    if tokens is not None:
        told["usage"] = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
    return told


def served(say: Callable[[str], str | int]) -> AbstractContextManager[Endpoint]:
    """An endpoint that answers the last message."""
    return endpoint(say, hears=asked)


@contextmanager
def endpoint(say: Callable[[Any], Any], **more: Any) -> Iterator[Endpoint]:
    state = Endpoint(say, **more)
    state.gate.set()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            """Silence."""

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with state.lock:
                state.heard.append(asked(body))
                state.keys.append(self.headers["Authorization"])
                state.at_once += 1
                state.most_at_once = max(state.most_at_once, state.at_once)
            try:
                state.gate.wait(60)
                said = state.say(state.hears(body))
            finally:
                with state.lock:  # before the answer: who has it may ask again at once
                    state.at_once -= 1
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # whoever asked is gone
                self.answer(body, said)

        def answer(self, body: dict[str, Any], said: Any) -> None:
            said = (said, {}, {"error": {"message": "out of order"}}) if isinstance(said, int) else said
            status, headers, said = said if isinstance(said, tuple) else (200, {}, said)
            told = completion(said, tokens=state.tokens) if isinstance(said, str) else said
            data = json.dumps(told).encode()
            self.send_response(status)
            for name, value in {
                **headers,
                "Content-Type": "application/json",
                "Content-Length": str(len(data)),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            with state.lock:  # counted before it is sent: who hears of it may act at once
                state.answered[f"{asked(body)}|{body.get('seed')}"] += status == 200
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield state
    finally:
        state.gate.set()
        server.shutdown()
        server.server_close()
