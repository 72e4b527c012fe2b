"""A real server over tiny models, in a thread of this process, and clients for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from heedlm.generate.chat import LocalChat
from heedlm.generate.engine import Engine
from heedlm.generate.memory import Memory
from heedlm.generate.worker import Lane
from heedlm.serve.api import Pages, create_app
from heedlm.serve.listen import address_of, bound, configured
from heedlm.serve.models import Served
from heedlm.serve.options import Options
from heedlm.serve.policy import ServerPolicy
from heedlm.serve.relay import Endpoint
from heedlm.templates.chat import load_template


def tiny_served(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    name: str = "tiny",
    *,
    template: str | None = "chatml",
    places: int = 8,
    memory: int = 2**22,
) -> Served:
    """A model ready to be served. template: None for one that has no chat template."""
    chat = LocalChat(model, tokenizer, load_template(template, tokenizer), name=name)
    engine = Engine(model, batch_size=places, eager=True, memory=Memory(memory))
    card = {"kind": "instruct" if template else "base"}
    return Served(name, chat, Lane(engine), card, has_template=template is not None)


@dataclass(frozen=True, slots=True)
class Live:
    """A running server. root: its address.   url: that of the API."""

    root: str
    server: uvicorn.Server

    @property
    def url(self) -> str:
        return f"{self.root}/v1"

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.root.removeprefix("http://").rpartition(":")
        return host, int(port)

    def client(self, key: str = "none") -> Any:
        """The real client, which tries nothing twice."""
        import openai

        return openai.OpenAI(base_url=self.url, api_key=key, max_retries=0, timeout=60)


@contextmanager
def live(
    models: Sequence[Served],
    options: Options | None = None,
    playground: Pages | None = None,
    *,
    headers_timeout: float = 20.0,
    policy: ServerPolicy | None = None,
    endpoints: Sequence[Endpoint] = (),
) -> Iterator[Live]:
    """The server while the block lasts."""
    listening = bound("127.0.0.1", 0)
    app = create_app(models, options, playground, endpoints, policy)
    server = uvicorn.Server(configured(app, headers_timeout, grace=5.0))
    ready = threading.Event()

    async def run() -> None:
        task = asyncio.ensure_future(server.serve(sockets=[listening]))
        while not server.started and not task.done():
            await asyncio.sleep(0.005)
        ready.set()
        await task

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    assert ready.wait(60)
    assert server.started, "the server did not start"
    try:
        yield Live(address_of(listening), server)
    finally:
        server.should_exit = True
        thread.join(60)
        listening.close()
        assert not thread.is_alive(), "the server did not end"
