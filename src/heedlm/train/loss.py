"""Objectives: functions from a batch to a weighted sum over its learned tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch.nn import functional as F

from heedlm.messages import Batch


class LossSum(NamedTuple):
    """loss: scalar, sum of weight x loss over the batch's targets, differentiable.

    nll: float32 [L] negative log-likelihood per target in nats, detached.   correct: bool [L], arg-max equals the target.
    """

    loss: torch.Tensor
    nll: torch.Tensor
    correct: torch.Tensor


# From a batch to the logits [L, V] of its targets: the model and how documents reach it (see train.forward).
TargetLogits: TypeAlias = Callable[[Batch], torch.Tensor]
StepLoss: TypeAlias = Callable[[TargetLogits, Batch], LossSum]


def token_nll(forward: TargetLogits, batch: Batch) -> LossSum:
    """Cross-entropy on the learned tokens, in fp32, summed with their weights.

    The division by the weight sum of the *global* batch belongs to the loop, which knows it before the first forward.
    """
    logits = forward(batch).float()  # [L, V]
    nll = F.cross_entropy(logits, batch.target_id, reduction="none")  # [L]
    with torch.no_grad():
        correct = logits.argmax(dim=-1) == batch.target_id
    return LossSum((nll * batch.target_weight).sum(), nll.detach(), correct)
