"""Control tokens that somebody typed stay ordinary text.

A control token is a string that the tokenizer turns into one reserved id (``<|im_end|>``). Only the template may
write one. Where a user's text spells one, a *seam* is put inside it: a Unicode noncharacter, which no interchanged
text may hold. `tokens.encode` cuts the text at seams, tokenises the pieces apart and drops the seams, so the ids
spell exactly what was typed and none of them is a control id. A tokenizer that is handed text with a seam in it
cannot find the control token either.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from heedlm.errors import HeedError
from heedlm.messages import JSON

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SEAM = "\ufdd0"


class Sanitized(NamedTuple):
    """text with a seam in every control token that was typed, and how many seams were needed."""

    text: str
    num_typed: int


class Controls(NamedTuple):
    """The control tokens of one template, ready for searching.

    ids: text to id.   pattern: matches any of them.   prefixes: their proper beginnings.   firsts: their first characters.
    longest: in characters.
    """

    ids: Mapping[str, int]
    pattern: re.Pattern[str]
    prefixes: frozenset[str]
    firsts: str
    longest: int


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Text to id of every token that the tokenizer itself calls special."""
    found = {str(token.content): index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    named = zip(map(str, tokenizer.all_special_tokens), tokenizer.all_special_ids, strict=True)
    # A name without an entry in the vocabulary reads as the unknown token: it controls nothing.
    found.update((text, index) for text, index in named if index is not None and _text_of(tokenizer, index) == text)
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _text_of(tokenizer: PreTrainedTokenizerBase, index: int) -> str:
    return str(tokenizer.convert_ids_to_tokens(index))


def controls_of(tokenizer: PreTrainedTokenizerBase, source: str = "", markers: tuple[str, ...] = ()) -> Controls:
    """Special tokens, and the other added tokens that a template writes: those in its `source`, and `markers`.

    A template may use added tokens that are not flagged special (``<think>``, ``<tool_call>``). Added tokens that no
    template uses are ordinary text (Gemma adds ``<table>``), and so are runs of white space.
    """
    return _controls(tokenizer, source, markers, len(tokenizer), tokenizer.eos_token_id)


@lru_cache(maxsize=32)
def _controls(
    tokenizer: PreTrainedTokenizerBase, source: str, markers: tuple[str, ...], size: int, eos: int | None
) -> Controls:
    """Keyed by vocabulary size and eos as well: a tokenizer changed after the first look is looked at again."""
    ids = special_tokens(tokenizer)
    for index, token in tokenizer.added_tokens_decoder.items():
        text = str(token.content)
        if (text in source or text in markers) and not text.isspace():
            ids[text] = index
    ids.pop("", None)
    longest_first = sorted(ids, key=lambda text: (-len(text), text))
    pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
    prefixes = frozenset(text[:end] for text in ids for end in range(1, len(text)))
    return Controls(ids, pattern, prefixes, "".join(sorted({text[0] for text in ids})), max(map(len, ids), default=0))


def sanitize(text: str, tokenizer: PreTrainedTokenizerBase) -> Sanitized:
    """Put a seam into every special token that `text` spells, and behind an end that could grow into one.

    Raises HeedError for a control token of one character, which cannot be cut.
    """
    return sanitize_with(controls_of(tokenizer), text)


def sanitize_with(controls: Controls, text: str) -> Sanitized:
    """`sanitize` for the control tokens of one template."""
    count = text.count(SEAM)
    if count:
        text = text.replace(SEAM, "")
    while match := controls.pattern.search(text):
        if len(match[0]) == 1:
            raise HeedError(
                f"The character {match[0]!r} is a control token of this tokenizer and occurs in the text.",
                mend="Remove it from the text, or use a tokenizer whose control tokens are longer.",
            )
        text, more = controls.pattern.subn(_cut, text)
        count += more
    end = len(text.rstrip())
    if _opens(controls, text[:end]):
        text = text[:end] + SEAM + text[end:]
    return Sanitized(text, count)


def _cut(match: re.Match[str]) -> str:
    return match[0][0] + SEAM + match[0][1:]


def _opens(controls: Controls, text: str) -> bool:
    """Whether the end of `text` is the beginning of a control token, which what follows could complete."""
    tail = text[-controls.longest :]
    for first in controls.firsts:
        at = tail.find(first)
        while at >= 0:
            if tail[at:] in controls.prefixes:
                return True
            at = tail.find(first, at + 1)
    return False


def sanitize_json(controls: Controls, value: JSON) -> JSON:
    """`sanitize` for every string inside a JSON value, keys included."""
    if isinstance(value, str):
        return sanitize_with(controls, value).text
    if isinstance(value, Mapping):
        return {sanitize_json(controls, key): sanitize_json(controls, item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [sanitize_json(controls, item) for item in value]
    return value


def plain(text: str) -> str:
    """`text` without seams: what a person reads."""
    return text.replace(SEAM, "") if SEAM in text else text
