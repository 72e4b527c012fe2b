"""Training speed, loss and memory against other trainers, on the same rows and the same random weights.

    .venv/bin/python benchmarks/train_vs_peers.py            under 25 minutes on 2 cores; peers: TRL and plain transformers
    .venv/bin/python benchmarks/train_vs_peers.py --full     the whole TRL grid, LLaMA-Factory and litgpt too
    .venv/bin/python benchmarks/train_vs_peers.py --quick    a smoke run on a tiny model: proves that every part works

Speed leg: each side batches as it likes; real (non-pad) tokens per second of the steps after the warm-up, the sides in
turn, medians over the runs. TRL runs with its defaults and with the fastest configuration of a grid that is searched in
the same run. Loss leg: TRL unpacked and heed, the same rows in every step, fp32, the same schedule and AdamW; the saved
models are compared on held-out rows by one evaluator. Memory leg: a vocabulary of 151,936, four rows of 512 tokens, half
of them learned; the largest size of the second step above weights and optimiser state.

A side whose gradients are zero, or that does not learn exactly the same tokens, fails the benchmark: exit status 1.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import common
from common import SHAPES, Failed, say
from rows import Row, RowFiles, even_rows, instruction_rows, model_folder, write_rows

HEED = Path(sys.executable)
WARM_TOKENS, TIMED_TOKENS = 1_000, 3_500  # real tokens that a run warms up with and is timed over, at least
# A process's first steps compile a product for every new shape; in the runs in turn each side warms up for so many at least.
WARM_STEPS = 3
LEGS = ("speed", "loss", "memory")
Config = Mapping[str, Any]
TRL_DEFAULT: Config = {"name": "trl defaults", "mean_batch": 8}


class Size(NamedTuple):
    """How much is measured. share: of the tokens a run warms up with and is timed over."""

    shape: str
    memory_shape: str
    rows: int
    held_out: int
    runs: int
    loss_steps: int
    loss_tokens: int
    share: float


WHOLE = Size("135m", "0.5b", 512, 64, 3, 30, 512, 1.0)
SMOKE = Size("tiny", "tiny-151k", 48, 8, 1, 4, 512, 0.2)


class Setting(NamedTuple):
    """What a leg needs to know of the run."""

    size: Size
    threads: int
    seed: int
    full: bool
    quick: bool
    device: str
    heed: Sequence[str]
    heed_checkpointing: Sequence[str]


def trl_grid(full: bool, quick: bool) -> list[Config]:
    """TRL's configurations without checkpointing, all in bf16; the fastest are tried with it afterwards.

    Packed rows hold 1,024 tokens each: 8 and 16 of them take minutes per step on two cores, and only --full tries them.
    """
    sizes = (4,) if quick else (4, 8, 16)
    packed = (1,) if quick else ((1, 2, 4, 8, 16) if full else (1, 2, 4))
    grid: list[Config] = [{"name": f"padded, batch {n}", "batch": n, "mean_batch": n} for n in sizes]
    grid += [{"name": f"padding_free, batch {n}", "batch": n, "padding_free": True, "mean_batch": n} for n in sizes]
    grid += [{"name": f"packing bfd, batch {n}", "batch": n, "packing": True, "packed_rows": n} for n in packed]
    return [{**config, "checkpointing": False, "bf16": True} for config in grid]


def steps_for(tokens: float, step_tokens: float) -> int:
    return max(1, math.ceil(tokens / step_tokens))


def tokens_of_step(config: Config, mean: float) -> float:
    """Real tokens of a step of a TRL configuration, roughly: only the number of steps depends on it."""
    return config["packed_rows"] * 1000.0 if "packed_rows" in config else config["mean_batch"] * mean


def paced(
    config: Config, files: RowFiles, share: float, timed: float = TIMED_TOKENS, warm_steps: int = 1
) -> dict[str, Any]:
    """The configuration with the number of its steps, and how many of them warm up."""
    per_step = tokens_of_step(config, sum(files.lengths()) / len(files.kept))
    warm = max(warm_steps, steps_for(WARM_TOKENS * share, per_step))
    return {**config, "warm": warm, "steps": warm + steps_for(timed * share, per_step)}


def trl(setting: Setting, model: Path, files: RowFiles, configs: Sequence[Config], seed: int, **more: Any) -> Any:
    spec = {
        "model": str(model),
        "pairs": str(files.pairs),
        "seed": seed,
        "device": setting.device,
        "configs": list(configs),
        **more,
    }
    return common.run_worker(common.peer_python("trl"), "trl_worker.py", spec, threads=setting.threads, name="trl")


def heed(
    setting: Setting, model: Path, files: RowFiles, steps: int, seed: int, settings: Sequence[str], save: bool = False
) -> dict[str, Any]:
    spec = {
        "model": str(model),
        "rows": str(files.rows),
        "seed": seed,
        "device": setting.device,
        "steps": steps,
        "settings": [*setting.heed, *settings],
        "save": save,
    }
    return common.run_worker(HEED, "heed_worker.py", spec, threads=setting.threads, name="heed")


def wanted_rows(rows: Sequence[Row]) -> dict[str, Any]:
    return common.worker_digest((row.ids, row.learned) for row in rows)


def checked(name: str, report: dict[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    common.check_same_rows(name, report, wanted)
    common.check_learns(name, report)
    return report


def above_level(report: Mapping[str, Any]) -> float:
    """Megabytes of the largest size above the level before the model was loaded."""
    return (report["peak"] - report["level"]) / 2**20


def scan(setting: Setting, model: Path, files: RowFiles, wanted: Mapping[str, Any]) -> tuple[Config, dict[str, Any]]:
    """The fastest TRL configuration, and the speed of every one that was tried (None where it does not run here)."""
    speeds: dict[str, Any] = {}

    def attempt(configs: Sequence[Config]) -> None:
        short = [paced(config, files, setting.size.share, TIMED_TOKENS / 2) for config in configs]
        for report in trl(setting, model, files, short, setting.seed, tolerant=True)["runs"]:
            name = report["config"]["name"]
            if "error" in report:
                speeds[name] = None
                say(f"  {name}: does not run here: {report['error']}")
                continue
            checked(name, report, wanted)
            speeds[name] = common.tokens_per_second(report, report["config"]["warm"])
            say(f"  {name}: {speeds[name]:.0f} tokens/s")

    grid = trl_grid(setting.full, setting.quick)
    attempt(grid)
    ranked = sorted((c for c in grid if speeds[c["name"]]), key=lambda config: -speeds[config["name"]])
    if not ranked:
        raise Failed("no TRL configuration of the grid runs here")
    again = ranked if setting.full else ranked[:2]
    grid += [{**c, "name": f"{c['name']}, checkpointing", "checkpointing": True} for c in again]
    attempt(grid[-len(again) :])
    best = max((c for c in grid if speeds[c["name"]]), key=lambda config: speeds[config["name"]])
    return best, speeds


SMALL_STEPS = "heed, small steps"
# TRL's fastest configuration takes steps of some 500 tokens, and heed's own are larger, which costs memory.
OURS: dict[str, tuple[str, ...]] = {"heed": (), SMALL_STEPS: ("train.tokens_per_step=1024",)}


def heed_pace(setting: Setting, model: Path, files: RowFiles, settings: Sequence[str]) -> tuple[int, int]:
    """Steps to take, and how many of them warm up."""
    share = setting.size.share
    first = heed(setting, model, files, 1, setting.seed, settings)  # how large heed's own steps are
    per_step = first["steps"][0]["tokens"]
    warm = max(WARM_STEPS, steps_for(WARM_TOKENS * share, per_step))
    return warm + steps_for(TIMED_TOKENS * share, per_step), warm


def speed_leg(setting: Setting, files: RowFiles) -> dict[str, Any]:
    size, shape = setting.size, SHAPES[setting.size.shape]
    model = model_folder(size.shape)
    wanted = wanted_rows(files.kept)
    say("speed: the machine's matrix ceiling")
    ceilings = [common.matrix_ceiling(setting.threads, setting.device)]
    say("speed: searching the fastest TRL configuration")
    best, grid = scan(setting, model, files, wanted)
    say(f"speed: {size.runs} runs in turn; TRL's fastest is {best['name']}")
    paces = {name: heed_pace(setting, model, files, settings) for name, settings in OURS.items()}
    sides: dict[str, list[dict[str, Any]]] = {**{name: [] for name in OURS}, "trl defaults": [], "trl best": []}
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    others = full_peers() if setting.full else {}
    for name in others:
        sides[name], speeds[name] = [], []
    for number in range(size.runs):
        order = list(sides)
        for name in order[number % len(order) :] + order[: number % len(order)]:
            seed = setting.seed + number
            if name in OURS:
                steps, warm = paces[name]
                report = heed(setting, model, files, steps, seed, OURS[name])
            elif name in others:
                report, warm = peer(setting, name, model, files, others[name], seed)
            else:
                chosen = TRL_DEFAULT if name == "trl defaults" else best
                config = paced(chosen, files, size.share, warm_steps=WARM_STEPS)
                found = trl(setting, model, files, [config], seed)
                report, warm = {**found["runs"][0], "versions": found["versions"]}, config["warm"]
            sides[name].append(checked(name, report, wanted))
            speeds[name].append(common.tokens_per_second(report, warm))
            report["warm"] = warm
            say(f"  run {number + 1}, {name}: {speeds[name][-1]:.0f} tokens/s, {above_level(report):.0f} MB")
    ceilings.append(common.matrix_ceiling(setting.threads, setting.device))
    ceiling = {kind: max(one[kind] for one in ceilings) for kind in ceilings[0]}
    middle = {name: common.median_and_spread(values) for name, values in speeds.items()}
    memory = {name: common.median_and_spread(above_level(r) for r in reports)[0] for name, reports in sides.items()}
    timed = [step for report in sides["heed"] for step in report["steps"][report["warm"] :]]
    tokens = sum(step["tokens"] for step in timed)
    learned = sum(step["learned"] for step in timed)
    # Lengths of the timed rows are not reported step by step; attention is 2 % of the work, so all rows stand for them.
    scale = tokens / sum(files.lengths())
    layers = common.needed_flops(shape, files.lengths(), 0) * scale
    head = common.needed_flops(shape, [], learned)
    per_token = (layers + head) / tokens
    peers = {name: value[0] for name, value in middle.items() if name not in OURS}
    fastest = max(peers, key=lambda name: peers[name])
    print(
        common.table(
            ("side", "tokens/s", "spread", "MB above start"),
            [(n, f"{middle[n][0]:.0f}", f"{middle[n][1]:.0%}", f"{memory[n]:.0f}") for n in sides],
        )
    )
    return {
        "ratio_vs_best_peer": round(middle["heed"][0] / peers[fastest], 3),
        "ratio_vs_trl_default": round(middle["heed"][0] / peers["trl defaults"], 3),
        "ceiling_share": round(middle["heed"][0] * per_token / ceiling["bf16"], 4),
        "memory_ratio": round(memory["heed"] / memory["trl best"], 3),
        "ratio_small_steps": round(middle[SMALL_STEPS][0] / peers[fastest], 3),
        "memory_ratio_small_steps": round(memory[SMALL_STEPS] / memory["trl best"], 3),
        "best_peer": best["name"] if fastest == "trl best" else fastest,
        "tokens_per_second": {name: round(value[0], 1) for name, value in middle.items()},
        "spread": {name: round(value[1], 3) for name, value in middle.items()},
        "peak_mb": {name: round(value) for name, value in memory.items()},
        "trl_grid": {name: value and round(value, 1) for name, value in grid.items()},
        "gflop_per_token": round(per_token / 1e9, 4),
        "ceiling_gflops": {kind: round(value / 1e9, 1) for kind, value in ceiling.items()},
        "heed_said": sides["heed"][0]["said"],
        "peers": {name: reports[0]["versions"] for name, reports in sides.items()},
        "tokens": sum(
            step["tokens"] for reports in sides.values() for r in reports for step in r["steps"][r["warm"] :]
        ),
        "runs": size.runs,
    }


def full_peers() -> dict[str, Config]:
    """The other trainers, each in its fastest form known to us."""
    return {
        "llamafactory": {"batch": 8, "mean_batch": 8, "checkpointing": False},
        "llamafactory neat_packing": {"batch": 1, "packed_rows": 1, "checkpointing": False, "neat_packing": True},
        "litgpt": {"batch": 8, "mean_batch": 8},
    }


def peer(
    setting: Setting, name: str, model: Path, files: RowFiles, config: Config, seed: int
) -> tuple[dict[str, Any], int]:
    tool = name.split()[0]
    chosen = paced({"name": name, **config}, files, setting.size.share, warm_steps=WARM_STEPS)
    spec = {
        "model": str(model),
        "pairs": str(files.pairs),
        "seed": seed,
        "device": setting.device,
        "configs": [chosen],
    }
    found = common.run_worker(common.peer_python(tool), f"{tool}_worker.py", spec, threads=setting.threads, name=tool)
    return {**found["runs"][0], "versions": found["versions"]}, chosen["warm"]


def loss_leg(setting: Setting, files: RowFiles, held_out: RowFiles) -> dict[str, Any]:
    from heedlm.train.optim import lr_schedule

    size = setting.size
    model = model_folder(size.shape)
    wanted = wanted_rows(files.kept)
    peak, warmup = 3e-4, 0.1
    settings = [
        "train.precision=fp32",
        f"train.lr={peak}",
        f"train.warmup={warmup}",
        "train.schedule=cosine",
        "train.weight_decay=0.0",
        "train.clip_norm=1.0",
        f"train.tokens_per_step={size.loss_tokens}",
    ]
    say(f"loss: {size.loss_steps} steps of about {size.loss_tokens} tokens, heed")
    ours = checked("heed", heed(setting, model, files, size.loss_steps, setting.seed, settings, save=True), wanted)
    order = ours["order"][: size.loss_steps]
    if len(order) < size.loss_steps:
        raise Failed(f"the rows last for {len(order)} steps only, {size.loss_steps} are wanted")
    say("loss: the same rows in the same steps, TRL")
    schedule = lr_schedule(peak, size.loss_steps, warmup, "cosine")
    folder = common.BENCH / "work" / "trl-saved"
    shutil.rmtree(folder, ignore_errors=True)
    config = {"name": "unpacked fp32", "bf16": False, "checkpointing": False, "steps": size.loss_steps}
    lrs = [schedule(step) for step in range(size.loss_steps)]
    found = trl(setting, model, files, [config], setting.seed, order=order, lrs=lrs, save=str(folder))
    theirs = checked("trl", found["runs"][0], wanted)
    for number, (a, b) in enumerate(zip(ours["steps"], theirs["steps"], strict=True)):
        if (a["tokens"], a["learned"]) != (b["tokens"], b["learned"]) or not math.isclose(
            a["lr"], b["lr"], rel_tol=1e-6
        ):
            raise Failed(f"step {number} is not the same on both sides: {a} against {b}")
    say("loss: both models on the held-out rows")
    models = {"start": str(model), "heed": ours["model"], "trl": str(folder)}
    spec = {"models": models, "pairs": str(held_out.pairs)}
    losses = common.run_worker(HEED, "evaluate_worker.py", spec, threads=setting.threads, name="evaluate")["losses"]
    if not losses["heed"] < losses["start"]:
        raise Failed(f"nothing was learned: {losses}")
    first = ours["steps"][0], theirs["steps"][0]
    print(common.table(("held-out loss", "nats"), [(name, f"{value:.5f}") for name, value in losses.items()]))
    return {
        "peers": {"heed": ours["versions"], "trl": found["versions"]},
        "tokens": sum(step["tokens"] for report in (ours, theirs) for step in report["steps"]),
        "final_loss_difference": abs(losses["heed"] - losses["trl"]),
        "held_out_losses": losses,
        "first_step_loss_difference": abs(first[0]["loss"] - first[1]["loss"]),
        "first_step_gradient_norm_ratio": first[0]["grad_norm"] / first[1]["grad_norm"],
        "largest_train_loss_difference": max(
            abs(a["loss"] - b["loss"]) for a, b in zip(ours["steps"], theirs["steps"], strict=True)
        ),
        "fp32_speed_ratio": round(common.tokens_per_second(ours, 1) / common.tokens_per_second(theirs, 1), 3),
    }


def memory_leg(setting: Setting) -> dict[str, Any]:
    """Largest size of the second step above weights and optimiser state: 12 bytes per parameter above the first level."""
    size, shape = setting.size, SHAPES[setting.size.memory_shape]
    model = model_folder(size.memory_shape)
    rows = even_rows(4, 512, 256, setting.seed)
    files = write_rows(common.BENCH / "work" / "memory-rows", rows, "words drawn by seed")
    wanted = wanted_rows(rows)
    resident = 12 * shape.parameters
    whole_step = ["train.tokens_per_step=2048", "train.micro_tokens=4096"]
    reports: dict[str, dict[str, Any]] = {}

    def keep(name: str, report: dict[str, Any]) -> None:
        reports[name] = checked(name, report, wanted)
        second = reports[name]["steps"][1]
        say(f"  {name}: {(second['peak'] - report['level'] - resident) / 2**20:.0f} MB, {second['seconds']:.1f} s")

    def plain(checkpointing: bool) -> dict[str, Any]:
        spec = {"model": str(model), "pairs": str(files.pairs), "steps": 2, "device": setting.device}
        spec["checkpointing"] = checkpointing
        return common.run_worker(HEED, "plain_worker.py", spec, threads=setting.threads, name="plain")

    def trl_run(config: Config) -> dict[str, Any]:
        report: dict[str, Any] = trl(setting, model, files, [{"batch": 4, "steps": 2, **config}], setting.seed)["runs"][
            0
        ]
        return report

    say(f"memory: {shape.parameters / 1e6:.0f}M parameters, vocabulary {shape.vocab:,}, 4 rows of 512 tokens")
    off = ["train.activation_checkpointing=off"]
    keep("heed", heed(setting, model, files, 2, setting.seed, [*whole_step, *off]))
    keep("plain", plain(False))
    keep("trl default", trl_run({"name": "defaults but for batch 4"}))
    if setting.heed_checkpointing:
        keep(
            "heed checkpointing",
            heed(setting, model, files, 2, setting.seed, [*whole_step, *setting.heed_checkpointing]),
        )
    if setting.full:
        keep("trl no checkpointing", trl_run({"name": "no checkpointing", "checkpointing": False}))
        keep("plain checkpointing", plain(True))
    step = {name: report["steps"][1]["peak"] - report["level"] - resident for name, report in reports.items()}
    print(common.table(("memory of a step", "MB"), [(name, f"{value / 2**20:.0f}") for name, value in step.items()]))
    result: dict[str, Any] = {
        "peers": {"plain": reports["plain"]["versions"]},
        "tokens": sum(one["tokens"] for report in reports.values() for one in report["steps"]),
        "memory_ratio_151k_plain": round(step["heed"] / step["plain"], 3),
        "memory_151k_mb": {name: round(value / 2**20) for name, value in step.items()},
        "seconds_151k": {name: round(report["steps"][1]["seconds"], 2) for name, report in reports.items()},
    }
    if "heed checkpointing" in step:
        result["memory_ratio_151k_trl"] = round(step["heed checkpointing"] / step["trl default"], 3)
        result["memory_ratio_151k_plain_checkpointing"] = round(step["heed checkpointing"] / step["plain"], 3)
    if "trl no checkpointing" in step:
        result["memory_ratio_151k_trl_no_checkpointing"] = round(step["heed"] / step["trl no checkpointing"], 3)
    return result


def run_leg(leg: str, setting: Setting, files: RowFiles, held_out: RowFiles) -> dict[str, Any]:
    if leg == "speed":
        return speed_leg(setting, files)
    return loss_leg(setting, files, held_out) if leg == "loss" else memory_leg(setting)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the whole grid and every peer")
    parser.add_argument("--quick", action="store_true", help="smoke run on a tiny model; nothing is claimed")
    parser.add_argument("--legs", default=",".join(LEGS), help="comma-separated: speed, loss, memory")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--runs", type=int, help="interleaved runs of the speed leg (default 3)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--heed-set", action="append", default=[], metavar="A.B=C", help="a setting of heed's recipe")
    parser.add_argument(
        "--heed-checkpointing",
        action="append",
        default=None,
        metavar="A.B=C",
        help="the settings that give heed TRL's default checkpointing in the memory leg",
    )
    return parser.parse_args()


def main() -> int:
    given = options()
    began = time.perf_counter()
    size = SMOKE if given.quick else WHOLE
    size = size._replace(runs=given.runs or size.runs)
    checkpointing = given.heed_checkpointing if given.heed_checkpointing is not None else HEED_CHECKPOINTING
    setting = Setting(
        size, given.threads, given.seed, given.full, given.quick, given.device, given.heed_set, checkpointing
    )
    legs = given.legs.split(",")
    unknown = sorted(set(legs) - set(LEGS))
    try:
        if unknown:
            raise Failed(f"unknown legs: {', '.join(unknown)}; there are {', '.join(LEGS)}")
        learned, held, source = instruction_rows(size.rows, size.held_out, given.seed)
        files = write_rows(common.BENCH / "work" / "rows", learned, source)
        held_out = write_rows(common.BENCH / "work" / "held-out", held, source)
        result: dict[str, Any] = {
            "runs": 0,
            "peers": {},
            "tokens": 0,
            "rows": len(learned),
            "rows_source": source,
            "rows_tokens": sum(files.lengths()),
            "rows_sha": common.sha([files.rows, held_out.rows]),
            "shape": size.shape,
            "legs": legs,
            "heed_settings": given.heed_set,
        }
        seconds: dict[str, float] = {}
        for leg in legs:
            clock = time.perf_counter()
            found = run_leg(leg, setting, files, held_out)
            seconds[leg] = round(time.perf_counter() - clock, 1)
            peers, tokens = {**result["peers"], **found["peers"]}, result["tokens"] + found["tokens"]
            result |= {**found, "peers": peers, "tokens": tokens}
        result["seconds_of_legs"] = seconds
    except Failed as failure:
        say(f"FAILED: {failure}")
        return 1
    common.finish("train_vs_peers", result, began=began, threads=given.threads, smoke=given.quick)
    return 0


# TRL checkpoints every layer by default; these settings make heed do the same.
HEED_CHECKPOINTING: Sequence[str] = ("train.activation_checkpointing=full",)

if __name__ == "__main__":
    sys.exit(main())
