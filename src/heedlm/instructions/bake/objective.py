"""The objective of distillation: the student's distribution over the next token drawn towards the teacher's."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from heedlm.messages import Batch
from heedlm.train.loss import Forward, LossSum, StepLoss


class Wanted(NamedTuple):
    """What a teacher says at L places. ids: int64 [L, K], its likeliest tokens.   logprobs: float32 [L, K], nats.

    rest: float32 [L], log-probability of all other tokens together.
    """

    ids: torch.Tensor
    logprobs: torch.Tensor
    rest: torch.Tensor


class Teacher(Protocol):
    """Where the teacher's distributions are looked up."""

    def at(self, batch: Batch) -> Wanted:
        """What it says at the targets of a batch, on the device of the batch."""
        ...


def divergence_from(teacher: Teacher) -> StepLoss:
    """KL(teacher || student) per target, over the teacher's likeliest tokens and the rest as one, summed with the weights.

    The rest keeps the student from giving probability to tokens that the teacher did not name. `nll` and `correct` are
    those of the tokens, as of any other training.
    """

    def objective(forward: Forward, batch: Batch) -> LossSum:
        wanted = teacher.at(batch)
        hidden = forward.hidden(batch)
        if not forward.part or len(hidden) <= forward.plain:
            return LossSum(*_losses(forward, hidden, batch.target_id, batch.target_weight, *wanted))
        sums, nll, correct = list[torch.Tensor](), list[torch.Tensor](), list[torch.Tensor]()
        for first in range(0, len(hidden), forward.part):
            at = slice(first, first + forward.part)
            given = (hidden[at], batch.target_id[at], batch.target_weight[at], *(one[at] for one in wanted))
            # The logits of a part are made again for its gradient: those of all parts would not fit.
            made = checkpoint(_losses, forward, *given, use_reentrant=False)
            for held, value in zip((sums, nll, correct), made, strict=True):
                held.append(value)
        return LossSum(torch.stack(sums).sum(), torch.cat(nll), torch.cat(correct))

    return objective


def _losses(
    forward: Forward,
    hidden: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor,
    ids: torch.Tensor,
    logprobs: torch.Tensor,
    rest: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    logits = forward.head(hidden).float()  # [L, V]
    divergence, total = divergences(logits, Wanted(ids, logprobs, rest))
    with torch.no_grad():
        nll = total - logits.gather(1, target[:, None])[:, 0]
        correct = logits.argmax(dim=-1) == target
    return (divergence * weight).sum(), nll, correct


def divergences(logits: torch.Tensor, wanted: Wanted) -> tuple[torch.Tensor, torch.Tensor]:
    """KL(teacher || student) [L] in nats, and the log of the sum of the student's exponentials [L].

    logits: float32 [L, V], V above K, so that there is a rest.
    """
    total = logits.logsumexp(dim=-1)
    named = logits.gather(1, wanted.ids) - total[:, None]
    others = logits.scatter(1, wanted.ids, float("-inf")).logsumexp(dim=-1) - total
    # What was stored is rounded; made one again, a student that equals the teacher has a divergence of next to nothing.
    theirs = F.log_softmax(torch.cat([wanted.logprobs, wanted.rest[:, None]], dim=1), dim=1)
    mine = torch.cat([named, others[:, None]], dim=1)
    return (theirs.exp() * (theirs - mine)).sum(dim=1), total
