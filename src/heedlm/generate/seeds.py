"""The seed of each request in a call."""

from __future__ import annotations

_STRIDE = 1_000_003  # a prime far above any batch: seeds 0 and 1 do not share generators


def request_seed(seed: int, index: int) -> int:
    """The seed of request `index` in a call with `seed`.

    The same request at the same place draws the same numbers, whoever else is in the batch; two equal requests in one
    call draw different ones.
    """
    return (seed * _STRIDE + index) % 2**63
