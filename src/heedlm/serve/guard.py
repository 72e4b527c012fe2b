"""The door of the server: what is settled about a request before anybody looks at what it asks.

Names and keys, sizes, times, how often: each in one place, for every route alike. A body is read here as a whole, within a
limit and within a time, so that nobody holds a place by sending slowly.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from heedlm.serve.auth import Keys, is_local_name
from heedlm.serve.limits import Allowance
from heedlm.serve.metrics import Metrics
from heedlm.serve.options import Options
from heedlm.serve.refusal import Refusal, response_of

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

LOG = logging.getLogger("heedlm.serve")
_OPEN = ("/health", "/openapi.json")  # answered to anybody who may reach the server at all


class Guard:
    """An ASGI application round another one."""

    def __init__(
        self,
        app: App,
        options: Options,
        metrics: Metrics,
        routes: frozenset[str],
        requests: Allowance,
        tokens: Allowance,
    ) -> None:
        self._app = app
        self._options = options
        self._keys = Keys(options.keys)
        self._metrics = metrics
        self._routes = routes
        self._requests = requests
        self._tokens = tokens

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        asked = {"began": began, "deadline": began + self._options.timeout, "client": "", "note": {}}
        scope["state"] = {**scope.get("state", {}), **asked}
        try:
            await self._let_in(scope, receive, noted)
        finally:
            path = str(scope["path"])
            route = path if path in self._routes else "/ui" if path.startswith("/ui") else "other"
            self._metrics.count("heed_requests_total", route=route, status=str(status))
            note = " ".join(f"{key}={value}" for key, value in scope["state"]["note"].items())
            seconds = time.perf_counter() - began
            # The path of a request is a client's own text: only what we know is repeated.
            LOG.info("%s %s %d %.3fs %s", scope["method"], route, status, seconds, note)

    async def _let_in(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        try:
            headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
            self._check_client(scope, headers)
            body = await self._body(scope, headers, receive)
        except Refusal as refusal:
            await response_of(refusal)(scope, receive, send)
            return
        await self._app(scope, _replayed(body, receive), send)

    def _check_client(self, scope: MutableMapping[str, Any], headers: dict[str, str]) -> None:
        """Raises Refusal for a client that may not ask, or not yet; notes who it is."""
        path = str(scope["path"])
        if not self._keys and not is_local_name(headers.get("host", "")):
            what = "Without a key only this machine is answered, under its own name."
            raise Refusal(403, what, "host", "ask for 127.0.0.1 or localhost, or set a key", code="host_not_allowed")
        client = str((scope.get("client") or ("unknown",))[0])
        page = path == "/" or path == "/ui" or (path.startswith("/ui/") and not path.startswith("/ui/api/"))
        if self._keys and path not in _OPEN and not page:
            known = self._keys.client(headers.get("authorization", ""))
            if known is None:
                what = "The key is missing or not known here."
                mend = "send the header Authorization: Bearer KEY"
                answer = {"WWW-Authenticate": "Bearer"}
                raise Refusal(401, what, "authorization", mend, code="invalid_api_key", headers=answer)
            client = known
        scope["state"]["client"] = client
        if scope["method"] == "POST" and path.startswith("/v1/"):
            wait = max(self._requests.wait(client), self._tokens.wait(client))
            if wait > 0:
                raise busy("This key has used what it may in a minute.", wait, code="rate_limit_exceeded")
            self._requests.use(client)

    async def _body(self, scope: MutableMapping[str, Any], headers: dict[str, str], receive: Receive) -> bytes:
        """The whole body. Raises Refusal for one that is too large, comes too slowly or is no JSON by its own word."""
        most = self._options.max_body
        length = headers.get("content-length", "0")
        too_large = Refusal(413, f"The body is larger than {most:,} bytes.", "body", "send less", code="body_too_large")
        if length.isdigit() and int(length) > most:
            raise too_large
        body = bytearray()
        deadline = time.perf_counter() + self._options.body_timeout
        while True:
            try:
                message = await asyncio.wait_for(receive(), max(0.0, deadline - time.perf_counter()))
            except (TimeoutError, asyncio.TimeoutError):
                what = f"The body did not arrive within {self._options.body_timeout:g} seconds."
                raise Refusal(
                    408, what, "body", "send it at once", code="timeout", headers={"Connection": "close"}
                ) from None
            if message["type"] == "http.disconnect":
                raise Refusal(400, "The client left before its body had arrived.", "body")
            body += message.get("body", b"")
            if len(body) > most:
                raise too_large
            if not message.get("more_body", False):
                break
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if scope["method"] == "POST" and str(scope["path"]).startswith("/v1/") and kind != "application/json":
            what = "The body is not said to be JSON."
            raise Refusal(415, what, "content-type", "send Content-Type: application/json", code="content_type")
        return bytes(body)


def busy(what: str, seconds: float, *, code: str) -> Refusal:
    """A refusal that says when to come again."""
    after = max(1, math.ceil(seconds))
    return Refusal(429, what, "", f"try again in {after} s", code=code, headers={"Retry-After": str(after)})


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body first, in one piece, and then goes on as before."""
    given = False

    async def again() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return again
