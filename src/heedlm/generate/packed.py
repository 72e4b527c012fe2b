"""Matrices laid out as the CPU's product kernels read them: the same numbers, two to three times as fast for few rows.

A decoding step multiplies every matrix by a handful of rows. As they are stored, matrices go through a kernel made for many
rows; laid out in blocks beforehand, as compiled inference does it (oneDNN), a product takes about as long as reading the
matrix. The blocks stand in the place of what was stored, so memory stays the same, but for a head that is tied to the
embedding: rows of that are looked up, and it is kept beside its blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from heedlm.model.quick import Rounding, product

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Elements from which on it pays: the kernel takes some 10 microseconds to be called, a plain product of this size about as long.
_LARGE = 2**14
_ROWS = 32  # rows that the blocks are chosen for; the same blocks serve one row and hundreds
_TOLERANCE = 1e-4  # of the largest logit: that far sums in another order may lie apart in fp32


def pack(model: PreTrainedModel) -> int:
    """Lay out the large matrices of `model` in blocks, and say how many there are; 0 where nothing was changed.

    For fp32 on a CPU, and for a model that is only run from now on: a packed matrix cannot be read, trained or saved. One
    that does not give its old logits that way is put back as it was.
    """
    able: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not able or model.device.type != "cpu" or model.dtype != torch.float32:
        return 0
    found = [module for module in model.modules() if _packable(module)] if not _reads_matrices(model) else []
    if not found:
        return 0
    before, users = _logits(model), _users(model)
    rounding = Rounding()
    try:
        for module in found:
            _pack(module, rounding, alone=users[id(module.weight)] == 1)
        after = _logits(model)
        moved = float((after - before).abs().max())
        same = model.device.type == "cpu" and moved <= _TOLERANCE * max(1.0, float(before.abs().max()))
    except (RuntimeError, NotImplementedError, AttributeError, TypeError):
        same = False  # the model reads a matrix itself and finds none, or this torch has no such blocks
    if same:
        return len(found)
    unpack(model)
    return 0


def unpack(model: nn.Module) -> None:
    """Put every packed matrix of `model` back as it was."""
    for module in model.modules():
        packed = vars(module).pop("heed_packed", None)
        if packed is None:
            continue
        del module.forward
        if module.weight.is_meta:
            module.weight = nn.Parameter(packed.to_dense(), requires_grad=False)


def _packable(module: nn.Module) -> bool:
    """A plain matrix of some size that nothing hooks into and that has not been packed."""
    return (
        type(module) is nn.Linear
        and module.weight.numel() >= _LARGE
        and module.weight.dtype == torch.float32
        and "forward" not in vars(module)
        and not (module._forward_hooks or module._forward_pre_hooks)
    )


def _reads_matrices(model: nn.Module) -> bool:
    """Whether an adapter computes with the base's matrices themselves, as DoRA does for their norms."""
    configs: dict[str, Any] = getattr(model, "peft_config", None) or {}
    return any(getattr(config, "use_dora", False) for config in configs.values())


def _users(model: nn.Module) -> dict[int, int]:
    """How many modules hold each parameter."""
    users: dict[int, int] = {}
    for module in model.modules():
        for weights in module._parameters.values():
            if weights is not None:
                users[id(weights)] = users.get(id(weights), 0) + 1
    return users


def _pack(module: nn.Module, rounding: Rounding, *, alone: bool) -> None:
    weight = module.weight
    assert isinstance(weight, nn.Parameter)
    vars(module)["heed_packed"] = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), _ROWS)
    module.forward = MethodType(_forward_through(rounding), module)
    if alone:  # sizes and counts can still be asked for; who reads the numbers is told that they are not there
        module.weight = nn.Parameter(torch.empty_like(weight, device="meta"), requires_grad=False)


def _forward_through(rounding: Rounding) -> Callable[[Any, torch.Tensor], torch.Tensor]:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return product(x, vars(self)["heed_packed"], self.bias, rounding)

    return forward


def _logits(model: PreTrainedModel) -> torch.Tensor:
    """Logits of a few random tokens [1, 6, V]."""
    size = model.get_input_embeddings().weight.shape[0]
    ids: Sequence[int] = torch.randint(0, size, (6,), generator=torch.Generator().manual_seed(0)).tolist()
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            logits: torch.Tensor = model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits
    finally:
        model.train(training)
    return logits
