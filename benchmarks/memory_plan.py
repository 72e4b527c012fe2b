"""Is the memory that the plan predicts what the system counts? A grid of model, row length, method, layers computed again.

Every point is a process of its own that loads a model of random weights, asks the plan, and takes a few steps on random rows.
Measured is the largest resident size (VmHWM; on a GPU the largest allocated one) above the level before the model is loaded,
loading and probes included. `error` is prediction / measurement - 1.

    python benchmarks/memory_plan.py [--full] [--smoke] [--threads 2]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from common import BENCH, SHAPES, Shape, finish, run_worker, say, table
from transformers import LlamaForCausalLM

ALLOWED = 0.15
MODELS = {
    "tiny": SHAPES["tiny"],
    "5m": Shape(5, 256, 4, 2, 704, 4096),
    "35m": Shape(10, 512, 8, 4, 1408, 16_000),
    "wide-v": Shape(6, 512, 8, 2, 1536, 151_936),
    "135m": SHAPES["135m"],
    "0.5b": SHAPES["0.5b"],
}


class Point(NamedTuple):
    """rows: shortest and longest, in tokens.   at_once: freed memory goes back to the system (machine)."""

    model: str
    rows: tuple[int, int]
    micro_tokens: int
    tokens_per_step: int
    lora: bool = False
    recompute: str = "off"
    at_once: bool = False
    precision: str = "bf16"
    learned: float = 0.5


GRID = [
    Point("5m", (50, 200), 4096, 4096),
    Point("5m", (200, 800), 4096, 8192, recompute="full", at_once=True),
    Point("35m", (50, 200), 2048, 4096),
    Point("35m", (400, 900), 2048, 2048, at_once=True),
    Point("35m", (400, 900), 4096, 4096, recompute="selective"),
    Point("35m", (1500, 2000), 4096, 4096, lora=True),
    Point("35m", (1500, 2000), 4096, 4096, lora=True, recompute="selective"),
    Point("35m", (100, 600), 2048, 2048, precision="fp32"),
    Point("35m", (50, 200), 2048, 2048, lora=True, precision="fp32"),
    Point("35m", (100, 600), 4096, 4096, lora=True, recompute="full", at_once=True, precision="fp32"),
    Point("135m", (100, 400), 1024, 2048),
    Point("135m", (100, 400), 1024, 1024, lora=True),
    Point("135m", (400, 900), 2048, 2048, recompute="full"),
    Point("135m", (400, 900), 2048, 2048, recompute="full", at_once=True),
    Point("wide-v", (100, 400), 1024, 1024),
    Point("wide-v", (100, 400), 1024, 1024, recompute="full"),
    Point("wide-v", (100, 400), 1024, 2048, lora=True, at_once=True),
]
MORE = [
    Point("135m", (1500, 2000), 2048, 4096, recompute="selective", at_once=True),
    Point("135m", (100, 400), 1024, 1024, lora=True, recompute="full", at_once=True, precision="fp32"),
    Point("0.5b", (100, 400), 512, 512, lora=True, recompute="full", at_once=True),
    Point("wide-v", (400, 900), 2048, 2048, learned=1.0),
]
SMOKE = [Point("tiny", (20, 60), 256, 256, precision="fp32")]


def folder_of(name: str) -> str:
    """The folder of a model with random weights, made when it is first asked for."""
    folder = BENCH / "models" / f"memory-{name}"
    if not (folder / "config.json").is_file():
        torch.manual_seed(0)
        LlamaForCausalLM(MODELS[name].config()).save_pretrained(folder)
    return str(folder)


def measure(point: Point, steps: int, threads: int, device: str) -> dict[str, Any]:
    vocabulary = MODELS[point.model].vocab
    spec = {**point._asdict(), "model": folder_of(point.model), "vocabulary": vocabulary}
    spec |= {"steps": steps, "seed": 0, "device": device}
    return run_worker(Path(sys.executable), "memory_worker.py", spec, threads=threads, name="memory_plan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="more and larger points")
    parser.add_argument("--smoke", action="store_true", help="one tiny point: does the benchmark work?")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    began = time.perf_counter()
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")  # as the command line sets it
    points = SMOKE if options.smoke else [*GRID, *(MORE if options.full else [])]
    found = []
    for point in points:
        report = measure(point, options.steps, options.threads, options.device)
        found.append({**point._asdict(), **{key: report[key] for key in ("predicted", "measured", "error")}})
        say(
            f"{point}: predicted {report['predicted']['peak']:,}, measured {report['measured']:,}, {report['error']:+.1%}"
        )
    head = ("model", "rows", "micro", "step", "method", "again", "at once", "dtype", "predicted", "measured", "error")
    rows = [
        (
            one["model"],
            "{}-{}".format(*one["rows"]),
            one["micro_tokens"],
            one["tokens_per_step"],
            "lora" if one["lora"] else "full",
            one["recompute"],
            "yes" if one["at_once"] else "no",
            one["precision"],
            f"{one['predicted']['peak'] / 1e6:,.0f} MB",
            f"{one['measured'] / 1e6:,.0f} MB",
            f"{one['error']:+.1%}",
        )
        for one in found
    ]
    print(table(head, rows))
    largest = max(abs(one["error"]) for one in found)
    tokens = options.steps * sum(point.tokens_per_step for point in points)
    result = {
        "largest_error": largest,
        "allowed": ALLOWED,
        "within": largest <= ALLOWED,
        "points": found,
        "runs": 1,
        "peers": {},
        "tokens": tokens,
        "rows_sha": "random rows, seed 0",
    }
    finish("memory_plan", result, began=began, threads=options.threads, smoke=options.smoke)


if __name__ == "__main__":
    main()
