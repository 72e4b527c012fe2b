"""Replies that keep to a grammar: of all tokens only those may follow that can still lead to a whole value.

The grammar is kept by llguidance, the library behind the same feature of vLLM, SGLang and llama.cpp. The model's own
probabilities choose among what may follow; reported log-probabilities stay those of the model without the grammar.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from heedlm.errors import HeedError
from heedlm.generate.text import decoded
from heedlm.templates.controls import special_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from heedlm.generate.calls import CallText
    from heedlm.messages import JSON

# Between the signs of a value; a small model that has begun to indent might otherwise never end.
_SPACE = r"[ \t\r\n]{0,40}"
_TAIL = 24  # tokens among which the end of reasoning is looked for
_MOST = 200  # characters of the library's own words that are handed on


class JSONGuide:
    """The state of one reply. Used by one thread after the other.

    closing: the mark that ends reasoning which the prompt has begun; what comes before it is free. Empty for none.
    """

    def __init__(self, matcher: Any, tokenizer: PreTrainedTokenizerBase, closing: str = "") -> None:
        self._matcher = matcher
        self._tokenizer = tokenizer
        self._closing = closing
        self._free: list[int] = []
        self.error = ""

    def allow(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits [V] in which every token that may not follow is minus infinity."""
        if self._closing:
            return logits
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        if self._failed():
            return logits
        allowed = torch.from_numpy(np.unpackbits(bits, count=logits.shape[-1], bitorder="little").astype(bool))
        return logits.masked_fill(~allowed.to(logits.device), float("-inf"))

    def take(self, token: int) -> bool:
        """Go on by one token, never a stop id; whether the value is whole, or can no longer become so (`error`)."""
        if self._closing:
            self._free.append(token)
            tail = decoded(self._tokenizer, self._free[-_TAIL:])
            if self._closing in tail and not tail.rpartition(self._closing)[2].strip():
                self._closing = ""
            return False
        self._matcher.consume_token(token)
        return self._failed() or bool(self._matcher.is_stopped())

    def _failed(self) -> bool:
        if self._matcher.is_error():
            self.error = self.error or f"The grammar could not be kept: {_short(self._matcher.get_error())}"
        return bool(self.error)


def json_guide(
    tokenizer: PreTrainedTokenizerBase,
    vocabulary: int,
    stop_ids: tuple[int, ...],
    schema: Mapping[str, JSON],
    *,
    lead: str = "",
    closing: str = "",
) -> JSONGuide:
    """A guide to one JSON value of `schema`.

    vocabulary: logits that the model gives.   stop_ids: may follow a whole value.   lead: what the model is used to write
    before an answer, allowed once.   closing: see `JSONGuide`.
    Raises HeedError where llguidance is not installed, for a tokenizer that it cannot read, and for a schema with anything
    that it cannot keep to: a part of a schema is never left out in silence.
    """
    start = f"start: LEAD? value\nLEAD: {json.dumps(lead)}" if lead else "start: value"
    grammar = f"{start}\nvalue: %json {_json(schema, 'response_format')}"
    return JSONGuide(_matcher(tokenizer, vocabulary, stop_ids, grammar, "response_format"), tokenizer, closing)


def call_guide(
    tokenizer: PreTrainedTokenizerBase,
    vocabulary: int,
    stop_ids: tuple[int, ...],
    written: CallText,
    tools: Mapping[str, Mapping[str, JSON]],
    *,
    closing: str = "",
) -> JSONGuide:
    """A guide to one call of one of `tools` (the schema of its arguments by its name), written as the template writes it.

    Raises HeedError as `json_guide` does.
    """
    special = special_tokens(tokenizer)
    calls, rules = [], []
    for at, (name, schema) in enumerate(tools.items()):
        # Within JSON the name is spelt as JSON spells it.
        before = _literal(written.before + json.dumps(name, ensure_ascii=False)[1:-1] + written.between, special)
        calls.append(" ".join(filter(None, (before, f"arguments{at}", _literal(written.behind, special)))))
        rules.append(f"arguments{at}: %json {_json({'type': 'object', **schema}, 'tool_choice')}")
    grammar = "\n".join([f"start: {' | '.join(calls)}", *rules])
    return JSONGuide(_matcher(tokenizer, vocabulary, stop_ids, grammar, "tool_choice"), tokenizer, closing)


def _json(schema: Mapping[str, JSON], where: str) -> str:
    try:
        return json.dumps({**schema, "x-guidance": {"whitespace_pattern": _SPACE}})
    except RecursionError:
        raise HeedError("The schema is nested too deeply.", where, "change the schema") from None


def _literal(text: str, special: Mapping[str, int]) -> str:
    """`text` as a grammar writes it: texts in quotes, special tokens by their ids."""
    marks = "|".join(map(re.escape, sorted(special, key=len, reverse=True))) or "(?!)"
    parts = re.split(f"({marks})", text)
    return " ".join(f"<[{special[part]}]>" if part in special else json.dumps(part) for part in parts if part)


def _matcher(
    tokenizer: PreTrainedTokenizerBase, vocabulary: int, stop_ids: tuple[int, ...], grammar: str, where: str
) -> Any:
    """The library's own state for `grammar`. Raises HeedError for one that it does not keep to."""
    library = _library(where)
    known = _read(tokenizer, vocabulary, stop_ids, where)
    written = library.LLMatcher.grammar_from_lark(grammar)
    failed, words = library.LLMatcher.validate_grammar_with_warnings(written, known)
    if failed or words:
        raise HeedError(f"Replies cannot be held to this schema: {_short(words[0])}", where, "change the schema")
    return library.LLMatcher(known, written, log_level=0)


@lru_cache(maxsize=8)
def _read(tokenizer: PreTrainedTokenizerBase, vocabulary: int, stop_ids: tuple[int, ...], where: str) -> Any:
    """The tokenizer as the library reads it: about a second for a large one, so it is kept."""
    from llguidance.hf import from_tokenizer

    try:
        return from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=list(stop_ids) or None)
    except Exception as error:
        what = f"Replies of this model cannot be held to a form: {_short(str(error))}"
        raise HeedError(what, where, "ask for plain text") from error


def _library(where: str) -> Any:
    try:
        import llguidance
    except ImportError:
        what = "Replies in a given form need llguidance, which is not installed."
        raise HeedError(what, where, "pip install 'heedlm[serve]'") from None
    return llguidance


def _short(words: str) -> str:
    """What the library says, in one line, without the state that it shows behind it."""
    return " ".join(words.partition("<state>")[0].split())[:_MOST]
