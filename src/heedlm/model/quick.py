"""Products of fp32 rows with fp32 weights by the faster of two libraries, while a model answers on a CPU.

torch gives these products to MKL, which uses the wide registers (AVX-512) of one maker's processors only; oneDNN, which comes
with torch as well, uses them wherever they are. One thread of an AMD EPYC (Zen 5), a model's weights in turn (notes of
building): 64 rows at 91 and 182 GFLOP/s, 305 rows at 107 and 211, one row at 9 and 13. Both add up in fp32.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch import nn

# Width of a model, and inputs of a layer: at 256 a call costs what it saves where one row is asked for at a time.
NARROWEST = 320


@contextmanager
def quick_products(model: nn.Module) -> Iterator[None]:
    """Let the linear layers of a wide model use oneDNN where that is faster, for as long as this lasts and no gradient is
    wanted.

    Layers that have a forward pass of their own, adapters and quantised weights stay as they are. Results differ from the
    usual ones by the rounding of fp32.
    """
    changed = [module for module in model.modules() if _fits(module)] if _wide(model) and able() else []
    for module in changed:
        module.forward = MethodType(_forward, module)
    try:
        yield
    finally:
        for module in changed:
            vars(module).pop("forward", None)


@lru_cache(maxsize=1)
def able() -> bool:
    """Whether this machine has a processor on which oneDNN is the faster one, and a torch that can be asked for it."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or _maker() != "AuthenticAMD":
        return False
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(size, generator=generator) for size in ((3, 5, 64), (32, 64)))
    try:
        found = _product(x, weight, None)
    except (AttributeError, RuntimeError):  # a torch without oneDNN, or one in which the function has another name
        return False
    return torch.allclose(found, nn.functional.linear(x, weight), rtol=1e-4, atol=1e-4)


def _maker() -> str:
    """Who made the processor, as Linux has it; "" where that is not known."""
    if not sys.platform.startswith("linux"):
        return ""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "")


def _wide(model: nn.Module) -> bool:
    config: Any = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    return int(getattr(text, "hidden_size", NARROWEST)) >= NARROWEST


def _fits(module: nn.Module) -> bool:
    if type(module) is not nn.Linear or "forward" in vars(module) or module.in_features < NARROWEST:
        return False
    weight = module.weight
    plain = type(weight) is nn.Parameter and type(weight.data) is torch.Tensor
    return plain and weight.device.type == "cpu" and weight.dtype == torch.float32


def _forward(self: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    wanted = x.dtype == torch.float32 and x.device.type == "cpu" and self.weight.dtype == torch.float32
    if not wanted or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
        return nn.Linear.forward(self, x)
    return _product(x, self.weight, self.bias)


def _product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return found


__all__ = ["NARROWEST", "able", "quick_products"]
