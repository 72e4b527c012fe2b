"""Custom instructions on the built-in world: hand-written against optimised, formats, gepa, baking, compiler and linter.

    .venv/bin/python benchmarks/instructions.py                     tunes the built-in model first, once; then some 20 minutes
    .venv/bin/python benchmarks/instructions.py --model runs/demo   on one that is there
    .venv/bin/python benchmarks/instructions.py --quick             a smoke run

For each family of tasks three instructions were written by hand (benchmarks/prompts: short, full, shown) and a fourth with other
wordings of its blocks to choose among (search), which the optimiser starts from. All are asked the same sealed cases, of
countries that neither tuning nor the search has seen. A family is won where the optimised instruction beats the best of the
four, chosen by the sealed cases themselves, by a paired interval (95 %, countries as clusters) above 0. Four of the families
have room above what people wrote; the last has none, for the short text already gets what this model can: nothing must be lost
there. Format spread is of notations and places, before: of the instruction that the optimiser was given, after: of its result.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import common
import instructions_world as world
from common import say

if TYPE_CHECKING:
    from heedlm.instructions.bench import Candidate

ROOT = Path(__file__).resolve().parents[1]
FAMILIES = ("name", "record", "closing", "array", "capitals")


class Size(NamedTuple):
    """searched, sealed: cases of a family.   tuned, base: calls of a search on either model, without the sealed test.
    spread: cases on which formats are compared.   seeds: of the comparison with gepa.   values: forged ones."""

    families: Sequence[str]
    searched: int
    sealed: int
    tuned: int
    base: int
    spread: int
    seeds: int
    values: int


FULL = Size(FAMILIES, 700, 1000, 6000, 2500, 150, 20, 100_000)
QUICK = Size(("name",), 60, 24, 300, 120, 8, 1, 200)


class Family(NamedTuple):
    """One family on one model: means over the sealed cases. gain: optimised minus the best hand-written, with its interval.
    spread: the best score of a format minus the worst, of the best hand-written, of the optimiser's seed and of its result."""

    family: str
    model: str
    items: int
    empty: float
    hand: float
    style: str
    optimised: float
    gain: float
    low: float
    high: float
    verdict: str
    calls: int
    spread_hand: float
    spread_before: float
    spread_after: float
    seconds: float
    best: str

    @property
    def won(self) -> bool:
        return self.low > 0

    @property
    def closed(self) -> float:
        """The share of what the best hand-written gets wrong that the optimised gets right."""
        return (self.optimised - self.hand) / (1 - self.hand) if self.hand < 1 else 0.0


def one_family(family: str, label: str, model: str, size: Size, folder: Path) -> Family:
    """Search, then ask the sealed cases."""
    from heedlm.eval.contenders import contenders_of
    from heedlm.eval.stats import paired_difference
    from heedlm.instructions.bench import Bench, Candidate, empty_of
    from heedlm.instructions.cases import read_cases
    from heedlm.instructions.format import load
    from heedlm.instructions.frame import COMPLETION, OWN, frame_for
    from heedlm.instructions.optimize.ledger import Budget
    from heedlm.instructions.optimize.run import Job, optimize
    from heedlm.messages import Sampling

    began = time.perf_counter()
    seed = load(str(world.PROMPTS / f"{family}-search.prompty"))
    cases = []
    for name, rows in zip(("search", "sealed"), world.parts(family, size.searched, size.sealed), strict=True):
        file = folder / f"{family}-{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf8")
        cases.append(read_cases([file], [seed], ()))
    searched, sealed = cases
    sampling = Sampling(max_tokens=world.LIMITS[family])
    calls = (size.tuned if label == "tuned" else size.base) + 2 * len(sealed)
    out = folder / f"{family}-{label}"
    done = optimize(Job(seed, model, searched, out, Budget(calls), sealed=sealed, sampling=sampling))

    (contender,) = contenders_of([model])
    arm = contender.open()
    frame = frame_for(contender.name, COMPLETION if contender.plain else OWN)
    styles = (*world.STYLES, "search")
    hand = [Candidate(load(str(world.PROMPTS / f"{family}-{style}.prompty")), frame=frame) for style in styles]
    bench = Bench(arm.chat, sealed, identity=arm.identity, sampling=sampling)
    empty = Candidate(empty_of(seed), frame=frame)
    none, *rows, best = bench.scores([empty, *hand, done.best])
    means = [sum(row) / len(row) for row in rows]
    top = means.index(max(means))
    groups = [case.group or case.id for case in sealed]
    found = paired_difference(rows[top], best, groups=groups)
    probe = Bench(arm.chat, searched[-size.spread :], identity=arm.identity, sampling=sampling)
    return Family(
        family,
        label,
        len(sealed),
        round(sum(none) / len(none), 4),
        round(means[top], 4),
        styles[top],
        round(sum(best) / len(best), 4),
        round(found.mean, 4),
        round(found.low, 4),
        round(found.high, 4),
        done.verdict,
        done.calls,
        spread(probe, hand[top]),
        spread(probe, hand[-1]),
        spread(probe, done.best),
        round(time.perf_counter() - began, 1),
        done.best.name,
    )


def spread(bench: Any, candidate: Candidate) -> float:
    """The best mean score minus the worst over notations and places of one instruction."""
    from dataclasses import replace

    from heedlm.instructions.blocks import NOTATIONS
    from heedlm.instructions.layout import PLACEMENTS

    formats = [
        replace(candidate, layout=replace(candidate.layout, notation=notation, placement=place, data_first=False))
        for notation in NOTATIONS
        for place in PLACEMENTS
    ]
    means = [sum(row) / len(row) for row in bench.scores(formats)]
    return round(max(means) - min(means), 4)


def families(size: Size, models: dict[str, str], folder: Path) -> dict[str, Any]:
    """All families on all models, and what they come to."""
    found = []
    for label, model in models.items():
        for family in size.families:
            found.append(one_family(family, label, model, size, folder))
            one = found[-1]
            say(
                f"{family:9} {label:6} by hand {one.hand:.1%} ({one.style}), optimised {one.optimised:.1%}, "
                f"gain {one.gain:+.1%} [{one.low:+.1%}, {one.high:+.1%}], {one.calls:,} calls, {one.seconds:.0f} s"
            )
    by_model = {label: [one for one in found if one.model == label] for label in models}
    best = max(by_model, key=lambda label: sum(one.won for one in by_model[label]))
    chosen = by_model[best]
    return {
        "families_won": sum(one.won for one in chosen),
        "families": len(chosen),
        "families_lost": sum(one.high < 0 for one in chosen),
        "model_won": best,
        "sealed_items": min(one.items for one in chosen),
        "gap_closure_median": round(statistics.median(one.closed for one in chosen), 4),
        "spread_hand": round(statistics.median(one.spread_hand for one in chosen), 4),
        "spread_before": round(statistics.median(one.spread_before for one in chosen), 4),
        "spread_after": round(statistics.median(one.spread_after for one in chosen), 4),
        "tables": [{**one._asdict(), "won": one.won} for one in found],
    }


def baked(model: Path, folder: Path, seed: int) -> dict[str, Any]:
    """One instruction baked into the tuned model, by the settings of benchmarks/instructions_bake.py."""
    bake = importlib.import_module("instructions_bake")
    size = bake.FULL
    files = bake.write_rows(folder, size, seed)
    text = size.texts[0]
    source = folder / f"{text.name}.prompty"
    source.write_text(bake.written(text), "utf8")
    run = bake.one_run(source, files, model, folder / "bake", "kl", size, seed)
    say(
        f"baked: recovery {run['recovery']}, other rows {run['others']:+} points, asked with both {run['again']:+} points"
    )
    return {"bake_recovery": run["recovery"], "bake_out_of_domain": run["others"], "bake_reprompt": run["again"]}


def measure(size: Size, model: Path, folder: Path, seed: int, bake: bool) -> dict[str, Any]:
    """All figures."""
    sys.path.insert(0, str(ROOT))  # the model whose effects are planted, and the forged values, are those of the tests
    text = importlib.import_module("instructions_text")
    gepa = importlib.import_module("instructions_gepa")
    written = text.measured(size.values, seed)
    race = gepa.measure(size.seeds, gepa.CALLS)
    say(f"at {gepa.CALLS:,} calls: staged {race.staged:.1%}, gepa {race.gepa:.1%} of right answers; ratio {race.ratio}")
    won = families(size, {"tuned": str(model), "base": "atlas"}, folder)
    tables = won.pop("tables")
    return {
        **won,
        "gepa_ratio": race.ratio,
        **(baked(model, folder, seed) if bake else {"bake_recovery": None, "bake_out_of_domain": None}),
        **{name: written[name] for name in ("compile_per_second", "lint_seconds_100", "escapes")},
        "values": written["values"],
        "gepa": race._asdict(),
        "runs": written["runs"],
        "tables": tables,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run; nothing is claimed")
    parser.add_argument("--model", type=Path, help="a run that `heed demo` made; else one is made and kept in .bench")
    parser.add_argument("--threads", type=int, default=0, help="of the products; 0 leaves it to torch")
    parser.add_argument("--seed", type=int, default=0, help="of forged values and of the bake")
    given = parser.parse_args()
    import torch

    if given.threads:
        torch.set_num_threads(given.threads)
    bake = importlib.import_module("instructions_bake")
    model = given.model or bake.tuned(bake.QUICK if given.quick else bake.FULL)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(QUICK if given.quick else FULL, model.resolve(), Path(folder), given.seed, not given.quick)
    common.finish("instructions", result, began=began, threads=torch.get_num_threads(), smoke=given.quick)


if __name__ == "__main__":
    main()
