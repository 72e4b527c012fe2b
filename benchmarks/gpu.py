"""Training speed on one GPU, on atlas rows and random weights: share of the card's own matrix ceiling, and TRL beside it.

Run by benchmarks/gpu.sh, which sees to the packages. Models: 0.5B and 1.5B with all weights, 8B with LoRA. TRL runs when
it can be imported, in each configuration of a small grid; one that does not fit the card is left out, with its reason.
Both sides: bf16 products, the same rows; real tokens per second of the steps after the warm-up, medians of runs in turn.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import common
from common import SHAPES, Failed, say
from rows import RowFiles, instruction_rows, model_folder, write_rows
from train_vs_peers import SMOKE, Config, Setting, checked, heed, trl, wanted_rows

ROWS = 4000
LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0}


class Case(NamedTuple):
    """method: full or lora.   micro: tokens of a forward pass.   step: tokens of an optimiser step.   warm, timed: steps."""

    shape: str
    method: str
    micro: int
    step: int
    warm: int = 3
    timed: int = 8

    @property
    def steps(self) -> int:
        return self.warm + self.timed


CASES = {
    "0.5b": Case("0.5b", "full", 32_768, 32_768),
    "1.5b": Case("1.5b", "full", 16_384, 32_768),
    "8b": Case("8b", "lora", 8_192, 16_384),
    "tiny": Case("tiny", "full", 2_048, 2_048, 1, 1),
    "tiny-lora": Case("tiny", "lora", 2_048, 2_048, 1, 1),
}


def trl_configs(case: Case) -> list[Config]:
    """Packed rows of 1,024 tokens and padded batches, with and without checkpointing."""
    more: dict[str, Any] = {"bf16": True}
    if case.method == "lora":
        more |= {"lora": LORA, "model": {"dtype": "bfloat16"}}
    packed = (1,) if case.shape == "tiny" else (4, 8, 16, 32)
    padded = (4,) if case.shape == "tiny" else (16, 64)
    grid = [{"name": f"packing bfd, batch {n}", "batch": n, "packing": True} for n in packed]
    grid += [{"name": f"padded, batch {n}", "batch": n} for n in padded]
    return [
        {**one, **more, "name": one["name"] + word, "checkpointing": on, "steps": case.steps}
        for one in grid
        for on, word in ((False, ""), (True, ", checkpointing"))
    ]


def best_of_trl(setting: Setting, case: Case, files: RowFiles, model: Any) -> tuple[Config | None, dict[str, Any]]:
    speeds: dict[str, Any] = {}
    configs = trl_configs(case)
    for report in trl(setting, model, files, configs, setting.seed, tolerant=True)["runs"]:
        name = report["config"]["name"]
        if "error" in report:
            speeds[name] = report["error"]
            continue
        checked(name, report, wanted_rows(files.kept))
        speeds[name] = round(common.tokens_per_second(report, case.warm), 1)
        say(f"  {name}: {speeds[name]} tokens/s")
    ran = [config for config in configs if isinstance(speeds[config["name"]], float)]
    return max(ran, key=lambda config: speeds[config["name"]], default=None), speeds


def measure(
    setting: Setting, case: Case, files: RowFiles, ceiling: Mapping[str, float], against: bool
) -> dict[str, Any]:
    shape = SHAPES[case.shape]
    model = model_folder(case.shape, dtype="bfloat16", device=setting.device)
    settings = [
        "train.precision=bf16",
        f"train.tokens_per_step={case.step}",
        f"train.micro_tokens={case.micro}",
        f"model.method={case.method}",
        f"model.lora.rank={LORA['r']}",
        f"model.lora.alpha={LORA['lora_alpha']}",
    ]
    say(f"{case.shape} {case.method}: {shape.parameters / 1e9:.2f}B parameters")
    best, grid = best_of_trl(setting, case, files, model) if against else (None, {})
    speeds: dict[str, list[float]] = {"heed": [], **({"trl": []} if best else {})}
    peaks: dict[str, float] = {}
    last: dict[str, Any] = {}
    for number in range(setting.size.runs):
        for name in sorted(speeds, reverse=bool(number % 2)):
            seed = setting.seed + number
            if name == "heed":
                report = heed(setting, model, files, case.steps, seed, settings)
                last = report
            else:
                assert best is not None
                report = trl(setting, model, files, [best], seed)["runs"][0]
            checked(name, report, wanted_rows(files.kept))
            speeds[name].append(common.tokens_per_second(report, case.warm))
            peaks[name] = max(peaks.get(name, 0.0), (report["peak"] - report["level"]) / 2**30)
            say(f"  run {number + 1}, {name}: {speeds[name][-1]:.0f} tokens/s")
    tokens = sum(step["tokens"] for step in last["steps"][case.warm :])
    learned = sum(step["learned"] for step in last["steps"][case.warm :])
    trained = 1.0 if case.method == "full" else 0.0
    scale = tokens / sum(files.lengths())
    flops = common.needed_flops(shape, files.lengths(), 0, trained) * scale
    flops += common.needed_flops(shape, [], learned, trained)
    middle = {name: common.median_and_spread(values) for name, values in speeds.items()}
    result: dict[str, Any] = {
        "method": case.method,
        "tokens_per_second": {name: round(value[0], 1) for name, value in middle.items()},
        "spread": {name: round(value[1], 3) for name, value in middle.items()},
        "peak_gb": {name: round(value, 2) for name, value in peaks.items()},
        "ceiling_share": round(middle["heed"][0] * flops / tokens / ceiling["bf16"], 4),
        "trl_grid": grid,
        "settings": settings,
        "heed_said": last["said"],
        "timed_tokens": tokens,
    }
    if best:
        result |= {"trl_best": best["name"], "ratio_vs_trl": round(middle["heed"][0] / middle["trl"][0], 3)}
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=["0.5b", "1.5b", "8b"], help=f"of {', '.join(CASES)}")
    parser.add_argument("--device", default="cuda", help="cuda; cpu only to try the script")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-trl", action="store_true")
    parser.add_argument("--heed-set", action="append", default=[], metavar="A.B=C", help="a setting of heed's recipe")
    given = parser.parse_args()
    began = time.perf_counter()
    size = SMOKE._replace(runs=given.runs)
    setting = Setting(size, given.threads, given.seed, False, False, given.device, given.heed_set, ())
    try:
        cases = _cases(given.cases)
        kept, _, source = instruction_rows(given.rows, 0, given.seed)
        files = write_rows(common.BENCH / "work" / "gpu-rows", kept, source)
        ceiling = common.matrix_ceiling(given.threads, given.device)
        found = {name: measure(setting, case, files, ceiling, not given.no_trl) for name, case in cases.items()}
    except Failed as failure:
        say(f"FAILED: {failure}")
        return 1
    result = {
        "device": _device_name(given.device),
        "cases": found,
        "ceiling_tflops": {kind: round(value / 1e12, 1) for kind, value in ceiling.items()},
        "rows_source": source,
        "rows_sha": common.sha([files.rows]),
        "runs": given.runs,
        "peers": {} if given.no_trl else {"trl": _version("trl")},
        "versions": {name: _version(name) for name in ("torch", "transformers", "peft")},
        "tokens": sum(one["timed_tokens"] for one in found.values()) * given.runs,
    }
    common.finish("gpu", result, began=began, threads=given.threads, smoke=given.device == "cpu")
    return 0


def _cases(names: Sequence[str]) -> dict[str, Case]:
    unknown = sorted(set(names) - set(CASES))
    if unknown:
        raise Failed(f"unknown: {', '.join(unknown)}; there are {', '.join(CASES)}")
    return {name: CASES[name] for name in names}


def _device_name(device: str) -> str:
    import torch

    return str(torch.cuda.get_device_name()) if device.startswith("cuda") else "cpu"


def _version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return "in its own environment"


if __name__ == "__main__":
    sys.exit(main())
