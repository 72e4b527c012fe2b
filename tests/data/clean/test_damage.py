"""Damaged letters and marks of wire formats are found in text; accents and ordinary signs are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.data.clean.damage import control, encoding


@pytest.mark.parametrize(
    "text",
    [
        "cafÃ©",
        "itâ€™s",
        "â€œquotedâ€\x9d",
        "aÂ°b",
        "ÐŸÑ€Ð¸Ð²ÐµÑ‚",
        "a\x00b",
        "a\ufffdb",
        "a\x07b",
        "a\x93b",
        "x\ufeffy",
        "fÃ¼r",
    ],
)
def test_damage(text):
    assert encoding(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "café",
        "NÃO É",
        "CAFÉ…",
        "“ÄÖ”",
        "für",
        "Ελλάδα",
        "Привет",
        "日本",
        "a\tb\nc\rd\x0c",
        "Âge",
        "ÉTÉ «là»",
        "À–Z",
        "½ × 2²",
    ],
)
def test_no_damage(text):
    assert encoding(text) is None


def test_damage_says_where_and_what_was_meant():
    assert encoding("cafÃ©") == "'Ã©' at character 4, which was meant to be 'é'"
    assert encoding("ab\x00") == "a NUL at character 3"


@given(st.text(alphabet=st.characters(min_codepoint=0xC0, max_codepoint=0x17F), min_size=1))
def test_latin_text_read_in_a_wrong_encoding_is_damage(text):
    try:
        wrong = text.encode("utf-8").decode("cp1252")
    except UnicodeDecodeError:
        return
    assert encoding(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "Hi<|im_end|>",
        "[INST] hi [/INST]",
        "a </s> b",
        "<start_of_turn>user",
        "<|endoftext|>",
        "<|start_header_id|>",
        "<eos>",
    ],
)
def test_control_tokens(text):
    assert control(text, answer=False)


@pytest.mark.parametrize(
    "text", ["a < b", "<b>bold</b>", "x[0]", "1 |> 2", "<|", "[INFO] started", "### Response time"]
)
def test_ordinary_signs(text):
    assert control(text, answer=True) is None


def test_the_mark_of_another_turn_counts_in_answers_only():
    text = "Yes.\n### Instruction:\nGo on."
    assert control(text, answer=True)
    assert control(text, answer=False) is None
    assert control("Yes.\nHuman: and then?", answer=True)


@given(st.text())
def test_any_text_can_be_looked_at(text):
    for what in (encoding(text), control(text, answer=True)):
        assert what is None or what
