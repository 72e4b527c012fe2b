"""What the server says about itself in /openapi.json: the shapes of its answers, and what can go wrong.

The classes below describe; answers are written as plain dictionaries elsewhere, and tests hold the two together.
"""

from __future__ import annotations

from typing import Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict

from heedlm.serve import playground_openapi

_CLOSED = ConfigDict(extra="forbid")


class ProblemShape(BaseModel):
    model_config = _CLOSED
    message: str
    param: str
    mend: str


class ErrorBody(BaseModel):
    model_config = _CLOSED
    message: str
    type: str
    param: str | None
    code: str
    mend: str
    problems: list[ProblemShape] = []


class ErrorShape(BaseModel):
    """What is wrong, in which field, and how to mend it."""

    model_config = _CLOSED
    error: ErrorBody


class ModelFacts(BaseModel):
    model_config = _CLOSED
    kind: str
    base: str | None
    template: str | None
    grade: Literal["hard", "soft"]
    formats: list[str]
    context: int | None
    parameters: int
    device: str
    dtype: str
    adapter: bool
    note: str
    instruction: str | None = None


class ModelShape(BaseModel):
    model_config = _CLOSED
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    heed: ModelFacts


class ModelsShape(BaseModel):
    model_config = _CLOSED
    object: Literal["list"]
    data: list[ModelShape]


class HealthShape(BaseModel):
    model_config = _CLOSED
    status: Literal["ok"]
    models: list[str]


class PromptDetails(BaseModel):
    model_config = _CLOSED
    cached_tokens: int


class UsageShape(BaseModel):
    model_config = _CLOSED
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class AnyTokenShape(BaseModel):
    model_config = _CLOSED
    token: str
    id: int
    logprob: float
    bytes: list[int] | None


class TokenShape(AnyTokenShape):
    top_logprobs: list[AnyTokenShape]


class ChatLogprobs(BaseModel):
    model_config = _CLOSED
    content: list[TokenShape]
    refusal: None


class CalledFunction(BaseModel):
    model_config = _CLOSED
    name: str
    arguments: str


class CallShape(BaseModel):
    model_config = _CLOSED
    id: str
    type: Literal["function"]
    function: CalledFunction


class AnswerMessage(BaseModel):
    model_config = _CLOSED
    role: Literal["assistant"]
    content: str | None
    reasoning_content: str | None = None
    tool_calls: list[CallShape] = []


class ChatChoice(BaseModel):
    model_config = _CLOSED
    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length", "tool_calls"]


class ChatShape(BaseModel):
    model_config = _CLOSED
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: UsageShape


class TextLogprobs(BaseModel):
    model_config = _CLOSED
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]


class TextChoice(BaseModel):
    model_config = _CLOSED
    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"]


class TextShape(BaseModel):
    model_config = _CLOSED
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: UsageShape


class SegmentShape(BaseModel):
    model_config = _CLOSED
    text: str
    origin: str
    weight: float
    ids: list[int]
    block: str | None = None
    input: str | None = None


class PieceShape(BaseModel):
    model_config = _CLOSED
    id: int
    text: str
    segment: int


class RenderShape(BaseModel):
    model_config = _CLOSED
    model: str
    template: str
    context: int | None
    text: str
    ids: list[int]
    num_tokens: int
    segments: list[SegmentShape]
    tokens: list[PieceShape]
    neutralised: int
    stop: list[str]


_ERRORS = {
    400: "The request broke off.",
    401: "The key is missing or unknown.",
    403: "This name of the machine is not answered to.",
    404: "There is no such model, or no such address.",
    408: "The body came too slowly.",
    413: "The body is too large.",
    415: "The body is not JSON by its own word.",
    422: "A field is wrong: which one, and how to mend it.",
    429: "Too much at once; Retry-After says when to come again.",
    500: "The model could not go on.",
    503: "The server is closing.",
    504: "The reply took too long.",
}
_SHAPES: dict[str, type[BaseModel]] = {
    "models": ModelsShape,
    "model": ModelShape,
    "health": HealthShape,
    "chat": ChatShape,
    "completions": TextShape,
    "render": RenderShape,
}
# One event of a stream; its data is a chunk in OpenAI's shape, an error, or [DONE].
_EVENT = {"type": "object", "required": ["data"], "properties": {"data": {"type": "string"}}}
_STREAMED = ("chat", "completions")


def of(name: str) -> dict[str, Any]:
    """The arguments of a route's decorator that describe its answers."""
    good: dict[str, Any] = {"description": "The answer."}
    if name in _SHAPES:
        good["model"] = _SHAPES[name]
    else:
        good["content"] = {"text/plain": {"schema": {"type": "string"}}}
    if name in _STREAMED:
        good["content"] = {"text/event-stream": {"schema": _EVENT}}
    errors = {status: {"description": text, "model": ErrorShape} for status, text in _ERRORS.items()}
    responses: dict[int, Any] = {200: good, **errors}
    return {"responses": responses, "operation_id": name, "response_model": None}


def describe(app: FastAPI, *, with_key: bool, with_ui: bool = False) -> None:
    """Say in the page which requests need a key; with_ui: and what the playground's instruction editor answers."""
    build = app.openapi

    def page() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = build()
            if with_ui:
                playground_openapi.add_to(found)
            if with_key:
                schemes = found.setdefault("components", {}).setdefault("securitySchemes", {})
                schemes["key"] = {"type": "http", "scheme": "bearer"}
                for path, methods in found["paths"].items():
                    for method in methods.values():
                        method["security"] = [] if path == "/health" else [{"key": []}]
            app.openapi_schema = found
        return app.openapi_schema or {}

    app.openapi = page  # type: ignore[method-assign]
