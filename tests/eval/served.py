"""An OpenAI-compatible endpoint on this machine that answers by a function of the last message."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Say = Callable[[str], "str | int"]  # the reply, or a status that is no success


@dataclass
class Served:
    """url: to be asked at.   heard: the last message of each request, in order.   say: may be changed at any time."""

    url: str
    say: Say
    heard: list[str] = field(default_factory=list)


@contextmanager
def served(say: Say) -> Iterator[Served]:
    state = Served("", say)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            """Silence."""

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked = body["messages"][-1]["content"]
            state.heard.append(asked)
            said = state.say(asked)
            status = said if isinstance(said, int) else 200
            message = {"role": "assistant", "content": str(said)}
            found: dict[str, Any] = {
                "id": "1",
                "object": "chat.completion",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
            }
            data = json.dumps(found if status == 200 else {"error": {"message": "out of order"}}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
