"""Any models on the same items, each against the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from heedlm.eval.arms import BASE, INSTRUCT
from heedlm.eval.evaluate import Arm, compare, group_of, run_arm
from heedlm.eval.grid import Grid
from heedlm.eval.log import Item
from heedlm.eval.many import SeedsDifference, benjamini_hochberg, holm, seeds_difference
from heedlm.eval.results import Decision, EvalReport, Judgement, Noise
from heedlm.eval.stats import Difference, paired_difference
from heedlm.eval.suites.measure import Measured
from heedlm.messages import Sampling, Task


class Contender(NamedTuple):
    """One model of a comparison. name: as the report calls it.   open: loads it, only when it is its turn.

    asked: in words: messages in its own chat template, or plain text, as a base model is asked.   plain: the latter, and
    nothing before the text.
    """

    name: str
    open: Callable[[], Arm]
    asked: str
    plain: bool = False


class Pair(NamedTuple):
    """Two models on the same items. report: `first` as its arm base, `second` as its arm instruct.   all: of all tasks."""

    first: str
    second: str
    report: EvalReport
    all: Difference


@dataclass(frozen=True, slots=True)
class PairsReport:
    """models: names, the one compared with first.   asked: how each was asked.   seeds: where all others are one recipe
    under several seeds.   caveats: what has to stand in the headline.   decision: of a gate, for a single pair.
    grid: of two models, each without and with a system text.   suites: what they measure beside the means.   judged: what
    a judge thinks."""

    models: tuple[str, ...]
    asked: Mapping[str, str]
    pairs: tuple[Pair, ...]
    seeds: SeedsDifference | None = None
    noise: Noise | None = None
    caveats: tuple[str, ...] = ()
    decision: Decision | None = None
    about: Mapping[str, str] = field(default_factory=dict)
    grid: Grid | None = None
    suites: tuple[Measured, ...] = ()
    judged: tuple[Judgement, ...] = ()


def ask_all(
    tasks: Sequence[Task],
    contenders: Sequence[Contender],
    sampling: Sampling,
    limits: Callable[[Arm], Mapping[str, int]],
    *,
    batch: int = 64,
    log: Path | None = None,
    check: Callable[[Arm], None] = lambda arm: None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> list[Item]:
    """Every item to every model, one model in memory at a time. limits, check: of the arm just opened."""
    items: list[Item] = []
    for contender in contenders:
        arm = contender.open()
        check(arm)
        items += run_arm(tasks, arm, sampling, limits=limits(arm), batch=batch, log=log, on_progress=on_progress)
        del arm
    return items


def against_first(
    tasks: Sequence[Task], items: Sequence[Item], names: Sequence[str], *, seed: int = 0, same_recipe: bool = False
) -> tuple[tuple[Pair, ...], SeedsDifference | None]:
    """Each model but the first against the first; p-values adjusted over all tasks of all pairs.

    same_recipe: the others are one recipe trained with several seeds, two at least.
    """
    pairs = [_pair(tasks, items, names[0], name, seed) for name in names[1:]]
    results = [task for pair in pairs for task in pair.report.tasks]
    adjusted = iter(zip(holm([r.p for r in results]), benjamini_hochberg([r.p for r in results]), strict=True))
    done = []
    for pair in pairs:
        both = [(task, *next(adjusted)) for task in pair.report.tasks]
        tasks_ = tuple(replace(task, p_holm=one, p_bh=other) for task, one, other in both)
        done.append(pair._replace(report=replace(pair.report, tasks=tasks_)))
    if not same_recipe:
        return tuple(done), None
    scores, groups = scores_of(tasks, items)
    seeds = seeds_difference(scores[names[0]], [scores[name] for name in names[1:]], groups=groups)
    return tuple(done), seeds


def _pair(tasks: Sequence[Task], items: Sequence[Item], first: str, second: str, seed: int) -> Pair:
    roles = {first: BASE, second: INSTRUCT}
    report = compare(tasks, [replace(item, arm=roles[item.arm]) for item in items if item.arm in roles], seed=seed)
    scores, groups = scores_of(tasks, items)
    return Pair(first, second, report, paired_difference(scores[first], scores[second], groups=groups, seed=seed))


def scores_of(tasks: Sequence[Task], items: Sequence[Item]) -> tuple[dict[str, list[float]], list[str]]:
    """By model its scores in the order of the items, and the group of each item."""
    order = {(task.name, example.id): group_of(example) for task in tasks for example in task.examples}
    found: dict[str, dict[tuple[str, str], float]] = {}
    for item in items:
        found.setdefault(item.arm, {})[item.task, item.id] = item.score
    scores = {name: [of[place] for place in order] for name, of in found.items() if order.keys() <= of.keys()}
    return scores, list(order.values())
