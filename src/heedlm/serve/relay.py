"""Models of other servers under this server's address: vLLM, llama.cpp or Ollama beside models of our own.

A request for such a model is passed on as it came, and so is what comes back, piece by piece. Prompts are rendered, and
answers decoded, out of our sight; keys, sizes and how often somebody may ask are settled here all the same.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from heedlm.errors import HeedError
from heedlm.serve.refusal import Refusal, response_of

if TYPE_CHECKING:
    from heedlm.serve.policy import ServerPolicy

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
Item: TypeAlias = "tuple[int, dict[str, str]] | bytes | OSError | None"
"""What comes back, in this order: status and headers, pieces of the body, and None; or why nothing more comes."""

_PASSED_ON = ("/v1/chat/completions", "/v1/completions")
_KEPT = ("content-type", "retry-after")  # headers of an answer; the others are between the two servers
_PATIENCE = 10.0  # seconds for a list of models


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One model of another server.

    name: under which it is served here.   url: up to and including the version.   model: its name there.   key: for there.
    """

    name: str
    url: str
    model: str
    key: str | None = None

    def facts(self) -> dict[str, Any]:
        """What /v1/models says of it, in the shape in which it speaks of our own."""
        return {"kind": "unknown", "formats": ["own"], "context": None, "device": "elsewhere", "note": f"at {self.url}"}


def is_endpoint(name: str) -> bool:
    return name.startswith(("http://", "https://"))


def endpoints_of(given: Sequence[str], key: str | None, taken: Sequence[str] = ()) -> list[Endpoint]:
    """What the addresses mean, as `http://HOST/v1#MODEL`; without a model all that the server there lists.

    taken: names that are served already; a model of the same name bears its host as well.
    Raises HeedError for a server that does not answer, or lists no models.
    """
    found: list[Endpoint] = []
    for address in given:
        url, _, model = address.partition("#")
        url = url.rstrip("/")
        try:
            host, _ = urlsplit(url).netloc, urlsplit(url).port
        except ValueError as error:
            raise HeedError(f"This is no address of a server: {error}", address, "http://HOST:PORT/v1#MODEL") from None
        if not host or not urlsplit(url).path.strip("/"):
            raise HeedError("This address has no version in it.", address, f"{url}/v1")
        for one in [model] if model else _listed(url, key):
            used = [*taken, *(other.name for other in found)]
            found.append(Endpoint(f"{one}@{host}" if one in used else one, url, one, key))
    return found


def _listed(url: str, key: str | None) -> list[str]:
    mend = f"start it, or name a model: {url}#MODEL"
    try:
        connection = _connection(url, _PATIENCE)
        connection.request("GET", f"{urlsplit(url).path}/models", headers=_headers(key))
        answer = connection.getresponse()
        value = json.loads(answer.read())
        connection.close()
        if answer.status == 401:
            raise HeedError("The server there asks for a key.", url, "set OPENAI_API_KEY")
        names = [str(one["id"]) for one in value["data"]]
    except (OSError, http.client.HTTPException) as error:
        raise HeedError(f"The server there does not answer: {error}", url, mend) from None
    except (ValueError, KeyError, TypeError):
        raise HeedError("What answers there lists no models.", f"{url}/models", mend) from None
    if not names:
        raise HeedError("The server there has no models.", url, mend)
    return names


def _connection(url: str, timeout: float) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.netloc, timeout=timeout)


def _headers(key: str | None) -> dict[str, str]:
    return {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}


class Relay:
    """An ASGI application round another one, which it asks for everything that is not about its endpoints.

    timeout: seconds without a sign of life from an endpoint.   policy: the instruction that conversations are put under.
    """

    def __init__(
        self, app: App, endpoints: Sequence[Endpoint], timeout: float, policy: ServerPolicy | None = None
    ) -> None:
        self._app = app
        self._policy = policy
        self._endpoints = {one.name: one for one in endpoints}
        self._timeout = timeout

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        path, method = scope.get("path"), scope.get("method")
        if scope["type"] != "http" or path not in (*_PASSED_ON, "/v1/render", "/v1/models", "/health"):
            await self._app(scope, receive, send)
        elif method == "GET":
            await self._with_ours(scope, receive, send)
        else:
            body = (await receive()).get("body", b"")
            endpoint = self._asked(body)
            if endpoint is None:
                await self._app(scope, _again(body, receive), send)
            elif path == "/v1/render":
                what = f"{endpoint.name} is rendered by the server at {endpoint.url}, out of our sight."
                mend = "ask about a model that is loaded here"
                await response_of(Refusal(422, what, "model", mend, code="elsewhere"))(scope, receive, send)
            else:
                value = {**json.loads(body), "model": endpoint.model}
                if self._policy is not None and path == "/v1/chat/completions":
                    try:
                        value["messages"] = await asyncio.to_thread(self._policy.relayed, value.get("messages"))
                    except Refusal as refusal:
                        await response_of(refusal)(scope, receive, send)
                        return
                await self._pass_on(endpoint, str(path), json.dumps(value).encode(), scope, receive, send)

    def _asked(self, body: bytes) -> Endpoint | None:
        with suppress(ValueError, RecursionError):
            value = json.loads(body)
            if isinstance(value, dict) and isinstance(value.get("model"), str):
                return self._endpoints.get(value["model"])
        return None

    def _told(self) -> dict[str, str]:
        return {} if self._policy is None else {"instruction": self._policy.name}

    async def _with_ours(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """The list of models, or the health, with our endpoints in it."""
        started: Message = {}
        whole = bytearray()

        async def heard(message: Message) -> None:
            if message["type"] == "http.response.start":
                started.update(message)
            else:
                whole.extend(message.get("body", b""))

        await self._app(scope, receive, heard)
        body = bytes(whole)
        if started.get("status") == 200:
            value = json.loads(body)
            if scope["path"] == "/health":
                value["models"] += list(self._endpoints)
            else:
                about = {"object": "model", "created": 0, "owned_by": "elsewhere"}
                value["data"] += [
                    {"id": one.name, **about, "heed": {**one.facts(), **self._told()}}
                    for one in self._endpoints.values()
                ]
            body = json.dumps(value).encode()
        kept = [pair for pair in started["headers"] if pair[0].lower() != b"content-length"]
        await send({**started, "headers": [*kept, (b"content-length", str(len(body)).encode())]})
        await send({"type": "http.response.body", "body": body})

    async def _pass_on(
        self,
        endpoint: Endpoint,
        path: str,
        body: bytes,
        scope: MutableMapping[str, Any],
        receive: Receive,
        send: Send,
    ) -> None:
        """Ask there, and send what comes; where the client leaves, the endpoint is left as well."""
        items: asyncio.Queue[Item] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        connection = _connection(endpoint.url, self._timeout)
        to = urlsplit(endpoint.url).path + path.removeprefix("/v1")

        def tell(item: Item) -> None:
            with suppress(RuntimeError):  # the loop is gone, and with it who waited
                loop.call_soon_threadsafe(items.put_nowait, item)

        line: list[socket.socket] = []
        talk = (connection, to, body, endpoint.key, tell, line)
        threading.Thread(target=_talk, args=talk, daemon=True).start()
        leaving = asyncio.ensure_future(_left(receive))
        try:
            first = await _next(items, leaving)
            if isinstance(first, OSError):
                what = f"The server at {endpoint.url} does not answer: {first.strerror or first}"
                refusal = Refusal(502, what, "model", "look whether it runs", code="endpoint_gone")
                await response_of(refusal)(scope, receive, send)
                return
            if not isinstance(first, tuple):
                return  # the client has left
            kept = [(name.encode(), text.encode("latin-1")) for name, text in first[1].items()]
            await send({"type": "http.response.start", "status": first[0], "headers": kept})
            while isinstance(item := await _next(items, leaving), bytes):
                await send({"type": "http.response.body", "body": item, "more_body": True})
            if item is None and not leaving.done():
                await send({"type": "http.response.body", "body": b""})
            # Else the connection ends without its last piece, so that nobody takes a part for the whole.
        finally:
            leaving.cancel()
            for one in line:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)


def _talk(
    connection: http.client.HTTPConnection,
    path: str,
    body: bytes,
    key: str | None,
    tell: Callable[[Item], None],
    line: list[socket.socket],
) -> None:
    """One request to an endpoint, in a thread of its own.   line: takes the connection, for whoever wants to cut it."""
    try:
        connection.connect()
        line.append(connection.sock)
        connection.request("POST", path, body, _headers(key))
        answer = connection.getresponse()
        headers: Mapping[str, str] = {name.lower(): text for name, text in answer.getheaders()}
        tell((answer.status, {name: headers[name] for name in _KEPT if name in headers}))
        while piece := answer.read1(1 << 16):
            tell(piece)
        tell(None)
    except (OSError, http.client.HTTPException, ValueError) as error:
        tell(error if isinstance(error, OSError) else OSError(str(error) or type(error).__name__))
    finally:
        connection.close()


async def _left(receive: Receive) -> None:
    """Until the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _next(items: asyncio.Queue[Item], leaving: asyncio.Future[None]) -> Item:
    """What comes next; None where the client left before."""
    coming = asyncio.ensure_future(items.get())
    both: list[asyncio.Future[Any]] = [coming, leaving]
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    if coming.done():
        return coming.result()
    coming.cancel()
    return None


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body once more, and then goes on as before."""
    given = False

    async def again() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return again
