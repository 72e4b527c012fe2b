"""The optimiser, its schedule, and the defaults that depend on model size and method."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import nn

Schedule = Literal["cosine", "linear", "constant", "wsd"]
Method = Literal["full", "lora", "qlora"]


class Choice(NamedTuple):
    """A value that heed chose, with the reason that is shown."""

    value: float
    reason: str


def default_lr(method: Method, num_parameters: int) -> Choice:
    """Peak learning rate by size and method: small models want more, and LoRA about ten times as much as full tuning.

    The full-tuning ladder is what public recipes of each size class use (2e-5 at 1B and above); the factor of ten is the
    finding of "LoRA Without Regret" (Thinking Machines, 2025). The first rung was measured here on the built-in model.
    """
    ladder = (
        (20e6, 1e-3, "under 20M"),
        (150e6, 2e-4, "20M to 150M"),
        (1e9, 5e-5, "150M to 1B"),
        (math.inf, 2e-5, "1B and more"),
    )
    lr, size = next((lr, size) for limit, lr, size in ladder if num_parameters < limit)
    if method != "full":
        lr = min(10 * lr, 2e-3)
        return Choice(lr, f"{num_parameters / 1e6:.1f}M parameters ({size}), adapters: ten times full tuning")
    return Choice(lr, f"{num_parameters / 1e6:.1f}M parameters ({size}), all weights")


def default_tokens_per_step(epoch_tokens: int, epochs: int) -> Choice:
    """Tokens of an optimiser step: 8,192, or fewer where the data would make less than a hundred steps of that size.

    A run of three steps has hardly left its warm-up; a hundred is where the schedules start to mean something.
    """
    usual, least, steps = 8192, 256, 100
    value = max(least, min(usual, epoch_tokens * epochs // steps))
    reason = "the usual" if value == usual else f"so that {epoch_tokens:,} tokens an epoch make about {steps} steps"
    return Choice(value, reason)


def lr_schedule(
    peak: float, num_steps: int, warmup: float, schedule: Schedule, decay: float = 0.2
) -> Callable[[int], float]:
    """Learning rate of step 0..num_steps - 1: linear warm-up over the first share `warmup`, then as `schedule` says.

    cosine, linear: down to a tenth of the peak.   constant: stays.   wsd (warm-up, stable, decay): stays until the last
    share `decay` of the steps (not before the warm-up ends), in which it falls as 1 - sqrt(share done). No step has a rate
    of zero, for it would waste a batch: the rise begins before step 0, and the fall ends after the last.
    Source of wsd: MiniCPM (arXiv 2404.06395); of its fall: arXiv 2405.18392, where 1 - sqrt does better than a line.
    """
    warm = math.ceil(warmup * num_steps)
    fall = max(warm, num_steps - math.ceil(decay * num_steps))  # the first step of the decay

    def at(step: int) -> float:
        if step < warm:
            return peak * (step + 1) / (warm + 1)
        done = min(1.0, (step - warm) / max(1, num_steps - warm))
        if schedule == "cosine":
            return peak * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done)))
        if schedule == "linear":
            return peak * (1 - 0.9 * done)
        if schedule == "wsd" and step >= fall:
            return peak * (1 - math.sqrt((step - fall + 1) / (num_steps - fall + 1)))
        return peak

    return at


def adamw(model: nn.Module, weight_decay: float) -> torch.optim.AdamW:
    """AdamW over the trainable parameters, fused (one kernel for all) on every device; decay only where `decays` says so.

    betas (0.9, 0.95) as is usual for language models; the learning rate is set by the loop at every step.
    """
    matrices = [p for name, p in model.named_parameters() if p.requires_grad and decays(model, name, p)]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=0.0, betas=(0.9, 0.95), fused=True)
    # Made before the first step, not in it: what stays for the whole run would otherwise lie where activations come and go.
    for parameter in (*matrices, *others):
        step = torch.zeros((), dtype=torch.float32, device=parameter.device)
        moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
        optimizer.state[parameter] = {"step": step, **moments}
    return optimizer


def decays(model: nn.Module, name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay acts on a parameter: on matrices, not on gains, biases and the rates of state-space layers.

    Dimensions alone do not tell: Cohere's gains are [heads, size], the biases of stacked experts [experts, size].
    """
    owner, _, leaf = name.rpartition(".")
    kind = type(model.get_submodule(owner)).__name__.lower()
    return parameter.ndim >= 2 and "norm" not in kind and "bias" not in leaf and leaf != "A_log"
