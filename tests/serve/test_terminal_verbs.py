"""What a conversation can do beyond talking: many lines, retry, formats, comparisons, probabilities, saved rows."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from heedlm.data import human
from heedlm.errors import HeedError
from heedlm.generate.chat import LocalChat, load_chat
from heedlm.generate.scoring import score_ids
from heedlm.messages import Chat, Message, Reply, Request, Sampling
from heedlm.serve.keyboard import Joined
from heedlm.serve.opening import open_chat, open_endpoint
from heedlm.serve.probabilities import probabilities
from heedlm.serve.session import Keeping
from heedlm.serve.terminal import terminal_chat
from tests.families import checkpoint
from tests.serve.test_terminal import ScriptedChat, last_words
from tests.typed import Heed


def talk(chat: Chat, *lines: str, **more: Any) -> str:
    shown: list[str] = []
    sampling = more.pop("sampling", Sampling(max_tokens=6))
    terminal_chat(chat, sampling=sampling, lines=lines, write=shown.append, **more)
    return "".join(shown)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> LocalChat:
    return load_chat(checkpoint(tmp_path_factory.mktemp("model"), max_position_embeddings=512), "chatml", name="small")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["one"], ["one"]),
        (["one\\", "two\\", "three", "four"], ["one\ntwo\nthree", "four"]),
        (["ends in \\\\", "next"], ["ends in \\\\", "next"]),
        (["one\\"], ["one\n"]),
        (['"""', "a", "", "  b", '"""', "c"], ["a\n\n  b", "c"]),
        (['"""a', 'b"""', "c"], ["a\nb", "c"]),
        (['"""a"""', "c"], ["a", "c"]),
        (['"""', "never closed"], ["\nnever closed"]),
        ([], []),
    ],
)
def test_lines_that_belong_together(typed: list[str], meant: list[str]) -> None:
    assert list(Joined(iter(typed))) == meant


def test_a_message_of_many_lines_is_one_turn() -> None:
    chat = ScriptedChat(last_words)
    talk(chat, '"""Summarise:', "first", "second", '"""', "go on")
    assert chat.asked[0].messages == (Message("user", "Summarise:\nfirst\nsecond"),)


def test_retry_takes_the_place_of_the_answer_and_draws_anew() -> None:
    seeds: list[tuple[int, float]] = []

    class Drawn(ScriptedChat):
        def reply(self, requests: Sequence[Request], sampling: Sampling, **more: Any) -> list[Reply]:
            seeds.append((sampling.seed, sampling.temperature))
            self.asked += requests
            return [Reply(text=f"answer {len(self.asked)}")]

    chat = Drawn(last_words)
    shown = talk(
        chat, "/retry", "one", "/retry", "/retry 0.8", "/retry x", "/retry -1", "two", sampling=Sampling(seed=5)
    )
    assert "Nothing was asked yet" in shown
    assert "/retry 0.8 draws another" in shown
    assert shown.count("takes a temperature") == 2
    assert seeds == [(5, 0.0), (6, 0.8), (5, 0.0)]
    assert [message.content for message in chat.asked[-1].messages] == ["one", "answer 2", "two"]


def test_retry_after_an_error_asks_once_more() -> None:
    replies = iter([Reply(text="busy", stop_reason="error"), Reply(text="fine"), Reply(text="good")])
    chat = ScriptedChat(lambda request: next(replies))
    talk(chat, "one", "/retry 0.5", "two")
    assert [message.content for message in chat.asked[-1].messages] == ["one", "fine", "two"]


def test_save_writes_a_row_that_training_reads(tmp_path: Path) -> None:
    store = tmp_path / "human.jsonl"
    chat = ScriptedChat(last_words, name="tuned")
    keeping = Keeping(store, "Ann")
    shown = talk(chat, "/save", "one", "/save", "two", "/save It is two.", "three", system="Be brief", keeping=keeping)
    assert "there is no answer yet" in shown
    assert shown.count("saved by Ann") == 2
    rows, problems = human.read_human(store)
    assert not problems
    assert [turn["content"] for turn in rows[0].row["messages"]] == ["Be brief", "one", "You said one"]
    assert rows[0].corrects is None
    assert rows[1].row["messages"][-1] == {"role": "assistant", "content": "It is two."}
    assert rows[1].corrects == human.Corrected("You said two", "tuned")
    # The conversation goes on with what the answer should have been.
    assert [message.content for message in chat.asked[-1].messages][-2:] == ["It is two.", "three"]


def test_what_cannot_be_saved_says_why(tmp_path: Path) -> None:
    chat, base = ScriptedChat(last_words), ScriptedChat(last_words, name="base")
    keeping = Keeping(tmp_path / "human.jsonl", "Ann")
    assert "without a store" in talk(chat, "one", "/save")
    assert "no conversation" in talk(chat, "/base once", "/save", base=lambda: base, keeping=keeping)
    assert "says the same" in talk(chat, "one", "/save You said one", keeping=keeping)
    assert "no plain line" in talk(chat, "one", "/save", keeping=Keeping(tmp_path / "human.jsonl", " "))
    assert not (tmp_path / "human.jsonl").exists()


def test_compare_asks_the_same_of_several_and_the_conversation_stays() -> None:
    chat, base, other = (ScriptedChat(last_words, name=name) for name in ("tuned", "base", "other"))
    opened: list[str] = []

    def other_one(name: str) -> Chat:
        opened.append(name)
        if name == "gone":
            raise HeedError("There is no model folder here.", name)
        return other

    shown = talk(
        *(chat, "/compare", "one", "/compare", "/compare @runs/b @base two", "/compare @gone @runs/b", "three"),
        base=lambda: base,
        other=other_one,
        system="s",
    )
    assert "nothing to compare yet" in shown
    assert base.asked == [Request(text="one"), Request(text="two")]
    assert [one.messages[-1].content for one in other.asked] == ["two", "one"]
    assert other.asked[0].messages[0] == Message("system", "s")
    assert opened == ["runs/b", "gone"], "a model is opened once"
    assert "There is no model folder here" in shown
    assert [message.content for message in chat.asked[-1].messages] == ["s", "one", "You said one", "three"]
    assert "-- base: continues the text -" in shown
    assert "-- runs/b -" in shown


def test_compare_without_a_base_says_so_and_shows_the_rest() -> None:
    shown = talk(ScriptedChat(last_words), "/compare hello")
    assert "You said hello" in shown
    assert "no base model" in shown


def test_another_format_of_the_same_model(local: LocalChat) -> None:
    shown = talk(
        local, "/format", "/format alpaca", "/show hi", "/format", "/format own", "/show hi", "/format nonsense"
    )
    assert "format: chatml. Known: own, chatml" in shown
    assert "### Instruction:\nhi" in shown
    assert "format: alpaca" in shown
    assert "<|im_start|>user\nhi" in shown
    assert "no chat template 'nonsense'" in shown
    shown = talk(local, "/compare @alpaca @llama3 hi")
    assert "-- alpaca -" in shown
    assert "-- llama3 -" in shown


def test_an_endpoint_has_its_own_format() -> None:
    chat = ScriptedChat(last_words)
    assert "makes the model's text itself" in talk(chat, "/format alpaca", "/format")
    assert "makes the model's text itself" in talk(chat, "/compare @alpaca hi")


def test_probabilities_of_each_token_and_what_would_have_been_said(local: LocalChat) -> None:
    request, sampling = (
        Request((Message("user", "hi"),)),
        Sampling(max_tokens=6, top_logprobs=5, temperature=1.0, seed=3),
    )
    reply = local.reply([request], sampling)[0]
    said = probabilities(local, request, reply, sampling)
    assert "".join(token.text for token in said).startswith(reply.text)
    assert [token.logprob for token in said] == list(reply.logprobs)
    assert all(len(token.others) == 5 for token in said)
    prompt = local.render(request).ids
    scored = score_ids(local.model, [[*prompt, *reply.ids]], [len(prompt)])[0]
    assert [token.logprob for token in said] == pytest.approx(scored, abs=1e-4)
    shown = talk(local, "/probs", "hi", "/probs", "/probs all", "/probs some")
    assert "no answer yet" in shown
    assert "instead: " in shown
    assert "/probs takes nothing, or `all`" in shown


def test_a_chat_that_tells_no_probabilities_says_so() -> None:
    assert "does not tell" in talk(ScriptedChat(last_words), "hi", "/probs")


class Server:
    """An endpoint with a list of models and log-probabilities. models: None: there is no list."""

    def __init__(self, models: list[str] | None = None, status: int = 200, logprobs: bool = True) -> None:
        outer, self.asked = self, list[dict[str, Any]]()

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: Any) -> None:
                """Silence."""

            def do_GET(self) -> None:
                data = [{"id": name, "object": "model", "created": 0, "owned_by": "x"} for name in models or []]
                self.say({"object": "list", "data": data}, status if models is not None else 404)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(body)
                token = {"token": "Yes", "logprob": math.log(0.75), "bytes": None}
                token["top_logprobs"] = [{**token}, {"token": "No", "logprob": math.log(0.2), "bytes": None}]
                choice: dict[str, Any] = {
                    "index": 0,
                    "message": {"role": "assistant", "content": "Yes"},
                    "finish_reason": "stop",
                    "logprobs": {"content": [token], "refusal": None} if logprobs and body.get("logprobs") else None,
                }
                told = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
                if body.get("stream"):
                    choice["delta"] = choice.pop("message")
                    line = json.dumps({**told, "object": "chat.completion.chunk", "choices": [choice]})
                    self.send_response(200)
                    self.send_header("Content-Type", "text/event-stream")
                    self.end_headers()
                    self.wfile.write(f"data: {line}\n\ndata: [DONE]\n\n".encode())
                else:
                    self.say({**told, "choices": [choice]}, 200)

            def say(self, value: Any, status: int) -> None:
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Server:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    pytest.importorskip("openai")
    with Server(["only"]) as running:
        yield running


def test_an_endpoint_is_talked_to_and_asked_for_probabilities(server: Server) -> None:
    chat = open_chat(server.url)
    assert chat.name == "only", "the only model that is served needs no name"
    shown = talk(chat, "Is it?", "/probs all", "/save", keeping=None)
    assert "'Yes'" in shown
    assert "75.0%" in shown
    assert "instead: 'No' 20.0%" in shown
    assert (server.asked[0].get("logprobs"), server.asked[1]["top_logprobs"]) == (None, 5)
    assert server.asked[1]["messages"] == server.asked[0]["messages"]


def test_an_endpoint_without_probabilities_says_so() -> None:
    pytest.importorskip("openai")
    with Server(["only"], logprobs=False) as running:
        assert "without log-probabilities" in talk(open_chat(running.url), "Is it?", "/probs")


def test_a_dead_endpoint_is_told_before_anything_is_typed(heed: Heed) -> None:
    with Server([]) as running:
        url = running.url
    code, out, err = heed("chat", url)
    assert code == 2
    assert "cannot be reached" in err
    assert url in err
    assert "heed serve" in err
    assert "type a message" not in out


@pytest.mark.parametrize(
    ("models", "status", "name", "said"),
    [
        (["one", "two"], 200, "default", "one, two"),
        (["tuned-a", "other"], 200, "tunad-a", "did you mean 'tuned-a'?"),
        (["one"], 401, "one", "OPENAI_API_KEY"),
    ],
)
def test_a_model_or_key_that_the_endpoint_does_not_know(
    models: list[str], status: int, name: str, said: str, heed: Heed
) -> None:
    with Server(models, status) as running:
        code, _, err = heed("chat", running.url, "--name", name)
    assert code == 2
    assert said in err


def test_an_address_without_its_version_is_mended_and_a_missing_list_is_no_fault() -> None:
    with Server(None) as running:
        with pytest.raises(HeedError, match="no list of models") as refused:
            open_endpoint(running.url.removesuffix("/v1"), "default")
        assert f"{running.url} ?" in str(refused.value)
        assert open_endpoint(running.url, "default").name == "default"
    with Server(["one"], 500) as running:
        assert open_endpoint(running.url, "two").name == "two"


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_gateway_before_a_dead_server_is_told_at_once(status: int) -> None:
    pytest.importorskip("openai")
    with Server(["one"], status) as running, pytest.raises(HeedError, match=f"Nobody answers .* \\({status}\\)"):
        open_endpoint(running.url, "one")


def test_a_template_for_an_endpoint_is_refused(heed: Heed) -> None:
    assert "leave --template away" in heed("chat", "http://127.0.0.1:9/v1", "--template", "alpaca")[2]


def test_ctrl_c_while_a_model_loads_does_not_leave() -> None:
    def interrupted() -> Chat:
        raise KeyboardInterrupt

    chat = ScriptedChat(last_words)
    assert "(stopped)" in talk(chat, "/base", "hello", base=interrupted)
    assert len(chat.asked) == 1
