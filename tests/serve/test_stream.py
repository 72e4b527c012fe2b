"""Reasoning and tool calls on their way to a client: whole and as a stream, from a model that says what a script says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from heedlm.generate.chat import LocalChat
from heedlm.generate.engine import Engine
from heedlm.generate.worker import Lane
from heedlm.messages import Message, Request
from heedlm.serve.models import Served
from heedlm.templates.render import ChatTemplate
from tests.generate.test_calls import HERMES
from tests.generate.test_chat import THINKING, Parrot
from tests.serve.live import Live, live

ASKED = [{"role": "user", "content": "What is the weather?"}]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
Say = Callable[..., Any]


@pytest.fixture
def saying(llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Say:
    """A server whose model says `text` to ASKED."""

    @contextmanager
    def make(text: str, source: str, tools: tuple[Any, ...] = ()) -> Iterator[Live]:
        model = Parrot(llama.config).eval()
        chat = LocalChat(model, tokenizer, ChatTemplate("scripted", source))
        request = Request((Message("user", ASKED[0]["content"]),), tools=tools)
        ids = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.convert_tokens_to_ids("<|im_end|>")]
        model.script = dict(enumerate(ids, len(chat.render(request).ids) - 1))
        with live([Served("tiny", chat, Lane(Engine(model, eager=True)))]) as server:
            yield server

    return make


def ask(server: Live, **more: Any) -> Any:
    return server.client().chat.completions.create(model="tiny", messages=ASKED, max_tokens=200, **more)


def test_reasoning_is_told_apart_and_as_it_is_made(saying: Say) -> None:
    with saying("<think>\nFirst the sky, then the wind.\n</think>\n\nIt is sunny.", THINKING) as server:
        whole = ask(server).choices[0].message
        assert (whole.content, whole.reasoning_content) == ("It is sunny.", "First the sky, then the wind.")
        deltas = [c.choices[0].delta for c in ask(server, stream=True, logprobs=True)]
        thoughts = [one.reasoning_content for one in deltas if getattr(one, "reasoning_content", None)]
        assert "".join(thoughts) == whole.reasoning_content
        assert len(thoughts) > 3, "it came in pieces"
        kinds = [
            "thought" if getattr(one, "reasoning_content", None) else "text"
            for one in deltas
            if one.model_fields_set - {"role"}
        ]
        assert "".join(one.content or "" for one in deltas) == whole.content
        assert kinds == sorted(kinds, reverse=True), "the reasoning comes first"


def test_reasoning_that_is_cut_is_told(saying: Say) -> None:
    with saying("<think>\nFirst the sky, then the wind", THINKING) as server:
        whole = ask(server).choices[0].message
        assert (whole.content, whole.reasoning_content) == ("", "First the sky, then the wind")
        deltas = [c.choices[0].delta for c in ask(server, stream=True)]
        told = "".join(getattr(one, "reasoning_content", None) or "" for one in deltas)
        assert told == whole.reasoning_content


def test_tool_calls_come_back_as_calls(saying: Say) -> None:
    text = 'Let me see.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Delhi"}}\n</tool_call>'
    with saying(text, HERMES, (TOOL,)) as server:
        choice = ask(server, tools=[TOOL]).choices[0]
        call = choice.message.tool_calls[0]
        assert (choice.message.content, choice.finish_reason) == ("Let me see.", "tool_calls")
        assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Delhi"})
        chunks = list(ask(server, tools=[TOOL], stream=True))
        assert "".join(c.choices[0].delta.content or "" for c in chunks) == "Let me see."
        calls = [one for c in chunks for one in c.choices[0].delta.tool_calls or []]
        assert [(one.index, one.function.name) for one in calls] == [(0, "weather")]
        assert json.loads(calls[0].function.arguments) == {"city": "Delhi"}
        assert chunks[-1].choices[0].finish_reason == "tool_calls"
        answered = [
            *ASKED,
            {"role": "assistant", "content": None, "tool_calls": [call.model_dump()]},
            {"role": "tool", "tool_call_id": call.id, "content": "34 degrees"},
        ]
        shown = server.client().post(
            "/render", body={"model": "tiny", "messages": answered, "tools": [TOOL]}, cast_to=object
        )
        assert "34 degrees" in shown["text"]
        assert '"city": "Delhi"' in shown["text"]


def test_without_tools_a_call_is_text(saying: Say) -> None:
    text = '<tool_call>\n{"name": "weather", "arguments": {}}\n</tool_call>'
    with saying(text, HERMES) as server:
        choice = ask(server).choices[0]
        assert (choice.message.content, choice.message.tool_calls, choice.finish_reason) == (text, None, "stop")


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "clock"}}])
def test_a_call_can_be_demanded(llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, choice: Any) -> None:
    """Of a model of random weights, which would call nothing by itself."""
    clock = {
        "type": "function",
        "function": {"name": "clock", "parameters": {"properties": {}, "additionalProperties": False}},
    }
    chat = LocalChat(llama, tokenizer, ChatTemplate("scripted", HERMES))
    with live([Served("tiny", chat, Lane(Engine(llama, eager=True)))]) as server:
        made = ask(server, tools=[clock], tool_choice=choice).choices[0]
        assert (made.message.content, made.finish_reason) == (None, "tool_calls")
        assert [(one.function.name, one.function.arguments) for one in made.message.tool_calls] == [("clock", "{}")]
        chunks = list(ask(server, tools=[clock], tool_choice=choice, stream=True))
        assert [one.function.name for c in chunks for one in c.choices[0].delta.tool_calls or []] == ["clock"]
        assert not any(c.choices[0].delta.content for c in chunks)
