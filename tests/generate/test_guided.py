"""Replies held to a JSON schema: whatever the model would say, for several kinds of tokenizer, beside others in a batch."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from heedlm.errors import HeedError
from heedlm.generate.chat import LocalChat
from heedlm.generate.engine import Engine, Job
from heedlm.generate.guided import json_guide
from heedlm.generate.passes import serving
from heedlm.messages import Message, Request, Sampling
from heedlm.templates.chat import ChatTemplate, load_template
from tests.exports.makers import bytes_tokenizer, pieces_tokenizer
from tests.families import VOCABULARY
from tests.generate.test_calls import FORMATS, HERMES, LISTED, WRAPPED, XML
from tests.generate.test_chat import THINKING, Parrot
from tests.generate.test_live import alone

Build = Callable[..., PreTrainedModel]

CITY = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Paris", "दिल्ली", "東京"]},
        "stars": {"type": "integer", "minimum": 1, "maximum": 5},
        "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
    },
    "required": ["city", "stars", "tags"],
    "additionalProperties": False,
}
ASKED = Request((Message("user", "Where?"),))


def finish(chat: LocalChat, *jobs: Job) -> None:
    engine = Engine(chat.model, eager=True)
    for job in jobs:
        engine.add(job)
    with serving(chat.model):
        while engine.busy:
            engine.step()


def fits(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and list(value) == ["city", "stars", "tags"]
        and value["city"] in CITY["properties"]["city"]["enum"]
        and value["stars"] in range(1, 6)
        and len(value["tags"]) in (1, 2)
        and all(isinstance(tag, bool) for tag in value["tags"])
    )


@pytest.mark.parametrize(
    "make", [lambda: bytes_tokenizer("llama-bpe"), lambda: bytes_tokenizer("gpt-2"), pieces_tokenizer]
)
def test_a_model_of_random_weights_answers_in_the_schema(
    tiny: Build, make: Callable[[], PreTrainedTokenizerBase]
) -> None:
    tokenizer = make()
    model = tiny("llama", vocab_size=max(VOCABULARY, len(tokenizer)), max_position_embeddings=512)
    chat = LocalChat(model, tokenizer, load_template("chatml", tokenizer))
    samplings = [Sampling(max_tokens=400, temperature=heat, seed=seed) for seed, heat in enumerate((0, 1, 3, 1, 3, 1))]
    asked = [chat.ask(ASKED, how, schema=CITY) for how in samplings]
    free = chat.ask(ASKED, Sampling(max_tokens=20))
    finish(chat, *(one.job for one in asked), free.job)
    replies = [chat.answer(one) for one in asked]
    values = [json.loads(reply.text) for reply in replies]
    assert all(fits(value) for value in values), values
    assert {reply.stop_reason for reply in replies} == {"stop"}
    assert len({json.dumps(value) for value in values}) > 1, "one value for all draws would prove little"
    assert free.job.ids == alone(model, list(free.job.prompt), Sampling(max_tokens=20)), (
        "who is not held is not touched"
    )


def test_the_model_chooses_among_what_fits_and_its_own_probabilities_are_told(
    tiny: Build, tokenizer: PreTrainedTokenizerBase
) -> None:
    model = tiny("llama", max_position_embeddings=512)
    chat = LocalChat(model, tokenizer, load_template("chatml", tokenizer))
    asked = chat.ask(ASKED, Sampling(max_tokens=400), schema=CITY)
    finish(chat, asked.job)
    prompt, made = list(asked.job.prompt), asked.job.ids
    with torch.no_grad():
        whole = model(torch.tensor([[*prompt, *made]])).logits[0, len(prompt) - 1 : -1]
    own = whole.log_softmax(-1).gather(-1, torch.tensor(made)[:, None])[:, 0]
    assert asked.job.logprobs == pytest.approx(own.tolist(), abs=1e-4)
    guide = json_guide(tokenizer, whole.shape[-1], chat.stop_ids, CITY)
    for logits, token in zip(whole, made, strict=True):
        assert int(guide.allow(logits).argmax()) == token
        assert torch.isfinite(guide.allow(logits)).any()
        guide.take(token)
    assert not guide.error


@pytest.mark.parametrize(
    ("schema", "texts"),
    [
        ({"type": "integer", "minimum": 3, "maximum": 4}, {"3", "4"}),
        ({"enum": ["a"]}, {'"a"'}),
        ({"const": None}, {"null"}),
    ],
)
def test_values_that_are_no_objects_end_too(
    tiny: Build, tokenizer: PreTrainedTokenizerBase, schema: dict[str, Any], texts: set[str]
) -> None:
    chat = LocalChat(tiny("llama", max_position_embeddings=512), tokenizer, load_template("chatml", tokenizer))
    asked = chat.ask(ASKED, Sampling(max_tokens=60), schema=schema)
    finish(chat, asked.job)
    reply = chat.answer(asked)
    assert (reply.text in texts, reply.stop_reason) == (True, "stop"), reply.text


def test_a_reply_that_is_cut_says_so(tiny: Build, tokenizer: PreTrainedTokenizerBase) -> None:
    chat = LocalChat(tiny("llama", max_position_embeddings=512), tokenizer, load_template("chatml", tokenizer))
    asked = chat.ask(ASKED, Sampling(max_tokens=3), schema=CITY)
    finish(chat, asked.job)
    assert (asked.job.stop_reason, len(asked.job.ids)) == ("length", 3)


@pytest.mark.parametrize("opened", [False, True])
def test_reasoning_that_the_prompt_began_is_free(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, opened: bool
) -> None:
    """The model wants to say `said`: with an open thought it may, up to its end; without one it must begin with the value."""
    source = THINKING.replace("<|im_start|>assistant\n", "<|im_start|>assistant\n<think>\n") if opened else THINKING
    assert opened == (source != THINKING), "the template has changed: there is nothing to prove"
    model = Parrot(llama.config).eval()
    chat = LocalChat(model, tokenizer, ChatTemplate("scripted", source))
    said = 'No "JSON" here {}.\n</think>\n\n{"city": "Paris", "stars": 4, "tags": [true]} and more'
    ids = tokenizer.encode(said, add_special_tokens=False)
    model.script = dict(enumerate(ids, len(chat.render(ASKED).ids) - 1))
    asked = chat.ask(ASKED, Sampling(max_tokens=100), schema=CITY)
    finish(chat, asked.job)
    reply = chat.answer(asked)
    if opened:
        assert (reply.reasoning, reply.stop_reason) == ('No "JSON" here {}.', "stop")
        assert json.loads(reply.text) == {"city": "Paris", "stars": 4, "tags": [True]}
    else:
        assert reply.text.startswith("{")
        assert reply.reasoning is None


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "wizard"}, "wizard"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "string", "format": "wizard"}, "wizard"),
        ({"$ref": "#/nowhere"}, "nowhere"),
        ({"$ref": "http://127.0.0.1/schema.json"}, "127.0.0.1"),
        ({"type": "string", "pattern": "("}, "regex"),
        ({"type": "object", "x-guidance": {"lenient": True}, "not": {}}, "not"),
        ({"properties": {"a": {"minimum": float("nan")}}}, "parse"),
    ],
)
def test_what_cannot_be_kept_to_is_refused(
    tokenizer: PreTrainedTokenizerBase, schema: dict[str, Any], said: str
) -> None:
    with pytest.raises(HeedError) as refused:
        json_guide(tokenizer, VOCABULARY, (), schema)
    assert said in str(refused.value)
    assert refused.value.problems[0].where == "response_format"


@pytest.mark.parametrize("depth", [300, 100_000])
def test_a_schema_that_is_nested_without_end_is_refused(tokenizer: PreTrainedTokenizerBase, depth: int) -> None:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    with pytest.raises(HeedError):
        json_guide(tokenizer, VOCABULARY, (), schema)


def test_without_the_library_it_is_said_how_to_get_it(
    tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(HeedError, match="pip install 'heedlm"):
        json_guide(tokenizer, VOCABULARY, (), {"type": "object"})


def test_a_guide_that_fails_ends_its_own_reply_alone(tiny: Build, tokenizer: PreTrainedTokenizerBase) -> None:
    model = tiny("llama", max_position_embeddings=512)
    chat = LocalChat(model, tokenizer, load_template("chatml", tokenizer))
    broken = chat.ask(ASKED, Sampling(max_tokens=50), schema=CITY)
    assert broken.job.guide is not None
    broken.job.guide.take(0)  # a token that no JSON begins with
    free = chat.ask(ASKED, Sampling(max_tokens=9))
    finish(chat, broken.job, free.job)
    assert broken.job.stop_reason == "error"
    assert "grammar" in broken.job.guide.error
    assert free.job.ids == alone(model, list(free.job.prompt), Sampling(max_tokens=9))


def tool(name: str, **parameters: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": parameters, "required": list(parameters), "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


TOOLS = (tool("weather", city={"enum": ["Delhi", "Köln"]}), tool('say "hi"', loud={"type": "boolean"}), tool("stop"))
CALLING = Request((Message("user", "What is the weather?"),), tools=TOOLS)


@pytest.mark.parametrize("name", ["hermes", "bare", "listed", "special"])
def test_a_call_is_made_where_one_is_demanded(tiny: Build, name: str) -> None:
    tokenizer = bytes_tokenizer("gpt-2")
    if name == "special":  # as Mistral's mark of a call is
        tokenizer.add_special_tokens({"extra_special_tokens": ["[CALLS]"]})
    source = LISTED if name == "special" else FORMATS[name][0]
    model = tiny("llama", vocab_size=len(tokenizer) + 8, max_position_embeddings=1024)
    chat = LocalChat(model, tokenizer, ChatTemplate("scripted", source))
    offered = [str(one["function"]["name"]) for one in TOOLS]
    samplings = [Sampling(max_tokens=500, temperature=heat, seed=seed) for seed, heat in enumerate((0, 1, 3, 3, 2, 1))]
    asked = [chat.ask(CALLING, how, call=offered) for how in samplings]
    named = [chat.ask(CALLING, samplings[2], call=[one]) for one in offered]
    finish(chat, *(one.job for one in (*asked, *named)))
    replies = [chat.answer(one) for one in (*asked, *named)]
    for reply in replies:
        assert (reply.text, reply.stop_reason, len(reply.tool_calls)) == ("", "stop", 1), reply
        call = reply.tool_calls[0]
        fields = dict(call.arguments)
        assert (call.name, list(fields)) in [("weather", ["city"]), ('say "hi"', ["loud"]), ("stop", [])]
        assert fields.get("city", "Delhi") in ("Delhi", "Köln")
        assert fields.get("loud", True) in (True, False)
    assert [reply.tool_calls[0].name for reply in replies[len(asked) :]] == offered
    if name == "special":
        assert asked[0].job.ids[0] == tokenizer.convert_tokens_to_ids("[CALLS]")


@pytest.mark.parametrize("source", [WRAPPED, XML, THINKING])
def test_no_call_is_demanded_of_a_template_that_writes_none_as_json(
    tiny: Build, tokenizer: PreTrainedTokenizerBase, source: str
) -> None:
    chat = LocalChat(tiny("llama", max_position_embeddings=1024), tokenizer, ChatTemplate("scripted", source))
    with pytest.raises(HeedError, match="no calls as JSON"):
        chat.ask(CALLING, Sampling(), call=["weather"])


def test_arguments_that_cannot_be_kept_to_are_refused(tiny: Build, tokenizer: PreTrainedTokenizerBase) -> None:
    chat = LocalChat(tiny("llama", max_position_embeddings=1024), tokenizer, ChatTemplate("scripted", HERMES))
    odd = Request(CALLING.messages, tools=(tool("weather", city={"type": "wizard"}),))
    with pytest.raises(HeedError, match="wizard") as refused:
        chat.ask(odd, Sampling(), call=["weather"])
    assert refused.value.problems[0].where == "tool_choice"
