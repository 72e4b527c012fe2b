"""What a client may send, field by field: the words of OpenAI's API and a few of our own.

A field that stands here has an effect; any other is refused. Values are not converted: "1" is no number.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

Text = Annotated[str, Field(max_length=4_000_000)]
Stop = Annotated[str, Field(min_length=1, max_length=200)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
TokenId = Annotated[int, Field(ge=0)]


class Part(BaseModel):
    """A part of a message's content; text is the only kind that these models read."""

    model_config = _STRICT
    type: Literal["text"]
    text: Text


class Function(BaseModel):
    """The function of a call. arguments: a JSON object, as text or as it is."""

    model_config = _STRICT
    name: Annotated[str, Field(min_length=1, max_length=200)]
    arguments: Text | dict[str, Any]


class Call(BaseModel):
    """A call that the assistant asked for in an earlier turn."""

    model_config = _STRICT
    id: str | None = None
    type: Literal["function"] = "function"
    function: Function


class Turn(BaseModel):
    """One message. A developer's text counts as a system text."""

    model_config = _STRICT
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | list[Part] | None = None
    reasoning_content: Text | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None


class ToolFunction(BaseModel):
    """A function that is offered. parameters: a JSON schema."""

    model_config = _STRICT
    name: Annotated[str, Field(min_length=1, max_length=200)]
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(BaseModel):
    """A tool that is offered to the model."""

    model_config = _STRICT
    type: Literal["function"]
    function: ToolFunction


class ToolName(BaseModel):
    """The name of a tool."""

    model_config = _STRICT
    name: Annotated[str, Field(min_length=1, max_length=200)]


class ToolChoice(BaseModel):
    """The one tool that is to be called."""

    model_config = _STRICT
    type: Literal["function"]
    function: ToolName


class StreamOptions(BaseModel):
    """include_usage: a last chunk says how many tokens were used."""

    model_config = _STRICT
    include_usage: bool = False


class Schema(BaseModel):
    """A JSON schema that the answer is held to, every part of it; `name`, `description` and `strict` change nothing."""

    model_config = _STRICT
    name: Annotated[str, Field(min_length=1, max_length=64)]
    definition: Annotated[dict[str, Any], Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(BaseModel):
    """json_object: the answer is a JSON object.   json_schema: a JSON value of that schema."""

    model_config = _STRICT
    type: Literal["text", "json_object", "json_schema"]
    json_schema: Schema | None = None


class Decoding(BaseModel):
    """How a reply is made; the same for messages and for plain text.

    temperature: 0, the default, is greedy: what the model was trained and judged by.   seed: with it a reply can be had
    again, whoever else asks at the time; without it every sampled reply is another.   user: a label for the log.
    """

    model_config = _STRICT
    model: Annotated[str, Field(max_length=500)]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1)] | None = 1
    temperature: Annotated[float, Field(ge=0, le=100)] | None = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] | None = 1.0
    top_k: Annotated[int, Field(ge=0)] | None = 0
    min_p: Annotated[float, Field(ge=0, le=1)] | None = 0.0
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] | None = 1.0
    seed: Seed | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    user: Annotated[str, Field(max_length=500)] | None = None
    # Clients send these at their neutral values; there is nothing behind any other value.
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = 0.0
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = 0.0
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None


class Messages(BaseModel):
    """A conversation, and how it is put into the model's text.

    template: a built-in chat template in place of the model's own.
    """

    model_config = _STRICT
    messages: Annotated[list[Turn], Field(min_length=1)]
    tools: list[Tool] | None = None
    tool_choice: Literal["auto", "none", "required"] | ToolChoice | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    template: str = "own"


class ChatBody(Decoding, Messages):
    """POST /v1/chat/completions"""

    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    parallel_tool_calls: Literal[True] | None = None


class CompletionBody(Decoding):
    """POST /v1/completions. prompt: a text, ids, or several of either.

    echo: the prompt comes back with its log-probabilities, and nothing is added to it (max_tokens 0).
    """

    max_tokens: Annotated[int, Field(ge=0)] | None = None

    prompt: (
        Text
        | Annotated[list[Text], Field(min_length=1, max_length=64)]
        | Annotated[list[TokenId], Field(min_length=1)]
        | Annotated[list[Annotated[list[TokenId], Field(min_length=1)]], Field(min_length=1, max_length=64)]
    )
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = False
    best_of: Literal[1] | None = 1
    suffix: None = None


class RenderBody(BaseModel):
    """POST /v1/render: messages, or a plain text."""

    model_config = _STRICT
    model: Annotated[str, Field(max_length=500)]
    messages: Annotated[list[Turn], Field(min_length=1)] | None = None
    prompt: Text | None = None
    tools: list[Tool] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    template: str = "own"
