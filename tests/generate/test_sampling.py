"""Choosing tokens: filters keep what they say, draws follow the distribution, seeds are a request's own."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heedlm.generate.sampling import choose, draws, token_logprobs
from heedlm.generate.seeds import request_seed

LOGITS = torch.log(torch.tensor([[0.1, 0.4, 0.2, 0.3]]))
ROWS = st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=40)
DRAW = st.floats(0, 1, exclude_max=True, width=32)


@settings(deadline=None)
@given(ROWS)
def test_greedy_is_the_first_of_the_largest(row: list[float]) -> None:
    assert choose(torch.tensor([row]), None, temperature=0.0).tolist() == [row.index(max(row))]


@settings(deadline=None)
@given(ROWS, DRAW, st.floats(0.05, 3), st.integers(0, 45), st.floats(0.01, 1.0))
def test_a_token_is_among_the_most_likely_ones(
    row: list[float], draw: float, temperature: float, top_k: int, top_p: float
) -> None:
    logits = torch.tensor([row])
    token = int(choose(logits, torch.tensor([draw]), temperature=temperature, top_k=top_k, top_p=top_p))
    assert 0 <= token < len(row)
    if top_k:
        assert sum(value > row[token] for value in row) < top_k
    kept = sorted((logits / temperature).softmax(-1)[0].tolist(), reverse=True)[: top_k or None]
    more_likely = sum(p for p in kept if p > float((logits / temperature).softmax(-1)[0, token]) + 1e-6)
    assert more_likely / sum(kept) <= top_p + 1e-4


@pytest.mark.parametrize(
    ("top_k", "top_p", "expected"),
    [
        (0, 1.0, [0.1, 0.4, 0.2, 0.3]),
        (2, 1.0, [0, 4 / 7, 0, 3 / 7]),
        (0, 0.39, [0, 1, 0, 0]),
        (0, 0.41, [0, 4 / 7, 0, 3 / 7]),
        (3, 0.8, [0, 4 / 9, 2 / 9, 3 / 9]),
        (1, 0.01, [0, 1, 0, 0]),
        (9, 1.0, [0.1, 0.4, 0.2, 0.3]),
    ],
)
def test_evenly_spread_draws_give_the_filtered_distribution(top_k: int, top_p: float, expected: list[float]) -> None:
    count = 1000
    spread = (torch.arange(count) + 0.5) / count
    tokens = choose(LOGITS.expand(count, -1), spread, temperature=1.0, top_k=top_k, top_p=top_p)
    shares = torch.bincount(tokens, minlength=4) / count
    assert shares.tolist() == pytest.approx(expected, abs=0.002)


def test_temperature_sharpens() -> None:
    spread = (torch.arange(1000) + 0.5) / 1000
    cold = choose(LOGITS.expand(1000, -1), spread, temperature=0.5)
    assert (cold == 1).float().mean().item() == pytest.approx(0.16 / 0.30, abs=0.002)


def test_a_draw_next_to_one_never_takes_an_impossible_token() -> None:
    logits = torch.full((1, 1000), -math.inf)
    logits[0, :7] = 0.0
    almost = torch.tensor([1 - 2**-24])
    assert int(choose(logits, almost, temperature=1.0)) == 6
    assert int(choose(logits, almost, temperature=1.0, top_p=0.99)) < 7


def test_draws_belong_to_the_seed() -> None:
    assert torch.equal(draws(5, 4), draws(5, 4))
    assert not torch.equal(draws(5, 4), draws(6, 4))
    assert torch.equal(draws(5, 2), draws(5, 4)[:2])


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_requests_of_one_call_have_seeds_of_their_own(one: int, other: int) -> None:
    assert (request_seed(0, one) == request_seed(0, other)) == (one == other)
    assert request_seed(1, one) != request_seed(0, other)


def test_logprobs_sum_to_one() -> None:
    logits = torch.randn(2, 3, 11)
    every = torch.stack([token_logprobs(logits, torch.full((2, 3), token)) for token in range(11)])
    torch.testing.assert_close(every.exp().sum(0), torch.ones(2, 3))


@settings(deadline=None)
@given(st.lists(st.floats(-3, 3, width=32), min_size=300, max_size=400), DRAW, st.floats(0.1, 0.99))
def test_a_nucleus_beyond_the_sorted_tokens_is_found_all_the_same(row: list[float], draw: float, top_p: float) -> None:
    logits = torch.tensor([row, [9.0] + [0.0] * (len(row) - 1)])
    both = choose(logits, torch.tensor([draw, draw]), temperature=1.0, top_p=top_p)
    alone = choose(logits[:1], torch.tensor([draw]), temperature=1.0, top_p=top_p)
    assert both[0] == alone[0]
    probabilities = logits[0].double().softmax(-1)
    more_likely = probabilities[probabilities > probabilities[both[0]] + 1e-9].sum()
    assert float(more_likely) < top_p + 1e-5
