"""What asking an endpoint costs: its prices, and the money of a reply by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from heedlm.errors import HeedError, Problem, nearest

_PER = 1_000_000  # prices are per million tokens
_MEND = "MODEL=IN,OUT per million tokens, for example http://127.0.0.1:8000/v1#my-model=0.15,0.60"


class Price(NamedTuple):
    """Of a million tokens of prompts, and of answers; in whatever currency."""

    prompt: Decimal
    completion: Decimal

    def money(self, prompt_tokens: int | None, tokens: int | None) -> float | None:
        """What a reply cost; None where its tokens are not known."""
        if prompt_tokens is None or tokens is None:
            return None
        return float((prompt_tokens * self.prompt + tokens * self.completion) / _PER)


Prices = Mapping[str, Sequence[object]] | Sequence[str]  # {name: (in, out)}, or lines NAME=IN,OUT


def prices_of(given: Prices, names: Sequence[str]) -> dict[str, Price]:
    """The prices by model. names: of the endpoints that are asked. Raises HeedError with all that is wrong."""
    found: dict[str, Price] = {}
    problems = []
    for name, told, shown in _lines(given):
        price = _price(told)
        if price is None:
            problems.append(Problem("This is no price.", f"--price {shown}", _MEND))
        elif name in found:
            problems.append(Problem(f"{name} has two prices.", f"--price {shown}", "leave one out"))
        elif name not in names:
            mend = nearest(name, names) if names else "no endpoint is asked; leave it out"
            problems.append(Problem(f"{name} is no endpoint that is asked.", f"--price {shown}", mend))
        else:
            found[name] = price
    if problems:
        raise HeedError.of(problems)
    return found


def _lines(given: Prices) -> list[tuple[str, Sequence[object], str]]:
    if isinstance(given, Mapping):
        return [(name, tuple(told), f"{name}={','.join(map(str, told))}") for name, told in given.items()]
    parts = ((line, *line.rpartition("=")[::2]) for line in given)
    return [(name, tuple(told.split(",")), line) for line, name, told in parts]


def _price(told: Sequence[object]) -> Price | None:
    try:
        amounts = [Decimal(str(one).strip()) for one in told]
    except InvalidOperation:
        return None
    sound = len(amounts) == 2 and all(one.is_finite() and one >= 0 for one in amounts)
    return Price(*amounts) if sound else None


def money_text(money: float) -> str:
    """An amount as people read it: cents where it is large, the first digits where it is small."""
    return f"{money:,.2f}" if money >= 1 else f"{money:.4g}"


__all__ = ["Price", "Prices", "money_text", "prices_of"]
