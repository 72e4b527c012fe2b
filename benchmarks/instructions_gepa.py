"""The staged search and gepa on a model whose every effect is known, at equal calls.

gepa is given all that it can ask for: each part of the instruction is a text of its own, and the reflector is a script that
knows what helps and proposes just that, one part at a time. The staged search is told nothing. What is compared is the true
chance of a right answer of the instruction that each ends with, above the seed's.
"""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import common

EFFECTS = {"xml": 0.12, "format": 0.15, "clerk": 0.12, "no tone": 0.12, "no joke": 0.1, "four shots": 0.15}
BASE = 0.15
CALLS = 3000
BATCH = 8  # answers that one reflection sees
VALIDATED = (48, 100, 200)  # sizes of the set on which gepa ranks; that with the best result counts
# What the reflector knows: for each part of the instruction the text that helps.
KNOWN = {
    "notation": "xml",
    "format": "Reply with one JSON object.",
    "role": "clerk",
    "tone": "",
    "rules": "",
    "shots": "4",
}
PARTS = {"notation": "markdown", "format": "none", "role": "plain", "tone": "merry", "rules": "joke", "shots": "0"}


class Race(NamedTuple):
    """Means over the seeds of the true chance. least: the smallest ratio of a seed."""

    staged: float
    gepa: float
    ratio: float
    least: float


def candidate_of(parts: Mapping[str, str]) -> Any:
    """The candidate that parts stand for."""
    from heedlm.instructions.bench import Candidate
    from heedlm.instructions.blocks import Block
    from heedlm.instructions.layout import Layout
    from tests.instructions.optimize.planted import POOL, SEED

    ins = SEED
    if parts["format"] != "none":
        ins = ins.with_block(Block("output_format", "output_format", parts["format"], "Output format"))
    if parts["role"] == "clerk":
        ins = ins.with_variant("role", "clerk")
    if not parts["tone"]:
        ins = ins.without("tone")
    if not parts["rules"]:
        ins = ins.with_text("rules", "- Use one word.\n- Never say why.")
    if parts["shots"] != "0":
        ins = ins.with_shots(POOL[: int(parts["shots"])])
    return replace(Candidate(ins), layout=Layout(notation="xml" if parts["notation"] == "xml" else None))


def by_gepa(seed: int, calls: int, items: int, validated: int) -> float:
    """The true chance of what gepa ends with. Raises common.Failed where gepa is missing."""
    try:
        from gepa.api import optimize
        from gepa.core.adapter import EvaluationBatch
    except ImportError as error:
        raise common.Failed("gepa is not installed: pip install 'heedlm[optimize]'") from error
    from tests.instructions.optimize.planted import chance, model

    ask = model(EFFECTS, BASE, seed)

    class Adapter:
        propose_new_texts = None

        def evaluate(self, batch: list[int], candidate: dict[str, str], capture_traces: bool = False) -> Any:
            (scores,) = ask([candidate_of(candidate)], batch)
            traces = [{"item": item} for item in batch] if capture_traces else None
            return EvaluationBatch(list(batch), scores, traces, num_metric_calls=len(batch))

        def make_reflective_dataset(self, candidate: Any, batch: Any, components: list[str]) -> dict[str, list[Any]]:
            return {name: [{"part": name}] for name in components}

    def reflector(prompt: Any) -> str:
        name = json.loads(str(prompt).split("<<", 1)[1].split(">>", 1)[0])
        return f"```\n{KNOWN[name]}\n```"

    found = optimize(
        seed_candidate=dict(PARTS),
        trainset=list(range(items)),
        valset=list(range(validated)),
        adapter=Adapter(),  # type: ignore[arg-type]
        reflection_lm=reflector,
        reflection_prompt_template={name: f"<<{json.dumps(name)}>> <curr_param> <side_info>" for name in PARTS},
        reflection_minibatch_size=BATCH,
        max_metric_calls=calls,
        logger=_Silent(),
        seed=seed,
    )
    return chance(candidate_of(found.best_candidate), EFFECTS, BASE)


class _Silent:
    def log(self, message: str) -> None:
        """Say nothing."""


def by_stages(seed: int, calls: int, items: int) -> float:
    """The true chance of what the staged search ends with."""
    from heedlm.instructions.bench import Candidate
    from heedlm.instructions.optimize.ledger import Budget, Ledger
    from heedlm.instructions.optimize.search import Plan, search
    from tests.instructions.optimize.planted import POOL, SEED, chance, model, parts

    ledger = Ledger(model(EFFECTS, BASE, seed), Budget(calls))
    found = search(ledger, Candidate(SEED), parts(items, 200, 8), Plan(pool=POOL, seed=seed))
    assert ledger.calls <= calls, "the budget holds"
    return chance(found.chosen, EFFECTS, BASE)


def measure(seeds: int, calls: int, items: int = 600) -> Race:
    """Both on `seeds` models, each with so many calls."""
    order = list(range(seeds))
    random.Random(0).shuffle(order)
    staged = {seed: by_stages(seed, calls, items) for seed in order}
    tried = [{seed: by_gepa(seed, calls, items, validated) for seed in order} for validated in VALIDATED]
    gepa = max(tried, key=lambda found: statistics.fmean(found.values()))
    ratios = [staged[seed] / gepa[seed] for seed in order]
    means = statistics.fmean(staged.values()), statistics.fmean(gepa.values())
    return Race(round(means[0], 4), round(means[1], 4), round(means[0] / means[1], 4), round(min(ratios), 4))
