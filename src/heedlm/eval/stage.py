"""The stage `eval`: a finished run and its base on the run's test rows, written as a report."""

from __future__ import annotations

import itertools
import json
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from heedlm.config import EvalConfig, Recipe, TrainConfig
from heedlm.data.store import read_split
from heedlm.errors import HeedError
from heedlm.eval import arms, words
from heedlm.eval.around import around
from heedlm.eval.checkpoints import is_checkpoint
from heedlm.eval.curves import curves_from
from heedlm.eval.during_setup import chosen_on
from heedlm.eval.evaluate import Arm, compare, evaluate, run_arm
from heedlm.eval.forgetting import Measured, forgetting, pieces
from heedlm.eval.gate_file import Gate
from heedlm.eval.leaks import caveat, caveat_of_taught, find_leaks, find_taught, refuse
from heedlm.eval.log import Item
from heedlm.eval.report import write_report
from heedlm.eval.rescore import rescored
from heedlm.eval.results import EvalReport, Forgetting, Noise, Seconds
from heedlm.eval.stats import Interval, paired_difference
from heedlm.eval.suites.asked import answer_limit
from heedlm.eval.suites.measure import measure, of_cases
from heedlm.eval.suites.shipped import suite_tasks
from heedlm.eval.suites.suite import SuiteTask, first_items
from heedlm.eval.verdict import decide
from heedlm.generate.chat import LocalChat
from heedlm.generate.passes import context_limit
from heedlm.keys import example, keys
from heedlm.machine import peak_memory_bytes, return_free_memory
from heedlm.messages import Example, Message, Request, Sampling, Task
from heedlm.model.identity import identity
from heedlm.model.load import SHIPPED, resolve
from heedlm.model.save import read_card
from heedlm.recipe_file import load_recipe
from heedlm.runs import DEMO, Run, environment, read_jsonl
from heedlm.templates.chat import BUILT_IN, fingerprint, load_template
from heedlm.tokens.encode import encode_prompt

LOG = "items.jsonl"
SHOTS = 3
SUITES = "suites"  # where a report says what was asked
PIECE_BYTES = 1500  # of text per document when bits per byte are measured: a few hundred tokens, inside any context
# Items of the wrong wire format arm per task: it shows an effect that is large, and costs as much as a real arm.
WRONG_FORMAT_ITEMS = 20


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The report and where it was written."""

    report: EvalReport
    files: tuple[Path, Path, Path]


def tuned_run(path: str | Path, settings: Sequence[str] = ()) -> Run:
    """The finished run of a tuning, to be evaluated under `a.b=c` lines.

    Raises HeedError for anything else, with the command that makes one, and for settings that no evaluation reads.
    """
    evaluation_only(settings)
    root = Path(path)
    if str(path).startswith(("http://", "https://")):
        what = "This is an endpoint, not a run: with what to compare it, and what to ask, are not known."
        raise HeedError(what, str(path), f"heed eval runs/NAME {path}, or two models with --data FILE")
    if is_checkpoint(path):
        what = "This is a checkpoint of a run, which is compared like any model."
        raise HeedError(what, str(path), f"heed eval BASE {path}")
    begin = f"heed train --model {root} --data FILE --run runs/NAME, then heed eval runs/NAME"
    if (root.parent / "run.json").is_file() and not (root / "run.json").is_file():
        raise HeedError("This is a part of a run, and the run itself is needed.", str(root), f"heed eval {root.parent}")
    if (root / "config.json").is_file() or (str(path) in SHIPPED and not root.exists()):
        raise HeedError("This is a model, not a run: what to ask it, and its base, are not known.", str(root), begin)
    if root == Path(DEMO) and not root.exists():
        raise HeedError("There is no demo run here yet.", str(root), "heed demo")
    run = Run.open(root)
    if "pretrain" in run.info():
        raise HeedError("This run made a base model; nothing was tuned to be compared with it.", str(root), begin)
    try:
        resolve(root)  # refuses a run without a model
    except HeedError as error:
        if not any(run.checkpoints.glob("step-*")):
            raise
        problem = error.problems[0]
        mend = f"{problem.mend}; or what it has learnt so far: heed eval {root}@last"
        raise HeedError(problem.what, problem.where, mend) from None
    return run


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for beside the comparison.

    gate: figures to reach.   noise_floor: ask the tuned model twice.   allow_leak: count items that were trained on.
    force_template: go on with a chat template that is not the one the model was taught.
    """

    gate: Gate | None = None
    noise_floor: bool = False
    allow_leak: bool = False
    force_template: bool = False


def evaluation_only(settings: Sequence[str]) -> None:
    """Raises HeedError for settings that no evaluation reads."""
    other = [key for key in (line.partition("=")[0] for line in settings) if key in keys(Recipe)]
    other = [key for key in other if key != "seed" and not key.startswith("eval.")]
    if other:
        what = f"An evaluation reads eval.* and seed; {', '.join(other)} is for training."
        raise HeedError(what, "--set", f"leave it out; for example --set {example(Recipe, 'eval.items')}")


def evaluate_run(
    run: Run,
    base: LocalChat,
    instruct: LocalChat,
    config: EvalConfig,
    *,
    known: Sequence[str] = (),
    seed: int = 0,
    seconds: Seconds | None = None,
    wanted: Wanted | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Evaluated:
    """Compare base and instruct on the suites of the recipe, the run's test rows first of all; log every item under `run.eval`, write report.{json,md,html}.

    known: text of the kind the base was pretrained on, for what was forgotten; without it the plain English text of the
    package stands in for both.   seconds: what earlier stages took.
    """
    began = time.perf_counter()
    seconds, wanted = seconds or Seconds(), wanted or Wanted()
    train, suites = _rows(run, "train"), suites_of(run, config)
    tasks = [one.task for one in suites]
    caveats = [
        *leaked([one for task in tasks for one in task.examples], train, allow=wanted.allow_leak, edited=False),
        *other_template(instruct, run.model, force=wanted.force_template),
        *_chosen_on(run, config),
    ]
    limits = {task.name: answer_limit(task, instruct.tokenizer, config.max_tokens) for task in tasks}
    sampling = Sampling(max_tokens=config.max_tokens)
    fits = fits_of(base, max(limits.values()))
    rng = random.Random(seed)
    return_free_memory()  # of training, where it ran in this process
    few_shots = arms.pick_frames(base, tasks, train, sampling, rng, num_shots=SHOTS, limits=limits, fits=fits)
    other_wire = _other_wire(instruct)
    every = [
        Arm(arms.BASE, base, arms.bare, known_as(base)),
        Arm(arms.BASE_FAIR, base, arms.fair(few_shots, fits), known_as(base)),
        Arm(arms.INSTRUCT, instruct, arms.instruct, known_as(instruct)),
        Arm(arms.WRONG_FORMAT, instruct, arms.wrong_format(other_wire), known_as(instruct), WRONG_FORMAT_ITEMS),
    ]
    run.eval.mkdir(parents=True, exist_ok=True)
    log = run.eval / LOG
    how: dict[str, Any] = {"limits": limits, "log": log, "on_progress": on_progress}
    report = evaluate(tasks, every, sampling, batch=config.batch_size, seed=seed, **how)
    noise = None
    if wanted.noise_floor or (wanted.gate is not None and wanted.gate.noise_floor):
        again = replace(every[2], name=arms.INSTRUCT_AGAIN)
        noise = noise_between(
            report, run_arm(tasks, again, sampling, batch=other_batch(config.batch_size), **how), seed
        )
    forgotten = _forgotten(base, instruct, known, seed)
    return_free_memory()
    took = time.perf_counter() - began
    report = replace(
        report,
        bits_per_byte=forgotten.bits,
        seconds=replace(seconds, eval=took, total=seconds.prepare + seconds.train + took),
        peak_memory_bytes=peak_memory_bytes(),
        about=_about(run, base, instruct),
        spans=report.spans if forgotten.rise is None else {**report.spans, "forgetting": forgotten.rise},
        noise=noise,
        caveats=tuple(caveats),
    )
    return _written(run, config, report, suites, wanted.gate)


def _forgotten(base: LocalChat, instruct: LocalChat, known: Sequence[str], seed: int) -> Measured:
    plain = resources.files("heedlm.eval").joinpath("english.md").read_text(encoding="utf8")
    other = list(pieces(plain, PIECE_BYTES))
    same = [piece for text in known for piece in pieces(text, PIECE_BYTES)]
    return forgetting(base, instruct, same or other, other, seed=seed)


def rescore_run(run: Run, config: EvalConfig, gate: Gate | None = None, *, seed: int = 0) -> Evaluated:
    """The report of a run made again from its log by today's checks; nothing is asked, and no model is loaded.

    What is no score (forgetting, time, versions) stays as the report had it.
    """
    mend = f"heed eval {run.root}"
    suites = suites_of(run, config)
    tasks, items = rescored([one.task for one in suites], run.eval / LOG, mend, (arms.BASE, arms.INSTRUCT))
    before = report_folder(run, config) / "report.json"
    if not before.is_file():
        raise HeedError("There is no report to make again.", str(before), mend)
    old = json.loads(before.read_text("utf8"))
    report = compare(tasks, [item for item in items if item.arm != arms.INSTRUCT_AGAIN], seed=seed)
    again = [item for item in items if item.arm == arms.INSTRUCT_AGAIN]
    bits, spans = old.get("bits_per_byte"), dict(report.spans)
    if "forgetting" in old.get("intervals", {}):
        spans["forgetting"] = Interval(*old["intervals"]["forgetting"])
    report = replace(
        report,
        bits_per_byte=None if bits is None else Forgetting(**bits),
        seconds=Seconds(**old["seconds"]),
        peak_memory_bytes=old["peak_memory_bytes"],
        about=old["about"],
        spans=spans,
        noise=noise_between(report, again, seed) if again else None,
        caveats=tuple(old.get("caveats", ())),
    )
    return _written(run, config, report, suites, gate)


def report_folder(run: Run, config: EvalConfig) -> Path:
    """Where the report goes: the run, or a folder of its own where other suites are asked than the run's own items.

    Of two files of one name the first has the folder NAME, the next NAME-2: no report takes the place of another's.
    """
    if "held_out" in config.suites:
        return run.root
    name, asked = "-".join(Path(one).stem for one in config.suites), _suites(run, config)
    for number in itertools.count(1):
        folder = run.eval / (name if number == 1 else f"{name}-{number}")
        if _about_suites(folder / "report.json") in (None, asked):
            return folder
    raise AssertionError("numbers do not end")


def _about_suites(report: Path) -> str | None:
    """Which suites a report is about; None where there is none, or it does not say."""
    try:
        return str(json.loads(report.read_text("utf8"))["about"][SUITES])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _suites(run: Run, config: EvalConfig) -> str:
    """The suites as the report names them: files by their place as seen from the run."""
    places = [os.path.relpath(Path(one).resolve(), run.root.resolve()) for one in config.suites if Path(one).is_file()]
    return ", ".join([*(one for one in config.suites if not Path(one).is_file()), *places])


def _written(
    run: Run, config: EvalConfig, report: EvalReport, suites: Sequence[SuiteTask], gate: Gate | None
) -> Evaluated:
    report = replace(report, suites=tuple(measure(suites, of_cases(report.cases))), around=around(run))
    report = replace(report, about={**report.about, SUITES: _suites(run, config)})
    report = report if gate is None else replace(report, decision=decide(report, gate))
    folder = report_folder(run, config)
    folder.mkdir(parents=True, exist_ok=True)
    return Evaluated(report, written_again(run, report, folder))


def written_again(run: Run, report: EvalReport, folder: Path) -> tuple[Path, Path, Path]:
    """A report of the run in its folder, in place of the one there."""
    return write_report(report, folder, curves_from(read_jsonl(run.metrics)))


def suites_of(run: Run, config: EvalConfig) -> list[SuiteTask]:
    """The tasks of the suites that are asked. Raises HeedError for broken ones, and for rows that the run does not have."""
    found = suite_tasks(config.suites, _rows(run, "test"), _rows(run, "val"), where=str(run.data))
    return [replace(one, task=first_items(one.task, config.items)) for one in found]


def tasks_of(run: Run, config: EvalConfig) -> list[Task]:
    """`suites_of` without what the suites say beside."""
    return [one.task for one in suites_of(run, config)]


def leaked(items: Sequence[Example], train: Sequence[Example], *, allow: bool, edited: bool) -> list[str]:
    """What the headline must say about items that were trained on. Raises HeedError with the rows unless allowed."""
    leaks = find_leaks(items, train, edited=edited)
    if leaks and not allow:
        raise refuse(leaks, len(items))
    taught = find_taught(items, train)
    return [
        *([caveat(leaks, len(items))] if leaks else []),
        *([caveat_of_taught(taught, len(items))] if taught else []),
    ]


def other_template(chat: LocalChat, folder: Path, *, force: bool) -> list[str]:
    """The same for a chat template that is not the one the model was taught, as the card of the model has it."""
    taught = read_card(folder).get("template", {}).get("fingerprint")
    if taught is None or taught == fingerprint(chat.template, chat.tokenizer):
        return []
    if not force:
        what = "The chat template of this model is not the one it was taught in: it would be asked in a foreign format."
        mend = "put chat_template.jinja and the tokenizer back, or go on in spite of it with --force-template"
        raise HeedError(what, str(folder), mend)
    return ["WRONG TEMPLATE: the model was asked in another chat format than it was taught in."]


def noise_between(report: EvalReport, again: Sequence[Item], seed: int) -> Noise:
    """How the same model scored the same items the second time."""
    first = {(case.task, case.id): case.answers[arms.INSTRUCT].score for case in report.cases}
    before = [first[item.task, item.id] for item in again]
    after = [item.score for item in again]
    found = paired_difference(before, after, seed=seed)
    changed = sum(one != other for one, other in zip(before, after, strict=True))
    return Noise(len(again), changed, found.mean, found.low, found.high)


def other_batch(size: int) -> int:
    """A batch size with which other items stand together, so that what depends on the company shows."""
    return size // 2 if size > 1 else 2


def _rows(run: Run, name: str) -> list[Example]:
    path = run.data / f"{name}.jsonl"
    return list(read_split(path)) if path.is_file() else []


def fits_of(chat: LocalChat, room: int) -> Callable[[str], bool]:
    """Whether a plain text leaves room for an answer of so many tokens."""
    limit = context_limit(chat.model)
    return lambda text: limit is None or len(chat.render(Request(text=text)).ids) + room <= limit


def _other_wire(chat: LocalChat) -> Callable[[Sequence[Message]], str]:
    """Writes turns in a built-in format that is not the model's own."""
    probe = Request(messages=(Message("user", "Hello"),))
    own = chat.render(probe).text
    built_in = (load_template(name, chat.tokenizer) for name in ("human_assistant", *BUILT_IN))
    template = next(template for template in built_in if encode_prompt(chat.tokenizer, template, probe)[0] != own)
    return lambda messages: encode_prompt(chat.tokenizer, template, Request(messages=tuple(messages)))[0]


def _chosen_on(run: Run, config: EvalConfig) -> list[str]:
    """The same for suites that chose the model while it was trained."""
    trained = load_recipe(Recipe, run.recipe).train if run.recipe.is_file() else TrainConfig()
    return chosen_on(trained, config.suites)


def known_as(chat: LocalChat) -> str:
    """What tells this model from another of the same name when a log is gone on with."""
    return identity(chat.model, chat.template.source)


def _about(run: Run, base: LocalChat, instruct: LocalChat) -> dict[str, str]:
    facts = environment()
    return {
        "run": run.root.name,
        "base": base.name,
        "instruct": instruct.name,
        "template": f"{instruct.template.name} ({words.grade(instruct.template.grade)})",
        "precision": f"{str(instruct.model.dtype).removeprefix('torch.')} on {instruct.model.device.type}",
        "command": str(facts["command"]),
        "versions": ", ".join(f"{name} {version}" for name, version in facts["packages"].items()),
        "machine": str(facts["machine"]),
        "date": str(facts["started"]),
    }
