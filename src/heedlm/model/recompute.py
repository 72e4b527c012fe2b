"""Activation checkpointing: some layers keep only their input and compute the rest again in the backward pass.

Keyword arguments travel with the call that is repeated, so documents laid end to end stay apart the second time too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import nn

from heedlm.model.lean import keep_no_casts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# off: everything is kept.   selective: every second layer is repeated.   full: every layer is.
Recompute = Literal["off", "selective", "full"]


def set_recompute(model: PreTrainedModel, how: Recompute) -> int:
    """Make the layers of `model` repeat their forward pass in the backward pass. Returns how many do.

    0 for "off", and for an architecture whose layers cannot (the caller says so).
    """
    if how == "off":
        model.gradient_checkpointing_disable()
        keep_no_casts(_layers(model), on=False)
        return 0
    if not getattr(model, "supports_gradient_checkpointing", False):
        return 0
    model.gradient_checkpointing_enable({"use_reentrant": False})
    layers = _layers(model)
    for number, layer in enumerate(layers):
        layer.gradient_checkpointing = how == "full" or number % 2 == 0  # type: ignore[assignment]
    keep_no_casts(layers, on=True)
    return sum(bool(layer.gradient_checkpointing) for layer in layers)


def keeps_casts(model: PreTrainedModel) -> bool:
    """Whether autocast's narrow copies of weights stay through a pass even where layers are repeated: those of matrices
    that are no plain linear modules (GPT-2's convolutions, stacked experts)."""
    return any(
        weight.dim() > 1 and type(module) is not nn.Linear
        for layer in _layers(model)
        for module in layer.modules()
        for weight in module.parameters(recurse=False)
    )


def _layers(model: nn.Module) -> list[nn.Module]:
    """The layers that transformers can repeat, in order."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
