"""What the training stages share: precision, one fit with its logs and checkpoints, and a clean stop on Ctrl-C."""

from __future__ import annotations

import math
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch

from heedlm.config import StepConfig
from heedlm.errors import HeedError
from heedlm.machine import peak_memory_bytes, return_free_memory
from heedlm.model import attention
from heedlm.runs import Run, append_jsonl, cut_jsonl, read_jsonl, sync
from heedlm.tokens.loader import Loader
from heedlm.train import checkpoint, rowlog
from heedlm.train.earlier import begun
from heedlm.train.forward import Packing, attention_set_to, target_logits
from heedlm.train.loop import NotFinite, Position, Regime, StepReport, Validation, fit, validate
from heedlm.train.loss import StepLoss, token_nll
from heedlm.train.optim import adamw, lr_schedule
from heedlm.train.ranks import ALONE, Ranks
from heedlm.train.rowlog import RowLosses
from heedlm.train.spike import Spike

if TYPE_CHECKING:
    from transformers import PreTrainedModel

STEPS_PER_TRIM = 20  # at 0.15 s a call under one percent of the time of the steps between

Say = Callable[[str], None]


class Interrupted(Exception):
    """The user pressed Ctrl-C; the run is saved and can go on. Carries the position for the message."""

    def __init__(self, position: Position) -> None:
        self.position = position
        super().__init__(f"stopped after step {position.step}")


class Gauge(Protocol):
    """Counts the operations of the steps.   ceiling: those that the device could do in a second."""

    ceiling: float

    def watching(self, objective: StepLoss) -> StepLoss: ...

    def take(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Observer:
    """Where a stage tells what happens: `say` a line, `step` numbers of a step (step, of, report), `panel` answers.

    warn: a line that is heard where others are not (None: as `say`).   sinks: hear every record of metrics.jsonl as it is
    written, for example a tracking service's `log`.   gauge: measures how much of the device a step uses (train.meter).
    """

    say: Say
    step: Callable[[int, int, StepReport], None]
    panel: Callable[[int, Sequence[Any]], None] = lambda step, answers: None
    warn: Say | None = None
    sinks: Sequence[Callable[[dict[str, Any]], None]] = ()
    gauge: Callable[[PreTrainedModel, torch.dtype], Gauge] | None = None

    def alarm(self, line: str) -> None:
        (self.warn or self.say)(line)


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a run will do, decided before the first step. loader_of: the loader of each epoch.   lr: peak.

    num_steps: optimiser steps.   packing: how documents reach the model.   objective: None is the usual one.
    """

    loader_of: Callable[[int], Loader]
    num_steps: int
    lr: float
    packing: Packing
    precision: torch.dtype
    objective: StepLoss | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. best: the validation loss kept, with its step; None where there is none. best_score: if it chose."""

    position: Position
    best_loss: float | None
    best_step: int
    validation: Validation | None
    seconds: float
    tokens_per_second: float
    best_score: float | None = None

    @classmethod
    def of(cls, noted: Mapping[str, Any]) -> Outcome:
        """What `asdict` made of one, as it was noted in run.json."""
        validation = Validation(**noted["validation"]) if noted["validation"] else None
        return cls(**{**noted, "position": Position(**noted["position"]), "validation": validation})


class Verdict(NamedTuple):
    """What an evaluation says beside the validation loss.   figures: for metrics.jsonl.   chooses: the score, and not the
    loss, says which weights are the best; None: these are passed over.   enough: the run ends here."""

    figures: Mapping[str, Any] = {}
    chooses: bool = False
    score: float | None = None
    enough: bool = False


# Hears at every evaluation where the run stands, its validation, and the seconds that its steps took so far.
OnEvaluate = Callable[[Position, Validation | None, float], Verdict]


def pick_precision(wanted: str, device: torch.device) -> tuple[torch.dtype, str]:
    """bf16 products where the hardware has them, else fp32, with the reason. Weights and gradients are always fp32."""
    if wanted != "auto":
        return (torch.bfloat16 if wanted == "bf16" else torch.float32), f"{wanted}, as asked"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported():
            return torch.bfloat16, "bf16 products over fp32 weights"
        return torch.float32, "fp32: this GPU has no bf16"
    if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return torch.bfloat16, "bf16 products over fp32 weights (this CPU has them)"
    return torch.float32, "fp32: no bf16 products on this hardware"


def count_steps(loader_of: Callable[[int], Loader], epochs: int, max_steps: int | None) -> int:
    """Optimiser steps of `epochs` epochs, or fewer when `max_steps` is given (then epochs repeat until it is reached)."""
    if max_steps is not None:
        return max_steps
    return sum(loader_of(epoch).steps_in_epoch(epoch) for epoch in range(epochs))


def run_fit(
    run: Run,
    model: PreTrainedModel,
    plan: Plan,
    config: StepConfig,
    observer: Observer,
    *,
    validation: Loader | None,
    on_evaluate: OnEvaluate | None = None,
    row_names: rowlog.RowNames | None = None,
    ranks: Ranks = ALONE,
) -> Outcome:
    """Fit with logs, validation, best weights and checkpoints; goes on from the newest checkpoint in the run folder.

    Of several ranks all compute, and the first one writes.
    Evaluates every `config.eval_every` steps (default: at each epoch's end) and at the end. With a validation split the
    weights of the lowest loss are in `model` afterwards, unless `on_evaluate` chooses others.   row_names: of training
    sequences, for messages; where they are given, the loss of every row is kept in rows.jsonl.
    """
    rate = lr_schedule(plan.lr, plan.num_steps, config.warmup, config.schedule, config.decay)
    fitting = _Fitting(run, model, plan, config, observer, validation, on_evaluate, row_names, ranks)
    start = fitting.begin()
    regime = Regime(start.step if fitting.enough else plan.num_steps, rate, config.clip_norm, plan.precision)
    names = attention.NAME if plan.packing.packed else model.config._attn_implementation
    with _stop_on_signal() as stop, attention_set_to(model, names):
        try:
            end = fit(
                model,
                fitting.forward,
                plan.loader_of,
                fitting.optimizer,
                regime,
                after_step=lambda position, report: fitting.after_step(position, report, stop),
                step_loss=fitting.objective,
                start=start,
                ranks=ranks,
            )
        except NotFinite as error:  # rows that no `after_step` took are those of the step that failed
            raise fitting.with_rows(error, rowlog.together(ranks.gather(fitting.rows.take()))) from None
    return fitting.finish(end)


def _due(every: int | None, position: Position, report: StepReport) -> bool:
    return position.step % every == 0 if every else report.epoch_ended


def _rank(score: float | None, loss: float | None) -> tuple[float, float]:
    """The lower the better; of equal scores the one of the lower loss."""
    return -(score or 0.0), math.inf if loss is None else loss


@dataclass
class _Fitting:
    """A fit in progress: its logs and checkpoints, and what it has come to so far."""

    run: Run
    model: PreTrainedModel
    plan: Plan
    config: StepConfig
    observer: Observer
    validation: Loader | None
    on_evaluate: OnEvaluate | None
    row_names: rowlog.RowNames | None
    ranks: Ranks
    best: checkpoint.Best | None = None
    last: Validation | None = None
    step_seconds: float = 0.0
    seconds_before: float = 0.0
    enough: bool = False

    def __post_init__(self) -> None:
        self.optimizer = adamw(self.model, self.config.weight_decay)
        self.forward = self.ranks.with_root(lambda: target_logits(self.model, self.plan.packing))
        self.rows = RowLosses(self.plan.objective or token_nll)
        self.gauge = self.observer.gauge(self.model, self.plan.precision) if self.observer.gauge else None
        self.objective = self.gauge.watching(self.rows) if self.gauge else self.rows
        self.spike = Spike(self.config.spike)
        self.clock = time.perf_counter()

    def begin(self) -> Position:
        """Where to go on. A run that begins saves its first checkpoint at once and reads it back: saving must not fail
        for the first time after hours (pain 23).
        """
        self.ranks.on_first(self._forget)
        restored = checkpoint.restore(self.run.checkpoints, self.model, self.optimizer, self.observer.alarm)
        position = restored.position if restored else Position()
        if len(set(self.ranks.gather(position))) > 1:
            what = "The processes of this run do not see the same run folder."
            raise HeedError(what, str(self.run.root), "name a --run folder on a disk that all machines share")
        self.ranks.on_first(lambda: self._cut_logs(position.step))
        if restored is None:
            checkpoint.prove(self._save(position), self.model, self.optimizer, self.ranks)
            return position
        # A person who lowers train.keep_checkpoints because the disk is full needs the room now.
        self.ranks.on_first(lambda: checkpoint.prune(self.run.checkpoints, position.step, self.config.keep_checkpoints))
        of = f"of {self.plan.num_steps:,} ({restored.folder.name})"
        self.observer.say(f"going on after step {position.step:,} {of}")
        notes = restored.notes
        self.best = restored.best
        self.last = Validation(**notes["validation"]) if notes["validation"] else None
        self.step_seconds, self.seconds_before = notes["step_seconds"], notes["seconds"]
        self.enough = notes.get("enough", False)
        for record in read_jsonl(self.run.metrics):
            if record["kind"] == "train":
                self.spike.after(record["step"], record["loss"])
        return position

    def after_step(self, position: Position, report: StepReport, stop: _Stop) -> bool:
        """Log the step; evaluate and save where it is time. Raises Interrupted where the user asked to stop."""
        losses = rowlog.together(self.ranks.gather(self.rows.take()))
        self.step_seconds += report.seconds
        share = self._share(report.seconds)
        self.ranks.on_first(lambda: self._log(position, report, losses, share))
        done = position.step >= self.plan.num_steps
        if done or _due(self.config.eval_every, position, report):
            self._evaluate(position)
        done = done or self.enough
        stopping = self.ranks.sum(stop.asked)[0] > 0
        if done or stopping or _due(self.config.checkpoint_every, position, report):
            self._save(position)
        if stopping and not done:
            raise Interrupted(position)
        return not self.enough

    def finish(self, end: Position) -> Outcome:
        """Put the best weights back into the model; what came of it all."""
        best = self.best
        if best is not None and best.step != end.step:
            by = f"validation loss {best.loss:.4f}" if best.score is None else f"score {best.score:.3f}"
            self.observer.say(f"keeping the weights of step {best.step:,}: {by}")
            checkpoint.put(self.model, checkpoint.load_best(self.run.checkpoints, best))
        loss, step, score = (best.loss, best.step, best.score) if best else (None, 0, None)
        speed = end.tokens / max(self.step_seconds, 1e-9)
        return Outcome(end, loss, step, self.last, self._seconds(), speed, score)

    def with_rows(self, error: HeedError, losses: Sequence[rowlog.RowLoss]) -> HeedError:
        """The error of a step with the rows of its batch."""
        problem = error.problems[0]
        name = self.row_names.name if self.row_names else "sequence {:,} of the epoch".format
        where = f"{problem.where}; {rowlog.named(losses, name)}"
        keeps = "; a run that was begun keeps its recipe, so name another --run folder" if begun(self.run) else ""
        return HeedError(problem.what, where, problem.mend + keeps)

    def _share(self, seconds: float) -> dict[str, float]:
        """What the step needed, over what the devices could have done meanwhile."""
        if self.gauge is None:
            return {}
        done, ceiling = self.ranks.sum(self.gauge.take(), self.gauge.ceiling)
        return {"ceiling_share": round(done / max(seconds * ceiling, 1.0), 4)}

    def _log(
        self, position: Position, report: StepReport, losses: Sequence[rowlog.RowLoss], share: Mapping[str, float]
    ) -> None:
        """A step into the logs. Raises HeedError when the loss has risen and stayed up."""
        speed = report.tokens / max(report.seconds, 1e-9)
        more: dict[str, Any] = {"tokens_per_second": round(speed, 1), "peak_memory_bytes": peak_memory_bytes()}
        if self.row_names:
            more |= self.row_names.figures(losses)
        self._record({"step": position.step, "kind": "train", **asdict(report), **more, **share})
        if self.row_names:
            append_jsonl(self.run.rows, rowlog.line(position.step, losses))
        if position.step % STEPS_PER_TRIM == 0:
            return_free_memory()
        self.observer.step(position.step, self.plan.num_steps, report)
        spike = self.spike
        if spike.after(position.step, report.loss, losses):
            first, last = spike.steps[0], spike.steps[-1]
            what = f"The loss was about {spike.level:.2f} and is {report.loss:.2f}, too high from step {first:,} to {last:,}."
            mend = "to go on all the same: --set train.spike=null; else lower the learning rate (--set train.lr=...)"
            raise self.with_rows(HeedError(what, f"step {first:,}", mend), spike.rows)

    def _evaluate(self, position: Position) -> None:
        """Validate where there is a split for it, and hear what else is said; the best weights are kept."""
        split, precision = self.validation, self.plan.precision
        self.last = result = validate(self.model, self.forward, split, precision, self.ranks) if split else None
        if result is not None:
            figures = {"val_loss": result.loss, "val_accuracy": result.accuracy}
            self._record(
                {"step": position.step, "kind": "validation", **figures, "learned_tokens": result.learned_tokens}
            )
        verdict = self.on_evaluate(position, result, self.step_seconds) if self.on_evaluate else Verdict()
        self.enough = verdict.enough
        if verdict.figures:
            self._record({"step": position.step, "kind": "score", **verdict.figures})
        loss, score, best = result.loss if result else None, verdict.score, self.best
        if (score if verdict.chooses else loss) is None:
            return
        if best is None or _rank(score, loss) < _rank(best.score, best.loss):
            where, step = self.run.checkpoints, position.step
            self.best = checkpoint.save_best(where, self.model, loss, step, self.ranks, score)

    def _save(self, position: Position) -> Path:
        """A checkpoint, and before it the logs: the weights must not be younger than they."""
        if self.ranks.first:
            for log in self._logs():
                sync(log)
        notes = {
            "validation": asdict(self.last) if self.last else None,
            "step_seconds": self.step_seconds,
            "seconds": self._seconds(),
            "enough": self.enough,
        }
        where, keep = self.run.checkpoints, self.config.keep_checkpoints
        return checkpoint.save(
            where, self.model, self.optimizer, position, notes, best=self.best, keep=keep, ranks=self.ranks
        )

    def _record(self, record: dict[str, Any]) -> None:
        if not self.ranks.first:
            return
        append_jsonl(self.run.metrics, record)
        for sink in self.observer.sinks:
            sink(record)

    def _forget(self) -> None:
        """What another attempt left before its first step."""
        if not begun(self.run):
            shutil.rmtree(self.run.checkpoints, ignore_errors=True)

    def _cut_logs(self, step: int) -> None:
        for log in self._logs():
            cut_jsonl(log, step)

    def _logs(self) -> tuple[Path, ...]:
        return self.run.metrics, self.run.panel, self.run.rows

    def _seconds(self) -> float:
        """Of the whole run, the parts before an interruption included."""
        return self.seconds_before + time.perf_counter() - self.clock


class _Stop:
    asked = False


@contextmanager
def _stop_on_signal() -> Iterator[_Stop]:
    """The first Ctrl-C, or a scheduler's SIGTERM, asks for a stop at the next step's end, the second stops at once."""
    stop = _Stop()

    def ask(number: int, frame: object) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True

    try:
        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: whoever runs us there handles its own signals
        yield stop
        return
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
