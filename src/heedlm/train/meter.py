"""How much of the machine a step uses: operations that it cannot do without, over what the matrix unit could do.

Counted as in "Efficient Large-Scale Language Model Training" (arXiv 2104.04473) without what is computed again: per
token twice the weights it is multiplied with in the forward pass, the same for the gradient of its input and, where
the weight is trained, for the weight's; attention over the pairs that may see each other; the head only on targets.
"""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import torch

from heedlm.messages import Batch
from heedlm.train.loss import Forward, LossSum, StepLoss

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


class Work(NamedTuple):
    """Operations of one training step, forward and backward: per computed token, per target, per visible pair."""

    per_token: float
    per_target: float
    per_pair: float
    window: int | None

    def of(self, batch: Batch) -> float:
        """Operations that `batch` needs."""
        return (
            self.per_token * len(batch.ids)
            + self.per_target * len(batch.target_id)
            + self.per_pair * self._pairs(batch)
        )

    def _pairs(self, batch: Batch) -> float:
        lengths = (batch.starts[1:] - batch.starts[:-1]).double()
        before = torch.where(batch.parents >= 0, lengths[batch.parents.long()], torch.zeros(())).double()
        pairs = lengths * before + lengths * (lengths + 1) / 2
        if self.window is not None:
            pairs = torch.minimum(pairs, lengths * self.window)
        return float(pairs.sum())


def work_of(model: PreTrainedModel) -> Work:
    """What a step of `model` costs, from its weights and their `requires_grad`. Of experts, only those that are routed to."""
    config = model.config.get_text_config()
    head = model.get_output_embeddings()
    tables = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    tables |= {id(p) for p in head.parameters()} if head is not None else set()
    per_token = sum(_per_use(p) * _share(p, config) for p in model.parameters() if p.dim() > 1 and id(p) not in tables)
    heads = getattr(config, "num_attention_heads", 0)  # a state space model has none
    size = getattr(config, "head_dim", None) or config.hidden_size // max(heads, 1)
    window = getattr(config, "sliding_window", None)
    return Work(
        per_token=float(per_token),
        per_target=float(sum(_per_use(p) for p in head.parameters() if p.dim() > 1)) if head is not None else 0.0,
        per_pair=12.0 * heads * size * config.num_hidden_layers,
        window=window if isinstance(window, int) and getattr(config, "use_sliding_window", True) else None,
    )


def _per_use(weight: nn.Parameter) -> int:
    return (6 if weight.requires_grad else 4) * weight.numel()


def _share(weight: nn.Parameter, config: object) -> float:
    """The share of a stack of expert weights [experts, ...] that a token meets."""
    experts = getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None)
    if weight.dim() != 3 or not experts or weight.shape[0] != experts:
        return 1.0
    return float(getattr(config, "num_experts_per_tok", experts)) / float(experts)


def matrix_ceiling(device: torch.device, dtype: torch.dtype, seconds: float = 0.3) -> float:
    """Operations per second of square matrix products on this device in `dtype`, the best of a few; takes `seconds`."""
    size = 1024 if device.type == "cpu" else 8192
    a, b = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    best, began = float("inf"), time.perf_counter()
    while best == float("inf") or time.perf_counter() - began < seconds:
        clock = time.perf_counter()
        _ = float((a @ b)[0, 0])  # reading a value waits for the device
        best = min(best, time.perf_counter() - clock)
    return 2.0 * size**3 / best


class Meter:
    """The operations of the steps so far, and what the device could do in a second; made for one model and precision."""

    def __init__(self, model: PreTrainedModel, precision: torch.dtype) -> None:
        device = next(model.parameters()).device
        self._work = work_of(model)
        self.ceiling = _ceiling(device, precision)
        self._done = 0.0

    def watching(self, objective: StepLoss) -> StepLoss:
        """The same objective, its batches counted."""

        def counted(forward: Forward, batch: Batch) -> LossSum:
            self._done += self._work.of(batch)
            return objective(forward, batch)

        return counted

    def take(self) -> float:
        """Operations since the last call."""
        done, self._done = self._done, 0.0
        return done


@cache
def _ceiling(device: torch.device, precision: torch.dtype) -> float:
    return matrix_ceiling(device, precision, seconds=0.1)
