"""From the event loop that talks to clients to the thread that decodes, and back.

Pieces of text are collected during a pass and handed over once, when it is done: one wake-up of the loop for all rows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from heedlm.errors import HeedError
from heedlm.generate.chat import Asked, LocalChat
from heedlm.generate.echo import Echo, echoed
from heedlm.generate.job import Job
from heedlm.generate.worker import Worker
from heedlm.messages import JSON, Reply, Request, Sampling
from heedlm.serve.guard import busy
from heedlm.serve.metrics import Metrics
from heedlm.serve.models import Served
from heedlm.serve.refusal import Refusal

_LONG = 20_000  # characters that are turned into tokens beside the event loop, not in it


class Piece(NamedTuple):
    """News of one choice. text, thought: what is new of its answer, of its reasoning.   num_tokens: made so far.   ended:
    nothing more will come."""

    choice: int
    text: str
    num_tokens: int
    ended: bool = False
    thought: str = ""


class Prompted(NamedTuple):
    """What is asked.   ids: the prompt, where a client gave it as ids.   schema: of JSON that the answer is held to.
    call: tools of which one is to be called."""

    request: Request
    ids: tuple[int, ...] | None = None
    schema: Mapping[str, JSON] | None = None
    call: tuple[str, ...] = ()


class Choice:
    """One reply in the making.

    rest, rest_thought: what of answer and reasoning was held back until the end, known once `reply` was called.
    """

    def __init__(self, served: Served, chat: LocalChat, index: int) -> None:
        self.served = served
        self.chat = chat
        self.index = index
        self.asked: Asked
        self.error: BaseException | None = None
        self.first_token: float | None = None  # on the clock of time.perf_counter
        self.done = False
        self.rest = self.rest_thought = ""
        self._reply: Reply | None = None
        self._ended = False

    def hear(self, text: str) -> None:
        """The rest of the answer, which comes while the reply is put together."""
        self.rest += text

    def hear_thought(self, text: str) -> None:
        """The same of the reasoning."""
        self.rest_thought += text

    @property
    def put_together(self) -> bool:
        """Whether all tokens are there, and the reply is being made of them."""
        return self._ended

    def reply(self) -> Reply:
        """The finished reply."""
        if self._reply is None:
            self._ended = True
            self._reply = self.chat.answer(self.asked)
        return self._reply


class Inbox:
    """News of all choices of one request, in order; read in the event loop. None: the client has left."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Piece | None] = asyncio.Queue()
        self.choices: list[Choice] = []


class Bridge:
    """The models at work. Used in one event loop, between `start` and `close`."""

    def __init__(self, models: Sequence[Served], queue: int, metrics: Metrics) -> None:
        self._metrics = metrics
        self._queue = queue
        self._worker = Worker([served.lane for served in models], self._flush)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news: list[tuple[Inbox, Piece]] = []  # of the pass that is running; the worker's own
        self._pending = dict.fromkeys((served.name for served in models), 0)
        self._usual = 1.0  # seconds that a reply takes, lately

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._worker.start()

    def close(self) -> None:
        self._worker.close(timeout=30)

    def pending(self, served: Served) -> int:
        """Replies that are being made or wait for a place."""
        return self._pending[served.name]

    def check_room(self, served: Served, num_choices: int) -> None:
        """Raises Refusal where so many more replies would find no place to wait."""
        places = served.lane.engine.batch_size
        pending = self._pending[served.name]
        if pending + num_choices > places + self._queue:
            turns = 1 + max(0, pending - places) / places
            what = f"{pending:,} replies are being made or wait for a place, and no more may wait."
            raise busy(what, min(60.0, turns * self._usual), code="queue_full")

    async def ask(
        self,
        inbox: Inbox,
        served: Served,
        chat: LocalChat,
        asked: Prompted,
        sampling: Sampling,
        *,
        index: int = 0,
        streamed: bool,
        measured: bool,
    ) -> Choice:
        """Begin a reply; its news go to `inbox`. Raises Refusal for what cannot be asked."""
        choice = Choice(served, chat, len(inbox.choices))
        hear, hear_thought = self._listeners(inbox, choice) if streamed else (None, None)

        def prepared() -> Asked:
            return chat.ask(
                request,
                sampling,
                index,
                on_text=hear,
                on_thought=hear_thought,
                measured=measured,
                ids=asked.ids,
                schema=asked.schema,
                call=asked.call,
            )

        request = asked.request
        size = len(request.text or "") + sum(len(message.content) for message in request.messages)
        quick = size < _LONG and asked.schema is None and not asked.call
        choice.asked = prepared() if quick else await asyncio.to_thread(prepared)
        self._pending[served.name] += 1
        inbox.choices.append(choice)
        began = time.perf_counter()

        def ended(error: BaseException | None) -> None:
            choice.error = error or _failure(choice.asked.job)
            self._news.append((inbox, Piece(choice.index, "", len(choice.asked.job.ids), True)))
            if error is None:
                self._usual += 0.1 * (time.perf_counter() - began - self._usual)

        self._worker.submit(served.lane, choice.asked.job, ended)
        return choice

    async def score(self, served: Served, ids: Sequence[int], top: int) -> Echo:
        """How likely the model finds each of these ids. Raises Refusal where it fails."""
        loop = asyncio.get_running_loop()
        scored: asyncio.Future[Echo] = loop.create_future()

        def task() -> None:
            try:
                found = echoed(served.chat.model, ids, top)
            except Exception as error:  # noqa: BLE001 - told to the one who asked
                loop.call_soon_threadsafe(settled, None, error)
            else:
                loop.call_soon_threadsafe(settled, found, None)

        def settled(found: Echo | None, error: Exception | None) -> None:
            if not scored.done() and found is not None:
                scored.set_result(found)
            elif not scored.done():
                scored.set_exception(failed(error or RuntimeError()))

        self._worker.run(served.lane, task)
        return await scored

    def finish(self, inbox: Inbox) -> int:
        """Nobody reads this inbox any more: what is not done is taken out of its batch. How many that were."""
        left = [choice for choice in inbox.choices if not choice.done]
        for choice in left:
            self._worker.cancel(choice.served.lane, choice.asked.job)
            self._over(choice)
        return len(left)

    def _over(self, choice: Choice) -> None:
        choice.done = True
        self._pending[choice.served.name] -= 1

    def _listeners(self, inbox: Inbox, choice: Choice) -> tuple[Callable[[str], None], Callable[[str], None]]:
        """Who hears answer and reasoning: the inbox, by way of the thread's news; at the end the choice itself."""

        def hear(text: str) -> None:
            if choice.put_together:
                choice.hear(text)
            else:
                self._news.append((inbox, Piece(choice.index, text, len(choice.asked.job.ids))))

        def hear_thought(text: str) -> None:
            if choice.put_together:
                choice.hear_thought(text)
            else:
                self._news.append((inbox, Piece(choice.index, "", len(choice.asked.job.ids), thought=text)))

        return hear, hear_thought

    def _flush(self) -> None:
        """Hand over the news of a pass; called in the worker's thread."""
        if self._news and self._loop is not None:
            news, self._news = self._news, []
            try:
                self._loop.call_soon_threadsafe(self._deliver, news)
            except RuntimeError:  # the loop has gone: the server is closing, and nobody is left to be told
                self._news.clear()

    def _deliver(self, news: Sequence[tuple[Inbox, Piece]]) -> None:
        now = time.perf_counter()
        for inbox, piece in news:
            choice = inbox.choices[piece.choice]
            if choice.done:
                continue
            if choice.first_token is None:
                choice.first_token = now
            if piece.ended:
                self._over(choice)
            inbox.queue.put_nowait(piece)


def _failure(job: Job) -> HeedError | None:
    """Why a job ended that went wrong by itself, and not for all that were in its pass."""
    failed = job.guide is not None and job.guide.error
    return HeedError(job.guide.error, "response_format") if failed and job.guide is not None else None


def failed(error: BaseException) -> Refusal:
    """What a client is told when a pass of the model failed, or a reply by itself."""
    if isinstance(error, HeedError):
        return Refusal(500, str(error.problems[0].what), "response_format", "simplify the schema", code="model_failed")
    return Refusal(
        500,
        f"The model could not go on: {type(error).__name__}.",
        "",
        "ask again; the server's log says more",
        code="model_failed",
    )
