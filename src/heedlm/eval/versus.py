"""The stage that compares models which need no common run: checkpoints, runs and endpoints."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from heedlm.config import EvalConfig
from heedlm.data.schema import to_examples
from heedlm.data.sources import read_rows
from heedlm.data.store import read_split
from heedlm.errors import HeedError, Problem
from heedlm.eval.checkpoints import is_checkpoint, run_behind
from heedlm.eval.contenders import Beside, beside, contenders_of, is_endpoint, prompted
from heedlm.eval.evaluate import Arm, run_arm
from heedlm.eval.grid import grid_of
from heedlm.eval.log import Item
from heedlm.eval.pairs import Contender, PairsReport, against_first, ask_all, scores_of
from heedlm.eval.pairs_report import write_pairs
from heedlm.eval.prices import Price
from heedlm.eval.rescore import rescored
from heedlm.eval.stage import LOG, Wanted, leaked, noise_between, other_batch, other_template
from heedlm.eval.suites.asked import answer_limit, wanted_tokens
from heedlm.eval.suites.measure import measure
from heedlm.eval.suites.shipped import suite_tasks
from heedlm.eval.suites.suite import SuiteTask, first_items
from heedlm.eval.verdict import decide
from heedlm.generate.chat import LocalChat
from heedlm.messages import Example, Sampling, Task
from heedlm.model.load import resolve
from heedlm.runs import disk_errors, environment

_CHARACTERS = 2  # to a token, at least, where an endpoint's tokenizer is not known


@dataclass(frozen=True, slots=True)
class Compared:
    """The report and where it was written."""

    report: PairsReport
    files: tuple[Path, Path, Path]


class Items(NamedTuple):
    """What is asked: suites' tasks, and where their rows come from."""

    suites: list[SuiteTask]
    source: str

    @property
    def tasks(self) -> list[Task]:
        return [one.task for one in self.suites]


def items_of(names: Sequence[str], data: Sequence[str | Path], config: EvalConfig) -> Items:
    """The rows of `data`, or the test rows of the first run among `names`. Raises HeedError where there are none."""
    if data:
        found = [one for path in data for row in read_rows(Path(path)) for one in _examples(row)]
        problems = [one for one in found if isinstance(one, Problem)]
        if problems:
            raise HeedError.of(problems[:20])
        rows = [one for one in found if isinstance(one, Example)]
        source = ", ".join(map(str, data))
    else:
        runs = (run_behind(name) / "data" / "test.jsonl" for name in names if not is_endpoint(name))
        path = next((path for path in runs if path.is_file()), None)
        rows = [] if path is None else list(read_split(path))
        source = str(path)
    if not rows and "held_out" in config.suites:
        mend = "--data FILE, rows with a question and its answer; or name a run that was prepared with data.test"
        raise HeedError("There are no items to ask.", source if data else ", ".join(names), mend)
    suites = [replace(one, task=first_items(one.task, config.items)) for one in suite_tasks(config.suites, rows)]
    return Items(suites, ", ".join(source if suite == "held_out" else f"suite {suite}" for suite in config.suites))


def _examples(row: object) -> list[Example | Problem]:
    return [row] if isinstance(row, Problem) else to_examples(row)  # type: ignore[arg-type]


def compare_models(
    names: Sequence[str],
    out: Path,
    config: EvalConfig,
    *,
    data: Sequence[str | Path] = (),
    wanted: Wanted | None = None,
    same_recipe: bool = False,
    again: bool = False,
    grid: str | None = None,
    extra: Beside | None = None,
    seed: int = 0,
    prices: Mapping[str, Price] | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Compared:
    """Every model on the same items, each against the first; items and report.{json,md,html} under `out`.

    same_recipe: all but the first are one recipe under several seeds.   again: score the log again, ask nothing.
    grid: ask both of two models with this text as well.   prices: of endpoints.   extra: other arms beside the models; each against the first too.
    """
    wanted = wanted or Wanted()
    contenders = contenders_of(names, prices)
    asked = items_of(names, data, config)
    tasks = asked.tasks
    sampling = Sampling(max_tokens=config.max_tokens)

    def limits(arm: Arm) -> Mapping[str, int]:
        return {task.name: _limit(task, arm, config) for task in tasks}

    last = contenders[-1]  # whom a gate judges
    if grid is not None:
        contenders = [one for plain in contenders for one in (plain, prompted(plain, grid))]
        last = contenders[-1]
    contenders += beside(contenders, extra or Beside(), tasks, sampling, limits, seed=seed)
    cells = [contender.name for contender in contenders]
    every = [example for task in tasks for example in task.examples]
    caveats = leaked(every, _trained_on(names), allow=wanted.allow_leak, edited=bool(data))
    log = out / LOG
    twice = last.name + " again"
    if again:
        caveats += [
            line for line in _caveats_of(out) if line not in caveats and not line.startswith(("LEAK", "TAUGHT"))
        ]
        tasks, items = rescored(tasks, log, "the same command without --rescore", cells)
        noisy = [item for item in items if item.arm == twice]
        items = [item for item in items if item.arm in cells]
    else:
        with disk_errors(out):
            out.mkdir(parents=True, exist_ok=True)

        def check(arm: Arm) -> None:
            if isinstance(arm.chat, LocalChat) and arm.name in names and not is_checkpoint(arm.name):
                found = other_template(arm.chat, Path(resolve(arm.name)), force=wanted.force_template)
                caveats.extend(f"{arm.name}: {line}" for line in found)

        how = {"log": log, "on_progress": on_progress}
        items = ask_all(
            tasks, contenders, sampling, limits, batch=config.batch_size, check=check, log=log, on_progress=on_progress
        )
        noisy = []
        if wanted.noise_floor or (wanted.gate is not None and wanted.gate.noise_floor):
            arm = replace(last.open(), name=twice)
            noisy = run_arm(tasks, arm, sampling, limits=limits(arm), batch=other_batch(config.batch_size), **how)  # type: ignore[arg-type]
    report = _report(tasks, (items, noisy), (contenders, last.name), wanted, asked.source, same_recipe, seed)
    if grid is not None:
        scores, groups = scores_of(tasks, items)
        report = replace(report, grid=grid_of(names[0], names[1], scores, groups, seed=seed))
    report = replace(report, caveats=tuple(caveats), suites=tuple(measure(asked.suites, items)))
    return Compared(report, write_pairs(report, out))


def _caveats_of(out: Path) -> list[str]:
    """What the report that is made again had to say first."""
    path = out / "report.json"
    return list(json.loads(path.read_text("utf8")).get("caveats", ())) if path.is_file() else []


def _report(
    tasks: Sequence[Task],
    items: tuple[Sequence[Item], Sequence[Item]],
    models: tuple[Sequence[Contender], str],
    wanted: Wanted,
    source: str,
    same_recipe: bool,
    seed: int,
) -> PairsReport:
    contenders, last = models
    names = [contender.name for contender in contenders]
    asked, noisy = items
    pairs, seeds = against_first(tasks, asked, names, seed=seed, same_recipe=same_recipe)
    judged = next(pair.report for pair in pairs if pair.second == last)
    noise = noise_between(judged, noisy, seed) if noisy else None
    facts = environment()
    return PairsReport(
        models=tuple(names),
        asked={contender.name: contender.asked for contender in contenders},
        pairs=pairs,
        seeds=seeds,
        noise=noise,
        decision=None if wanted.gate is None else decide(replace(judged, noise=noise), wanted.gate),
        about={
            "items": source,
            "command": str(facts["command"]),
            "versions": ", ".join(f"{name} {version}" for name, version in facts["packages"].items()),
            "machine": str(facts["machine"]),
            "date": str(facts["started"]),
        },
    )


def _trained_on(names: Sequence[str]) -> list[Example]:
    """The training rows of every run among the names; of a model without its run they are not known."""
    runs = dict.fromkeys(run_behind(name) for name in names if not is_endpoint(name))
    paths = [run / "data" / "train.jsonl" for run in runs]
    return [row for path in paths if path.is_file() for row in read_split(path)]


def _limit(task: Task, arm: Arm, config: EvalConfig) -> int:
    if isinstance(arm.chat, LocalChat):
        return answer_limit(task, arm.chat.tokenizer, config.max_tokens)
    told = wanted_tokens(task)
    if told is not None or not all(example.messages[-1].content.strip() for example in task.examples):
        return told or config.max_tokens
    longest = max(len(example.messages[-1].content.encode()) for example in task.examples)
    return min(config.max_tokens, longest // _CHARACTERS + 16)
