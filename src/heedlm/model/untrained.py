"""Tokens that a model never met: their rows in embedding or head are still as they were made.

A chat format may write control tokens that exist in the vocabulary and that no text of the pretraining held. Adapters leave
their rows as they are, so the model reads noise where a turn begins, and cannot learn to end one (pain 17: Qwen3#1064,
torchtune#2429). That a row was never trained shows in four ways; each is evidence, none is a guess by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch

# Names that tokenizers give to places kept free.
SPARE = re.compile(r"reserved|unused|extra_id|placeholder|<\|dummy", re.IGNORECASE)
_LEAST_SPARE = 3  # rows that tell what an unused one looks like
_ZERO = 0.02  # of the usual size
_NEAR_MEAN, _TWIN = 0.1, 0.05  # of the usual distance from the mean
_BAND = 1.1  # how far beyond the sizes of spare rows a row may be to be one of them
_SAMPLE = 4096


def spare_ids(vocabulary: Mapping[str, int], num_rows: int) -> list[int]:
    """Rows that no text can use: those without a token, and tokens that are named as kept free."""
    used = set(vocabulary.values())
    named = {index for text, index in vocabulary.items() if SPARE.search(text)}
    return [index for index in range(num_rows) if index not in used or index in named]


@torch.no_grad()
def untrained_rows(matrix: torch.Tensor, ids: Iterable[int], spare: Iterable[int] = ()) -> dict[int, str]:
    """Which of `ids` have a row that was never trained, with the evidence in words.

    matrix: [V, d], of an embedding or a head.   spare: rows that were surely never trained, where there are such.
    """
    matrix = matrix.detach()
    sizes = torch.linalg.vector_norm(matrix, dim=1, dtype=torch.float32)  # [V]
    mean = matrix.mean(0, dtype=torch.float32)
    some = torch.arange(0, len(matrix), max(1, len(matrix) // _SAMPLE), device=matrix.device)
    usual = float(sizes.median())
    distance = float(torch.linalg.vector_norm(matrix[some].float() - mean, dim=1).median())
    band = _spare_band(sizes, [index for index in spare if index < len(matrix)])
    found = {}
    for index in ids:
        reason = _evidence(matrix, index, sizes, mean, usual, distance, band)
        if reason:
            found[index] = reason
    return found


def _evidence(
    matrix: torch.Tensor,
    index: int,
    sizes: torch.Tensor,
    mean: torch.Tensor,
    usual: float,
    distance: float,
    band: tuple[float, float] | None,
) -> str:
    size = float(sizes[index])
    if size < _ZERO * usual:
        return f"row of size {size:.2g}, usual {usual:.2g}"
    away = matrix[index].float() - mean
    if float(away.norm()) < _NEAR_MEAN * distance:
        return "row is the mean of all rows"
    # |x - y|^2 by products, so that no copy of the matrix is made.
    squared = sizes**2 + size**2 - 2 * (matrix @ matrix[index]).float()
    squared[index] = torch.inf
    if float(squared.min()) < (_TWIN * distance) ** 2:
        return f"row is that of token {int(squared.argmin())}"
    if band is not None and band[0] / _BAND <= size <= band[1] * _BAND:
        return f"row has the size of rows that nothing uses, {size:.2g} instead of {usual:.2g}"
    return ""


def _spare_band(sizes: torch.Tensor, spare: list[int]) -> tuple[float, float] | None:
    """Least and largest size of spare rows, where that tells them from nearly all others."""
    if len(spare) < _LEAST_SPARE or len(spare) == len(sizes):
        return None
    low, high = float(sizes[spare].min()), float(sizes[spare].max())
    others = torch.ones_like(sizes, dtype=torch.bool)
    others[spare] = False
    ordered = sizes[others].sort().values
    first, last = float(ordered[len(ordered) // 100]), float(ordered[-1 - len(ordered) // 100])
    apart = high * _BAND < first or low / _BAND > last
    return (low, high) if apart else None
