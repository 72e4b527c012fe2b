"""The machine's matrix ceiling: floating-point operations per second of square products, nothing else running in the process.

Specification: threads, device. Report: {"flops": {"bf16": best of the sizes, "fp32": ...}, "sizes": every figure}.
"""

from __future__ import annotations

import statistics
import time

import torch
from meter import read_spec, write_report

REPEATS = 7


def product(size: int, dtype: torch.dtype, device: str) -> float:
    """Median over several products, after two that warm up. Random data: zeros are faster on some hardware."""
    a = torch.randn(size, size, device=device).to(dtype)
    b = torch.randn(size, size, device=device).to(dtype)
    out = torch.empty_like(a)
    seconds = []
    inner = max(1, int(2e9 // (2 * size**3))) if device == "cpu" else 10
    for repeat in range(REPEATS + 2):
        if device != "cpu":
            torch.cuda.synchronize()
        clock = time.perf_counter()
        for _ in range(inner):
            torch.mm(a, b, out=out)
        if device != "cpu":
            torch.cuda.synchronize()
        if repeat >= 2:
            seconds.append((time.perf_counter() - clock) / inner)
    return 2 * size**3 / statistics.median(seconds)


def main() -> None:
    spec = read_spec()
    device = spec["device"]
    if device == "cpu":
        torch.set_num_threads(spec["threads"])
    sizes = (1024, 1536, 2048) if device == "cpu" else (4096, 8192)
    found = {
        name: {size: product(size, dtype, device) for size in sizes}
        for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32))
    }
    write_report(spec, {"flops": {name: max(of.values()) for name, of in found.items()}, "sizes": found})


if __name__ == "__main__":
    main()
