"""Requests to an endpoint: so many at once as it allows, each kept as soon as it is answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from queue import Empty, SimpleQueue
from threading import Event, Thread
from time import perf_counter
from typing import NamedTuple

from heedlm.generate.remote import Called, RemoteChat
from heedlm.messages import Reply, Request, Sampling

_HOPELESS = 8  # failures in a row from the beginning on after which it is not the request


class Interrupted(Exception):
    """The endpoint does not answer any more; what it answered is kept, and the same command goes on from there."""


class Answered(NamedTuple):
    """One reply. number: of its request.   tokens, prompt_tokens: generated, and of the prompt, None where the endpoint
    does not say.   seconds: it took."""

    number: int
    reply: Reply
    tokens: int | None
    seconds: float
    prompt_tokens: int | None = None


def from_endpoint(chat: RemoteChat, requests: Mapping[int, Request], sampling: Sampling) -> Iterator[Answered]:
    """The replies in the order in which they come. A request that the endpoint refuses, or keeps failing on, becomes a
    reply with stop_reason "error".

    Every request is tried again as often as `chat` is told to. Raises Interrupted when the endpoint cannot be reached even
    so, or when it answers none of the first requests; HeedError for a wrong key or an unknown model.
    """
    todo: SimpleQueue[tuple[int, Request]] = SimpleQueue()
    done: SimpleQueue[_Done | BaseException] = SimpleQueue()
    stopped = Event()
    for pair in requests.items():
        todo.put(pair)

    def work() -> None:
        try:
            while not stopped.is_set():
                index, request = todo.get_nowait()
                begun = perf_counter()
                done.put(_Done(index, chat.call(request, sampling), perf_counter() - begun))
        except Empty:
            return
        except BaseException as error:  # noqa: BLE001 - it is raised where the replies are waited for
            done.put(error)

    for _ in range(min(chat.concurrency, len(requests))):
        Thread(target=work, daemon=True).start()  # a pool's threads would be waited for after Ctrl-C, for minutes
    failed: list[Called] = []
    answered = False
    try:
        for _ in requests:
            one = done.get()
            if isinstance(one, BaseException):
                raise one
            called = one.called
            if called.refused is not None:
                yield from _rest(done)
                if called.again:
                    (problem, *_) = called.refused.problems
                    said = f"{problem.what.rstrip('.')}: {problem.where} ({chat.name}); {problem.mend}"
                    raise Interrupted(said) from called.refused
                raise called.refused
            answered = answered or called.reply.stop_reason != "error"
            failed += [called] if called.reply.stop_reason == "error" else []
            if not answered and len(failed) >= _HOPELESS:
                raise Interrupted(f"{failed[-1].reply.text} (none of {len(failed)} requests was answered)")
            yield _answered(one)
    finally:  # after an error or an interrupt, what waits in the queue shall not be sent
        stopped.set()


class _Done(NamedTuple):
    """A call that has come to an end. number: of its request.   seconds: it took, with all that was tried again."""

    number: int
    called: Called
    seconds: float


def _rest(done: SimpleQueue[_Done | BaseException]) -> Iterator[Answered]:
    """What came back while a failure was on its way, and was paid for."""
    while not done.empty():
        one = done.get()
        if isinstance(one, _Done) and one.called.refused is None:
            yield _answered(one)


def _answered(one: _Done) -> Answered:
    tokens = one.called.tokens
    prompt, made = (None, None) if tokens is None else tokens
    return Answered(one.number, one.called.reply, made, one.seconds, prompt)
