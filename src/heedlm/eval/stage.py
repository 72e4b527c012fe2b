"""The stage `eval`: a finished run and its base on the run's test rows, written as a report."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from heedlm.config import EvalConfig, Recipe
from heedlm.data.store import read_split
from heedlm.errors import HeedError
from heedlm.eval import arms, words
from heedlm.eval.evaluate import Arm, evaluate
from heedlm.eval.forgetting import forgetting, pieces
from heedlm.eval.plots import curves_from
from heedlm.eval.report import write_report
from heedlm.eval.results import EvalReport, Seconds
from heedlm.eval.task import tasks_from
from heedlm.generate.chat import LocalChat
from heedlm.generate.engine import context_limit
from heedlm.keys import example, keys
from heedlm.machine import peak_memory_bytes, return_free_memory
from heedlm.messages import Example, Message, Request, Sampling, Task
from heedlm.model.load import SHIPPED, resolve
from heedlm.runs import DEMO, Run, environment, read_jsonl
from heedlm.templates.chat import BUILT_IN, load_template
from heedlm.tokens.encode import encode_prompt

SHOTS = 3
PIECE_BYTES = 1500  # of text per document when bits per byte are measured: a few hundred tokens, inside any context
# Items of the wrong wire format arm per task: it shows an effect that is large, and costs as much as a real arm.
WRONG_FORMAT_ITEMS = 20
# A reply may be this many times as long as the longest right answer of its task before it is cut.
_ROOM = 1.5


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The report and where it was written."""

    report: EvalReport
    files: tuple[Path, Path, Path]


def tuned_run(path: str | Path, settings: Sequence[str] = ()) -> Run:
    """The finished run of a tuning, to be evaluated under `a.b=c` lines.

    Raises HeedError for anything else, with the command that makes one, and for settings that no evaluation reads.
    """
    other = [key for key in (line.partition("=")[0] for line in settings) if key in keys(Recipe)]
    other = [key for key in other if key != "seed" and not key.startswith("eval.")]
    if other:
        what = f"An evaluation reads eval.* and seed; {', '.join(other)} is for training."
        raise HeedError(what, "--set", f"leave it out; for example --set {example(Recipe, 'eval.items')}")
    root = Path(path)
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
    resolve(root)  # refuses a run without a model
    return run


def evaluate_run(
    run: Run,
    base: LocalChat,
    instruct: LocalChat,
    config: EvalConfig,
    *,
    known: Sequence[str] = (),
    seed: int = 0,
    seconds: Seconds | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Evaluated:
    """Compare base and instruct on `run.data/test.jsonl`; log every item under `run.eval`, write report.{json,md,html}.

    known: text of the kind the base was pretrained on, for what was forgotten; without it the plain English text of the
    package stands in for both.   seconds: what earlier stages took.
    """
    began = time.perf_counter()
    seconds = seconds or Seconds()
    train, test = _rows(run, "train"), _rows(run, "test")
    if not test:
        raise HeedError(
            "This run has no test rows to evaluate on.",
            str(run.data / "test.jsonl"),
            "heed train, into a new run, with --set data.test=0.1 (a tenth of the rows) or data.test=FILE",
        )
    tasks = [replace(task, examples=task.examples[: config.items]) for task in tasks_from(test)]
    limits = {task.name: _limit(task, instruct, config) for task in tasks}
    sampling = Sampling(max_tokens=config.max_tokens)
    fits = _fits(base, max(limits.values()))
    rng = random.Random(seed)
    return_free_memory()  # of training, where it ran in this process
    few_shots = arms.pick_frames(base, tasks, train, sampling, rng, num_shots=SHOTS, limits=limits, fits=fits)
    other_wire = _other_wire(instruct)
    every = [
        Arm(arms.BASE, base, arms.bare, _identity(base)),
        Arm(arms.BASE_FAIR, base, arms.fair(few_shots, fits), _identity(base)),
        Arm(arms.INSTRUCT, instruct, arms.instruct, _identity(instruct)),
        Arm(arms.WRONG_FORMAT, instruct, arms.wrong_format(other_wire), _identity(instruct), WRONG_FORMAT_ITEMS),
    ]
    run.eval.mkdir(parents=True, exist_ok=True)
    report = evaluate(
        tasks,
        every,
        sampling,
        limits=limits,
        batch=config.batch_size,
        log=run.eval / "items.jsonl",
        seed=seed,
        on_progress=on_progress,
    )
    plain = resources.files("heedlm.eval").joinpath("english.md").read_text(encoding="utf8")
    other = list(pieces(plain, PIECE_BYTES))
    same = [piece for text in known for piece in pieces(text, PIECE_BYTES)]
    bits = forgetting(base, instruct, same or other, other)
    return_free_memory()
    took = time.perf_counter() - began
    report = replace(
        report,
        bits_per_byte=bits,
        seconds=replace(seconds, eval=took, total=seconds.prepare + seconds.train + took),
        peak_memory_bytes=peak_memory_bytes(),
        about=_about(run, base, instruct),
    )
    return Evaluated(report, write_report(report, run.root, curves_from(read_jsonl(run.metrics))))


def _rows(run: Run, name: str) -> list[Example]:
    path = run.data / f"{name}.jsonl"
    return list(read_split(path)) if path.is_file() else []


def _limit(task: Task, chat: LocalChat, config: EvalConfig) -> int:
    answers = [example.messages[-1].content for example in task.examples]
    longest = max(len(chat.tokenizer(answer, add_special_tokens=False)["input_ids"]) for answer in answers)
    return min(config.max_tokens, int(longest * _ROOM) + 8)


def _fits(chat: LocalChat, room: int) -> Callable[[str], bool]:
    limit = context_limit(chat.model)
    return lambda text: limit is None or len(chat.render(Request(text=text)).ids) + room <= limit


def _other_wire(chat: LocalChat) -> Callable[[Sequence[Message]], str]:
    """Writes turns in a built-in format that is not the model's own."""
    probe = Request(messages=(Message("user", "Hello"),))
    own = chat.render(probe).text
    built_in = (load_template(name, chat.tokenizer) for name in ("human_assistant", *BUILT_IN))
    template = next(template for template in built_in if encode_prompt(chat.tokenizer, template, probe)[0] != own)
    return lambda messages: encode_prompt(chat.tokenizer, template, Request(messages=tuple(messages)))[0]


def _identity(chat: LocalChat) -> str:
    """A checksum of the weights' sums: tells two models of the same name apart when a log is resumed."""
    import hashlib

    digest = hashlib.sha256(chat.template.source.encode())
    for name, parameter in sorted(chat.model.state_dict().items()):
        digest.update(
            f"{name} {float(parameter.float().sum()):.8e} {float(parameter.float().abs().sum()):.8e}".encode()
        )
    return digest.hexdigest()[:16]


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
