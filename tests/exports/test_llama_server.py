"""llama.cpp's own server on an export: its rendering of the chat template, its ids, its answers. Needs llama-server."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heedlm.exports.hf import plain_message
from heedlm.exports.prompts import conversations
from heedlm.exports.source import Source
from heedlm.exports.stage import export
from heedlm.generate.chat import load_chat
from heedlm.messages import Sampling
from heedlm.serve.opening import open_endpoint
from tests.exports.makers import bytes_tokenizer, pieces_tokenizer, saved

pytest.importorskip("gguf")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("llama-server") is None, reason="llama-server is not installed"),
]


class Running:
    """A server on a file, and the model it was made from."""

    def __init__(self, source: Source, file: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.source = source
        self.url = f"http://127.0.0.1:{port}"
        command = ["llama-server", "-m", str(file), "--jinja", "--port", str(port), "-c", "1024", "-t", "1", "-np", "1"]
        self.process = subprocess.Popen(
            [*command, "-ctk", "f32", "-ctv", "f32", "-fa", "off"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read())

    def wait(self) -> None:
        limit = time.monotonic() + 240
        while time.monotonic() < limit:
            try:
                self.ask("/health")
                return
            except OSError:
                assert self.process.poll() is None, "the server has left"
                time.sleep(0.5)
        raise AssertionError("the server did not come up")


@pytest.fixture(scope="module", params=["chatml", "llama3", "human_assistant", "alpaca", "pieces"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("model")
    pieces = request.param == "pieces"
    tokenizer = pieces_tokenizer() if pieces else bytes_tokenizer("llama-bpe")
    source = saved(
        folder / "model",
        tokenizer,
        "llama",
        template="human_assistant" if pieces else request.param,
        max_position_embeddings=1024,
    )
    assert export(folder / "model", "gguf", weights="f32", out=folder / "out").placed
    server = Running(source, folder / "out" / "model-f32.gguf")
    try:
        server.wait()
        yield server
    finally:
        server.process.terminate()
        server.process.wait(30)


def test_its_template_engine_and_its_tokenizer_make_our_ids(running: Running) -> None:
    for one in conversations(running.source, 24):
        messages = [plain_message(message) for message in one.request.messages]
        text = running.ask("/apply-template", {"messages": messages})["prompt"]
        ids = running.ask("/tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"]
        assert tuple(ids) == one.ids, text


def test_it_answers_greedily_as_we_do(running: Running) -> None:
    """Token by token: an untrained model says bytes that are no text."""
    mine = load_chat(running.source.folder)
    for one in conversations(running.source, 6):
        ours = mine.reply([one.request], Sampling(max_tokens=8))[0]
        body = {
            "prompt": list(one.ids),
            "n_predict": 8,
            "temperature": 0.0,
            "return_tokens": True,
            "cache_prompt": False,
        }
        found = running.ask("/completion", body)["tokens"]
        stopped = [token for token in ours.ids if token not in running.source.stops]
        assert [token for token in found if token not in running.source.stops] == stopped


def test_heed_chat_finds_its_model(running: Running) -> None:
    """The only one that it serves needs no name."""
    pytest.importorskip("openai")
    chat = open_endpoint(f"{running.url}/v1", "default")
    reply = chat.reply([conversations(running.source, 1)[0].request], Sampling(max_tokens=4))[0]
    assert reply.stop_reason in ("stop", "length")
