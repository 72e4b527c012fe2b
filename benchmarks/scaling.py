"""What a training step costs as the model, the rows or the batch grow: fitted exponents, beside those of the needed work.

    .venv/bin/python benchmarks/scaling.py            models of 10M to 135M, rows of 64 to 2,048 tokens, steps of 512 to 8,192
    .venv/bin/python benchmarks/scaling.py --quick    a smoke run on tiny models

Each point is a few steps of heed's stage `train` in a process of its own, optimiser included; the first step warms up.
An exponent is the slope of log cost over log size. The ideal is the slope of the operations that cannot be done without
(common.needed_flops) at the same points; for the batch it is 1: twice the tokens, twice the time. ratio_to_ideal is
cost growth over needed growth from the smallest point to the largest: 1 means that nothing is lost on the way up.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import common
from common import SHAPES, Failed, say
from rows import even_rows, model_folder, write_rows

STEPS = 4  # the first is not counted


class Point(NamedTuple):
    """shape: of the model.   length: tokens per row, half of them learned.   tokens: of a step."""

    shape: str
    length: int
    tokens: int


class Cost(NamedTuple):
    """seconds: of a step.   flops: needed for it.   peak: bytes above the level before the model was loaded.

    rows: hash of what was learned.
    """

    seconds: float
    flops: float
    peak: int
    rows: str


def series(full: bool, quick: bool) -> dict[str, list[Point]]:
    """The points of each question; a point that stands in two is measured once."""
    if quick:
        return {
            "size": [Point("tiny", 64, 256), Point("10m", 64, 256)],
            "length": [Point("tiny", 64, 256), Point("tiny", 128, 256)],
            "batch": [Point("tiny", 64, 256), Point("tiny", 64, 512)],
        }
    sizes = ("10m", "30m", "60m", "135m", *(("270m", "0.5b") if full else ()))
    lengths = (64, 128, 256, 512, 1024, 2048)
    batches = (512, 1024, 2048, 4096, 8192)
    return {
        "size": [Point(shape, 256, 2048) for shape in sizes],
        "length": [Point("30m", length, 2048) for length in lengths],
        "batch": [Point("30m", 256, tokens) for tokens in batches],
    }


def measure(point: Point, threads: int, seed: int, device: str, settings: Sequence[str]) -> Cost:
    shape = SHAPES[point.shape]
    count = point.tokens * STEPS // point.length
    rows = even_rows(count, point.length, point.length // 2, seed)
    files = write_rows(common.BENCH / "work" / "scaling-rows", rows, "words drawn by seed")
    spec = {
        "model": str(model_folder(point.shape)),
        "rows": str(files.rows),
        "seed": seed,
        "device": device,
        "steps": STEPS,
        "settings": [f"train.tokens_per_step={point.tokens}", *settings],
    }
    report = common.run_worker(Path(sys.executable), "heed_worker.py", spec, threads=threads, name="scaling")
    common.check_learns("heed", report)
    wanted = common.worker_digest((row.ids, row.learned) for row in rows)
    common.check_same_rows("heed", report, wanted)
    steps = report["steps"][1:]
    if {step["tokens"] for step in steps} != {point.tokens}:
        raise Failed(f"steps of {[step['tokens'] for step in steps]} tokens, {point.tokens} were wanted")
    per_step = point.tokens // point.length
    flops = common.needed_flops(shape, [point.length] * per_step, steps[0]["learned"])
    seconds = statistics.median(step["seconds"] for step in steps)
    return Cost(seconds, flops, report["peak"] - report["level"], wanted["sha"])


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Least squares over logarithms."""
    log_x, log_y = [math.log(value) for value in x], [math.log(value) for value in y]
    return statistics.linear_regression(log_x, log_y).slope


def summary(points: Sequence[Point], costs: dict[Point, Cost], over: Sequence[float], ceiling: float) -> dict[str, Any]:
    """Exponent of the cost of a token (of a step where the batch grows, see `over`), and of the needed work."""
    seconds = [costs[point].seconds / point.tokens for point in points]
    flops = [costs[point].flops / point.tokens for point in points]
    growth = (seconds[-1] / seconds[0]) / (flops[-1] / flops[0])
    return {
        "exponent": round(slope(over, seconds), 3),
        "ideal_exponent": round(slope(over, flops), 3),
        "ratio_to_ideal": round(growth, 3),
        "points": [
            {
                **point._asdict(),
                "seconds": round(costs[point].seconds, 4),
                "ceiling_share": round(costs[point].flops / costs[point].seconds / ceiling, 4),
                "peak_mb": round(costs[point].peak / 2**20),
            }
            for point in points
        ],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="models up to 0.5B too")
    parser.add_argument("--quick", action="store_true", help="smoke run on tiny models; nothing is claimed")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--heed-set", action="append", default=[], metavar="A.B=C", help="a setting of heed's recipe")
    given = parser.parse_args()
    began = time.perf_counter()
    asked = series(given.full, given.quick)
    costs: dict[Point, Cost] = {}
    try:
        ceiling = common.matrix_ceiling(given.threads, given.device)
        for point in dict.fromkeys(point for points in asked.values() for point in points):
            costs[point] = measure(point, given.threads, given.seed, given.device, given.heed_set)
            say(f"  {point.shape}, rows of {point.length}, steps of {point.tokens}: {costs[point].seconds:.3f} s")
    except Failed as failure:
        say(f"FAILED: {failure}")
        return 1
    of = {
        "size": [SHAPES[point.shape].layer_parameters for point in asked["size"]],
        "length": [point.length for point in asked["length"]],
        "batch": [point.tokens for point in asked["batch"]],
    }
    found = {name: summary(points, costs, of[name], ceiling["bf16"]) for name, points in asked.items()}
    # A batch twice as large should take twice as long: per step the exponent is one more than per token.
    for key in ("exponent", "ideal_exponent"):
        found["batch"][key] = round(found["batch"][key] + 1, 3)
    head = ("question", "model", "row", "step", "seconds", "ceiling", "MB")
    lines = [
        (n, p["shape"], p["length"], p["tokens"], p["seconds"], f"{p['ceiling_share']:.1%}", p["peak_mb"])
        for n, one in found.items()
        for p in one["points"]
    ]
    print(common.table(head, lines))
    result = {
        **{f"{name}_{key}": one[key] for name, one in found.items() for key in one if key != "points"},
        "points": {name: one["points"] for name, one in found.items()},
        "ceiling_gflops": {kind: round(value / 1e9, 1) for kind, value in ceiling.items()},
        "heed_settings": given.heed_set,
        "runs": STEPS - 1,
        "peers": {},
        "tokens": sum(point.tokens * (STEPS - 1) for point in costs),
        "rows_sha": hashlib.sha256("".join(cost.rows for cost in costs.values()).encode()).hexdigest()[:16],
    }
    common.finish("scaling", result, began=began, threads=given.threads, smoke=given.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
