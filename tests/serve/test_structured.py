"""Answers in a form that a client asks for, by the real client: whole and as a stream, from a model of random weights."""

from __future__ import annotations

import json
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from heedlm.generate.guided import JSONGuide
from tests.serve.live import Live, live, tiny_served

ASKED: Any = [{"role": "user", "content": "Where is it?"}]


class Place(BaseModel):
    """What the client wants to know."""

    city: Literal["Paris", "Delhi"]
    stars: Literal[1, 2, 3]


SCHEMA = {"name": "place", "schema": {**Place.model_json_schema(), "additionalProperties": False}, "strict": True}
FORM: Any = {"type": "json_schema", "json_schema": SCHEMA}


def test_an_answer_has_the_schema_that_was_asked_for(server: Live) -> None:
    client = server.client()
    asked = {"model": "tiny", "messages": ASKED, "response_format": FORM, "max_tokens": 200}
    whole = client.chat.completions.create(**asked, n=3, temperature=2.0, seed=1)
    for choice in whole.choices:
        Place.model_validate_json(choice.message.content)
        assert choice.finish_reason == "stop"
    one = client.chat.completions.create(**asked).choices[0].message.content
    chunks = list(client.chat.completions.create(**asked, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == one
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_the_clients_own_parsing_works(server: Live) -> None:
    found = server.client().chat.completions.parse(model="tiny", messages=ASKED, response_format=Place, max_tokens=200)
    assert isinstance(found.choices[0].message.parsed, Place)


def test_json_mode_gives_an_object(server: Live) -> None:
    form: Any = {"type": "json_object"}
    made = server.client().chat.completions.create(
        model="tiny", messages=ASKED, response_format=form, max_tokens=400, temperature=1.0, n=4, seed=4
    )
    for choice in made.choices:
        text = choice.message.content
        assert text.startswith("{")
        if choice.finish_reason == "stop":
            assert isinstance(json.loads(text), dict)


def test_text_is_the_same_as_no_form(server: Live) -> None:
    asked: Any = {"model": "tiny", "messages": ASKED, "max_tokens": 9}
    plain = server.client().chat.completions.create(**asked)
    told = server.client().chat.completions.create(**asked, response_format={"type": "text"})
    assert plain.choices[0].message.content == told.choices[0].message.content


@pytest.mark.parametrize("stream", [False, True])
def test_a_form_that_cannot_be_kept_is_told_and_the_server_goes_on(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    """As where a schema takes the library beyond its limits in the middle of an answer."""

    def broken(self: JSONGuide, token: int) -> bool:
        self.error = "The grammar could not be kept: too complex"
        return True

    asked: Any = {"model": "tiny", "messages": ASKED, "max_tokens": 50}
    with live([tiny_served(llama, tokenizer)]) as running:
        client = running.client()
        with monkeypatch.context() as patch:
            patch.setattr(JSONGuide, "take", broken)
            with pytest.raises(openai.APIError, match="too complex"):
                made = client.chat.completions.create(**asked, response_format=FORM, stream=stream)
                list(made)
        assert client.chat.completions.create(**asked).choices[0].message.content
