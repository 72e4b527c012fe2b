"""The door of the server: keys, names, sizes, times, how much at once; and what is counted and logged."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from heedlm.serve.options import Options
from tests.families import build
from tests.serve.live import Live, live, tiny_served

KEY, OTHER = "k" * 24, "o" * 24
ASKED = [{"role": "user", "content": "What is the capital of France?"}]
BODY = {"model": "tiny", "messages": ASKED, "max_tokens": 4}
FOREVER = 100_000  # tokens: more than any test waits for


def call(
    server: Live, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """One request, as bytes on the wire."""
    connection = http.client.HTTPConnection(*server.address, timeout=30)
    raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    given = {"Content-Type": "application/json", **(headers or {})} if raw is not None else headers or {}
    connection.request(method, path, raw, given)
    answer = connection.getresponse()
    found = answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
    connection.close()
    return found


def error_of(raw: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(raw)["error"]
    assert {"message", "type", "param", "code", "mend"} <= set(found)
    return found


def counted(server: Live, name: str, **headers: str) -> float:
    """A figure of /metrics, added over its labels."""
    text = call(server, "GET", "/metrics", headers=headers)[2].decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name)


def until(ready: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def endless() -> PreTrainedModel:
    return build("llama", max_position_embeddings=FOREVER)


@pytest.fixture(scope="module")
def narrow(endless: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Iterator[Live]:
    """Two places, one may wait; keys are needed; little of everything."""
    options = Options(
        keys=(KEY, OTHER),
        queue=1,
        max_body=2000,
        body_timeout=1.0,
        timeout=600,
        max_tokens=FOREVER,
        max_choices=4,
    )
    served = tiny_served(endless, tokenizer, places=2)
    served.chat.stop_ids = ()  # it never ends by itself
    with live([served], options, headers_timeout=1.0) as running:
        yield running


def asking(server: Live, **body: Any) -> Any:
    return server.client(KEY).chat.completions.create(
        **{"model": "tiny", "messages": ASKED, "max_tokens": FOREVER, "stream": True, **body}
    )


def test_without_a_key_nothing_is_answered_but_health(narrow: Live) -> None:
    for path in ("/v1/models", "/metrics", "/nowhere"):
        status, headers, raw = call(narrow, "GET", path)
        assert (status, headers["www-authenticate"]) == (401, "Bearer"), path
        assert error_of(raw)["code"] == "invalid_api_key"
    for header in ("Bearer wrong-wrong-wrong-wrong", f"Basic {KEY}", "Bearer", KEY, "Bearer \xff\xfe"):
        assert call(narrow, "POST", "/v1/chat/completions", BODY, {"Authorization": header})[0] == 401, header
    assert call(narrow, "GET", "/health")[0] == 200
    for key in (KEY, OTHER):
        assert call(narrow, "GET", "/v1/models", headers={"Authorization": f"Bearer {key}"})[0] == 200
    with pytest.raises(openai.AuthenticationError):
        narrow.client("nonsense-nonsense-nonsense").models.list()


def test_without_a_key_only_this_machine_is_answered_under_its_own_name(server: Live) -> None:
    for host in ("evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", ""):
        status, _, raw = call(server, "GET", "/v1/models", headers={"Host": host})
        assert status == 403, host
        assert error_of(raw)["code"] == "host_not_allowed"
    for host in ("localhost", "localhost:99", "127.0.0.1", "[::1]:8000", "127.0.0.2:1"):
        assert call(server, "GET", "/v1/models", headers={"Host": host})[0] == 200, host


def test_a_body_that_is_too_large_is_refused_with_its_length_or_without(narrow: Live) -> None:
    key = {"Authorization": f"Bearer {KEY}"}
    large = {**BODY, "messages": [{"role": "user", "content": "x" * 3000}]}
    status, _, raw = call(narrow, "POST", "/v1/chat/completions", large, key)
    assert status == 413
    assert "2,000 bytes" in error_of(raw)["message"]
    connection = http.client.HTTPConnection(*narrow.address, timeout=30)
    pieces = (b"x" * 500 for _ in range(20))
    headers = {**key, "Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    connection.request("POST", "/v1/chat/completions", pieces, headers, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_who_sends_slowly_is_cut_off(narrow: Live) -> None:
    """A head that dribbles in is hung up on; a body that does is answered 408."""
    with socket.create_connection(narrow.address, timeout=30) as line:
        began = time.monotonic()
        with pytest.raises(OSError):
            for sign in b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 1000:
                line.sendall(bytes([sign]))
                time.sleep(0.03)
                line.setblocking(False)
                try:
                    if line.recv(1) == b"":
                        raise ConnectionResetError
                except BlockingIOError:
                    pass
                line.setblocking(True)
        assert 0.5 < time.monotonic() - began < 15
    with socket.create_connection(narrow.address, timeout=30) as line:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
        line.sendall(head.encode())
        assert line.recv(1000).startswith(b"HTTP/1.1 408")
    with socket.create_connection(narrow.address, timeout=30) as line:
        assert line.recv(10) == b"", "who says nothing at all is hung up on as well"


def test_what_is_no_json_is_refused(server: Live) -> None:
    for raw in (b"", b"{", b"[]", b"null", b'"a"', b"\xff\xfe", b'{"model": NaN}', b"[" * 100_000):
        status, _, told = call(server, "POST", "/v1/chat/completions", raw)
        assert status == 422, (raw[:10], told)
        assert error_of(told)["message"]
    assert call(server, "POST", "/v1/chat/completions", BODY, {"Content-Type": "text/plain"})[0] == 415
    half = json.dumps(BODY).replace("France", "\\ud83d").encode()
    assert call(server, "POST", "/v1/chat/completions", half)[0] == 422


def test_addresses_and_methods_that_do_not_exist(server: Live) -> None:
    for path in ("/", "/v2", "/v1/chat", "/ui/", "/../../etc/passwd", "/v1/models/%2e%2e%2fetc%2fpasswd", "/%00"):
        status, _, raw = call(server, "GET", path)
        assert status == 404, path
        assert error_of(raw)["message"]
    status, headers, _ = call(server, "GET", "/v1/chat/completions")
    assert (status, headers["allow"]) == (405, "POST")


def test_a_client_that_leaves_frees_its_place(narrow: Live) -> None:
    key = {"Authorization": f"Bearer {KEY}"}
    gone = counted(narrow, "heed_gone_total", **key)
    streams = [asking(narrow) for _ in range(2)]
    for stream in streams:
        next(iter(stream))
    until(lambda: counted(narrow, "heed_running", **key) == 2)
    for stream in streams:
        stream.close()
    until(lambda: counted(narrow, "heed_running", **key) == 0)
    # The same for one that waits for a whole answer.
    connection = http.client.HTTPConnection(*narrow.address, timeout=30)
    body = json.dumps({**BODY, "max_tokens": FOREVER})
    connection.request("POST", "/v1/chat/completions", body, {**key, "Content-Type": "application/json"})
    until(lambda: counted(narrow, "heed_running", **key) == 1)
    connection.close()
    until(lambda: counted(narrow, "heed_running", **key) == 0)
    assert counted(narrow, "heed_gone_total", **key) == gone + 3


def test_a_full_queue_says_when_to_come_again(narrow: Live) -> None:
    key = {"Authorization": f"Bearer {KEY}"}
    streams = [asking(narrow) for _ in range(2)]
    until(lambda: counted(narrow, "heed_running", **key) == 2)
    waiting = threading.Thread(target=lambda: asking(narrow, max_tokens=2, stream=False))
    waiting.start()
    until(lambda: counted(narrow, "heed_waiting", **key) == 1)
    status, headers, raw = call(narrow, "POST", "/v1/chat/completions", BODY, key)
    assert (status, error_of(raw)["code"]) == (429, "queue_full")
    assert 1 <= int(headers["retry-after"]) <= 60
    with pytest.raises(openai.RateLimitError):
        asking(narrow)
    streams[0].close()
    waiting.join(30)
    assert not waiting.is_alive(), "the one that waited got the place"
    streams[1].close()
    until(lambda: counted(narrow, "heed_running", **key) == 0)


def test_a_request_that_takes_too_long_is_ended(endless: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    served = tiny_served(endless, tokenizer)
    served.chat.stop_ids = ()
    with live([served], Options(timeout=0.5, max_tokens=FOREVER)) as server:
        status, _, raw = call(server, "POST", "/v1/chat/completions", {**BODY, "max_tokens": FOREVER})
        assert (status, error_of(raw)["code"]) == (504, "timeout")
        status, _, raw = call(server, "POST", "/v1/chat/completions", {**BODY, "max_tokens": FOREVER, "stream": True})
        events = [line.removeprefix(b"data: ") for line in raw.split(b"\n\n") if line]
        assert status == 200
        assert json.loads(events[-2])["error"]["code"] == "timeout"
        assert events[-1] == b"[DONE]"
        with pytest.raises(openai.APIError, match="longer than"):
            list(server.client().chat.completions.create(**BODY | {"max_tokens": FOREVER}, stream=True))
        until(lambda: counted(server, "heed_running") == 0)


def test_a_key_has_so_much_in_a_minute(llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    options = Options(keys=(KEY, OTHER), requests_per_minute=3)
    with live([tiny_served(llama, tokenizer)], options) as server:
        mine, other = ({"Authorization": f"Bearer {key}"} for key in (KEY, OTHER))
        statuses = [call(server, "POST", "/v1/chat/completions", BODY, mine)[0] for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        status, headers, _ = call(server, "POST", "/v1/render", {"model": "tiny", "prompt": "a"}, mine)
        assert (status, headers["retry-after"]) == (429, "20")
        assert call(server, "GET", "/v1/models", headers=mine)[0] == 200
        assert call(server, "POST", "/v1/chat/completions", BODY, other)[0] == 200
    with live([tiny_served(llama, tokenizer)], Options(tokens_per_minute=20)) as server:
        assert call(server, "POST", "/v1/chat/completions", BODY)[0] == 200
        assert call(server, "POST", "/v1/chat/completions", BODY)[0] == 429


def test_a_model_that_fails_is_told_and_the_next_request_is_served(
    endless: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    with live([tiny_served(endless, tokenizer)]) as server:
        broken = endless.register_forward_pre_hook(lambda module, args: (_ for _ in ()).throw(MemoryError("no room")))
        for stream in (False, True):
            with pytest.raises(openai.APIError, match="MemoryError"):
                list(server.client().chat.completions.create(**BODY, stream=stream))
        broken.remove()
        assert call(server, "POST", "/v1/chat/completions", BODY)[0] == 200
    assert "no room" in caplog.text


def test_prompts_are_in_the_log_only_when_asked(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    secret = {"messages": [{"role": "user", "content": "my secret word is zanzibar"}], "user": "team zebra"}
    for asked in (False, True):
        caplog.clear()
        with (
            caplog.at_level(logging.DEBUG),
            live([tiny_served(llama, tokenizer)], Options(log_prompts=asked)) as server,
        ):
            assert call(server, "POST", "/v1/chat/completions", {**BODY, **secret})[0] == 200
            assert call(server, "POST", "/v1/chat/completions", {**BODY, **secret, "zanzibar": "zanzibar"})[0] == 422
            assert call(server, "GET", "/zanzibar")[0] == 404
        assert ("zanzibar" in caplog.text) is asked
        assert "POST /v1/chat/completions 200" in caplog.text
        assert "model=tiny" in caplog.text
        assert "team zebra" in caplog.text


def test_metrics_count_what_happened(llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    with live([tiny_served(llama, tokenizer)]) as server:
        used = server.client().chat.completions.create(**BODY).usage
        call(server, "GET", "/nowhere")
        text = call(server, "GET", "/metrics")[2].decode()
        assert f'heed_completion_tokens_total{{model="tiny"}} {used.completion_tokens}' in text
        assert f'heed_prompt_tokens_total{{model="tiny"}} {used.prompt_tokens}' in text
        assert 'heed_requests_total{route="/v1/chat/completions",status="200"} 1' in text
        assert 'heed_requests_total{route="other",status="404"} 1' in text
        assert 'heed_first_token_seconds_count{model="tiny"} 1' in text
        for line in text.splitlines():
            assert line.startswith(("# HELP heed_", "# TYPE heed_", "heed_")), line


def test_a_shared_beginning_is_computed_once(llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    system = {"role": "system", "content": "You are a helpful guide to the capitals of the world and their rivers."}
    with live([tiny_served(llama, tokenizer)]) as server:
        client = server.client()

        def ask(text: str) -> Any:
            messages = [system, {"role": "user", "content": text}]
            return client.chat.completions.create(model="tiny", messages=messages, max_tokens=6)

        first, second = ask("France?"), ask("Chad?")
        assert first.usage.prompt_tokens_details.cached_tokens == 0
        assert second.usage.prompt_tokens_details.cached_tokens > 40


def test_a_server_that_ends_finishes_what_it_has_begun(
    endless: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    pieces: list[Any] = []
    with live([tiny_served(endless, tokenizer)]) as server:
        stream = server.client().chat.completions.create(**BODY | {"max_tokens": 300}, stream=True)
        pieces.append(next(iter(stream)))
        reader = threading.Thread(target=lambda: pieces.extend(stream))
        reader.start()
        server.server.should_exit = True
        reader.join(30)
    assert pieces[-1].choices[0].finish_reason in ("length", "stop")
