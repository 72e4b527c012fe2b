"""How fast a model trains here, from a few steps on its own rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from heedlm.messages import Encoded
from heedlm.model import attention
from heedlm.tokens.loader import Loader
from heedlm.train.forward import attention_set_to, target_logits
from heedlm.train.loop import Position, Regime, StepReport, fit
from heedlm.train.optim import adamw
from heedlm.train.sft import Trainee
from heedlm.train.stage import Plan

_OPERATIONS = 4e11  # of the steps that are timed: some seconds on two cores
_GPU = 200  # times as many there


class Pace(NamedTuple):
    """Seconds for what each step takes whatever its size, and for each token."""

    step: float
    token: float


def measure_pace(trainee: Trainee, plan: Plan, loader: Loader) -> Pace:
    """Time real steps of two sizes. The weights of `trainee` are other ones afterwards."""
    model, device = trainee.model, trainee.device
    budget = _OPERATIONS * (_GPU if device.type == "cuda" else 1)
    most = int(min(loader.micro_tokens, loader.tokens_per_step, max(256, budget / (6 * trainee.parameters))))
    order = [index for step in loader.epoch_plan(0) for index in step]
    forward, optimizer = target_logits(model, trainee.packing), adamw(model, 0.0)
    name = attention.NAME if trainee.packing.packed else str(model.config._attn_implementation)
    times: list[tuple[int, float]] = []

    def heard(position: Position, report: StepReport) -> bool:
        times.append((report.tokens, report.seconds))
        return True

    with attention_set_to(model, name):
        for sample in (_first(loader, order, most // 4), _first(loader, order, most)):
            regime = Regime(2, lambda step: 0.0, 1.0, plan.precision)  # the first step of a shape prepares its products
            fit(model, forward, lambda epoch, sample=sample: sample, optimizer, regime, after_step=heard)  # type: ignore[misc]
    (few, short), (many, long) = times[1], times[3]
    if many <= few or long <= short:
        return Pace(0.0, long / many)
    token = (long - short) / (many - few)
    return Pace(max(0.0, short - token * few), token)


def _first(loader: Loader, order: Sequence[int], tokens: int) -> Loader:
    """A loader whose every step is the first sequences of `order`, about so many tokens and one at least."""
    lengths = loader.lengths()
    chosen: list[Encoded] = []
    held = 0
    for index in order:
        if chosen and held + lengths[index] > tokens:
            break
        chosen.append(loader.sequences[index])
        held += lengths[index]
    return replace(loader, sequences=chosen, tokens_per_step=held)
