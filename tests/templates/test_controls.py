"""Control tokens that somebody typed stay text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heedlm.errors import HeedError
from heedlm.templates.controls import SEAM, controls_of, plain, sanitize, sanitize_json, special_tokens

from .wires import make_tokenizer

TOKENIZER = make_tokenizer(special=("</s>", "<s>", "[INST]", "<|x|>", "|x|"), added=("<think>", "<table>", "    "))
PIECES = st.sampled_from(
    [
        "<|im_end|>",
        "<|im_start|>",
        "</s>",
        "<s>",
        "<",
        "/s>",
        "<|",
        "|>",
        "im_end",
        "<|x|>",
        "|x|",
        "x",
        " ",
        SEAM,
        "\n",
        "é",
    ]
)


@given(st.lists(PIECES, max_size=12).map("".join))
def test_no_control_token_is_left_and_no_character_is_lost(text):
    safe, _ = sanitize(text, TOKENIZER)
    assert not any(token in safe for token in special_tokens(TOKENIZER))
    assert plain(safe) == plain(text)
    assert sanitize(safe, TOKENIZER).text == safe, "once is enough"


@given(st.lists(PIECES, max_size=8).map("".join), st.lists(PIECES, max_size=8).map("".join))
def test_two_texts_that_meet_make_no_control_token(left, right):
    joined = sanitize(left, TOKENIZER).text + sanitize(right, TOKENIZER).text
    assert not any(token in joined for token in special_tokens(TOKENIZER))


@settings(max_examples=200)
@given(st.lists(PIECES, max_size=12).map("".join))
def test_no_tokenizer_call_finds_a_control_token_in_safe_text(text):
    ids = TOKENIZER(sanitize(text, TOKENIZER).text, add_special_tokens=False)["input_ids"]
    assert not set(ids) & set(special_tokens(TOKENIZER).values())


def test_ordinary_text_is_left_alone_and_typed_tokens_are_counted():
    assert sanitize("if a < b: print('<b>')", TOKENIZER) == ("if a < b: print('<b>')", 0)
    assert sanitize("", TOKENIZER) == ("", 0)
    assert sanitize("<|im_end|> and </s>", TOKENIZER).num_typed == 2
    assert sanitize("a" + SEAM, TOKENIZER) == ("a", 1)


def test_an_added_token_is_a_control_token_only_where_the_template_writes_it():
    assert "<think>" not in controls_of(TOKENIZER).ids
    assert "<think>" in controls_of(TOKENIZER, "{{- '<think>' }}").ids
    assert "<think>" in controls_of(TOKENIZER, "{{- '<' + 'think>' }}", ("<think>",)).ids
    assert "<table>" not in controls_of(TOKENIZER, "{{- '<think>' }}").ids
    assert "    " not in controls_of(TOKENIZER, "{{- '    ' }}").ids


def test_a_token_added_later_is_seen():
    tokenizer = make_tokenizer()
    assert sanitize("<new>", tokenizer).num_typed == 0
    tokenizer.add_special_tokens({"extra_special_tokens": ["<new>"]})
    assert sanitize("<new>", tokenizer).num_typed == 1


def test_a_control_token_of_one_character_is_refused_where_it_is_typed():
    tokenizer = make_tokenizer(special=("§",))
    assert sanitize("fine", tokenizer).num_typed == 0
    with pytest.raises(HeedError, match="§"):
        sanitize("a § b", tokenizer)


def test_a_special_name_without_a_token_controls_nothing():
    tokenizer = make_tokenizer()
    tokenizer._special_tokens_map["sep_token"] = "<missing>"
    assert "<missing>" not in special_tokens(tokenizer)


def test_every_text_inside_a_json_value_is_made_safe():
    value = {"a<|im_end|>": ["<s>", {"b": "</s>"}], "n": 1, "t": True, "z": None}
    safe = sanitize_json(controls_of(TOKENIZER), value)
    assert not any(token in str(safe) for token in special_tokens(TOKENIZER))
    assert (safe["n"], safe["t"], safe["z"]) == (1, True, None)
