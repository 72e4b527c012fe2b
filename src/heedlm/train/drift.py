"""How far a saved model is from the one that was trained: merging and storing round, and this says by how much."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from heedlm.messages import Batch
from heedlm.model import attention
from heedlm.tokens.loader import Loader
from heedlm.tokens.pack import to_device
from heedlm.train.forward import Packing, attention_set_to, target_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Logits of the trained model that are kept for the comparison (fp32: 256 MB): 441 targets of a vocabulary of 152,000.
KEPT_LOGITS = 2**26
# Rows compared at a time in float64.
_ROWS = 64


@dataclass(frozen=True, slots=True)
class Drift:
    """mean_kl: nats per target, KL(trained || saved).   same_top: share of targets with the same most likely token.

    targets: how many learned tokens were compared.
    """

    mean_kl: float
    same_top: float
    targets: int

    def __str__(self) -> str:
        return f"mean KL {self.mean_kl:.1e} nats, same top token {self.same_top:.1%} of {self.targets:,}"


def witness(
    model: PreTrainedModel, packing: Packing, loader: Loader, kept_logits: int = KEPT_LOGITS
) -> Callable[[PreTrainedModel], Drift]:
    """Note what the trained model predicts now, before its weights are merged; returns the comparison with another model.

    loader: what is predicted, validation rows as a rule; so many targets, in its seeded order, as `kept_logits` allows.
    Products are fp32 on both sides: what shows is the difference of the weights, not the noise of bf16 products.
    """
    vocabulary = model.config.get_text_config().vocab_size
    seen: list[tuple[Batch, torch.Tensor]] = []
    with _quiet(model, packing):
        forward = target_logits(model, packing)
        device = next(model.parameters()).device
        for batch in _targets(loader, max(1, kept_logits // vocabulary)):
            seen.append((batch, forward(to_device(batch, device)).float().cpu()))

    def compare(other: PreTrainedModel) -> Drift:
        kl = same = 0.0
        with _quiet(other, packing):
            forward = target_logits(other, packing)
            place = next(other.parameters()).device
            for batch, trained in seen:
                saved = forward(to_device(batch, place)).float().cpu()
                same += int((trained.argmax(-1) == saved.argmax(-1)).sum())
                kl += sum(
                    _divergence(trained[at : at + _ROWS], saved[at : at + _ROWS]) for at in range(0, len(saved), _ROWS)
                )
        count = sum(len(logits) for _, logits in seen)
        return Drift(kl / count, same / count, count)

    return compare


def _divergence(trained: torch.Tensor, saved: torch.Tensor) -> float:
    """Sum of KL(trained || saved) over rows [R, V], never below zero, where rounding would take it."""
    mine, theirs = (torch.log_softmax(logits.double(), -1) for logits in (trained, saved))
    return float((mine.exp() * (mine - theirs)).sum(-1).clamp_min(0).sum())


def _targets(loader: Loader, limit: int) -> Iterator[Batch]:
    """Micro-batches of the loader's first epoch until `limit` targets are reached, the last one cut."""
    for step in loader.batches(0):
        for batch in step.micro_batches:
            part = slice(0, limit)
            yield replace(
                batch,
                target_index=batch.target_index[part],
                target_id=batch.target_id[part],
                target_weight=batch.target_weight[part],
                target_row=batch.target_row[part],
            )
            limit -= len(batch.target_id)
            if limit <= 0:
                return


@contextmanager
def _quiet(model: PreTrainedModel, packing: Packing) -> Iterator[None]:
    """Evaluation, without gradients, with the attention that the packing asks for."""
    training = model.training
    model.eval()
    name = attention.NAME if packing.packed else str(model.config._attn_implementation)
    with torch.no_grad(), attention_set_to(model, name):
        yield
    model.train(training)
