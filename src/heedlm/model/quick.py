"""Products of fp32 rows with fp32 weights by the faster of two libraries, while a model answers on a CPU.

torch gives these products to MKL, which uses the wide registers (AVX-512) of one maker's processors only; oneDNN, which comes
with torch as well, uses them wherever they are. One thread of an AMD EPYC (Zen 5), a model's weights in turn (notes of
building): 64 rows at 91 and 182 GFLOP/s, 305 rows at 107 and 211, one row at 9 and 13. Both add up in fp32.

oneDNN compiles a product for each number of rows that it meets, and keeps it: 500 numbers of rows took 0.5 GB, and left 1.4 GB of
holes. So numbers of rows are rounded up, with rows of zeros, which costs a few hundredths of a product.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
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
    forward = _forward_through(Rounding())
    for module in changed:
        module.forward = MethodType(forward, module)
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
        found = product(x, weight, None, Rounding())
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


def rounded(count: int) -> int:
    """The number of rows that a product is made for: of the numbers up to 2,048 it takes 38 of them."""
    if count <= 8:
        return count
    step = 8 if count <= 64 else max(64, 2 ** (count - 1).bit_length() // 16)
    return -(-count // step) * step


class Rounding:
    """Inputs with rows of zeros behind them. The one made last is kept: several layers read the same."""

    def __init__(self) -> None:
        self._last: tuple[torch.Tensor | None, int, torch.Tensor] = (None, 0, torch.empty(0))

    def of(self, x: torch.Tensor) -> torch.Tensor:
        """x [..., K] as [R, K], with R rounded up."""
        known, version, rows = self._last
        if known is x and not x.is_inference() and version == x._version:  # not written to since then
            return rows
        rows = x.reshape(-1, x.shape[-1])
        missing = rounded(rows.shape[0]) - rows.shape[0]
        if missing:
            rows = nn.functional.pad(rows, (0, 0, 0, missing))
        self._last = (x, 0 if x.is_inference() else x._version, rows)
        return rows


def _forward_through(rounding: Rounding) -> Callable[[nn.Linear, torch.Tensor], torch.Tensor]:
    def forward(self: nn.Linear, x: torch.Tensor) -> torch.Tensor:
        wanted = x.dtype == torch.float32 and x.device.type == "cpu" and self.weight.dtype == torch.float32
        if not wanted or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            return nn.Linear.forward(self, x)
        return product(x, self.weight, self.bias, rounding)

    return forward


def product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, rounding: Rounding) -> torch.Tensor:
    """x [..., K] with weight [N, K], as it is stored or in oneDNN's blocks; [..., N]."""
    rows: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rounding.of(x), weight, bias, "none", [], "")
    return rows[: x.shape[:-1].numel()].view(*x.shape[:-1], weight.shape[0])


__all__ = ["NARROWEST", "Rounding", "able", "product", "quick_products", "rounded"]
