"""From an address to a running server: a socket of our own, clients that may not dawdle, and an orderly end."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from heedlm.errors import HeedError

_LARGEST_HEADERS = 64 * 1024
_CONNECTIONS = 1024  # open at a time; more are answered 503


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens at host and port. port: 0 takes any that is free.

    Raises HeedError for an address that is taken, or that this machine does not have.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError, OverflowError):
        raise HeedError(
            f"There is no address {host!r}.", "--host", "127.0.0.1, or an address of this machine"
        ) from None
    family, kind, protocol, _, address = found[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(1024)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            mend = f"--port {port + 1 if port < 65535 else port - 1}, or --port 0 for any that is free"
            raise HeedError(f"Port {port} is taken by another program.", f"{host}:{port}", mend) from None
        if error.errno == errno.EACCES:
            raise HeedError(f"Port {port} needs more rights.", f"{host}:{port}", "--port 8000") from None
        raise HeedError(
            f"This machine cannot listen there: {error.strerror}.", f"{host}:{port}", "--host 127.0.0.1"
        ) from None
    return made


def address_of(listening: socket.socket) -> str:
    """``http://127.0.0.1:8000``: where to find a server; one that listens everywhere is found on this machine too."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    app: Any, listening: socket.socket, *, headers_timeout: float, grace: float, ready: Callable[[], None]
) -> None:
    """Serve until Ctrl-C or SIGTERM; replies in the making then have `grace` seconds to end. A second Ctrl-C ends at once.

    headers_timeout: seconds in which the head of a request must arrive.   ready: called once clients are answered.
    """
    server = _Server(configured(app, headers_timeout, grace), ready)
    server.run(sockets=[listening])


def configured(app: Any, headers_timeout: float, grace: float) -> uvicorn.Config:
    """How uvicorn is set: it says nothing of its own, and trusts no header about who asks."""
    return uvicorn.Config(
        app,
        http=patient(headers_timeout),
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS,
        h11_max_incomplete_event_size=_LARGEST_HEADERS,
        timeout_graceful_shutdown=max(1, round(grace)),
    )


class _Server(uvicorn.Server):
    """uvicorn's server, which ends in order at Ctrl-C and then leaves it at that: it is how a server is meant to end."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def patient(seconds: float) -> type[H11Protocol]:
    """uvicorn's protocol, with so many seconds for the head of a request.

    uvicorn itself waits for ever: a few hundred connections that send a byte a minute would be all that it can hold.
    """

    class Patient(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.conn.trailing_data[0]:  # a further head has begun behind the last request
                self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._stop()

        def _watch(self) -> None:
            """Count while a head is on its way; the bytes that dribble in do not begin the count anew."""
            answering = self.cycle is not None and not self.cycle.response_complete
            if answering or self.conn.their_state is not h11.IDLE:
                self._stop()
            elif self._timer is None:
                self._timer = self.loop.call_later(seconds, self._over)

        def _stop(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _over(self) -> None:
            self._timer = None
            if not self.transport.is_closing():
                self.transport.close()

    return Patient
