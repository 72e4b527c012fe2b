"""From what a client sent to a request of the house."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from heedlm.messages import Message, Request, Role, Sampling, ToolCall
from heedlm.serve.refusal import Refusal
from heedlm.serve.shapes import ChatBody, Decoding, RenderBody, ToolChoice, Turn


def messages_of(turns: Sequence[Turn]) -> tuple[Message, ...]:
    """The conversation. Raises Refusal, naming the turn, for what a conversation cannot hold."""
    return tuple(_message(turn, f"messages.{at}") for at, turn in enumerate(turns))


def _message(turn: Turn, where: str) -> Message:
    role: Role = "system" if turn.role == "developer" else turn.role
    if turn.content is None and not turn.tool_calls:
        raise Refusal(422, f"Turn {where} has no content.", f"{where}.content", "give it a text")
    if role != "assistant" and (turn.tool_calls or turn.reasoning_content is not None):
        field = "tool_calls" if turn.tool_calls else "reasoning_content"
        raise Refusal(422, f"Only an assistant turn has {field}.", f"{where}.{field}", f"remove {field}")
    if role != "tool" and turn.tool_call_id is not None:
        raise Refusal(422, "Only a tool turn has tool_call_id.", f"{where}.tool_call_id", "remove tool_call_id")
    content = turn.content or ""
    text = content if isinstance(content, str) else "".join(part.text for part in content)
    calls = tuple(
        ToolCall(call.function.name, _arguments(call.function.arguments, f"{where}.tool_calls.{at}"), call.id)
        for at, call in enumerate(turn.tool_calls or ())
    )
    return Message(role, text, turn.reasoning_content, calls, turn.tool_call_id)


def _arguments(given: str | dict[str, object], where: str) -> dict[str, object]:
    try:
        found = json.loads(given or "{}") if isinstance(given, str) else given
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Refusal(422, "The arguments of a call are no JSON object.", f"{where}.function.arguments", 'such as "{}"')
    return found


def request_of(body: ChatBody | RenderBody) -> Request:
    """The request of a conversation."""
    none_offered = isinstance(body, ChatBody) and body.tool_choice == "none"
    tools = () if none_offered else tuple(tool.model_dump(exclude_none=True) for tool in body.tools or ())
    kwargs = body.chat_template_kwargs or {}
    taken = sorted(_TAKEN & set(kwargs))
    if taken:
        what = f"The template gets {taken[0]!r} from the request itself."
        raise Refusal(422, what, f"chat_template_kwargs.{taken[0]}", f"remove {taken[0]!r}")
    return Request(messages_of(body.messages or ()), tools=tools, template_kwargs=kwargs)


# What the renderer itself hands to a template, or to the library behind it.
_TAKEN = {
    "messages",
    "conversation",
    "tools",
    "documents",
    "chat_template",
    "add_generation_prompt",
    "continue_final_message",
    "tokenize",
    "padding",
    "truncation",
    "max_length",
    "return_tensors",
    "return_dict",
    "return_assistant_tokens_mask",
    "tokenizer_kwargs",
    "sanitize_control_tokens",
    "processor_kwargs",
}


def schema_of(body: ChatBody) -> Mapping[str, Any] | None:
    """The JSON schema that an answer is held to; None for plain text. Raises Refusal for a form that is not whole."""
    form = body.response_format
    if form is None:
        return None
    if (form.json_schema is None) == (form.type == "json_schema"):
        what = (
            "type json_schema needs a json_schema." if form.json_schema is None else f"type {form.type} has no schema."
        )
        mend = 'such as {"name": "answer", "schema": {"type": "object"}}' if form.json_schema is None else "remove it"
        raise Refusal(422, what, "response_format.json_schema", mend)
    if form.type == "text":
        return None
    if body.tools and body.tool_choice != "none":
        what = "An answer that may be a call is held to no form."
        raise Refusal(422, what, "response_format", 'add "tool_choice": "none", or remove the tools or the form')
    return {"type": "object"} if form.json_schema is None else form.json_schema.definition


def call_of(body: ChatBody) -> tuple[str, ...]:
    """The tools of which one is to be called; none where the model may answer as it likes. Raises Refusal for a tool that is
    not offered."""
    choice = body.tool_choice
    if choice is None or choice in ("auto", "none"):
        return ()
    offered = tuple(dict.fromkeys(tool.function.name for tool in body.tools or ()))
    if not offered:
        raise Refusal(422, "A call is demanded, and no tool is offered.", "tool_choice", "add tools, or remove it")
    if not isinstance(choice, ToolChoice):
        return offered
    if choice.function.name not in offered:
        what = f"The tool {choice.function.name[:100]!r} is not offered."
        raise Refusal(422, what, "tool_choice.function.name", f"one of {', '.join(offered)}"[:500])
    return (choice.function.name,)


def sampling_of(body: Decoding, most: int, top_logprobs: int) -> Sampling:
    """How a reply is made. most: new tokens that one may have. Raises Refusal for more."""
    field = "max_tokens"
    wanted = body.max_tokens
    if isinstance(body, ChatBody) and body.max_completion_tokens is not None:
        if wanted is not None and wanted != body.max_completion_tokens:
            what = "max_tokens and max_completion_tokens say different things."
            raise Refusal(422, what, "max_completion_tokens", "give one of the two")
        field, wanted = "max_completion_tokens", body.max_completion_tokens
    if wanted is not None and wanted > most:
        raise Refusal(
            422, f"{wanted:,} new tokens are asked for; one reply may have {most:,}.", field, f"{most} at most"
        )
    if body.stream_options is not None and not body.stream:
        raise Refusal(422, "stream_options belongs to a stream.", "stream_options", "add stream: true, or remove it")
    stop = [body.stop] if isinstance(body.stop, str) else body.stop or []
    return Sampling(
        max_tokens=wanted or most,
        temperature=body.temperature or 0.0,
        top_p=1.0 if body.top_p is None else body.top_p,
        top_k=body.top_k or 0,
        min_p=body.min_p or 0.0,
        repetition_penalty=1.0 if body.repetition_penalty is None else body.repetition_penalty,
        seed=secrets.randbits(62) if body.seed is None else body.seed,
        stop=tuple(stop),
        top_logprobs=top_logprobs,
    )
