"""A model on this machine through the `Chat` protocol: stops, streaming, reasoning, errors, scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from heedlm.errors import HeedError
from heedlm.generate.chat import LocalChat, load_chat
from heedlm.messages import Chat, Message, Request, Sampling
from heedlm.templates.chat import BUILT_IN, load_template
from heedlm.templates.probe import habits

Build = Callable[..., PreTrainedModel]
ASK = Request(messages=(Message("user", "What is the capital of France?"),))
THINKING = """{% for m in messages %}<|im_start|>{{ m.role }}
{% if m.role == 'assistant' and m.reasoning_content %}<think>
{{ m.reasoning_content }}
</think>

{% endif %}{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is defined and not enable_thinking %}<think>

</think>

{% endif %}{% endif %}"""


class Parrot(LlamaForCausalLM):
    """A real model with a real cache whose next token is taken from a script, by position."""

    script: dict[int, int]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        out = super().forward(*args, **kwargs)
        for row, place in enumerate(kwargs["position_ids"].expand(len(kwargs["input_ids"]), -1)[:, -1].tolist()):
            out.logits[row, -1, self.script.get(place, 0)] = 1e4
        return out

    forward.__wrapped__ = LlamaForCausalLM.forward  # the engine asks the signature what a model can be given


Say = Callable[..., LocalChat]


@pytest.fixture(scope="module")
def llama(tiny: Build) -> PreTrainedModel:
    return tiny("llama", max_position_embeddings=512)


@pytest.fixture
def saying(llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Say:
    """A chat whose model says `text` and then `end` to `request`."""

    def make(
        text: str | Sequence[int], request: Request = ASK, template: str = "chatml", end: str | None = None
    ) -> LocalChat:
        model = Parrot(llama.config).eval()
        chat = LocalChat(model, tokenizer, load_template(template, tokenizer))
        ids = tokenizer.encode(text, add_special_tokens=False) if isinstance(text, str) else list(text)
        ends = [tokenizer.convert_tokens_to_ids(end or "<|im_end|>")]
        start = len(chat.render(request).ids) - 1
        model.script = dict(enumerate([*ids, *ends], start))
        return chat

    return make


def heard_and_replied(chat: Chat, request: Request = ASK, **sampling: Any) -> tuple[list[str], Any]:
    pieces: list[str] = []
    reply = chat.reply([request], Sampling(**sampling), on_text=lambda _, piece: pieces.append(piece))[0]
    quiet = chat.reply([request], Sampling(**sampling))[0]
    assert quiet == reply, "listening must not change the reply"
    assert "".join(pieces) == reply.text
    return pieces, reply


def test_a_reply_has_text_ids_logprobs_and_what_the_model_saw(saying: Say, tokenizer: PreTrainedTokenizerBase) -> None:
    chat = saying("Paris is the capital.")
    pieces, reply = heard_and_replied(chat)
    assert (reply.text, reply.stop_reason) == ("Paris is the capital.", "stop")
    assert tokenizer.decode(reply.ids) == "Paris is the capital.<|im_end|>"
    assert len(reply.logprobs) == len(reply.ids)
    assert (
        reply.prompt
        == "<|endoftext|><|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert len(pieces) > 3


@pytest.mark.parametrize("name", BUILT_IN)
def test_an_answer_comes_back_as_it_was_taught(saying: Say, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    template = load_template(name, tokenizer)
    chat = saying(habits(template, tokenizer).lead + "Paris\n", template=name, end="<|endoftext|>")
    assert heard_and_replied(chat)[1].text == "Paris\n"


@settings(max_examples=40, deadline=None)
@given(
    text=st.text(st.sampled_from("aH \nपानी🙂東é:"), min_size=1, max_size=12),
    stop=st.sampled_from(["a", " प", "🙂", "\n\n"]),
)
def test_the_text_ends_exactly_before_the_stop_text(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str, stop: str
) -> None:
    model = Parrot(llama.config).eval()
    chat = LocalChat(model, tokenizer, load_template("chatml", tokenizer))
    request = Request(text="Go on:")
    ids = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.convert_tokens_to_ids("<|endoftext|>")]
    model.script = dict(enumerate(ids, len(chat.render(request).ids) - 1))
    pieces, reply = heard_and_replied(chat, request, stop=(stop,))
    assert reply.text == text.split(stop)[0]
    assert reply.stop_reason == "stop"
    assert all("\ufffd" not in piece for piece in pieces)


def test_several_answers_stream_side_by_side(llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    chat = LocalChat(llama, tokenizer, load_template("human_assistant", tokenizer), batch_size=2)
    requests = [Request(text="a" * size) for size in (5, 1, 9)]
    heard = dict.fromkeys(range(3), "")

    def hear(index: int, piece: str) -> None:
        heard[index] += piece

    replies = chat.reply(requests, Sampling(max_tokens=12), on_text=hear)
    assert heard == {index: reply.text for index, reply in enumerate(replies)}
    assert [reply.ids for reply in replies] == [reply.ids for reply in chat.reply(requests, Sampling(max_tokens=12))]


def test_a_soft_format_stops_where_the_next_turn_opens(saying: Say) -> None:
    chat = saying(" Paris.\n\nHuman: And of Spain?", template="human_assistant")
    _, reply = heard_and_replied(chat)
    assert (reply.text, reply.stop_reason) == ("Paris.", "stop")


def test_a_stop_text_that_is_a_special_token_stops(saying: Say) -> None:
    chat = saying("one<|im_start|>two")
    assert heard_and_replied(chat)[1].text == "onetwo"
    assert heard_and_replied(chat, stop=("<|im_start|>",))[1].text == "one"


def test_a_plain_continuation_keeps_its_blank(saying: Say) -> None:
    request = Request(text="The capital of France is")
    chat = saying(" Paris", request, end="<|endoftext|>")
    _, reply = heard_and_replied(chat, request)
    assert (reply.text, reply.prompt) == (" Paris", "The capital of France is")


def test_an_answer_that_is_cut_says_so(saying: Say) -> None:
    _, reply = heard_and_replied(saying("Paris is the capital."), max_tokens=2)
    assert reply.stop_reason == "length"
    assert len(reply.ids) == 2
    assert "Paris is the capital.".startswith(reply.text)


@pytest.fixture
def thinking(tmp_path: Path) -> str:
    path = tmp_path / "thinking.jinja"
    path.write_text(THINKING, encoding="utf-8")
    return str(path)


def test_reasoning_is_kept_apart(saying: Say, thinking: str) -> None:
    _, reply = heard_and_replied(saying("<think>\nEasy.\n</think>\n\nParis", template=thinking))
    assert (reply.reasoning, reply.text) == ("Easy.", "Paris")
    _, reply = heard_and_replied(saying("Paris", template=thinking))
    assert (reply.reasoning, reply.text) == (None, "Paris")


def test_reasoning_that_the_prompt_has_closed_is_not_looked_for(saying: Say, thinking: str) -> None:
    ask = Request(messages=ASK.messages, template_kwargs={"enable_thinking": False})
    _, reply = heard_and_replied(saying("Paris", ask, template=thinking), ask)
    assert (reply.reasoning, reply.text) == (None, "Paris")
    assert reply.prompt.endswith("<think>\n\n</think>\n\n")


def test_reasoning_that_the_prompt_has_opened_is_found(saying: Say, tmp_path: Path) -> None:
    path = tmp_path / "opened.jinja"
    path.write_text(THINKING.replace("{% if enable_thinking is defined and not", "<think>\n{% if false and"), "utf-8")
    _, reply = heard_and_replied(saying("Easy.\n</think>\n\nParis", template=str(path)))
    assert (reply.reasoning, reply.text) == ("Easy.", "Paris")


def test_one_bad_request_does_not_harm_the_others(llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    chat = LocalChat(llama, tokenizer, load_template("chatml", tokenizer))
    long = Request(text="a b " * 400)
    refused = Request(messages=(Message("user", "hi"), Message("tool", "hm", tool_call_id="1")), tools=({"bad": 1},))
    replies = chat.reply([ASK, long, ASK], Sampling(max_tokens=4))
    assert [reply.stop_reason for reply in replies] == ["length", "error", "length"]
    tokens = len(chat.render(long).ids)
    assert f"{tokens:,} tokens" in replies[1].text
    assert "512" in replies[1].text
    # The third sits at place 2: under temperature 0 its place does not matter.
    assert replies[0].ids == replies[2].ids
    assert len(chat.reply([refused], Sampling(max_tokens=1))) == 1


def test_equal_requests_differ_under_a_temperature_and_return_with_the_seed(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    chat = LocalChat(llama, tokenizer, load_template("chatml", tokenizer))
    hot = Sampling(max_tokens=8, temperature=1.5, seed=4)
    first, again = chat.reply([ASK, ASK], hot), chat.reply([ASK, ASK], hot)
    assert first == again
    assert first[0].ids != first[1].ids
    assert chat.reply([ASK], hot)[0].ids == first[0].ids


def test_no_requests_no_replies(llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    chat = LocalChat(llama, tokenizer, load_template("chatml", tokenizer))
    assert chat.reply([], Sampling()) == []
    assert chat.score([], []) == []


def test_an_interrupt_leaves_the_model_as_it_was(llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    chat = LocalChat(llama, tokenizer, load_template("chatml", tokenizer))

    def interrupt(index: int, piece: str) -> None:
        raise KeyboardInterrupt

    before = chat.reply([ASK], Sampling(max_tokens=4))
    with pytest.raises(KeyboardInterrupt):
        chat.reply([ASK], Sampling(max_tokens=30), on_text=interrupt)
    assert torch.is_grad_enabled()
    assert chat.reply([ASK], Sampling(max_tokens=4)) == before


def test_the_score_of_a_greedy_reply_is_its_logprobs(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    chat = LocalChat(llama, tokenizer, load_template("chatml", tokenizer))
    request = Request(text="The capital")
    words = " of France is Paris"
    scores = chat.score([request, request], [words, " of"])
    ids = tokenizer.encode("The capital" + words)
    with torch.no_grad():
        expected = llama(torch.tensor([ids])).logits[0].log_softmax(-1)
    start = len(tokenizer.encode("The capital"))
    assert scores[0] == pytest.approx([float(expected[at - 1, ids[at]]) for at in range(start, len(ids))], abs=1e-4)
    assert scores[1] == pytest.approx(scores[0][: len(scores[1])], abs=1e-4)


@pytest.mark.parametrize("name", BUILT_IN)
def test_an_answer_is_scored_as_the_template_writes_it(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str
) -> None:
    from heedlm.messages import Example
    from heedlm.tokens.encode import encode_example

    template = load_template(name, tokenizer)
    chat = LocalChat(llama, tokenizer, template)
    example = Example("x", (*ASK.messages, Message("assistant", "Paris 🙂")), source="here:1")
    encoded = encode_example(template, tokenizer, example)[0]
    learned = [token for token, weight in zip(encoded.ids, encoded.weights, strict=True) if weight > 0]
    with torch.no_grad():
        logprobs = llama(torch.tensor([encoded.ids])).logits[0].log_softmax(-1)
    start = len(chat.render(ASK).ids)
    count = len(learned) - 1  # the terminator is not part of the answer
    expected = [float(logprobs[start - 1 + at, learned[at]]) for at in range(count)]
    assert chat.score([ASK], ["Paris 🙂"])[0][:count] == pytest.approx(expected, abs=1e-4)


def test_the_first_token_of_a_text_is_scored_behind_the_token_that_opens_texts(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    chat = LocalChat(llama, tokenizer, load_template("chatml", tokenizer))
    ids = tokenizer.encode("Paris is")
    scores = chat.score([Request(text="")], ["Paris is"])[0]
    assert len(scores) == len(ids)
    with torch.no_grad():
        logprobs = llama(torch.tensor([[tokenizer.eos_token_id, *ids]])).logits[0].log_softmax(-1)
    assert scores == pytest.approx([float(logprobs[at, token]) for at, token in enumerate(ids)], abs=1e-4)
    assert all(math.isfinite(score) for score in scores)
    assert chat.score([Request(text=""), ASK], ["", ""]) == [[], []]


def test_a_text_longer_than_the_context_is_scored_whole(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    chat = LocalChat(llama, tokenizer, load_template("chatml", tokenizer))
    text = "Paris is the capital of France. " * 90
    assert len(chat.score([Request(text="")], [text])[0]) == len(tokenizer.encode(text)) > 512


def test_a_saved_folder_becomes_a_chat(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    folder = tmp_path / "parrot"
    llama.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    chat = load_chat(folder, "chatml", device="cpu")
    assert chat.name == "parrot"
    assert next(chat.model.parameters()).dtype == torch.float32
    expected = LocalChat(llama, tokenizer, load_template("chatml", tokenizer)).reply([ASK], Sampling(max_tokens=6))
    assert chat.reply([ASK], Sampling(max_tokens=6))[0].ids == expected[0].ids


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "everything"])
def test_a_folder_without_a_model_is_refused(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, missing: str
) -> None:
    folder = tmp_path / "model"
    if missing != "everything":
        llama.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / missing).unlink()
    with pytest.raises(HeedError) as error:
        load_chat(folder)
    assert str(folder) in str(error.value)


def test_weights_in_another_format_than_safetensors_are_refused(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    llama.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(llama.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(HeedError, match="safetensors only"):
        load_chat(tmp_path)
