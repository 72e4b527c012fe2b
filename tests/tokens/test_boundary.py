"""What is read off the whole is what the beginnings are alone; what cannot be told is not told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from heedlm.tokens.boundary import read_with_ends, reads_words

LLAMA = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'ll)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'ll)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
OURS = r"'(?:[sdmt]|re|ve|ll)\b| ?[\p{L}\p{M}]+| ?\p{N}{1,2}| ?[^\s\p{L}\p{M}\p{N}]+|\s+(?!\S)|\s+"
TEXTS = [
    "the cat said: it'll be 1234 o'clock\n\n\n",
    "Name: Ann  \n \n ask",
    "AbC dEf ...!? हिन्दी é",
    "<|end|> \t\n<|end|>",
]


def made(*steps: Any, normalizer: Any = None, **model: Any) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with merges across all it was shown, so that a boundary matters."""
    from tokenizers.trainers import BpeTrainer

    backend = Tokenizer(models.BPE(**model))
    backend.pre_tokenizer = pre_tokenizers.Sequence(list(steps))
    backend.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(TEXTS * 30, BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|end|>"]})
    return tokenizer


def split(pattern: str) -> Any:
    return pre_tokenizers.Split(Regex(pattern), "isolated")


BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
TOKENIZERS = {
    "gpt-2": made(pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "llama": made(split(LLAMA), BYTES),
    "ours": made(split(OURS), BYTES),
    "cased": made(split(CASED), BYTES),
    "digits": made(pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)),
}
PIECES = st.sampled_from(
    [
        *"aAbBlL'sx1 23\n\t :.,é",
        "  ",
        "\n\n",
        " \n",
        "\r\n",
        "'ll",
        " the",
        "cat",
        "said",
        "<|end|>",
        "न",
        "्",
        "\u3000",
        "🙂",
    ]
)


def alone(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


@pytest.mark.parametrize("name", TOKENIZERS)
def test_the_usual_byte_level_tokenizers_are_understood(name):
    assert reads_words(TOKENIZERS[name])


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=400)
@given(pieces=st.lists(PIECES, max_size=14), data=st.data())
def test_what_is_told_is_what_the_beginning_is_alone(name, pieces, data):
    tokenizer, text = TOKENIZERS[name], "".join(pieces)
    ends = sorted({*data.draw(st.lists(st.integers(0, len(text)), max_size=3)), len(text)})
    (reading,) = read_with_ends(tokenizer, [text], [ends])
    if reading is not None:
        assert reading.ids == alone(tokenizer, text)
        assert [reading.ids[:count] for count in reading.counts] == [alone(tokenizer, text[:end]) for end in ends]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_the_boundaries_of_chat_formats_are_told(name):
    tokenizer = TOKENIZERS[name]
    for before, after in (
        ("Human: Name a colour.\n\nAssistant:", " Blue."),
        ("<|end|>user\nName a colour.<|end|>\n<|end|>assistant\n", "Blue.<|end|>"),
        ("### Response:\n", "Blue."),
        ("", "Blue."),
    ):
        (reading,) = read_with_ends(tokenizer, [before + after], [[len(before), len(before + after)]])
        assert reading is not None, (name, before)
        assert reading.ids[: reading.counts[0]] == alone(tokenizer, before)


def test_a_word_across_the_boundary_is_not_told():
    for before, after in (("the c", "at"), ("it'", "ll"), ("12", "3"), ("a ", "cat"), ("a \n", "\n b")):
        (reading,) = read_with_ends(TOKENIZERS["llama"], [before + after], [[len(before), len(before + after)]])
        assert reading is None, (before, after)


def test_a_boundary_that_looks_at_the_next_letter_is_seen_through():
    """`'s` before a digit is two words, and one at the end of a text."""
    tokenizer = TOKENIZERS["ours"]
    assert (
        read_with_ends(tokenizer, ["x's5"], [[3, 4]]) == [None]
        or alone(tokenizer, "x's") == alone(tokenizer, "x's5")[:-1]
    )


def test_a_long_word_is_left_to_the_caller():
    (told, left) = read_with_ends(TOKENIZERS["ours"], ["a-" * 90 + " b", "a-" * 110 + " b"], [[180, 182], [220, 222]])
    assert told is not None
    assert left is None


def test_typed_control_tokens_are_left_to_the_caller():
    from heedlm.templates.controls import SEAM

    text = f"a<{SEAM}|end|> b"
    assert read_with_ends(TOKENIZERS["llama"], [text], [[1, len(text)]]) == [None]


@pytest.mark.parametrize(
    "tokenizer",
    [
        made(BYTES, normalizer=normalizers.NFKC()),
        made(pre_tokenizers.ByteLevel(add_prefix_space=True)),
        made(split(r"\p{L}+(?=\s)|."), BYTES),
        made(split(r"(?<=a)b|."), BYTES),
        made(split(r"\w+$|."), BYTES),
        made(pre_tokenizers.Split(Regex(" "), "merged_with_next"), BYTES),
        made(pre_tokenizers.Metaspace()),
    ],
    ids=["normalizer", "blank before", "looks ahead", "looks back", "looks for the end", "merges", "metaspace"],
)
def test_other_tokenizers_are_not_understood(tokenizer):
    assert not reads_words(tokenizer)
    assert read_with_ends(tokenizer, ["a b"], [[1, 3]]) == [None]


def test_dropout_is_not_understood():
    tokenizer = made(BYTES)
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    spec["model"]["dropout"] = 0.1
    assert not reads_words(PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(spec))))
