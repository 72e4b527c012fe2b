"""The one training loop: batches in, better weights out. Pretraining, tuning and every other objective run through it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from heedlm.errors import HeedError
from heedlm.tokens.loader import Loader, StepBatch
from heedlm.tokens.pack import to_device
from heedlm.train.loss import Forward, StepLoss, token_nll
from heedlm.train.ranks import ALONE, Ranks, whole


@dataclass(frozen=True, slots=True)
class Position:
    """Where a run stands: everything the loop needs to go on.

    step: optimiser steps done.   epoch, step_in_epoch: the next batch.   tokens: tokens seen, prompts included.
    """

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step in numbers. loss: weighted mean over the global batch's learned tokens, nats.   accuracy: of their arg-max.

    grad_norm: before clipping.   seconds: of this step, data included.   epoch_ended: the step was its epoch's last.
    """

    loss: float
    accuracy: float
    grad_norm: float
    lr: float
    tokens: int
    learned_tokens: int
    seconds: float
    epoch: int
    epoch_ended: bool


class NotFinite(HeedError):
    """A loss or a gradient that is no number. All ranks raise it together, for they share both."""


@dataclass(frozen=True, slots=True)
class Regime:
    """num_steps: optimiser steps of the whole run.   lr_at: learning rate by step.   clip_norm: of the global gradient.

    precision: dtype of the matrix products; weights, gradients and optimiser stay fp32.
    """

    num_steps: int
    lr_at: Callable[[int], float]
    clip_norm: float
    precision: torch.dtype = torch.float32


def fit(
    model: nn.Module,
    forward: Forward,
    loader_of: Callable[[int], Loader],
    optimizer: torch.optim.Optimizer,
    regime: Regime,
    *,
    after_step: Callable[[Position, StepReport], bool],
    step_loss: StepLoss = token_nll,
    start: Position = Position(),
    ranks: Ranks = ALONE,
) -> Position:
    """Train from `start` until `regime.num_steps`, or until `after_step` returns False.

    forward: from a batch to what its targets need (train.forward.target_logits).   loader_of: the loader of an epoch, the
    same for every one of `ranks`; these share the micro-batches of each step, and all come to the same report.
    Loss of a step = sum of weight x token loss over all micro-batches / sum of weights, counted before the first forward
    pass, so that cutting a step into micro-batches changes rounding only (pains 12, 13). A step without learned tokens is
    skipped; a loss that is not finite stops the run with the step named.
    """
    model.train()
    step_loss = ranks.objective(step_loss)
    position = start
    while position.step < regime.num_steps:
        loader = loader_of(position.epoch)
        last = loader.steps_in_epoch(position.epoch)
        clock = time.perf_counter()
        for batch in loader.batches(position.epoch, position.step_in_epoch):
            ended = position.step_in_epoch + 1 >= last
            position = replace(
                position, step_in_epoch=position.step_in_epoch + 1, tokens=position.tokens + batch.tokens
            )
            if batch.weight_sum > 0:
                ranks.draw(loader.seed, position.step)
                report = _step(model, forward, batch, optimizer, regime, step_loss, position.step, ranks)
                report = replace(report, seconds=time.perf_counter() - clock, epoch_ended=ended)
                clock = time.perf_counter()
                position = replace(position, step=position.step + 1)
                if ended:
                    position = replace(position, epoch=position.epoch + 1, step_in_epoch=0)
                if not after_step(position, report):
                    return position
                model.train()
            if position.step >= regime.num_steps:
                return position
        if position.step_in_epoch:  # the epoch's last batch had nothing to learn
            position = replace(position, epoch=position.epoch + 1, step_in_epoch=0)
    return position


def _step(
    model: nn.Module,
    forward: Forward,
    batch: StepBatch,
    optimizer: torch.optim.Optimizer,
    regime: Regime,
    step_loss: StepLoss,
    step: int,
    ranks: Ranks,
) -> StepReport:
    device = next(model.parameters()).device
    lr = regime.lr_at(step)
    for group in optimizer.param_groups:
        group["lr"] = lr
    total = correct = learned = 0.0
    for micro in ranks.share(batch.micro_batches):
        on_device = to_device(micro, device)
        with torch.autocast(device.type, dtype=regime.precision, enabled=regime.precision != torch.float32):
            result = step_loss(forward, on_device)
        (result.loss / batch.weight_sum).backward()  # type: ignore[no-untyped-call]
        total += float(result.loss.detach())
        correct += int(result.correct.sum())
        learned += len(result.correct)
    ranks.sum_gradients(model.parameters())
    total, correct, learned = ranks.sum(total, correct, learned)
    loss = total / batch.weight_sum
    norm = float(whole(nn.utils.clip_grad_norm_((p for p in model.parameters() if p.requires_grad), regime.clip_norm)))
    if not (torch.isfinite(torch.tensor(loss)) and torch.isfinite(torch.tensor(norm))):
        optimizer.zero_grad(set_to_none=True)
        raise NotFinite(
            f"The loss is {loss} and the gradient norm {norm} at step {step}: this step was not taken.",
            f"step {step}",
            "lower the learning rate (--set train.lr=...) or use --set train.precision=fp32",
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return StepReport(loss, correct / max(1, learned), norm, lr, batch.tokens, int(learned), 0.0, batch.epoch, False)


@dataclass(frozen=True, slots=True)
class Validation:
    """loss: weighted mean nats per learned token.   accuracy: share of learned tokens that the arg-max gets right."""

    loss: float
    accuracy: float
    learned_tokens: int


@torch.no_grad()
def validate(
    model: nn.Module,
    forward: Forward,
    loader: Loader,
    precision: torch.dtype = torch.float32,
    ranks: Ranks = ALONE,
) -> Validation:
    """Loss over a whole split: sums over tokens in float64, so neither batch size nor ranks enter (pain 24)."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    objective = ranks.objective(token_nll)
    loss = weight = correct = learned = 0.0
    for step in loader.batches(0):
        for micro in ranks.share(step.micro_batches):
            on_device = to_device(micro, device)
            with torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32):
                result = objective(forward, on_device)
            loss += float((result.nll.cpu().double() * micro.target_weight.double()).sum())
            weight += float(micro.target_weight.double().sum())
            correct += int(result.correct.sum())
            learned += len(result.correct)
    model.train(was_training)
    loss, weight, correct, learned = ranks.sum(loss, weight, correct, learned)
    return Validation(loss / max(weight, 1e-12), correct / max(1, learned), int(learned))
