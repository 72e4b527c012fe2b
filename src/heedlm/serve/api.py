"""The server: an OpenAI-compatible API over models on this machine, as an ASGI application."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from heedlm import __version__
from heedlm.errors import HeedError
from heedlm.generate.chat import LocalChat
from heedlm.generate.text import decoded
from heedlm.messages import Request as Asked
from heedlm.serve import openapi
from heedlm.serve.answers import Gone, Hall, Wanted, settle, whole
from heedlm.serve.asked import call_of, request_of, sampling_of, schema_of
from heedlm.serve.bridge import Bridge, Inbox, Prompted
from heedlm.serve.echoes import check_echo, echo
from heedlm.serve.guard import Guard
from heedlm.serve.limits import Allowance
from heedlm.serve.metrics import Metrics
from heedlm.serve.models import Served
from heedlm.serve.options import Options
from heedlm.serve.policy import ServerPolicy
from heedlm.serve.refusal import Refusal, response_of, wrong_fields
from heedlm.serve.relay import Endpoint, Relay
from heedlm.serve.render import rendered
from heedlm.serve.shapes import ChatBody, CompletionBody, Decoding, RenderBody
from heedlm.serve.stream import Events

_BODIES: Mapping[str, type[BaseModel]] = {
    "/v1/chat/completions": ChatBody,
    "/v1/completions": CompletionBody,
    "/v1/render": RenderBody,
}
_ROUTES = frozenset((*_BODIES, "/v1/models", "/v1/models/{name}", "/health", "/metrics", "/openapi.json", "/"))


class Page(Protocol):
    """What a playground answers to a request below /ui."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def body(self) -> bytes: ...


class Pages(Protocol):
    """A playground (see `serve.playground`)."""

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Page: ...


def create_app(
    models: Sequence[Served],
    options: Options | None = None,
    playground: Pages | None = None,
    endpoints: Sequence[Endpoint] = (),
    policy: ServerPolicy | None = None,
) -> FastAPI:
    """The application.   models, endpoints: at least one, each under a name of its own.   playground: what answers below
    /ui.   policy: the instruction that stands behind every conversation."""
    assert models or endpoints, "a server needs a model"
    options = options or Options()
    metrics = Metrics()
    bridge = Bridge(models, options.queue, metrics)
    began = int(time.time())

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        bridge.start()
        try:
            yield
        finally:
            await asyncio.to_thread(bridge.close)

    app = FastAPI(title="heed serve", version=__version__, docs_url=None, redoc_url=None, lifespan=life)
    requests, tokens = Allowance(options.requests_per_minute), Allowance(options.tokens_per_minute)
    if endpoints:
        app.add_middleware(Relay, endpoints=endpoints, timeout=options.timeout, policy=policy)
    app.add_middleware(Guard, options=options, metrics=metrics, routes=_ROUTES, requests=requests, tokens=tokens)
    hall = Hall(bridge, metrics, tokens, options)
    _handle_errors(app)
    _mount_state(app, models, bridge, metrics, began, policy)
    _mount_answers(app, {served.name: served for served in models}, hall, policy)
    if playground is not None:
        _mount_pages(app, playground)
    openapi.describe(app, with_key=bool(options.keys), with_ui=playground is not None)
    return app


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> Response:
        return response_of(error)

    @app.exception_handler(HeedError)
    async def mistaken(request: Request, error: HeedError) -> Response:
        return response_of(Refusal.of(error))

    @app.exception_handler(RequestValidationError)
    async def misshapen(request: Request, error: RequestValidationError) -> Response:
        body = _BODIES.get(request.url.path)
        return response_of(wrong_fields(error.errors(), list(body.model_fields) if body else []))

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        if error.status_code == 400:  # JSON that is nested too deeply to be read
            return response_of(
                Refusal(422, "The body cannot be read as JSON.", "body", "send less nested JSON", code="json")
            )
        what = {404: "There is nothing at this address.", 405: "This method is not for this address."}
        mend = "see /openapi.json"
        refusal = Refusal(error.status_code, what.get(error.status_code, error.detail), "", mend, headers=error.headers)
        return response_of(refusal)

    @app.exception_handler(Gone)
    async def gone(request: Request, error: Gone) -> Response:
        return Response(status_code=499)  # nobody reads it; the log shows it

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        return response_of(Refusal(500, "This is a fault in heed.", "", "the server's log says more", code="fault"))


def _mount_state(
    app: FastAPI,
    models: Sequence[Served],
    bridge: Bridge,
    metrics: Metrics,
    began: int,
    policy: ServerPolicy | None = None,
) -> None:
    """What can be asked about the server itself."""
    told = {} if policy is None else {"instruction": policy.name}

    def described(served: Served) -> dict[str, Any]:
        facts = {**served.facts(), **told}
        return {"id": served.name, "object": "model", "created": began, "owned_by": "heed", "heed": facts}

    @app.get("/v1/models", **openapi.of("models"))
    async def list_models() -> JSONResponse:
        """The models that are loaded, and what is known of them."""
        return JSONResponse({"object": "list", "data": [described(served) for served in models]})

    @app.get("/v1/models/{name:path}", **openapi.of("model"))
    async def one_model(name: str) -> JSONResponse:
        """One model."""
        return JSONResponse(described(_served({served.name: served for served in models}, name)))

    @app.get("/health", **openapi.of("health"))
    async def health() -> JSONResponse:
        """Whether the server answers."""
        return JSONResponse({"status": "ok", "models": [served.name for served in models]})

    @app.get("/metrics", **openapi.of("metrics"))
    async def counters() -> PlainTextResponse:
        """Counters in the text format of Prometheus."""
        gauges = []
        for served in models:
            pending, running = bridge.pending(served), served.lane.engine.num_running
            gauges.append(("heed_running", {"model": served.name}, float(running)))
            gauges.append(("heed_waiting", {"model": served.name}, float(max(0, pending - running))))
        return PlainTextResponse(metrics.text(gauges), media_type="text/plain; version=0.0.4")


def _mount_answers(app: FastAPI, models: Mapping[str, Served], hall: Hall, policy: ServerPolicy | None = None) -> None:
    """What can be asked of the models."""

    @app.post("/v1/chat/completions", **openapi.of("chat"))
    async def chat(body: ChatBody, request: Request) -> Response:
        """An answer to a conversation."""
        served = _served(models, body.model)
        top = body.top_logprobs or 0
        if top and not body.logprobs:
            raise Refusal(422, "top_logprobs belongs to logprobs.", "top_logprobs", "add logprobs: true, or remove it")
        view = served.under(body.template)
        asked = request_of(body)
        if policy is not None:
            asked = await asyncio.to_thread(policy.behind, view, asked)
        prompted = Prompted(asked, schema=schema_of(body), call=call_of(body))
        return await _answer(hall, served, view, body, [prompted], request, bool(body.logprobs), top)

    @app.post("/v1/completions", **openapi.of("completions"))
    async def complete(body: CompletionBody, request: Request) -> Response:
        """What follows a plain text."""
        served = _served(models, body.model)
        asked = [_plain(served.chat, prompt) for prompt in _prompts(body)]
        if body.echo or body.max_tokens == 0:
            check_echo(body)
            return JSONResponse(await echo(hall, served, asked, body, request.scope["state"]))
        return await _answer(
            hall, served, served.chat, body, asked, request, body.logprobs is not None, body.logprobs or 0
        )

    @app.post("/v1/render", **openapi.of("render"))
    async def render(body: RenderBody) -> JSONResponse:
        """What a model is sent for a conversation or a text, by origin and in tokens. Nothing is generated."""
        served = _served(models, body.model)
        if (body.messages is None) == (body.prompt is None):
            raise Refusal(422, "Either messages or prompt is needed, not both.", "messages", "give one of the two")
        if body.prompt is not None:
            extra = [field for field in ("tools", "chat_template_kwargs", "template") if field in body.model_fields_set]
            if extra:
                raise Refusal(422, f"A plain text has no {extra[0]}.", extra[0], f"remove {extra[0]}")
        view = served.chat if body.messages is None else served.under(body.template)
        asked = Asked(text=body.prompt) if body.messages is None else request_of(body)
        found = await asyncio.to_thread(rendered, view, asked, policy)
        stops = [str(view.tokenizer.convert_ids_to_tokens(token)) for token in view.stop_ids]
        facts = {"model": served.name, "template": body.template, "context": served.context}
        return JSONResponse({**facts, **found, "stop": [*stops, *view.template.stop_strings]})


async def _answer(
    hall: Hall,
    served: Served,
    view: LocalChat,
    body: Decoding,
    asked: Sequence[Prompted],
    request: Request,
    logprobs: bool,
    top: int,
) -> Response:
    """Begin every reply that is asked for, and send them, whole or as a stream."""
    n, most = body.n or 1, hall.options.max_choices
    if n * len(asked) > most:
        what = f"{n * len(asked):,} replies are asked for; one request may have {most:,}."
        raise Refusal(422, what, "n", f"{most} at most, or several requests")
    sampling = sampling_of(body, hall.options.max_tokens, top)
    hall.bridge.check_room(served, n * len(asked))
    usage = body.stream_options is not None and body.stream_options.include_usage
    state = request.scope["state"]
    if body.user:
        state["note"]["user"] = repr(body.user[:64])
    wanted = Wanted(isinstance(body, ChatBody), served.name, usage, logprobs, state)
    inbox = Inbox()
    try:
        for one in asked:
            for index in range(n):
                await hall.bridge.ask(
                    inbox, served, view, one, sampling, index=index, streamed=bool(body.stream), measured=logprobs
                )
    except BaseException:
        settle(hall, inbox, wanted)
        raise
    if body.stream:
        return Events(hall, inbox, wanted)
    return JSONResponse(await whole(hall, inbox, wanted, request.receive))


def _served(models: Mapping[str, Served], name: str) -> Served:
    found = models.get(name)
    if found is None:
        what = f"There is no model {name[:100]!r} here."
        raise Refusal(404, what, "model", f"loaded: {', '.join(models)}", code="model_not_found")
    return found


def _prompts(body: CompletionBody) -> list[str | list[int]]:
    """The prompts of a body, each a text or ids."""
    given: Any = body.prompt
    return given if isinstance(given, list) and not isinstance(given[0], int) else [given]


def _plain(chat: LocalChat, prompt: str | list[int]) -> Prompted:
    """A request to continue `prompt`. Raises Refusal for ids that the model does not have."""
    if isinstance(prompt, str):
        return Prompted(Asked(text=prompt))
    size = chat.model.get_input_embeddings().weight.shape[0]
    if max(prompt) >= size:
        raise Refusal(
            422, f"There is no token {max(prompt):,}: this model has {size:,}.", "prompt", f"ids below {size}"
        )
    return Prompted(Asked(text=decoded(chat.tokenizer, prompt)), tuple(prompt))


def _mount_pages(app: FastAPI, playground: Pages) -> None:
    """The playground, below /ui."""

    async def pages(request: Request) -> Response:
        body = await request.body()
        headers = {key.lower(): value for key, value in request.headers.items()}
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        page = await asyncio.to_thread(playground.answer, request.method, path, headers, body)
        answer = Response(page.body, page.status)
        answer.raw_headers = [(key.lower().encode(), value.encode("latin-1")) for key, value in page.headers]
        return answer

    async def home() -> Response:
        return RedirectResponse("/ui/", 307)

    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    app.add_api_route("/ui", pages, methods=methods, include_in_schema=False)
    app.add_api_route("/ui/{rest:path}", pages, methods=methods, include_in_schema=False)
    app.add_api_route("/", home, methods=["GET"], include_in_schema=False)
