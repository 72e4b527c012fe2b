"""Rows that were never trained are found by evidence, and rows that were are left alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heedlm.model.untrained import spare_ids, untrained_rows

ROWS, SIZE = 400, 16


def trained(seed: int = 0) -> torch.Tensor:
    """Rows of different sizes, as training makes them."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(ROWS, SIZE, generator=generator) + 0.5
    return rows * (0.5 + torch.rand(ROWS, 1, generator=generator))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_trained_rows_are_left_alone(seed: int) -> None:
    assert untrained_rows(trained(seed), range(ROWS)) == {}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda m: m[7].zero_(), "size 0"),
        (lambda m: m[7].copy_(m.mean(0)), "mean of all rows"),
        (lambda m: m[7].copy_(m[3]), "row is that of token 3"),
        (lambda m: m[7].copy_(m[3] * 1.001), "row is that of token 3"),
    ],
    ids=["zero", "mean", "twin", "nearly a twin"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_each_kind_of_evidence_is_named(spoil: object, reason: str, dtype: torch.dtype) -> None:
    matrix = trained().to(dtype)
    spoil(matrix)  # type: ignore[operator]
    found = untrained_rows(matrix, [5, 7])
    assert list(found) == [7]
    assert reason in found[7]


def test_rows_as_small_as_those_that_nothing_uses_were_never_trained() -> None:
    matrix = trained()
    generator = torch.Generator().manual_seed(1)
    matrix[390:] = 0.05 * torch.randn(10, SIZE, generator=generator)
    matrix[7] = 0.05 * torch.randn(SIZE, generator=generator)
    assert list(untrained_rows(matrix, [5, 7], range(390, 400))) == [7]
    assert untrained_rows(matrix, [5, 7]) == {}  # a small row alone is no evidence
    assert untrained_rows(matrix, [5, 7], [399, 398]) == {}  # nor are two others


def test_spare_rows_of_usual_size_tell_nothing() -> None:
    assert untrained_rows(trained(), range(ROWS), range(390, 400)) == {}


def test_spare_rows_are_those_without_a_token_and_those_named_so() -> None:
    vocabulary = {"a": 0, "<|reserved_special_token_7|>": 1, "<unused3>": 2, "b": 3}
    assert spare_ids(vocabulary, 6) == [1, 2, 4, 5]
    assert spare_ids({"a": 0}, 1) == []
