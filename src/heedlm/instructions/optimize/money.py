"""What asking costs: prices of an endpoint, what an answer took, and what a question can take at most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from heedlm.errors import HeedError
from heedlm.instructions.bench import Answer, Bench, Candidate

_LETTERS = 3  # characters to a token: more tokens than most tokenizers make of English, so that a budget holds
_PER = 1_000_000
EXAMPLE = "0.15,0.60"


@dataclass(frozen=True, slots=True)
class Price:
    """Of a million tokens, in any currency. prompt: of those sent.   answer: of those written."""

    prompt: float
    answer: float

    def of(self, prompt: float, answer: float) -> float:
        """The price of so many tokens."""
        return (self.prompt * prompt + self.answer * answer) / _PER


def read_price(text: str, where: str) -> Price:
    """A price as people write it: one number for both, or two. Raises HeedError."""
    parts = text.split(",")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or any(not math.isfinite(one) or one < 0 for one in numbers):
        what = f"{text!r} is no price of a million tokens, sent and written"
        raise HeedError(what, where, f"{where} {EXAMPLE}")
    return Price(numbers[0], numbers[-1])


def tokens_in(text: str) -> int:
    """About how many tokens a text has, rather too many."""
    return math.ceil(len(text) / _LETTERS)


class Till:
    """The costs of one model's answers. What is sent is counted in characters; what is written as the endpoint tells, or
    as the longest answer where it does not."""

    def __init__(self, bench: Bench, price: Price) -> None:
        self.spent = 0.0
        self._bench, self._price = bench, price

    def quote(self, candidate: Candidate, items: Sequence[int]) -> float:
        sent = sum(self._sent(candidate, item) for item in items)
        return self._price.of(sent, len(items) * self._longest)

    def charge(self, candidate: Candidate, items: Sequence[int], answers: Sequence[Answer]) -> None:
        """Count what was asked."""
        sent = sum(self._sent(candidate, item) for item in items)
        written = sum(self._longest if one.tokens is None else min(one.tokens, self._longest) for one in answers)
        self.spent += self._price.of(sent, written)

    @property
    def _longest(self) -> int:
        return self._bench.sampling.max_tokens

    def _sent(self, candidate: Candidate, item: int) -> int:
        (compiled,) = self._bench.compiled([candidate], [item])
        return sum(tokens_in(turn.content) + 4 for turn in compiled[item].messages)  # 4: the marks of a turn
