"""The ids of the beginnings of a text, read off the ids of the whole.

A byte-level tokenizer cuts a text into words by a pattern that looks at most at the next character, and makes ids of each
word alone. So where a word ends at a boundary, the words up to the last blanks before it are the same in the beginning
alone; only what stands from these blanks on is tokenised again, to see whether it is too. A prompt and its answer then
cost the tokenizer one reading and not two. Whatever is not told by that is left to the caller.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from heedlm.templates.controls import SEAM

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_NEXT_ONLY = r"(?!\S)"  # of ways to look ahead, this one and \b are understood
_LONGEST = 200  # characters that are tokenised again at most
_CLASS = re.compile(r"\[(?:\\.|[^\]\\])*\]")
_LOOKS_AROUND = re.compile(r"\(\?<?[=!]|\\[BAzZGK]|[$^]")


class Reading(NamedTuple):
    """ids: of a whole text.   counts: how many of them are the ids of each of its beginnings alone."""

    ids: list[int]
    counts: list[int]


def read_with_ends(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], ends: Sequence[Sequence[int]]
) -> list[Reading | None]:
    """Each text with the beginnings that end at these characters; None where they are not to be told from the whole.

    No special token is inserted.   ends: rising, the last one the length of the text.
    """
    if not texts or not reads_words(tokenizer):
        return [None] * len(texts)
    found = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)
    return [
        None if SEAM in text else _reading(tokenizer, text, ids, encoding, its)
        for text, ids, encoding, its in zip(texts, found["input_ids"], found.encodings, ends, strict=True)
    ]


def _reading(
    tokenizer: PreTrainedTokenizerBase, text: str, ids: list[int], encoding: Any, ends: Sequence[int]
) -> Reading | None:
    counts = []
    for end in ends:
        count = len(ids) if end == len(text) else _count(tokenizer, text, ids, encoding, end)
        if count is None:
            return None
        counts.append(count)
    return Reading(ids, counts)


def _count(tokenizer: PreTrainedTokenizerBase, text: str, ids: list[int], encoding: Any, end: int) -> int | None:
    """How many ids the text up to `end` has; None where its last words could be others alone than in the whole."""
    if end == 0:
        return 0
    word = encoding.char_to_word(end - 1)
    span = encoding.word_to_chars(word) if word is not None else None
    if span is None or span[1] != end:
        return None
    behind: int = encoding.word_to_tokens(word)[1]
    start: int = span[0]
    while start and not _parted(text, start):
        word = encoding.char_to_word(start - 1)
        span = encoding.word_to_chars(word) if word is not None else None
        if span is None or span[1] != start or end - span[0] > _LONGEST:
            return None
        start = span[0]
    first: int = encoding.word_to_tokens(word)[0]
    return behind if tuple(ids[first:behind]) == _ids(tokenizer, text[start:end]) else None


def _parted(text: str, start: int) -> bool:
    """Whether a word begins with the first of some blanks: what stands before cannot look beyond them."""
    return text[start].isspace() and not text[start - 1].isspace()


@lru_cache(maxsize=4096)
def _ids(tokenizer: PreTrainedTokenizerBase, piece: str) -> tuple[int, ...]:
    return tuple(tokenizer(piece, add_special_tokens=False, verbose=False)["input_ids"])


@lru_cache(maxsize=16)
def reads_words(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer is of the kind that this module understands."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not tokenizer.is_fast:
        return False
    made = json.loads(backend.to_str())
    model, cuts = made["model"], made["pre_tokenizer"]
    plain = model.get("type") == "BPE" and made["normalizer"] is None
    if not plain or any(model.get(name) for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix")):
        return False
    if model.get("byte_fallback") or cuts is None:
        return False
    steps = cuts["pretokenizers"] if cuts["type"] == "Sequence" else [cuts]
    return steps[-1]["type"] == "ByteLevel" and all(map(_is_local, steps))


def _is_local(step: dict[str, Any]) -> bool:
    """Whether a step cuts a text by what stands at each place and the character behind it."""
    if step["type"] == "ByteLevel":
        return not step["add_prefix_space"]
    if step["type"] == "Digits":
        return True
    pattern = step.get("pattern", {}).get("Regex") if step["type"] == "Split" else None
    if pattern is None or step["behavior"] != "Isolated" or step["invert"]:
        return False
    return not _LOOKS_AROUND.search(_CLASS.sub("", pattern.replace(_NEXT_ONLY, "")))
