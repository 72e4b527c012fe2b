"""A budget is never exceeded: what fits exactly fits, one more does not."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.errors import HeedError
from heedlm.messages import Message, Request, Sampling, ToolCall
from heedlm.synth.budget import Budget, check_budget, exceeded, most_tokens
from heedlm.synth.journal import Spent, Tokens


def spent(requests: int = 0, prompt: int = 0, completion: int = 0) -> Spent:
    return Spent(requests, Tokens(prompt, completion))


@pytest.mark.parametrize(
    ("limit", "sent", "fits"), [(0, 0, False), (1, 0, True), (1, 1, False), (5, 4, True), (5, 5, False)]
)
def test_requests(limit: int, sent: int, fits: bool) -> None:
    assert (exceeded(Budget(requests=limit), spent(sent), [], Tokens(1, 1)) is None) == fits


@pytest.mark.parametrize(("limit", "fits"), [(0, False), (99, False), (100, True), (101, True)])
def test_tokens_count_what_is_spent_what_is_under_way_and_what_is_asked(limit: int, fits: bool) -> None:
    held = [Tokens(10, 10), Tokens(5, 5)]
    assert (exceeded(Budget(tokens=limit), spent(3, 20, 20), held, Tokens(20, 10)) is None) == fits


@pytest.mark.parametrize(("limit", "fits"), [("0", False), ("0.0003499", False), ("0.00035", True), ("0.000351", True)])
def test_money_is_counted_to_the_last_fraction(limit: str, fits: bool) -> None:
    budget = Budget(money=Decimal(limit), price_in=Decimal("0.5"), price_out=Decimal("1.5"))
    found = exceeded(budget, spent(1, 100, 50), [Tokens(100, 50)], Tokens(50, 50))  # 250 x 0.5 + 150 x 1.5 = 350
    assert (found is None) == fits
    assert fits or found == f"{limit} in money"


def test_without_a_limit_everything_fits() -> None:
    assert exceeded(Budget(), spent(10**9, 10**12, 10**12), [], Tokens(10**9, 10**9)) is None


def test_all_that_is_wrong_with_a_budget_is_told_at_once() -> None:
    with pytest.raises(HeedError) as told:
        check_budget(Budget(requests=-1, tokens=-2, money=Decimal("nan"), price_in=None))
    assert [problem.where for problem in told.value.problems] == [
        "--budget-requests",
        "--budget-tokens",
        "--budget-money",
        "--budget-money",
    ]
    check_budget(Budget(requests=0, tokens=0, money=Decimal(0), price_in=Decimal(0), price_out=Decimal(1)))


@given(st.lists(st.text(), min_size=1, max_size=4), st.integers(1, 4096))
def test_no_byte_tokenizer_needs_more_than_the_most(texts: list[str], longest: int) -> None:
    request = Request(messages=tuple(Message("user", text) for text in texts))
    most = most_tokens(request, Sampling(max_tokens=longest))
    assert most.prompt >= sum(len(text.encode("utf-8", "replace")) for text in texts) + 16 * len(texts)
    assert most.completion == longest


def test_tools_and_calls_count() -> None:
    plain = Request(messages=(Message("user", "Look!"),))
    called = Message("assistant", "", tool_calls=(ToolCall("look", {"at": "x" * 100}),))
    tools = Request(messages=(Message("user", "Look!"), called), tools=({"name": "y" * 200},))
    assert most_tokens(tools, Sampling()).prompt > most_tokens(plain, Sampling()).prompt + 300
