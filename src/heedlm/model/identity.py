"""What tells a model from another of the same name: a checksum of its chat template and its weights."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn


def identity(model: nn.Module, template: str) -> str:
    """16 hex digits of the weights and of a chat template's source.

    Bits are added, not numbers: a sum of floats depends on the order of its terms, and so on the number of threads and on
    the device. They are added along both sides of a matrix, so that exchanged rows or columns make another model.
    """
    digest = hashlib.sha256(template.encode())
    for name, values in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(values.shape)}".encode())
        for sums in _sums(values):
            digest.update(sums.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _sums(values: torch.Tensor) -> list[torch.Tensor]:
    """The bits of a tensor as whole numbers, added along its first side and along all the others."""
    import torch

    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    bits = values.detach().contiguous().view(-1).view(whole[values.element_size()])
    table = bits.reshape(values.shape[0], -1) if values.dim() and values.numel() else bits.reshape(1, -1)
    return [table.sum(dim=side, dtype=torch.int64) for side in (0, 1)]
