"""Tokenizers: trained, loaded, refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.errors import HeedError
from heedlm.tokens.tokenizer import NUM_RESERVED, control_tokens, load_tokenizer, train_tokenizer

from .samples import SENTENCES, make_tokenizer

TOKENIZER = make_tokenizer()


@given(st.text())
def test_any_text_decodes_to_itself(text):
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert TOKENIZER.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) == text


def test_the_same_texts_give_the_same_tokenizer():
    one, other = (train_tokenizer(iter(SENTENCES * 5), 400) for _ in range(2))
    assert one.backend_tokenizer.to_str() == other.backend_tokenizer.to_str()


def test_its_special_tokens_are_four_and_distinct_and_the_end_of_text_opens_a_text_too():
    tokenizer = train_tokenizer(SENTENCES, 300)
    assert list(control_tokens(tokenizer)) == ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]
    assert len(set(control_tokens(tokenizer).values())) == 4
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|endoftext|>", "<|pad|>")
    assert tokenizer.bos_token == tokenizer.eos_token
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    assert tokenizer("a")["input_ids"] == [tokenizer.eos_token_id, *bare]


def test_the_vocabulary_is_no_larger_than_asked_and_one_too_small_is_refused():
    assert len(train_tokenizer(SENTENCES, NUM_RESERVED)) == NUM_RESERVED
    assert len(train_tokenizer(SENTENCES * 30, NUM_RESERVED + 20)) == NUM_RESERVED + 20
    assert len(train_tokenizer([], 1000)) == NUM_RESERVED
    with pytest.raises(HeedError, match="too small"):
        train_tokenizer(SENTENCES, NUM_RESERVED - 1)


def test_figures_are_grouped_by_two_from_the_left():
    tokenizer = train_tokenizer(["12 34 56 5 1234567 12345678"] * 50, 400)
    assert [tokenizer.decode(token) for token in tokenizer("12345", add_special_tokens=False)["input_ids"]] == [
        "12",
        "34",
        "5",
    ]


def test_a_word_of_devanagari_is_one_word_to_the_learner():
    tokenizer = train_tokenizer(["नमस्ते दुनिया"] * 50, 400)
    assert len(tokenizer(" दुनिया", add_special_tokens=False)["input_ids"]) == 1


def test_what_was_saved_is_loaded(tmp_path):
    tokenizer = train_tokenizer(SENTENCES, 300)
    tokenizer.save_pretrained(tmp_path)
    for path in (tmp_path, str(tmp_path)):
        again = load_tokenizer(path)
        assert control_tokens(again) == control_tokens(tokenizer)
        assert again(SENTENCES[0])["input_ids"] == tokenizer(SENTENCES[0])["input_ids"]


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    with pytest.raises(HeedError, match="no tokenizer") as caught:
        load_tokenizer(tmp_path)
    assert caught.value.problems[0].where == str(tmp_path)


def test_a_broken_tokenizer_file_is_refused(tmp_path):
    train_tokenizer(SENTENCES, 300).save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{ not json", encoding="utf-8")
    with pytest.raises(HeedError, match="cannot be loaded"):
        load_tokenizer(tmp_path)


def test_a_missing_folder_and_a_file_are_refused(tmp_path):
    with pytest.raises(HeedError, match="no such model folder"):
        load_tokenizer(tmp_path / "nothing")
    with pytest.raises(HeedError, match="no such model folder"):
        load_tokenizer("./nothing/here")
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(HeedError, match="is a file"):
        load_tokenizer(tmp_path / "model.bin")
