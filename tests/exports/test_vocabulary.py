"""The tokenizer of a GGUF file: the same ids as the tokenizer that it was made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from heedlm.errors import HeedError
from heedlm.exports.parity import compare_ids
from heedlm.exports.prompts import conversations
from heedlm.exports.readings import (
    CONTROL,
    UNUSED,
    USER_DEFINED,
    Vocabulary,
    merge_pieces,
    prompt_ids,
    reading,
)
from heedlm.exports.source import Source
from heedlm.exports.vocabulary import vocabulary_of
from tests.exports.makers import THEIR_SPLITS, VOCABULARY, bytes_tokenizer, pieces_tokenizer, saved

ROWS = VOCABULARY + 32


@pytest.mark.parametrize("split", sorted(THEIR_SPLITS))
def test_the_split_of_a_family_is_found_and_reads_as_it_does(split: str, tmp_path: Path) -> None:
    source = saved(tmp_path, bytes_tokenizer(split))
    told = conversations(source, 24)
    vocabulary, _ = vocabulary_of(source, ROWS, told)
    assert vocabulary.pre == split
    read = reading(vocabulary)
    if split == "tekken":  # llama.cpp's own words for it part a letter and its loose accent
        told = [one for one in told if "हिन्दी" not in one.text]
    parity = compare_ids(source, told, lambda one: prompt_ids(vocabulary, read, one.text))
    assert parity.passed, parity.first


def test_kinds_ends_and_rows_without_a_token(tmp_path: Path) -> None:
    source = saved(tmp_path, bytes_tokenizer("qwen2"))
    vocabulary, notes = vocabulary_of(source, ROWS, conversations(source, 6))
    kinds = dict(zip(vocabulary.tokens, vocabulary.kinds, strict=True))
    assert len(kinds) == ROWS, "every token has a text of its own"
    assert (kinds["<|im_start|>"], kinds["<think>"], kinds[f"[PAD{ROWS - 1}]"]) == (CONTROL, USER_DEFINED, UNUSED)
    texts = [vocabulary.tokens[end] for end in vocabulary.ends]
    assert texts == ["<|endoftext|>", "<|im_end|>"], "llama.cpp stops where the template stops"
    assert not vocabulary.add_bos
    assert not notes


@pytest.mark.parametrize("space", [True, False])
def test_sentencepiece_is_merged_by_scores(space: bool, tmp_path: Path) -> None:
    source = saved(tmp_path, pieces_tokenizer(space), template="human_assistant")
    told = conversations(source, 24)
    vocabulary, _ = vocabulary_of(source, ROWS, told)
    assert (vocabulary.model, vocabulary.add_space, vocabulary.add_bos) == ("llama", space, True)
    read = reading(vocabulary)
    parity = compare_ids(source, told, lambda one: prompt_ids(vocabulary, read, one.text))
    assert parity.passed, parity.first


PIECES = pieces_tokenizer()


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.one_of(st.sampled_from("aeinrst hW.é東\n\t0"), st.characters(codec="utf-8")), max_size=30))
def test_merging_pieces_reads_any_text_as_the_tokenizer_does(text: str) -> None:
    import json

    merges = [tuple(merge) for merge in json.loads(PIECES.backend_tokenizer.to_str())["model"]["merges"]]
    places = PIECES.get_vocab()
    ranks = {first + second: rank for rank, (first, second) in reversed(list(enumerate(merges)))}
    tokens = sorted(places, key=lambda token: places[token])
    scores = [-float(ranks.get(token, len(merges))) for token in tokens]
    known = PIECES(text, add_special_tokens=False)["input_ids"]
    if any(token in text for token in ("<s>", "</s>", "<unk>")) or not text:
        return
    assert merge_pieces(("▁" + text).replace(" ", "▁"), places, scores) == known


def test_a_bos_that_the_template_does_not_write_is_not_added(tmp_path: Path) -> None:
    source = saved(tmp_path, pieces_tokenizer(), template="human_assistant")
    bare = replace(
        source, template=replace(source.template, source=source.template.source.replace("{{- bos_token }}", ""))
    )
    vocabulary, notes = vocabulary_of(bare, ROWS, conversations(bare, 6))
    assert not vocabulary.add_bos
    assert "writes no BOS" in notes[0]


def test_a_bos_that_both_write_stands_once() -> None:
    vocabulary = Vocabulary("gpt2", "gpt-2", ("<s>", "a"), (CONTROL, 1), bos=0, add_bos=True)
    assert prompt_ids(vocabulary, reading(vocabulary), "<s>aa") == [0, 1, 1]
    assert prompt_ids(vocabulary, reading(vocabulary), "aa") == [0, 1, 1]
    without = Vocabulary("gpt2", "gpt-2", ("<s>", "a"), (CONTROL, 1), bos=0, add_bos=False)
    assert prompt_ids(without, reading(without), "<s>aa") == [0, 1, 1]


def test_a_split_that_llama_cpp_has_not_is_told(tmp_path: Path) -> None:
    """Two figures at a time: no runtime of llama.cpp reads so, and the parity test must not pass."""
    from heedlm.tokens.tokenizer import train_tokenizer
    from tests.families import TEXTS

    source = saved(tmp_path, train_tokenizer(TEXTS + ["12 34 56 78 1234 5678 90"] * 9, VOCABULARY))
    told = conversations(source, 24)
    vocabulary, _ = vocabulary_of(source, ROWS, told)
    read = reading(vocabulary)
    parity = compare_ids(source, told, lambda one: prompt_ids(vocabulary, read, one.text))
    assert not parity.passed
    assert 0 < parity.same < parity.prompts
    assert "the source reads" in parity.first


def test_what_is_no_bpe_is_refused(tmp_path: Path) -> None:
    backend = Tokenizer(models.WordLevel({"a": 0, "<eos>": 1, "<unk>": 2}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", unk_token="<unk>")
    source = saved(tmp_path / "model", bytes_tokenizer("qwen2"))
    odd = Source("odd", "odd", None, {}, tokenizer, source.template, (1,))
    with pytest.raises(HeedError, match="WordLevel"):
        vocabulary_of(odd, 3, [])
