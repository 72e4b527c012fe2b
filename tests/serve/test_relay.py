from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heedlm.errors import HeedError
from heedlm.serve.playground import Playground
from heedlm.serve.playground_desk import Desk
from tests.browser.scripted import Script, scripted

pytest.importorskip("fastapi")
from heedlm.instructions.format import load
from heedlm.instructions.policy import policy_of
from heedlm.serve.api import create_app
from heedlm.serve.options import Options
from heedlm.serve.policy import ServerPolicy
from heedlm.serve.relay import Endpoint, endpoints_of, is_endpoint

KEY = "k" * 32


class There:
    """Another server, and an application that passes requests on to it."""

    def __init__(self, script: Script, url: str) -> None:
        self.script, self.url = script, url
        self.options = Options(keys=(KEY,), timeout=10.0)
        self.endpoints: list[Endpoint] = endpoints_of([f"{url}/v1"], None)
        self.policy: ServerPolicy | None = None

    def ask(
        self, path: str, body: Any = None, *, leave: bool = False, key: str = KEY
    ) -> tuple[int, dict[str, str], bytes]:
        """One request to the application, as a server would hand it over.   leave: the client goes after its first piece."""
        return asyncio.run(self._ask(path, body, leave, key))

    async def _ask(self, path: str, body: Any, leave: bool, key: str) -> tuple[int, dict[str, str], bytes]:
        app = create_app([], self.options, None, self.endpoints, self.policy)
        raw = b"" if body is None else json.dumps(body).encode()
        headers = [
            (b"host", b"127.0.0.1"),
            (b"authorization", f"Bearer {key}".encode()),
            (b"content-type", b"application/json"),
        ]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET" if body is None else "POST",
            "path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers, "scheme": "http",
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "root_path": "",
        }  # fmt: skip
        gone = asyncio.Event()
        sent: list[Any] = [{"type": "http.request", "body": raw, "more_body": False}]
        told: list[Any] = []

        async def receive() -> Any:
            if sent:
                return sent.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            told.append(message)
            if leave and message.get("body"):
                gone.set()

        await app(scope, receive, send)
        start = next(one for one in told if one["type"] == "http.response.start")
        headers_back = {name.decode().lower(): text.decode() for name, text in start["headers"]}
        return start["status"], headers_back, b"".join(one.get("body", b"") for one in told)


@pytest.fixture
def there(tmp_path: Path) -> Iterator[There]:
    script = Script()
    with scripted(script, Playground(Desk(tmp_path / "human.jsonl"))) as url:
        yield There(script, url)


def asked(model: str = "demo", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Capital of France?"}], "max_tokens": 50, **more}


def test_all_models_of_an_address_are_found_and_listed(there: There) -> None:
    assert [(one.name, one.model) for one in there.endpoints] == [("atlas", "atlas"), ("demo", "demo")]
    listed = json.loads(there.ask("/v1/models")[2])["data"]
    assert [(one["id"], one["heed"]["formats"]) for one in listed] == [("atlas", ["own"]), ("demo", ["own"])]
    assert json.loads(there.ask("/health")[2])["models"] == ["atlas", "demo"]


def test_a_name_that_is_taken_bears_its_host(there: There) -> None:
    host = there.url.removeprefix("http://")
    found = endpoints_of([f"{there.url}/v1#demo", f"{there.url}/v1/#demo", f"{there.url}/v1#x"], None, taken=["x"])
    assert [(one.name, one.model) for one in found] == [("demo", "demo"), (f"demo@{host}", "demo"), (f"x@{host}", "x")]
    assert not is_endpoint("runs/demo")


def test_answers_come_back_as_they_were_given(there: There) -> None:
    status, headers, body = there.ask("/v1/chat/completions", asked())
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body)["choices"][0]["message"]["content"] == "Paris is the capital of France."
    status, headers, body = there.ask("/v1/chat/completions", asked(stream=True))
    assert headers["content-type"] == "text/event-stream"
    pieces = [json.loads(line[6:]) for line in body.decode().splitlines() if line.startswith("data: {")]
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in pieces if one["choices"]) == (
        "Paris is the capital of France."
    )
    assert body.endswith(b"data: [DONE]\n\n")
    given = there.script.asked[-1]
    assert given["model"] == "demo"
    assert given["max_tokens"] == 50


def test_the_models_own_name_is_sent_and_a_plain_text_is_passed_on(there: There) -> None:
    there.endpoints = [Endpoint("ours", f"{there.url}/v1", "atlas")]
    body = there.ask("/v1/completions", {"model": "ours", "prompt": "France is", "max_tokens": 4})[2]
    assert json.loads(body)["choices"][0]["text"] == " What is the capital"
    assert (there.script.asked[-1]["model"], there.script.asked[-1]["prompt"]) == ("atlas", "France is")


def test_what_the_endpoint_refuses_is_refused_with_its_words(there: There) -> None:
    there.script.busy = 1
    status, headers, body = there.ask("/v1/chat/completions", asked())
    assert (status, headers["retry-after"], json.loads(body)["error"]["message"]) == (429, "1", "The queue is full.")


def test_a_client_that_leaves_is_left_at_the_endpoint_too(there: There) -> None:
    there.script.says, there.script.pause = lambda model, text: "word " * 400, 0.02
    began = time.perf_counter()
    there.ask("/v1/chat/completions", asked(stream=True, max_tokens=400), leave=True)
    assert time.perf_counter() - began < 6  # eight seconds are what it would have taken
    until = time.perf_counter() + 5
    while there.script.left == 0 and time.perf_counter() < until:
        time.sleep(0.05)
    assert there.script.left == 1


def test_the_door_is_the_same_for_models_elsewhere(there: There) -> None:
    assert there.ask("/v1/chat/completions", asked(), key="wrong")[0] == 401
    assert there.script.asked == []
    status, _, body = there.ask("/v1/chat/completions", asked("nobody"))
    assert status == 404
    status, _, body = there.ask("/v1/render", asked())
    assert (status, json.loads(body)["error"]["code"]) == (422, "elsewhere")
    assert there.ask("/v1/chat/completions", [1])[0] == 422


def test_the_client_s_key_stays_here(there: There) -> None:
    there.script.key = "theirs"
    assert there.ask("/v1/chat/completions", asked())[0] == 401  # ours is not handed on
    there.endpoints = [Endpoint("demo", f"{there.url}/v1", "demo", "theirs")]
    assert there.ask("/v1/chat/completions", asked())[0] == 200
    with pytest.raises(HeedError, match="asks for a key"):
        endpoints_of([f"{there.url}/v1"], None)


def test_an_endpoint_that_is_gone_is_told(there: There) -> None:
    there.endpoints = [Endpoint("demo", "http://127.0.0.1:9/v1", "demo")]
    status, _, body = there.ask("/v1/chat/completions", asked())
    assert status == 502
    assert "does not answer" in json.loads(body)["error"]["message"]


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("http://127.0.0.1:9/v1", "does not answer"),
        ("http://127.0.0.1:9", "no version"),
        ("http://", "no version"),
        ("http://[", "no address"),
        ("http://127.0.0.1:port/v1#m", "no address"),
    ],
)
def test_an_address_that_is_none_is_refused(address: str, what: str) -> None:
    with pytest.raises(HeedError, match=what):
        endpoints_of([address], None)


def test_a_server_of_something_else_is_refused(there: There) -> None:
    with pytest.raises(HeedError, match="lists no models"):
        endpoints_of([f"{there.url}/ui"], None)


def test_a_conversation_is_passed_on_under_the_server_s_instruction(there: There) -> None:
    there.policy = ServerPolicy(policy_of(load("plain-words")))
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hyperbole abounds."}]
    status, _, _ = there.ask("/v1/chat/completions", {"model": "demo", "messages": turns, "max_tokens": 4})
    assert status == 200
    sent = there.script.asked[-1]
    assert [one["role"] for one in sent["messages"]] == ["system", "user"]
    assert "# Additional instructions\nBe brief." in sent["messages"][0]["content"]
    assert "Hyperbole abounds." in sent["messages"][1]["content"]
    status, _, body = there.ask("/v1/chat/completions", {"model": "demo", "messages": "x"})
    assert (status, json.loads(body)["error"]["param"]) == (422, "messages")
    listed = json.loads(there.ask("/v1/models")[2])["data"]
    assert {one["heed"]["instruction"] for one in listed} == {"plain-words"}
