"""A budget in requests, tokens and money, and whether one more call still fits into it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from heedlm.errors import HeedError, Problem
from heedlm.messages import Request, Sampling
from heedlm.synth.journal import Spent, Tokens

_PER_PRICE = 1_000_000  # prices are per million tokens
_PER_REQUEST, _PER_MESSAGE = 64, 16  # tokens that a chat template may add


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent at most, in all runs over one folder together; None is no limit.

    money: in the currency of the prices.   price_in, price_out: per million tokens of prompts and of answers.
    """

    requests: int | None = None
    tokens: int | None = None
    money: Decimal | None = None
    price_in: Decimal | None = None
    price_out: Decimal | None = None

    @property
    def priced(self) -> bool:
        return self.price_in is not None or self.price_out is not None

    def cost(self, tokens: Tokens) -> Decimal:
        """What tokens cost; 0 without a price."""
        told = tokens.prompt * (self.price_in or Decimal(0)) + tokens.completion * (self.price_out or Decimal(0))
        return told / _PER_PRICE


def check_budget(budget: Budget) -> None:
    """Raises HeedError with all that is wrong with a budget."""
    problems = []
    for name in ("requests", "tokens", "money", "price_in", "price_out"):
        value = getattr(budget, name)
        if value is not None and (not Decimal(value).is_finite() or value < 0):
            option = f"--{name.replace('_', '-')}" if name.startswith("price") else f"--budget-{name}"
            problems.append(Problem(f"This is no amount: {value}.", option, f"{option} with 0 or more"))
    if budget.price_in is None or budget.price_out is None:
        mend = "--price-in and --price-out, per million tokens; 0 where they cost nothing"
        if budget.money is not None:
            problems.append(Problem("A budget in money needs the prices of tokens.", "--budget-money", mend))
        elif budget.priced:
            problems.append(Problem("One of the two prices is missing.", "--price-in, --price-out", mend))
    if problems:
        raise HeedError.of(problems)


def exceeded(budget: Budget, spent: Spent, held: Sequence[Tokens], most: Tokens) -> str | None:
    """Which limit one more call could exceed, in words; None where it fits.

    held: what calls that are under way can cost at most; their requests are in `spent` already.   most: the same of the
    new call.
    """
    tokens = spent.tokens.plus(most)
    for one in held:
        tokens = tokens.plus(one)
    if budget.requests is not None and spent.requests + 1 > budget.requests:
        return f"{budget.requests:,} requests"
    if budget.tokens is not None and sum(tokens) > budget.tokens:
        return f"{budget.tokens:,} tokens"
    if budget.money is not None and budget.cost(tokens) > budget.money:
        return f"{budget.money} in money"
    return None


def most_tokens(request: Request, sampling: Sampling) -> Tokens:
    """What a call can cost at most, whatever the tokenizer: no token is shorter than a byte."""
    texts = [request.text or ""] + [message.content + (message.reasoning or "") for message in request.messages]
    told = sum(len(text.encode("utf-8", "replace")) for text in texts)
    calls = [[call.name, dict(call.arguments)] for message in request.messages for call in message.tool_calls]
    if request.tools or calls:
        told += len(json.dumps([list(request.tools), calls], ensure_ascii=False).encode("utf-8", "replace"))
    return Tokens(told + _PER_REQUEST + _PER_MESSAGE * len(request.messages), sampling.max_tokens)
