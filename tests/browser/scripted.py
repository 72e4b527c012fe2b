"""A server that speaks as `heed serve` does, with models whose answers are written down: for pages, not for models."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from heedlm.serve.playground import Playground

FORMATS = ["own", "chatml", "human_assistant", "alpaca", "base"]
Says = Callable[[str, str], str]  # (model, last text) -> answer


def say(model: str, text: str) -> str:
    """The answer of a model: the base goes on with other questions, the tuned ones answer."""
    if model == "atlas":
        return " What is the capital of Spain?\nWhat is the capital of Italy?"
    if "Australia" in text:
        return "The capital of Australia is Sydney."
    return "Paris is the capital of France." if "France" in text else f"You said: {text}"


@dataclass
class Script:
    """What the server does. busy: so many requests meet a full queue.   key: which key opens it, if one is needed."""

    says: Says = say
    busy: int = 0
    key: str | None = None
    pause: float = 0.004  # seconds before each token
    thought: str = ""  # what a tuned model thinks before it answers
    calls: tuple[dict[str, Any], ...] = ()  # what it calls at the end
    hold: int | None = None  # before this token of each answer the gate is waited for
    gate: threading.Event = field(default_factory=threading.Event)
    asked: list[dict[str, Any]] = field(default_factory=list)
    left: int = 0  # clients that went away
    names: tuple[str, ...] = ("atlas", "demo")
    reads: Callable[[dict[str, Any]], str] | None = None  # answers by the whole request, in place of `says`


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    script: Script
    playground: Playground

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        if self.path == "/health":
            self._json(200, {"status": "ok"})
        elif self.path.startswith("/ui"):
            self._pages("GET", b"")
        elif self._open() and self.path == "/v1/models":
            self._json(200, {"object": "list", "data": [self._model(name) for name in self.script.names]})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith("/ui"):
            self._pages("POST", body)
            return
        if not self._open():
            return
        given = json.loads(body)
        if self.path == "/v1/render":
            self._json(200, _rendered(given))
            return
        self.script.asked.append({"path": self.path, **given})
        if self.script.busy > 0:
            self.script.busy -= 1
            self._json(429, _error("The queue is full."), ("Retry-After", "1"))
            return
        last = given.get("prompt") or given["messages"][-1]["content"]
        reads = self.script.reads
        self._answer(given, reads(given) if reads is not None else self.script.says(given["model"], last))

    def _pages(self, method: str, body: bytes) -> None:
        if self.path.startswith("/ui/api/") and not self._open():
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        found = self.playground.answer(method, self.path, headers, body)
        self.send_response(found.status)
        for name, value in found.headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(found.body)

    def _open(self) -> bool:
        if self.script.key in (None, self.headers.get("Authorization", "").removeprefix("Bearer ")):
            return True
        self._json(401, _error("A key is needed."))
        return False

    def _model(self, name: str) -> dict[str, Any]:
        kind = "base" if name == "atlas" else "instruct"
        formats = FORMATS[name == "atlas" :]  # a base has no template of its own
        heed = {"kind": kind, "formats": formats, "context": 512, "parameters": 2_300_000, "device": "cpu"}
        return {"id": name, "object": "model", "heed": heed}

    def _json(self, status: int, value: Any, *more: tuple[str, str]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        for name, text in (("Content-Type", "application/json"), ("Content-Length", str(len(body))), *more):
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def _answer(self, given: dict[str, Any], text: str) -> None:
        tokens = _tokens(text)[: given["max_tokens"]]
        finish = "stop" if len(tokens) == len(_tokens(text)) else "length"
        usage = {"prompt_tokens": 9, "completion_tokens": len(tokens), "total_tokens": 9 + len(tokens)}
        if not given.get("stream"):
            said = "".join(tokens)
            choice = {"text": said, "message": {"role": "assistant", "content": said}, "finish_reason": finish}
            self._json(200, {"choices": [choice], "usage": usage})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        plain = self.path == "/v1/completions"
        try:
            if self.script.thought and not plain:
                self._event({"choices": [{"delta": {"reasoning_content": self.script.thought}}]})
            for number, token in enumerate(tokens):
                time.sleep(self.script.pause)
                if number == self.script.hold:
                    self.script.gate.wait(60)
                self._event({"choices": [_piece(token, number, plain)]})
            calls = {} if plain or not self.script.calls else {"tool_calls": list(self.script.calls)}
            self._event({"choices": [{"delta": calls, "text": "", "finish_reason": finish}]})
            self._event({"choices": [], "usage": usage})
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            self.script.left += 1
        self.close_connection = True

    def _event(self, value: Any) -> None:
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")
        self.wfile.flush()


def _tokens(text: str) -> list[str]:
    """Words with the white space before them."""
    found: list[str] = []
    for letter in text:
        if letter in " \n" or not found:
            found.append(letter)
        else:
            found[-1] += letter
    return found


def _piece(token: str, number: int, plain: bool) -> dict[str, Any]:
    shares = (0.97, 0.7, 0.42, 0.18, 0.06)
    share = shares[number % len(shares)]
    lp, other = math.log(share), math.log((1 - share) / 2)
    if plain:
        told: dict[str, Any] = {
            "tokens": [token],
            "token_logprobs": [lp],
            "top_logprobs": [{token: lp, " otherwise": other}],
        }
        return {"text": token, "logprobs": told}
    top = [{"token": token, "logprob": lp, "bytes": None}, {"token": " otherwise", "logprob": other, "bytes": None}]
    return {
        "delta": {"content": token},
        "logprobs": {"content": [{"token": token, "logprob": lp, "top_logprobs": top}]},
    }


def _rendered(given: dict[str, Any]) -> dict[str, Any]:
    if "prompt" in given:
        parts = [(given["prompt"], "prompt")]
    else:
        parts = []
        for turn in given["messages"]:
            parts += [
                (f"<|im_start|>{turn['role']}\n", "template"),
                (turn["content"], turn["role"]),
                ("<|im_end|>\n", "template"),
            ]
        parts.append(("<|im_start|>assistant\n", "template"))
    pieces = [(token, number) for number, (text, _) in enumerate(parts) for token in _tokens(text)]
    return {
        "text": "".join(text for text, _ in parts),
        "segments": [{"text": text, "origin": origin, "weight": 0.0} for text, origin in parts],
        "tokens": [{"id": 100 + number, "text": text, "segment": place} for number, (text, place) in enumerate(pieces)],
        "context": 512,
        "neutralised": 0,
        "stop": ["<|im_end|>"],
    }


def _error(message: str) -> dict[str, Any]:
    return {
        "error": {"message": message, "type": "error", "param": None, "code": None, "mend": "wait, or ask less at once"}
    }


@contextmanager
def scripted(script: Script, playground: Playground, port: int = 0) -> Iterator[str]:
    """The server while it lives, by its address."""

    class Handler(_Handler):
        pass

    Handler.script, Handler.playground = script, playground
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
