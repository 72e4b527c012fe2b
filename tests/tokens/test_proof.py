"""The gate before training: it passes what is right, and each planted defect is caught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from heedlm.errors import HeedError
from heedlm.messages import Encoded, Example, Message, ToolCall
from heedlm.templates.chat import ChatTemplate, load_template
from heedlm.tokens.encode import encode_examples
from heedlm.tokens.proof import prove, require

from .samples import SENTENCES, gpt2_tokenizer, make_tokenizer, rows

TOKENIZER = make_tokenizer()
CHATML = load_template("chatml", TOKENIZER)
ROWS = rows(("What is the capital of France?", "Paris."), ("And of Italy?", "Rome."), ("Say Paris.", "Paris."))
END = TOKENIZER.convert_tokens_to_ids("<|im_end|>")


def encoded(template=CHATML, tokenizer=TOKENIZER, examples=ROWS, **kwargs) -> list[list[Encoded]]:
    return list(encode_examples(template, tokenizer, examples, **kwargs))


def test_what_is_right_passes_and_is_counted():
    ids = encoded()
    proof = prove(CHATML, TOKENIZER, ROWS, ids)
    assert proof.ok
    assert (proof.rows, proof.sequences, proof.stopped, proof.stop_share) == (3, 3, 3, 1.0)
    assert proof.tokens == sum(len(one.ids) for (one,) in ids)
    assert proof.learned_tokens == sum(sum(weight > 0 for weight in one.weights) for (one,) in ids)
    assert (proof.sanitized, proof.trimmed, proof.led) == (0, 0, 0)
    require(proof)


def test_no_rows_are_no_failure():
    proof = prove(CHATML, TOKENIZER, [], [])
    assert (proof.ok, proof.rows, proof.stop_share) == (True, 0, 1.0)


def shifted(one: Encoded) -> Encoded:
    return Encoded(one.ids, (*one.weights[1:], 0.0))


def shifted_right(one: Encoded) -> Encoded:
    return Encoded(one.ids, (0.0, *one.weights[:-1]))


def end_missing(one: Encoded) -> Encoded:
    kept = [
        (token, weight) for token, weight in zip(one.ids, one.weights, strict=True) if not (token == END and weight)
    ]
    return Encoded(tuple(token for token, _ in kept), tuple(weight for _, weight in kept))


def end_masked(one: Encoded) -> Encoded:
    weights = [0.0 if token == END else weight for token, weight in zip(one.ids, one.weights, strict=True)]
    return Encoded(one.ids, tuple(weights))


def nothing_learned(one: Encoded) -> Encoded:
    return Encoded(one.ids, (0.0,) * len(one.ids))


def everything_learned(one: Encoded) -> Encoded:
    return Encoded(one.ids, (1.0,) * len(one.ids))


def other_prompt(one: Encoded) -> Encoded:
    return Encoded((one.ids[0], one.ids[1] + 1, *one.ids[2:]), one.weights)


def longer_prompt(one: Encoded) -> Encoded:
    return Encoded((one.ids[0], *one.ids), (0.0, *one.weights))


def half_learned(one: Encoded) -> Encoded:
    at = one.weights.index(1.0) + 1
    return Encoded(one.ids, (*one.weights[:at], 0.0, *one.weights[at + 1 :]))


def other_weight(one: Encoded) -> Encoded:
    return Encoded(one.ids, tuple(weight / 2 for weight in one.weights))


def uneven_weight(one: Encoded) -> Encoded:
    at = one.weights.index(1.0)
    return Encoded(one.ids, (*one.weights[:at], 0.5, *one.weights[at + 1 :]))


def other_answer(one: Encoded) -> Encoded:
    at = one.weights.index(1.0)
    return Encoded((*one.ids[:at], one.ids[at] + 1, *one.ids[at + 1 :]), one.weights)


def answer_cut(one: Encoded) -> Encoded:
    at = one.weights.index(1.0)
    return Encoded(one.ids[: at + 1], one.weights[: at + 1])


def newline_learned(one: Encoded) -> Encoded:
    return Encoded(one.ids, (*one.weights[:-1], 1.0))


@pytest.mark.parametrize(
    ("defect", "told"),
    [
        (shifted, "learning starts at token"),
        (shifted_right, "differ in number"),
        (end_missing, "not a stop id"),
        (end_masked, "not a stop id"),
        (nothing_learned, "0 runs for 1 answers"),
        (everything_learned, "differ in number"),
        (other_prompt, "is not the one that a server sends, from token 1"),
        (longer_prompt, "is not the one that a server sends"),
        (half_learned, "differ in number"),
        (other_weight, "not learned with its weight 1"),
        (uneven_weight, "not learned with its weight 1"),
        (other_answer, "but the answer is"),
        (answer_cut, "not a stop id"),
        (newline_learned, "differ in number"),
    ],
)
def test_each_defect_is_caught_in_the_row_that_has_it(defect: Callable[[Encoded], Encoded], told: str):
    ids = encoded()
    ids[1] = [defect(one) for one in ids[1]]
    proof = prove(CHATML, TOKENIZER, ROWS, ids)
    assert told in " ".join(problem.what for problem in proof.failures)
    assert {problem.where.split(" ")[0] for problem in proof.failures} == {"rows.jsonl:2"}
    assert all(problem.mend for problem in proof.failures)
    with pytest.raises(HeedError):
        require(proof)


def test_a_row_without_a_stop_is_not_counted_as_stopped():
    ids = encoded()
    ids[0] = [end_masked(one) for one in ids[0]]
    ids[2] = [nothing_learned(one) for one in ids[2]]
    proof = prove(CHATML, TOKENIZER, ROWS, ids)
    assert proof.stopped == 1
    assert proof.stop_share == pytest.approx(1 / 3)


def test_ids_of_another_row_are_caught_even_where_the_answer_is_the_same():
    ids = encoded()
    ids[0], ids[2] = ids[2], ids[0]
    proof = prove(CHATML, TOKENIZER, ROWS, ids)
    assert [problem.where.split(" ")[0] for problem in proof.failures if "server sends" in problem.what] == [
        "rows.jsonl:1",
        "rows.jsonl:3",
    ]


def test_a_sequence_too_many_and_one_too_few_are_caught():
    ids = encoded()
    assert not prove(CHATML, TOKENIZER, ROWS, [ids[0] * 2, ids[1], ids[2]]).ok
    assert not prove(CHATML, TOKENIZER, ROWS, [[], ids[1], ids[2]]).ok


def test_two_bos_tokens_are_caught_whoever_wrote_them():
    tokenizer = make_tokenizer(special=("<s>",), bos_token="<s>")
    bos = tokenizer.convert_tokens_to_ids("<s>")
    once = ChatTemplate("once", "{{- bos_token }}" + CHATML.source)
    ids = encoded(once, tokenizer)
    assert prove(once, tokenizer, ROWS, ids).ok
    doubled = [[Encoded((bos, *one.ids), (0.0, *one.weights)) for one in group] for group in ids]
    told = [problem.what for problem in prove(once, tokenizer, ROWS, doubled).failures]
    assert sum("two BOS tokens" in what for what in told) == 3
    twice = ChatTemplate("twice", "{{- bos_token + bos_token }}" + CHATML.source)
    assert "two BOS tokens" in prove(twice, tokenizer, ROWS, encoded(twice, tokenizer)).failures[0].what
    inside = [
        [Encoded((*one.ids[:4], bos, *one.ids[4:]), (*one.weights[:4], 0.0, *one.weights[4:])) for one in group]
        for group in ids
    ]
    told = [problem.what for problem in prove(once, tokenizer, ROWS, inside).failures]
    assert any("stands inside the sequence, at token 4" in what for what in told)


def test_a_bos_that_opens_each_turn_behind_the_end_of_the_last_is_no_defect():
    tokenizer = make_tokenizer(special=("<s>", "</s>"), bos_token="<s>", eos_token="</s>")
    source = (
        "{%- for message in messages %}{%- if message.role == 'user' %}{{- bos_token + '[INST] ' + message.content + ' [/INST]' }}"
        "{%- else %}{{- ' ' + message.content + ' ' + eos_token }}{%- endif %}{%- endfor %}"
    )
    template = ChatTemplate("per turn", source)
    example = Example("row-1", (*ROWS[0].messages, *ROWS[1].messages), "rows.jsonl:1")
    proof = prove(template, tokenizer, [example], encoded(template, tokenizer, [example]))
    assert proof.ok, proof.failures


def test_gpt2_whose_bos_is_its_eos_passes():
    tokenizer = gpt2_tokenizer()
    if tokenizer is None:
        pytest.skip("HEED_PUBLIC_DATA is not set")
    for name in ("chatml", "human_assistant", "alpaca", "base"):
        template = load_template(name, tokenizer)
        example = Example("row-1", (*ROWS[0].messages, *ROWS[1].messages), "rows.jsonl:1")
        examples = [example, *ROWS]
        proof = prove(template, tokenizer, examples, encoded(template, tokenizer, examples))
        assert proof.ok, proof.failures
        assert proof.stop_share == 1.0


def test_typed_control_tokens_are_counted_and_one_that_got_through_is_caught():
    examples = rows(("Say <|im_end|>", "<|im_end|> it is"))
    ids = encoded(examples=examples)
    proof = prove(CHATML, TOKENIZER, examples, ids)
    assert proof.ok, proof.failures
    assert proof.sanitized == 2
    (one,) = ids[0]
    naive = TOKENIZER(TOKENIZER.decode(one.ids), add_special_tokens=False)["input_ids"]
    start = len(naive) - list(reversed(naive)).index(END) - 3
    leaked = Encoded(tuple(naive), (0.0,) * start + (1.0,) * (len(naive) - 1 - start) + (0.0,))
    proof = prove(CHATML, TOKENIZER, examples, [[leaked]])
    assert not proof.ok


def test_a_tokenizer_that_makes_control_tokens_of_other_spellings_is_caught():
    from tokenizers import AddedToken, normalizers

    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.add_special_tokens({"extra_special_tokens": [AddedToken("<|stop|>", normalized=True)]})
    template = ChatTemplate("lower", CHATML.source.replace("<|im_end|>", "<|stop|>"))
    examples = rows(("say stop", "no"), ("say <|STOP|>", "no"))
    proof = prove(template, tokenizer, examples, encoded(template, tokenizer, examples))
    assert [problem.what for problem in proof.failures] == ["A control token that somebody typed became one."]
    assert proof.failures[0].where.startswith("rows.jsonl:2")


def test_a_system_text_that_the_template_drops_is_caught():
    source = CHATML.source.replace(
        "{%- for message in messages %}", "{%- for message in messages if message.role != 'system' %}"
    )
    template = ChatTemplate("drops", source)
    example = Example("row-1", (Message("system", "Rule."), *ROWS[0].messages), "rows.jsonl:1")
    proof = prove(template, TOKENIZER, [example], encoded(template, TOKENIZER, [example]))
    assert "does not render a system text: 'Rule.'" in proof.failures[0].what


def test_tools_that_the_template_drops_are_caught():
    template = ChatTemplate("drops", CHATML.source.replace("{%- if tools %}", "{%- if false %}"))
    tool = {"type": "function", "function": {"name": "weather", "parameters": {}}}
    examples = [replace(ROWS[0], tools=(tool,))]
    assert prove(CHATML, TOKENIZER, examples, encoded(examples=examples)).ok
    proof = prove(template, TOKENIZER, examples, encoded(template, TOKENIZER, examples))
    assert "does not render a tool: 'weather'" in proof.failures[0].what


def test_reasoning_and_tool_calls_are_proved_and_their_loss_is_caught():
    call = ToolCall("weather", {"city": 'the "old" Bonn'}, id="abcdefghi")
    example = Example(
        "row-1",
        (
            Message("user", "Weather?"),
            Message("assistant", "I look.", reasoning="A tool knows.", tool_calls=(call,)),
            Message("tool", "sunny", tool_call_id="abcdefghi"),
            Message("assistant", "Sunny.", reasoning="It said so."),
        ),
        "rows.jsonl:1",
    )
    for learn in (True, False):
        ids = encoded(examples=[example], learn_reasoning=learn)
        proof = prove(CHATML, TOKENIZER, [example], ids, learn_reasoning=learn)
        assert proof.ok, proof.failures
        assert not prove(CHATML, TOKENIZER, [example], ids, learn_reasoning=not learn).ok
    for changed in (
        replace(example.messages[1], tool_calls=(replace(call, arguments={"city": "Köln"}),)),
        replace(example.messages[1], tool_calls=(replace(call, name="climate"),)),
        replace(example.messages[3], reasoning="It did not."),
    ):
        at = 1 if changed.tool_calls else 3
        messages = (*example.messages[:at], changed, *example.messages[at + 1 :])
        other = replace(example, messages=messages)
        assert not prove(CHATML, TOKENIZER, [other], encoded(examples=[example])).ok


def test_a_vocabulary_that_cannot_spell_the_answer_is_caught():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(["<unk>", "<end>", "a", "b"])}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", unk_token="<unk>")
    template = ChatTemplate(
        "bare",
        "{%- for m in messages %}{{- m.content }}{%- if m.role == 'assistant' %}{{- eos_token }}{%- endif %}{%- endfor %}",
    )
    examples = rows(("a", "b"), ("a", "ж"))
    proof = prove(template, tokenizer, examples, encoded(template, tokenizer, examples))
    assert [problem.where.split(" ")[0] for problem in proof.failures] == ["rows.jsonl:2"]
    assert "cannot spell" in proof.failures[0].mend


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_a_tokenizer_that_normalises_text_passes(form):
    from tokenizers import normalizers

    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.normalizer = getattr(normalizers, form)()
    examples = rows(("e\u0301 क़ ①", "e\u0301 क़ " + ("①" if form == "NFKC" else "1")))
    proof = prove(CHATML, tokenizer, examples, encoded(CHATML, tokenizer, examples))
    assert proof.ok, proof.failures


def test_a_long_list_of_failures_is_cut_and_counted():
    examples = rows(*[("a", "b")] * 30)
    ids = [[nothing_learned(one) for one in group] for group in encoded(examples=examples)]
    with pytest.raises(HeedError) as caught:
        require(prove(CHATML, TOKENIZER, examples, ids))
    assert len(caught.value.problems) == 21
    assert "10 more" in caught.value.problems[-1].what


def test_five_thousand_rows_take_seconds():
    import time

    examples = rows(*[(SENTENCES[number % 5] + f" {number}", f"Answer number {number}.") for number in range(5000)])
    begun = time.process_time()
    proof = prove(CHATML, TOKENIZER, examples, encoded(examples=examples))
    assert proof.ok
    assert time.process_time() - begun < 30, "about 4 s of processor time on the machine this was written on"
