"""Prompt, tune, or both: task families x instructions x weights, on two sizes of the built-in model.

    .venv/bin/python benchmarks/instructions_grid.py                      makes what is missing, once; then measures
    .venv/bin/python benchmarks/instructions_grid.py --model runs/demo    with a run that `heed demo` made
    .venv/bin/python benchmarks/instructions_grid.py --quick              a smoke run on models that learned nothing

Instructions: none, the best of three written by hand (benchmarks/prompts, chosen on rows of the tuning side), and what heed's
search makes of that one, or of a text with wordings to choose among where one lies there; the one by hand stays where the
search's is no better on the rows that it saw. Weights: the base, the model tuned on the world's rows, that model with the
instruction baked in, and that model taught with right answers to the same requests. Every arm answers the same sealed rows, about countries, words and
products that neither tuning nor search nor baking saw; what is compared is compared row by row, rows of one country as one.
The smaller model is trained here on the same corpus, and tuned on the same rows. All that was asked or trained is kept in
.bench/work/grid: the same call again goes on where it was.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import common
import instructions_world as world
from common import BENCH, say
from instructions_grid_arms import (
    FORMS,
    FULL,
    QUICK,
    Asked,
    Family,
    Scale,
    Size,
    baked,
    family,
    searched,
    sizes,
    taught,
)

if TYPE_CHECKING:
    from heedlm.eval.stats import Difference
    from heedlm.instructions.bench import Candidate
    from heedlm.instructions.blocks import Instruction

# From one arm to another: what the second changes.
STEPS = (
    ("base", "base + hand"),
    ("base", "base + optimised"),
    ("base", "tuned"),
    ("base + optimised", "tuned + optimised"),
    ("tuned", "tuned + hand"),
    ("tuned", "tuned + optimised"),
    ("tuned + hand", "tuned + optimised"),
    ("tuned + short", "tuned + full"),
    ("tuned + short", "tuned + shown"),
    ("tuned", "baked"),
    ("tuned + optimised", "baked"),
    ("baked", "baked + text"),
    ("tuned", "taught"),
    ("tuned + optimised", "taught"),
    ("taught", "taught + text"),
)
WEIGHTS = ("base", "tuned")
CHOSEN_ON = 100  # rows of the tuning side on which the best of the instructions by hand is chosen


class Cell(NamedTuple):
    """A family on a size. scores: of each arm on the sealed rows.   facts: what else there is to tell."""

    scores: dict[str, list[float]]
    facts: dict[str, Any]


def cell(size: Size, base: Asked, chat: Asked, one: Family, scale: Scale, folder: Path, seed: int) -> Cell:
    """All arms of a family."""
    from heedlm.instructions.layout import kept

    scores: dict[str, list[float]] = {}
    facts: dict[str, Any] = {"size": size.name, "family": one.name, "tokens": {}}
    prompted("base", base, one, scale, folder, seed, scores, facts)
    best = prompted("tuned", chat, one, scale, folder, seed, scores, facts)
    gain, text = facts["tuned_gain_seen"], kept(best.instruction, best.layout)
    arms = {"taught": taught(chat, one, scale, folder, seed)}
    if gain >= scale.least:
        arms["baked"] = baked(chat, one, text, scale, folder, seed)
    for name, run in arms.items():
        asked = Asked(run, folder)
        given = [asked.candidate(bare(text)), asked.candidate(text)]
        scores[name], scores[f"{name} + text"] = asked.bench(one.sealed, one.limit).scores(given)
    notations(chat, one, scale, facts)
    return Cell(scores, facts)


def bare(text: Instruction) -> Instruction:
    from heedlm.instructions.bench import empty_of

    return empty_of(text)


def prompted(
    weights: str,
    asked: Asked,
    one: Family,
    scale: Scale,
    folder: Path,
    seed: int,
    scores: dict[str, list[float]],
    facts: dict[str, Any],
) -> Candidate:
    """One model without an instruction, with each one written by hand, and with what the search made of the best of them."""
    nothing = asked.candidate(bare(one.written["short"]))
    hands = [asked.candidate(text) for text in one.written.values()]
    seen = asked.bench(one.seen[:CHOSEN_ON], one.limit).scores([nothing, *hands])
    none, *by_style = (sum(row) / len(row) for row in seen)
    style = max(zip(by_style, world.STYLES, strict=True), key=lambda pair: pair[0])[1]
    hand = hands[world.STYLES.index(style)]
    best: Candidate
    best, verdict = searched(asked, one, one.start or one.written[style], scale, folder, seed)
    before, after = (sum(row) for row in asked.bench(one.seen, one.limit).scores([hand, best]))
    if after <= before:
        best, verdict = hand, "kept"
    bench = asked.bench(one.sealed, one.limit)
    rows = dict(zip(("none", *world.STYLES, "optimised"), bench.scores([nothing, *hands, best]), strict=True))
    scores |= {weights: rows["none"], f"{weights} + hand": rows[style], f"{weights} + optimised": rows["optimised"]}
    scores |= {f"{weights} + {name}": rows[name] for name in world.STYLES}
    facts |= {f"{weights}_style": style, f"{weights}_verdict": verdict, f"{weights}_optimised": best.name}
    facts[f"{weights}_gain_seen"] = round(max(by_style) - none, 4)
    lengths = zip(rows, (nothing, *hands, best), strict=True)
    facts["tokens"][weights] = {name: round(bench.tokens(given, range(min(50, scale.rows)))) for name, given in lengths}
    return best


def notations(asked: Asked, one: Family, scale: Scale, facts: dict[str, Any]) -> None:
    """The same words in every notation, on the tuned model."""
    from heedlm.instructions.blocks import NOTATIONS

    text = one.written[facts["tuned_style"]]
    given = [asked.candidate(text, notation=notation) for notation in NOTATIONS]
    rows = asked.bench(one.sealed[: scale.spread], one.limit).scores(given)
    facts["notations"] = {name: round(sum(row) / len(row), 4) for name, row in zip(NOTATIONS, rows, strict=True)}


def told(found: Difference) -> dict[str, Any]:
    """A difference in points, for the result."""
    points = {name: round(100 * getattr(found, name), 2) for name in ("mean", "low", "high")}
    return {**points, "p": float(f"{found.p:.3g}"), "items": found.n, "groups": found.clusters}


def steps(cells: Mapping[str, Cell], groups: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    """Every step of one size, family by family and over all families that have both arms. cells, groups: by family."""
    from heedlm.eval.stats import paired_difference

    found = []
    for first, second in STEPS:
        both = [name for name, one in cells.items() if first in one.scores and second in one.scores]
        for label, chosen in [*((name, [name]) for name in both), *([("all", both)] if both else [])]:
            before, after = ([score for name in chosen for score in cells[name].scores[arm]] for arm in (first, second))
            owners = [group for name in chosen for group in groups[name]]
            what = {"family": label, "families": len(chosen)}
            found.append({"from": first, "to": second, **what, **told(paired_difference(before, after, groups=owners))})
    return found


def with_size(
    small: Mapping[str, Cell], whole: Mapping[str, Cell], groups: Mapping[str, list[str]]
) -> list[dict[str, Any]]:
    """Gain of an instruction on the larger model minus its gain on the smaller one, row by row; below 0 it falls with size."""
    from heedlm.eval.stats import paired_difference

    found = []
    for first, second in (pair for pair in STEPS if pair[1].endswith(("hand", "optimised")) and pair[0] in WEIGHTS):
        for label, chosen in [*((name, [name]) for name in small), ("all", list(small))]:
            gains = [
                [
                    after - before
                    for name in chosen
                    for before, after in zip(cells[name].scores[first], cells[name].scores[second], strict=True)
                ]
                for cells in (small, whole)
            ]
            owners = [group for name in chosen for group in groups[name]]
            change = paired_difference(*gains, groups=owners)
            what = {"from": first, "to": second, "family": label}
            smaller, larger = (round(100 * sum(row) / len(row), 2) for row in gains)
            found.append({**what, "small": smaller, "built_in": larger, **told(change)})
    return found


def measure(scale: Scale, chosen: Sequence[Size], folder: Path, seed: int) -> dict[str, Any]:
    """All cells, and what follows from them."""
    families = [family(name, scale, seed) for name in scale.families]
    groups = {one.name: [case.group or f"{one.name}/{case.id}" for case in one.sealed] for one in families}
    cells: dict[str, dict[str, Cell]] = {}
    weights: dict[str, int] = {}
    about = []
    for size in chosen:
        base, chat = (Asked(name, folder) for name in (size.base, size.tuned))
        weights[size.name] = parameters(chat)
        about.append({"name": size.name, "parameters": weights[size.name], "base": pedigree(size.base)})
        cells[size.name] = {}
        for one in families:
            began = time.perf_counter()
            found = cell(size, base, chat, one, scale, folder, seed)
            cells[size.name][one.name] = found
            means = "  ".join(f"{arm} {100 * sum(row) / len(row):.0f}" for arm, row in found.scores.items())
            say(f"{size.name}, {one.name} ({time.perf_counter() - began:.0f} s): {means}")
    result = {
        "rows": scale.rows,
        "budget": scale.budget,
        "sizes": about,
        "cells": [
            {**one.facts, "means": {arm: round(sum(row) / len(row), 4) for arm, row in one.scores.items()}}
            for by_family in cells.values()
            for one in by_family.values()
        ],
        "steps": {size: steps(by_family, groups) for size, by_family in cells.items()},
        "size_changes_gain": with_size(cells["small"], cells["built-in"], groups),
        "doublings": round(math.log2(weights["built-in"] / weights["small"]), 3),
    }
    show(result)
    return result


def parameters(asked: Asked) -> int:
    return int(asked.arm.chat.model.num_parameters())  # type: ignore[attr-defined]


def pedigree(base: str) -> dict[str, Any]:
    """What a base has read, all that it was begun from counted."""
    from heedlm.model.load import resolve
    from heedlm.model.save import read_card

    card: Any = read_card(resolve(base))
    steps_, tokens = 0, 0
    while card:
        steps_, tokens, card = steps_ + card["steps"], tokens + card["tokens"], card.get("begun_from")
    return {"steps": steps_, "tokens": tokens}


def show(result: Mapping[str, Any]) -> None:
    for size, found in result["steps"].items():
        body = [
            (one["from"], one["to"], one["family"], f"{one['mean']:+.1f}", f"[{one['low']:+.1f}, {one['high']:+.1f}]")
            for one in found
        ]
        print(f"\n{size}\n" + common.table(("from", "to", "family", "points", "95 %"), body))
    changes = [
        (
            one["to"],
            one["family"],
            one["small"],
            one["built_in"],
            f"{one['mean']:+.1f}",
            f"[{one['low']:+.1f}, {one['high']:+.1f}]",
        )
        for one in result["size_changes_gain"]
    ]
    print("\n" + common.table(("gain of", "family", "small", "built-in", "change", "95 %"), changes))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a run that `heed demo` made; else one is made and kept")
    parser.add_argument("--small", type=Path, help="a run on a smaller base; else one is made and kept")
    parser.add_argument("--rows", type=int, default=FULL.rows, help="sealed rows of each family")
    parser.add_argument("--budget", type=int, default=FULL.budget, help="answers that a search may ask for")
    parser.add_argument("--families", nargs="+", choices=list(FORMS), default=FULL.families, help="which tasks")
    parser.add_argument("--quick", action="store_true", help="a smoke run on toys; nothing is claimed")
    parser.add_argument("--threads", type=int, default=0, help="of the products; 0 leaves it to torch")
    parser.add_argument("--seed", type=int, default=0, help="of rows, searches and trainings")
    given = parser.parse_args()
    for run in (one for one in (given.model, given.small) if one is not None):
        if not (run / "recipe.yaml").is_file():
            parser.error(f"{run} is no run of heed: there is no recipe.yaml in it")
    began = time.perf_counter()
    import torch

    if given.threads:
        torch.set_num_threads(given.threads)
    scale = QUICK if given.quick else FULL._replace(families=given.families, rows=given.rows, budget=given.budget)
    folder = BENCH / "work" / "grid"
    resumed = folder.is_dir()
    result = {**measure(scale, sizes(given, scale, folder), folder, given.seed), "resumed": resumed}
    common.finish("instructions_grid", result, began=began, threads=torch.get_num_threads(), smoke=given.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
