"""Ids and weights: exact boundaries, prompts as a server makes them."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heedlm.errors import HeedError
from heedlm.messages import Example, Message, Request, Segment
from heedlm.templates.chat import BUILT_IN, ChatTemplate, load_template, stop_ids
from heedlm.tokens.encode import (
    continuation_ids,
    encode,
    encode_example,
    encode_examples,
    encode_prompt,
    encode_prompts,
    text_ids,
)
from heedlm.tokens.proof import prove

from .samples import blank_first_tokenizer, gpt2_tokenizer, learned_text, make_tokenizer, rows

TOKENIZER = make_tokenizer()
GPT2 = gpt2_tokenizer()
BLANK_FIRST = blank_first_tokenizer()


def ids(text: str) -> list[int]:
    return TOKENIZER(text, add_special_tokens=False)["input_ids"]


def test_ids_and_weights_of_the_usual_case():
    encoded = encode(
        TOKENIZER,
        [
            Segment("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n", 0.0, "template"),
            Segment("Paris", 0.5, "assistant"),
            Segment("<|im_end|>", 0.5, "terminator"),
            Segment("\n", 0.0, "template"),
        ],
    )
    assert TOKENIZER.decode(encoded.ids) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nParis<|im_end|>\n"
    assert learned_text(TOKENIZER, encoded) == "Paris<|im_end|>"
    assert {weight for weight, _ in groupby(encoded.weights)} == {0.0, 0.5}


def test_nothing_gives_nothing():
    assert encode(TOKENIZER, []).ids == ()
    assert encode(TOKENIZER, [Segment("", 1.0, "assistant")]).ids == ()
    assert encode_prompts(TOKENIZER, load_template("chatml", TOKENIZER), []) == []
    assert list(encode_examples(load_template("chatml", TOKENIZER), TOKENIZER, [])) == []


def test_where_tokens_would_melt_the_prompt_keeps_its_own_ids():
    prompt, completion = "What is the capital of Fra", "nce? Paris"
    assert ids(prompt + completion)[: len(ids(prompt))] != ids(prompt), "the case must be one where they melt"
    encoded = encode(TOKENIZER, [Segment(prompt, 0.0, "user"), Segment(completion, 1.0, "assistant")])
    assert list(encoded.ids) == ids(prompt) + ids(completion)
    assert learned_text(TOKENIZER, encoded) == completion


def test_a_conversation_whose_second_prompt_would_melt_becomes_one_sequence_per_turn():
    template = load_template("base", TOKENIZER)
    example = Example(
        "row-1",
        (
            Message("user", "What is the capital of Fra"),
            Message("assistant", "nce?"),
            Message("user", "The capital of Fra"),
            Message("assistant", "nce is Paris."),
        ),
        "rows.jsonl:1",
    )
    encoded = encode_example(template, TOKENIZER, example)
    assert [learned_text(TOKENIZER, one) for one in encoded] == ["nce?<|endoftext|>", "nce is Paris.<|endoftext|>"]
    for one, end in zip(encoded, (1, 3), strict=True):
        prompt = encode_prompt(TOKENIZER, template, Request(example.messages[:end]))
        assert one.ids[: len(prompt.ids)] == prompt.ids
        assert one.weights[len(prompt.ids)] > 0
    assert prove(template, TOKENIZER, [example], [encoded]).ok


def test_no_token_is_learned_in_part_where_an_unlearned_turn_follows_at_once():
    encoded = encode(
        TOKENIZER,
        [Segment("a", 0.0, "user"), Segment("The capital of Fra", 1.0, "assistant"), Segment("nce", 0.0, "user")],
    )
    assert learned_text(TOKENIZER, encoded) == "The capital of Fra"


def test_a_prompt_is_text_and_ids_of_messages_or_of_plain_text():
    template = load_template("chatml", TOKENIZER)
    asked = encode_prompt(TOKENIZER, template, Request((Message("user", "hi <|im_end|>"),)))
    assert asked.text == "<|im_start|>user\nhi <|im_end|><|im_end|>\n<|im_start|>assistant\n"
    assert asked.ids.count(TOKENIZER.convert_tokens_to_ids("<|im_end|>")) == 1
    assert TOKENIZER.decode(asked.ids) == asked.text
    assert encode_prompt(TOKENIZER, template, Request(text="hi")) == ("hi", tuple(TOKENIZER("hi")["input_ids"]))
    assert encode_prompt(TOKENIZER, template, Request(text="")) == ("", ())


def test_many_prompts_come_back_in_order():
    template = load_template("chatml", TOKENIZER)
    requests = [
        Request(text="a"),
        Request((Message("user", "b"),)),
        Request(text="c"),
        Request((Message("user", "d"),)),
    ]
    assert encode_prompts(TOKENIZER, template, requests) == [
        encode_prompt(TOKENIZER, template, one) for one in requests
    ]


def test_plain_text_has_the_bos_that_the_tokenizer_writes_once_and_no_end():
    from tokenizers import processors

    tokenizer = make_tokenizer(special=("<s>",), bos_token="<s>")
    bos, eos = tokenizer.convert_tokens_to_ids("<s>"), tokenizer.eos_token_id
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A <|endoftext|>", special_tokens=[("<s>", bos), ("<|endoftext|>", eos)]
    )
    plain = tokenizer("hi", add_special_tokens=False)["input_ids"]
    assert text_ids(tokenizer, "hi") == [bos, *plain]
    assert text_ids(tokenizer, "<s>hi") == [bos, *plain]
    assert text_ids(tokenizer, "hi<|endoftext|>")[-1] == eos
    assert text_ids(tokenizer, "") == [bos]


def test_a_text_that_follows_another_gets_no_blank_of_its_own():
    assert BLANK_FIRST.decode(BLANK_FIRST("Paris", add_special_tokens=False)["input_ids"]) == "Paris"
    before = BLANK_FIRST("a", add_special_tokens=False)["input_ids"]
    for text in ("Paris", " Paris", "ris is", "\n", "\nParis", "is Paris\n"):
        assert BLANK_FIRST.decode(before + continuation_ids(BLANK_FIRST, text)) == "a" + text


def test_every_refused_row_is_named_not_only_the_first():
    template = load_template("base", TOKENIZER)
    examples = rows(*[("a", "b")] * 600, ("", "b"), *[("a", "b")] * 600, ("", "c"))
    with pytest.raises(HeedError) as caught:
        list(encode_examples(template, TOKENIZER, examples))
    assert [problem.where.split(" ")[0] for problem in caught.value.problems] == ["rows.jsonl:601", "rows.jsonl:1202"]


def test_a_long_list_of_refused_rows_is_cut_and_counted():
    with pytest.raises(HeedError) as caught:
        list(encode_examples(load_template("base", TOKENIZER), TOKENIZER, rows(*[("", "b")] * 25)))
    assert len(caught.value.problems) == 21
    assert "5 more" in caught.value.problems[-1].what


def test_many_examples_are_encoded_as_each_alone():
    template = load_template("human_assistant", TOKENIZER)
    examples = rows(*[(f"question {number}", f"answer {number}") for number in range(1030)])
    together = list(encode_examples(template, TOKENIZER, examples))
    assert len(together) == 1030
    for at in (0, 511, 512, 1023, 1024, 1029):
        assert together[at] == encode_example(template, TOKENIZER, examples[at])


PIECES = st.sampled_from(
    ["<|im_end|>", "<|im_start|>user\n", "<|endoftext|>", "<", "|im_end|>", "\n\nHuman:", "\n\n### Instruction:", "Paris",
     " ", "\n", "  \n ", "The capital of Fra", "nce", "é", "e\u0301", "नमस्ते", "क़", "🏳️‍🌈", "\u200d", "\x00", "</s>", "<s>", "1234", "\ufdd0"]
)  # fmt: skip
TEXTS = st.one_of(st.lists(PIECES, max_size=5).map("".join), st.text(max_size=12))


@st.composite
def conversations(draw, min_user: int = 0):
    messages = []
    if draw(st.booleans()):
        messages.append(Message("system", draw(TEXTS)))
    for _ in range(draw(st.integers(1, 3))):
        messages.append(Message("user", "u" * min_user + draw(TEXTS)))
        same = draw(st.booleans())
        content = messages[-1].content if same else draw(TEXTS)
        messages.append(Message("assistant", content, weight=draw(st.sampled_from([None, None, 0.0, 0.5]))))
    if not any(message.role == "assistant" and message.weight != 0.0 for message in messages):
        messages[-1] = Message("assistant", messages[-1].content)
    return Example("row-1", tuple(messages), "rows.jsonl:1")


TOKENIZERS = [("trained", TOKENIZER), ("blank first", BLANK_FIRST), *([("gpt2", GPT2)] if GPT2 else [])]


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("tokenizer", [one for _, one in TOKENIZERS], ids=[label for label, _ in TOKENIZERS])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_for_any_conversation_answers_are_learned_exactly_and_prompts_are_those_of_a_server(name, tokenizer, data):
    template = load_template(name, tokenizer)
    example = data.draw(conversations(min_user=1))
    encoded = encode_example(template, tokenizer, example)
    stops = set(stop_ids(template, tokenizer))
    taught = [
        (index, message)
        for index, message in enumerate(example.messages)
        if message.role == "assistant" and message.weight != 0.0
    ]
    found = []
    for one in encoded:
        start = None
        for at, (token, weight) in enumerate(zip(one.ids, one.weights, strict=True)):
            if weight and start is None:
                start = at
            if start is not None and token in stops:
                found.append((one, start, at + 1))
                start = None
        assert start is None, "a learned run ends in a stop id"
    assert len(found) == len(taught)
    for (index, message), (one, start, end) in zip(taught, found, strict=True):
        prompt = encode_prompt(tokenizer, template, Request(example.messages[:index]))
        assert one.ids[:start] == prompt.ids
        said = tokenizer.decode(one.ids[:end], skip_special_tokens=False)[len(tokenizer.decode(prompt.ids)) :]
        lead = " " if name == "human_assistant" else ""
        stop = tokenizer.decode([one.ids[end - 1]])
        assert said == lead + message.content.replace("\ufdd0", "") + stop
        assert set(one.weights[start:end]) == {1.0 if message.weight is None else message.weight}
    proof = prove(template, tokenizer, [example], [encoded])
    assert proof.ok, proof.failures


def test_padding_by_the_end_token_does_no_harm():
    tokenizer = make_tokenizer(pad_token="<|endoftext|>")
    for name in BUILT_IN:
        template = load_template(name, tokenizer)
        (encoded,) = encode_example(template, tokenizer, rows(("a", "b"))[0])
        assert learned_text(tokenizer, encoded).strip() in ("b<|endoftext|>", "b<|im_end|>")


def test_boundaries_hold_for_a_token_that_swallows_the_white_space_behind_it():
    from tokenizers import AddedToken

    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens(
        {
            "extra_special_tokens": [
                AddedToken("<|end|>", rstrip=True),
                AddedToken("<|assistant|>", rstrip=True),
                "<|user|>",
            ]
        }
    )
    source = (
        "{%- for message in messages %}{{- '<|' + message.role + '|>\\n' + message.content + '<|end|>\\n' }}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<|assistant|>\\n' }}{%- endif %}"
    )
    template = ChatTemplate("swallows", source)
    examples = rows(("hi", "there"), ("hi", "\n there "))
    encoded = list(encode_examples(template, tokenizer, examples))
    proof = prove(template, tokenizer, examples, encoded)
    assert proof.ok, proof.failures
    assert proof.trimmed == 1, "the second answer lost its first blanks to the mark before it"
