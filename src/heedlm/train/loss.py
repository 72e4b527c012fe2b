"""Objectives: functions from a batch to a weighted sum over its learned tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

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


@dataclass(frozen=True, slots=True)
class Forward:
    """From a batch to the logits of its targets, in two halves (see train.forward).

    hidden: Batch -> [L, d], one state per target.   head: any rows of those -> logits [rows, V].
    part: rows for which the head may be called at a time; 0 where `hidden` gives the logits and the head is the identity.
    plain: rows up to which that is not worth it.   weights: what the head learns with.   overwrites: the head's gradient
    does not need its logits, so another may be written over them.   fill: so many rows to those that the head computes.
    """

    hidden: Callable[[Batch], torch.Tensor]
    head: Callable[[torch.Tensor], torch.Tensor]
    part: int = 0
    plain: int = 0
    weights: tuple[torch.Tensor, ...] = ()
    overwrites: bool = False
    fill: Callable[[int], int] = int

    def __call__(self, batch: Batch) -> torch.Tensor:
        """Logits [L, V] of all targets at once."""
        return self.head(self.hidden(batch))


StepLoss: TypeAlias = Callable[[Forward, Batch], LossSum]


def token_nll(forward: Forward, batch: Batch) -> LossSum:
    """Cross-entropy on the learned tokens, in fp32, summed with their weights.

    The division by the weight sum of the *global* batch belongs to the loop, which knows it before the first forward.
    """
    hidden = forward.hidden(batch)
    if forward.part and len(hidden) > forward.plain:
        return LossSum(*_parted_loss(forward, hidden, batch))
    logits = forward.head(hidden).float()  # [L, V]
    nll = F.cross_entropy(logits, batch.target_id, reduction="none")  # [L]
    with torch.no_grad():
        correct = logits.argmax(dim=-1) == batch.target_id
    return LossSum((nll * batch.target_weight).sum(), nll.detach(), correct)


def _parted_loss(forward: Forward, hidden: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, ...]:
    made: tuple[torch.Tensor, ...] = _PartedLoss.apply(  # type: ignore[no-untyped-call]
        hidden, batch.target_id, batch.target_weight, forward, *forward.weights
    )
    return made


# Elements of the logits that are turned into losses at a time: their fp32 copies (8 MB) stay in the cache.
_BLOCK = 2**21


class _PartedLoss(torch.autograd.Function):
    """Sum of weight x cross-entropy over [L, d] states, some rows at a time.

    In the forward pass each part's logits give loss and gradient, (softmax - one-hot) x weight, which is sent through the
    head at once; what remains are the gradients of the states and of the head's own weights, summed in their own dtype.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        target: torch.Tensor,
        weight: torch.Tensor,
        forward: Forward,
        *weights: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        learns = any(ctx.needs_input_grad)
        nll = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        correct = torch.empty(len(hidden), dtype=torch.bool, device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if learns else None
        grads: list[torch.Tensor | None] = [None] * len(weights)
        for first in range(0, len(hidden), forward.part):
            at = slice(first, first + forward.part)
            rows = len(target[at])
            states = F.pad(hidden[at].detach(), (0, 0, 0, forward.fill(rows) - rows)).requires_grad_(learns)
            with torch.set_grad_enabled(learns):
                logits = forward.head(states)
            outer = logits.detach() if forward.overwrites or not learns else torch.empty_like(logits)
            nll[at], correct[at] = _losses(logits.detach(), target[at], weight[at], outer)
            outer[rows:] = 0
            if grad_hidden is not None:
                own, *more = torch.autograd.grad(logits, [states, *weights], outer)
                grad_hidden[at] = own[:rows]
                grads = [new if old is None else old.add_(new) for old, new in zip(grads, more, strict=True)]
        ctx.grads = None if grad_hidden is None else [grad_hidden, *grads]
        ctx.mark_non_differentiable(nll, correct)
        return (nll * weight).sum(), nll, correct

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (hidden, *grads), ctx.grads = ctx.grads, None  # scaled where they lie: the head's is as large as its matrix
        scale = outer[0]
        return hidden.mul_(scale.to(hidden.dtype)), None, None, None, *(grad.mul_(scale) for grad in grads)


def _losses(
    logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, outer: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Negative log-likelihoods [L] and whether the arg-max is right; into `outer` (which may be `logits`) the gradient."""
    rows = max(1, _BLOCK // logits.shape[-1])
    nll, correct = [], []
    for first in range(0, len(target), rows):
        at = slice(first, min(first + rows, len(target)))
        scores = F.log_softmax(logits[at], dim=-1, dtype=torch.float32)
        correct.append(scores.argmax(dim=-1) == target[at])  # of bf16 logits it took six times as long on a CPU
        nll.append(-scores.gather(1, target[at, None])[:, 0])
        scores.exp_().mul_(weight[at, None])
        scores.scatter_add_(1, target[at, None], -weight[at, None])
        outer[at] = scores
    return torch.cat(nll), torch.cat(correct)
