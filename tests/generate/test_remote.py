"""The endpoint side of `Chat`, against a server on this machine that follows a script."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from heedlm.errors import HeedError
from heedlm.messages import Message, Reply, Request, Sampling, ToolCall

pytest.importorskip("openai")

from heedlm.generate.remote import RemoteChat

Answer = Callable[[dict[str, Any]], Any]  # request body -> JSON, a list of chunks to stream, or (status, JSON)
ASK = Request(messages=(Message("system", "Be brief."), Message("user", "Capital of France?")))


class Script:
    """What the server answers, and what it has heard."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.otherwise: Answer = lambda body: choice("Paris")
        self.heard: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.keys: list[str | None] = []
        self.under_way = self.most_under_way = 0
        self.lock = threading.Lock()
        self.url = ""


def choice(content: str | None, finish: str = "stop", **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, **more}
    return {
        "id": "1",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    }


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {"id": "1", "object": "chat.completion.chunk", "choices": choices}


def fails(status: int, message: str = "no") -> Answer:
    return lambda body: (status, {"error": {"message": message}})


@pytest.fixture
def script() -> Iterator[Script]:
    state = Script()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            """Silence."""

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with state.lock:
                state.heard.append(body)
                state.paths.append(self.path)
                state.keys.append(self.headers["Authorization"])
                state.under_way += 1
                state.most_under_way = max(state.most_under_way, state.under_way)
                answer = state.answers.pop(0) if state.answers else state.otherwise
            try:
                self.send(answer(body))
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client has stopped waiting
            finally:
                with state.lock:
                    state.under_way -= 1

        def send(self, answer: Any) -> None:
            status, answer = answer if isinstance(answer, tuple) else (200, answer)
            streamed = isinstance(answer, list)
            self.send_response(status)
            self.send_header("Content-Type", "text/event-stream" if streamed else "application/json")
            if streamed:
                self.end_headers()
                for piece in answer:
                    text = piece if isinstance(piece, str) else json.dumps(piece)
                    self.wfile.write(f"data: {text}\n\n".encode())
                    self.wfile.flush()
                return
            data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()


def chat_of(script: Script, **more: Any) -> RemoteChat:
    return RemoteChat(script.url, "tiny", **{"max_retries": 2, "timeout": 5.0, **more})


def test_a_request_says_all_that_was_asked_and_nothing_else(script: Script) -> None:
    reply = chat_of(script, api_key="sesame").reply([ASK], Sampling(max_tokens=7))[0]
    assert reply == Reply(text="Paris")
    assert script.heard == [
        {
            "model": "tiny",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Capital of France?"}],
            "max_tokens": 7,
            "temperature": 0.0,
            "seed": 0,
        }
    ]
    assert script.paths == ["/v1/chat/completions"]
    assert script.keys == ["Bearer sesame"]


def test_an_endpoint_that_takes_no_temperature_is_served_and_its_refusal_says_how(script: Script) -> None:
    refusal = {"error": {"message": "Unsupported value: 'temperature' does not support 0.", "param": "temperature"}}
    script.answers = [lambda body: (400, refusal) if "temperature" in body else choice("Paris")] * 2
    refused = chat_of(script).reply([ASK], Sampling(temperature=0.0))[0]
    assert refused.stop_reason == "error"
    assert "a temperature of 1" in refused.text
    assert chat_of(script).reply([ASK], Sampling(temperature=1.0))[0] == Reply(text="Paris")
    assert [body.get("temperature") for body in script.heard] == [0.0, None]


def test_sampling_tools_and_template_kwargs_reach_the_endpoint(script: Script) -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    call = Message("assistant", "", tool_calls=(ToolCall("look", {"at": "Zürich"}),))
    request = Request(
        messages=(Message("user", "Look!"), call, Message("tool", "rain", tool_call_id="call_0")),
        tools=(tool,),
        template_kwargs={"enable_thinking": False},
    )
    sampling = Sampling(temperature=0.5, top_p=0.9, top_k=20, seed=3, stop=("\n",))
    chat_of(script).reply([request], sampling)
    heard = script.heard[0]
    assert heard["top_p"] == 0.9
    assert heard["top_k"] == 20
    assert heard["stop"] == ["\n"]
    assert heard["seed"] == 3
    assert heard["tools"] == [tool]
    assert heard["chat_template_kwargs"] == {"enable_thinking": False}
    sent_call = heard["messages"][1]["tool_calls"][0]
    assert sent_call == {
        "id": "call_0",
        "type": "function",
        "function": {"name": "look", "arguments": '{"at": "Zürich"}'},
    }
    assert heard["messages"][2] == {"role": "tool", "content": "rain", "tool_call_id": "call_0"}


def test_reasoning_calls_and_cuts_come_back(script: Script) -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "Zürich"}'}}]
    script.answers = [
        lambda body: choice("Paris", reasoning_content="Easy."),
        lambda body: choice("Par", "length"),
        lambda body: choice(None, "tool_calls", tool_calls=calls),
        lambda body: choice(
            None, "tool_calls", tool_calls=[{**calls[0], "function": {"name": "look", "arguments": "{"}}]
        ),
        lambda body: {"id": "1", "choices": []},
    ]
    chat = chat_of(script)
    replies = [chat.reply([ASK], Sampling())[0] for _ in range(5)]
    assert replies[0] == Reply(text="Paris", reasoning="Easy.")
    assert replies[1] == Reply(text="Par", stop_reason="length")
    assert replies[2] == Reply(text="", tool_calls=(ToolCall("look", {"at": "Zürich"}, "c1"),))
    assert replies[3].stop_reason == "error"
    assert "'look'" in replies[3].text
    assert replies[4].stop_reason == "error"


def test_many_requests_keep_their_order_and_the_bound(script: Script) -> None:
    def echo(body: dict[str, Any]) -> Any:
        time.sleep(0.02 if int(body["messages"][0]["content"]) % 3 else 0.06)
        return choice(body["messages"][0]["content"])

    script.otherwise = echo
    requests = [Request(messages=(Message("user", str(number)),)) for number in range(12)]
    heard: dict[int, str] = {}
    replies = chat_of(script, concurrency=4).reply(requests, Sampling(seed=5), on_text=heard.__setitem__)
    assert [reply.text for reply in replies] == [str(number) for number in range(12)]
    assert heard == {number: str(number) for number in range(12)}
    assert script.most_under_way <= 4
    assert sorted(body["seed"] for body in script.heard) == list(range(5, 17))


def test_a_single_answer_streams(script: Script) -> None:
    script.answers = [
        lambda body: [
            chunk(role="assistant", content=""),
            chunk(reasoning="Hm, "),
            chunk(reasoning="easy."),
            chunk(content="Pa"),
            chunk(content="ris"),
            chunk("stop"),
            {"id": "1", "choices": [], "usage": {"prompt_tokens": 3}},
            "[DONE]",
        ]
    ]
    pieces: list[tuple[int, str]] = []
    reply = chat_of(script).reply([ASK], Sampling(), on_text=lambda at, piece: pieces.append((at, piece)))[0]
    assert script.heard[0]["stream"] is True
    assert pieces == [(0, "Pa"), (0, "ris")]
    assert reply == Reply(text="Paris", reasoning="Hm, easy.")


def test_a_streamed_call_is_put_together(script: Script) -> None:
    def part(**function: str) -> dict[str, Any]:
        return chunk(tool_calls=[{"index": 0, "id": function.pop("id", None), "function": function}])

    parts = [part(id="c1", name="look", arguments=""), part(arguments='{"at":'), part(arguments=' "Rome"}')]
    script.answers = [lambda body: [*parts, chunk("tool_calls"), "[DONE]"]]
    reply = chat_of(script).reply([ASK], Sampling(), on_text=lambda at, piece: None)[0]
    assert reply.tool_calls == (ToolCall("look", {"at": "Rome"}, "c1"),)


def test_a_stream_that_breaks_off_is_an_error_not_a_short_answer(script: Script) -> None:
    script.answers = [lambda body: [chunk(content="Pa")]]
    reply = chat_of(script).reply([ASK], Sampling(), on_text=lambda at, piece: None)[0]
    assert reply.stop_reason == "error"


def test_an_error_inside_a_stream_is_an_error_reply(script: Script) -> None:
    script.answers = [lambda body: [chunk(content="Pa"), {"error": {"message": "out of memory"}}]]
    reply = chat_of(script).reply([ASK], Sampling(), on_text=lambda at, piece: None)[0]
    assert reply.stop_reason == "error"
    assert "out of memory" in reply.text


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_passing_failure_is_tried_again(script: Script, status: int) -> None:
    script.answers = [fails(status)]
    assert chat_of(script).reply([ASK], Sampling())[0] == Reply(text="Paris")
    assert len(script.heard) == 2


def test_a_lasting_failure_becomes_an_error_reply(script: Script) -> None:
    script.otherwise = fails(500, "out of memory")
    reply = chat_of(script, max_retries=1).reply([ASK], Sampling())[0]
    assert reply.stop_reason == "error"
    assert "500" in reply.text
    assert "out of memory" in reply.text
    assert len(script.heard) == 2


def test_one_refused_request_does_not_harm_the_others(script: Script) -> None:
    def picky(body: dict[str, Any]) -> Any:
        if body["messages"][0]["content"] == "long":
            return 400, {"error": {"message": "longer than 4,096 tokens"}}
        return choice("fine")

    script.otherwise = picky
    requests = [Request(messages=(Message("user", text),)) for text in ("a", "long", "b")]
    replies = chat_of(script).reply(requests, Sampling())
    assert [reply.stop_reason for reply in replies] == ["stop", "error", "stop"]
    assert "4,096" in replies[1].text


def test_an_endpoint_that_is_too_slow_is_an_error_reply(script: Script) -> None:
    def slow(body: dict[str, Any]) -> Any:
        time.sleep(4)
        return choice("late")

    script.otherwise = slow
    begun = time.monotonic()
    reply = chat_of(script, timeout=0.1, max_retries=0).reply([ASK], Sampling())[0]
    assert reply.stop_reason == "error"
    assert time.monotonic() - begun < 3


def test_a_slow_first_try_is_tried_again(script: Script) -> None:
    def slow(body: dict[str, Any]) -> Any:
        time.sleep(4)
        return choice("late")

    script.answers = [slow]
    assert chat_of(script, timeout=1.0).reply([ASK], Sampling())[0] == Reply(text="Paris")


@pytest.mark.parametrize(("status", "mend"), [(401, "key"), (403, "key"), (404, "model's name")])
def test_what_concerns_every_request_is_raised(script: Script, status: int, mend: str) -> None:
    script.otherwise = fails(status, "not here")
    with pytest.raises(HeedError, match="not here") as error:
        chat_of(script).reply([ASK, ASK, ASK], Sampling())
    assert mend in error.value.problems[0].mend
    assert script.url in error.value.problems[0].where


def test_no_server_is_said_so() -> None:
    chat = RemoteChat("http://127.0.0.1:9/v1", "tiny", max_retries=0)
    with pytest.raises(HeedError, match="cannot be reached"):
        chat.reply([ASK], Sampling())
    with pytest.raises(HeedError, match="cannot be reached"):
        chat.score([Request(text="a")], ["b"])


def test_an_answer_that_is_no_json_is_an_error_reply(script: Script) -> None:
    script.otherwise = lambda body: "<html>hello</html>"
    reply = chat_of(script).reply([ASK], Sampling())[0]
    assert reply.stop_reason == "error"


def test_plain_text_is_completed(script: Script) -> None:
    def complete(body: dict[str, Any]) -> Any:
        if body.get("stream"):
            return [
                {"id": "1", "choices": [{"index": 0, "text": text, "finish_reason": finish}]}
                for text, finish in ((" Pa", None), ("ris", None), ("", "length"))
            ] + ["[DONE]"]
        return {"id": "1", "choices": [{"index": 0, "text": " Paris", "finish_reason": "length"}]}

    script.otherwise = complete
    request = Request(text="The capital of France is")
    expected = Reply(text=" Paris", stop_reason="length", prompt="The capital of France is")
    pieces: list[str] = []
    chat = chat_of(script)
    assert chat.reply([request], Sampling()) == [expected]
    assert chat.reply([request], Sampling(), on_text=lambda at, piece: pieces.append(piece)) == [expected]
    assert pieces == [" Pa", "ris"]
    assert set(script.paths) == {"/v1/completions"}
    assert script.heard[0]["prompt"] == "The capital of France is"


def echoed(body: dict[str, Any]) -> Any:
    """An endpoint whose tokens are words with their blank, each with log-probability -1, -2, ..."""
    words = body["prompt"].split(" ")
    tokens = [words[0], *(" " + word for word in words[1:])]
    offsets = [sum(map(len, tokens[:at])) for at in range(len(tokens))]
    logprobs = [None, *(-float(at) for at in range(1, len(tokens)))]
    given = {"tokens": tokens, "token_logprobs": logprobs, "text_offset": offsets, "top_logprobs": None}
    return {"id": "1", "choices": [{"index": 0, "text": body["prompt"], "logprobs": given, "finish_reason": "length"}]}


def test_scores_come_from_echoed_logprobs(script: Script) -> None:
    script.otherwise = echoed
    requests = [Request(text="The capital of"), Request(text="The cap"), Request(text=""), Request(text="")]
    scores = chat_of(script).score(requests, [" France is", "ital of", "The capital", ""])
    assert scores == [[-3.0, -4.0], [-1.0, -2.0], [-1.0], []]
    assert all(body["echo"] and body["max_tokens"] == 0 for body in script.heard)


@pytest.mark.parametrize(
    "answer",
    [
        fails(400, "echo is not supported"),
        lambda body: {"id": "1", "choices": [{"index": 0, "text": "!", "logprobs": None, "finish_reason": "stop"}]},
        lambda body: {"id": "1", "choices": []},
    ],
)
def test_an_endpoint_that_cannot_score_is_said_so(script: Script, answer: Answer) -> None:
    script.otherwise = answer
    with pytest.raises(HeedError, match="does not give log-probabilities"):
        chat_of(script).score([Request(text="a")], [" b"])


def test_messages_cannot_be_scored_through_an_endpoint(script: Script) -> None:
    with pytest.raises(HeedError, match="plain text only"):
        chat_of(script).score([ASK], ["Paris"])
    assert script.heard == []


def test_a_missing_client_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(HeedError, match="openai client") as error:
        RemoteChat("http://127.0.0.1:9/v1", "tiny")
    assert error.value.problems[0].mend == "pip install 'heedlm[remote]'"


def test_no_requests_no_traffic(script: Script) -> None:
    assert chat_of(script).reply([], Sampling()) == []
    assert chat_of(script).score([], []) == []
    assert script.heard == []


def test_talking_to_an_endpoint_needs_no_torch() -> None:
    code = (
        "import sys, heedlm.generate.remote, heedlm.serve.terminal\n"
        "heedlm.generate.remote.RemoteChat('http://127.0.0.1:9/v1', 'tiny')\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_call_says_what_it_cost_and_whether_to_try_again(script: Script) -> None:
    usage = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
    script.answers = [
        lambda body: {**choice("Paris"), "usage": usage},
        lambda body: choice("Paris"),
        fails(400, "too long"),
        fails(503, "busy"),
        fails(401, "no key"),
        lambda body: "<html>",
        lambda body: {"id": "1", "choices": [], "usage": usage},
    ]
    chat = chat_of(script, max_retries=0)
    called = [chat.call(ASK, Sampling()) for _ in range(7)]
    assert called[0][:3] == (Reply("Paris"), "paid", (12, 3))
    assert called[1][:3] == (Reply("Paris"), "paid", None)
    assert [(one.cost, one.again) for one in called[2:6]] == [
        ("free", False),
        ("free", True),
        ("free", False),
        ("unsure", True),
    ]
    assert [one.refused is not None for one in called] == [False, False, False, False, True, False, False]
    assert (called[6].cost, called[6].tokens, called[6].reply.stop_reason) == ("paid", (12, 3), "error")


def test_a_call_that_reached_nobody_was_free_and_one_that_broke_off_may_not_have_been(script: Script) -> None:
    def late(body: dict[str, Any]) -> Any:
        time.sleep(0.5)
        return choice("Paris")

    script.answers = [late]
    assert chat_of(script, max_retries=0, timeout=0.1).call(ASK, Sampling()).cost == "unsure"
    gone = RemoteChat("http://127.0.0.1:9/v1", "tiny", max_retries=0).call(ASK, Sampling())
    assert (gone.cost, gone.again, gone.refused is not None) == ("free", True, True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0.0), ("7", 7.0), ("1.5", 1.5), ("-3", 0.0), ("soon", None), ("inf", None), ("nan", None), (None, None)],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    from heedlm.generate.remote import _retry_after

    assert _retry_after({} if value is None else {"retry-after": value}) == seconds
    past = _retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"})
    assert past == 0.0
