"""Figures of a judge, against what chance makes of them."""

from __future__ import annotations

import random

import pytest

from heedlm.eval.judge.asking import PairVerdict, outcome_of
from heedlm.eval.judge.bias import caveats, length_of, position_of, times
from heedlm.eval.judge.cases import Case
from heedlm.eval.judge.summary import sum_pair
from heedlm.eval.questions import Question

RUNS = 400


def verdict(number: int, orders: tuple[str, str], lengths: tuple[int, int] = (10, 10), group: str = "") -> PairVerdict:
    question = Question("t", str(number), "k", (), "", None)
    replies = {"a": "x" * lengths[0], "b": "x" * lengths[1]}
    case = Case("t", str(number), group or f"id {number}", question, replies, {"a": 0.5, "b": 0.5})
    outcome, how = outcome_of(*orders)
    return PairVerdict(case, "a", "b", outcome, how, (), orders, ("", ""), ("", ""))


@pytest.mark.parametrize(
    ("orders", "outcome", "how"),
    [
        (("1", "2"), "first", "agreed"),
        (("2", "1"), "second", "agreed"),
        (("tie", "tie"), "tie", "agreed"),
        (("1", "1"), "tie", "orders disagree"),
        (("2", "2"), "tie", "orders disagree"),
        (("1", "tie"), "tie", "one order says tie"),
        (("tie", "1"), "tie", "one order says tie"),
        ((None, "1"), None, None),
        (("1", None), None, None),
    ],
)
def test_the_tie_rule(orders: tuple[str | None, str | None], outcome: str | None, how: str | None) -> None:
    assert outcome_of(*orders) == (outcome, how)


def test_two_that_are_alike_are_seldom_called_different() -> None:
    """A judge that chooses at random, in each order by itself, over groups of three items."""
    chance, called = random.Random(3), 0
    for run in range(RUNS):
        verdicts = [
            verdict(n, (chance.choice("12"), chance.choice("12")), group=f"g{n // 3}" if run % 2 else "")
            for n in range(60)
        ]
        rate = sum_pair(verdicts).all
        assert rate is not None
        called += rate.p < 0.05 and not rate.low <= 0.5 <= rate.high
    assert called <= 0.06 * RUNS


def test_the_interval_of_a_win_rate_covers_the_truth() -> None:
    chance, covered = random.Random(4), 0
    orders = [("2", "1")] * 5 + [("1", "2")] * 2 + [("1", "1")] * 3  # 50 % won, 20 % lost, 30 % ties: a rate of 65 %
    for _ in range(RUNS):
        rate = sum_pair([verdict(n, chance.choice(orders)) for n in range(50)]).all
        assert rate is not None
        covered += rate.low <= 0.65 <= rate.high
    assert 0.92 * RUNS <= covered <= 0.98 * RUNS


def test_the_rate_at_balanced_length_covers_the_truth() -> None:
    """`b` wins 80 % where it is the longer one and 40 % where it is not: 60 % in balance, whatever the share of either."""
    chance, covered = random.Random(5), 0
    for _ in range(RUNS):
        verdicts = []
        for n in range(80):
            longer = chance.random() < 0.7
            won = chance.random() < (0.8 if longer else 0.4)
            verdicts.append(verdict(n, ("2", "1") if won else ("1", "2"), (10, 20) if longer else (20, 10)))
        found = length_of(verdicts)
        assert found.even_low is not None
        assert found.even_high is not None
        covered += found.even_low <= 0.6 <= found.even_high
    assert 0.92 * RUNS <= covered <= 0.99 * RUNS


def test_a_sound_judge_is_seldom_accused() -> None:
    chance, accused = random.Random(6), 0
    for _ in range(RUNS):
        verdicts = []
        for n in range(40):
            noise = chance.random()
            orders = ("2", "1") if noise < 0.6 else ("1", "2") if noise < 0.85 else (chance.choice("12"),) * 2
            verdicts.append(verdict(n, orders, (chance.randint(5, 40), chance.randint(5, 40))))  # type: ignore[arg-type]
        accused += bool(caveats(position_of(verdicts), length_of(verdicts)))
    assert accused <= 0.12 * RUNS  # two questions at 5 % each


def test_length_is_a_matter_of_times() -> None:
    assert times(verdict(0, ("1", "2"), (10, 20))) == 1.0
    assert times(verdict(0, ("1", "2"), (20, 10))) == -1.0
    assert times(verdict(0, ("1", "2"), (0, 0))) == 0.0


@pytest.mark.parametrize("n", [1, 9, 10])
def test_few_items_say_nothing_of_length(n: int) -> None:
    verdicts = [verdict(i, ("2", "1"), (10, 20)) for i in range(n)] + [
        verdict(-i, ("2", "1"), (20, 10)) for i in range(n)
    ]
    assert (length_of(verdicts).even is None) == (n < 10)


def test_one_item_alone() -> None:
    found = sum_pair([verdict(0, ("2", "1"))])
    assert found.all is not None
    assert (found.all.rate, found.all.low, found.all.high) == (1.0, 0.0, 1.0)
    assert caveats(found.position, found.length) == []
