"""Reading a reply while it is made: whole characters only, no stop text, no reasoning, and in the end the same text."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from heedlm.generate.text import Parts, Reading, TextStream, parts, showable, stop_place, thinkable

TEXT = st.text(st.sampled_from("ab \n<>/tHuman:पानी🙂東é\u200d"), max_size=40)


def ids_of(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


@settings(deadline=None)
@given(text=TEXT)
def test_pushing_gives_the_text_and_never_half_a_character(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    stream = TextStream(tokenizer, ids_of(tokenizer, "Assistant:"))
    for token in ids_of(tokenizer, text):
        stream.push(token)
        assert text.startswith(stream.text)
    stream.close()
    assert stream.text == text


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(4, 319), max_size=30))
def test_any_tokens_at_all_give_one_text_whether_pushed_or_added(
    tokenizer: PreTrainedTokenizerBase, ids: list[int]
) -> None:
    pushed, added = TextStream(tokenizer, [5, 6]), TextStream(tokenizer, [5, 6])
    seen = ""
    for token in ids:
        pushed.push(token)
        assert pushed.text.startswith(seen)
        assert not pushed.text.endswith("\ufffd")
        seen = pushed.text
    added.extend(ids)
    pushed.close()
    added.close()
    assert pushed.text == added.text
    assert pushed.text.startswith(seen)


def test_broken_bytes_come_out_in_the_end(tokenizer: PreTrainedTokenizerBase) -> None:
    half = ids_of(tokenizer, "🙂")[:-1]
    stream = TextStream(tokenizer, [])
    for token in half:
        stream.push(token)
    assert stream.text == ""
    stream.close()
    assert set(stream.text) == {"\ufffd"}


def test_hidden_ids_leave_no_text(tokenizer: PreTrainedTokenizerBase) -> None:
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    stream = TextStream(tokenizer, [end], hidden={end})
    for token in [*ids_of(tokenizer, "hi"), end, *ids_of(tokenizer, "!")]:
        stream.push(token)
    stream.close()
    assert stream.text == "hi!"


@pytest.fixture(scope="module")
def spaced() -> PreTrainedTokenizerBase:
    """A tokenizer of the sentencepiece kind: words carry their blank in front, and decoding drops the first one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<0xE2>", "<0x82>", "<0xAC>", "▁is", "▁Paris", "▁", "s", "!"]
    backend = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False)


def test_the_blank_between_prompt_and_first_word_is_kept(spaced: PreTrainedTokenizerBase) -> None:
    stream = TextStream(spaced, [4])
    stream.push(5)
    assert stream.text == " Paris"
    stream.push(8)
    stream.close()
    assert stream.text == " Paris!"


def test_bytes_of_one_character_wait_for_each_other(spaced: PreTrainedTokenizerBase) -> None:
    stream = TextStream(spaced, [4])
    seen = []
    for token in (1, 2, 3, 5):
        stream.push(token)
        seen.append(stream.text)
    assert seen == ["", "", "€", "€ Paris"]


@pytest.mark.parametrize(
    ("text", "stops", "place"),
    [
        ("abc", [], -1),
        ("abc", ["x"], -1),
        ("abcb", ["b"], 1),
        ("a\n\nHuman: b", ["Human:", "\n\n"], 1),
        ("", ["a"], -1),
    ],
)
def test_the_earliest_stop_text_counts(text: str, stops: list[str], place: int) -> None:
    assert stop_place(text, stops) == place


THINK = ("<think>", "</think>")


@pytest.mark.parametrize(
    ("text", "reading", "expected"),
    [
        ("Paris", Reading(), Parts(None, "Paris")),
        (" Paris", Reading(lead=" "), Parts(None, "Paris")),
        ("Paris", Reading(lead=" "), Parts(None, "Paris")),
        ("  Paris \n", Reading(lead=" "), Parts(None, " Paris \n")),
        ("Paris\n\nHuman: next", Reading(stops=("\n\nHuman:",)), Parts(None, "Paris")),
        ("<think>\nhm\n</think>\n\nParis", Reading(think=THINK), Parts("hm", "Paris")),
        ("<think>\n\n</think>\n\nParis", Reading(think=THINK), Parts(None, "Paris")),
        ("<think>\n\n</think>\n\nParis", Reading(lead="<think>\n\n</think>\n\n"), Parts(None, "Paris")),
        ("hm</think>Paris", Reading(think=("", "</think>")), Parts("hm", "Paris")),
        ("<think>never closed", Reading(think=THINK), Parts("never closed", "")),
        ("Is <think> a tag?", Reading(think=THINK), Parts(None, "Is <think> a tag?")),
        ("<think>a STOP b</think>c", Reading(stops=("STOP",), think=THINK), Parts("a", "")),
        ("", Reading(stops=("x",), lead=" ", think=THINK), Parts(None, "")),
    ],
)
def test_a_reply_is_taken_apart(text: str, reading: Reading, expected: Parts) -> None:
    assert parts(text, reading) == expected


READINGS = st.builds(
    Reading,
    stops=st.lists(st.sampled_from(["\n\nHuman:", "\n", "ab", "a", "<th", "🙂"]), max_size=2).map(tuple),
    lead=st.sampled_from(["", " ", "ab", "<think>\n\n</think>\n\n"]),
    think=st.sampled_from([None, THINK, ("", "</think>")]),
)
REPLIES = st.lists(
    st.sampled_from(["<think>", "</think>", "\n", " ", "a", "b", "Human:", "🙂", "<th", "<think>\n\n</think>\n\n"]),
    max_size=10,
).map("".join)


@settings(max_examples=500, deadline=None)
@given(REPLIES, READINGS)
def test_what_is_shown_grows_and_is_always_the_beginning_of_the_answer(text: str, reading: Reading) -> None:
    shown = ""
    for end in range(len(text) + 1):
        now = showable(text[:end], reading)
        assert now.startswith(shown), "what was shown cannot be taken back"
        shown = now
        if stop_place(text[:end], reading.stops) >= 0:
            break
    assert parts(text[:end], reading).answer.startswith(shown)
    assert not any(stop in shown for stop in reading.stops)


@given(
    thought=st.text("ab </think>\n", max_size=12),
    answer=st.text("ab </think>\n", max_size=8),
    cut=st.integers(0, 40),
    opened=st.booleans(),
    stop=st.sampled_from(["", "ab", "\n\n"]),
)
def test_what_is_shown_of_a_reasoning_is_never_taken_back(
    thought: str, answer: str, cut: int, opened: bool, stop: str
) -> None:
    reading = Reading((stop,) if stop else (), "", ("" if opened else "<think>", "</think>"))
    text = ("" if opened else "<think>") + thought + "</think>" + answer
    shown = [thinkable(text[:end], reading) for end in range(len(text) + 1)]
    for earlier, later in pairwise(shown):
        assert later.startswith(earlier)
    assert (parts(text, reading).reasoning or "").startswith(shown[-1])
    assert (parts(text[:cut], reading).reasoning or "").startswith(thinkable(text[:cut], reading))
