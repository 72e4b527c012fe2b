"""What the training stages share: device and precision, one fit with its log, checkpoints, and a clean stop on Ctrl-C."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from heedlm.config import StepConfig
from heedlm.errors import HeedError
from heedlm.machine import return_free_memory
from heedlm.model import attention
from heedlm.runs import Run, append_jsonl, read_jsonl, write_text
from heedlm.tokens.loader import Loader
from heedlm.train import checkpoint
from heedlm.train.forward import Packing, attention_set_to, target_logits
from heedlm.train.loop import Position, Regime, StepReport, Validation, fit, validate
from heedlm.train.optim import adamw, lr_schedule

if TYPE_CHECKING:
    from transformers import PreTrainedModel

STEPS_PER_TRIM = 20  # at 0.15 s a call under one percent of the time of the steps between

Say = Callable[[str], None]


class Interrupted(Exception):
    """The user pressed Ctrl-C; the run is saved and can go on. Carries the position for the message."""

    def __init__(self, position: Position) -> None:
        self.position = position
        super().__init__(f"stopped after step {position.step}")


@dataclass(frozen=True, slots=True)
class Observer:
    """Where a stage tells what happens: `say` a line, `step` numbers of a step (step, of, report), `panel` answers."""

    say: Say
    step: Callable[[int, int, StepReport], None]
    panel: Callable[[int, Sequence[Any]], None] = lambda step, answers: None


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a run will do, decided before the first step.

    loader_of: the loader of each epoch.   num_steps: optimiser steps.   lr: peak.   packing: how documents reach the model.
    """

    loader_of: Callable[[int], Loader]
    num_steps: int
    lr: float
    packing: Packing
    precision: torch.dtype


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. best: the validation loss kept, with its step; None where there is no validation split."""

    position: Position
    best_loss: float | None
    best_step: int
    validation: Validation | None
    seconds: float
    tokens_per_second: float


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
    on_evaluate: Callable[[Position, Validation | None], None] | None = None,
) -> Outcome:
    """Fit with log, validation, best weights and checkpoints; goes on from the newest checkpoint in the run folder.

    Evaluates every `config.eval_every` steps (default: at each epoch's end) and at the end. With a validation split the
    weights of the lowest loss are in `model` afterwards.
    """
    optimizer = adamw(model, config.weight_decay)
    forward = target_logits(model, plan.packing)
    regime = Regime(
        plan.num_steps,
        lr_schedule(plan.lr, plan.num_steps, config.warmup, config.schedule),
        config.clip_norm,
        plan.precision,
    )
    restored = checkpoint.restore(run.checkpoints, model, optimizer, observer.say)
    start = restored.position if restored else Position()
    notes: dict[str, Any] = dict(restored.notes) if restored else {"best_loss": None, "best_step": 0}
    _cut_log(run, start.step)
    if restored:
        observer.say(f"going on after step {start.step:,} of {plan.num_steps:,} ({restored.folder.name})")
    best = checkpoint.load_best(run.checkpoints) if restored else None
    last: Validation | None = None
    clock = time.perf_counter()
    seconds = tokens = 0.0
    names = attention.NAME if plan.packing.packed else model.config._attn_implementation

    def evaluate(position: Position) -> None:
        nonlocal best, last
        last = validate(model, forward, validation, plan.precision) if validation else None
        record: dict[str, Any] = {"step": position.step, "kind": "validation"}
        if last:
            record |= {"val_loss": last.loss, "val_accuracy": last.accuracy, "learned_tokens": last.learned_tokens}
            if notes["best_loss"] is None or last.loss < notes["best_loss"]:
                notes.update(best_loss=last.loss, best_step=position.step)
                best = checkpoint.trainable_state(model)
                checkpoint.save_best(run.checkpoints, best)
            append_jsonl(run.metrics, record)
        if on_evaluate:
            on_evaluate(position, last)

    with _stop_on_interrupt() as stop:

        def after_step(position: Position, report: StepReport) -> bool:
            nonlocal seconds, tokens
            seconds += report.seconds
            tokens += report.tokens
            append_jsonl(run.metrics, {"step": position.step, "kind": "train", **asdict(report)})
            if position.step % STEPS_PER_TRIM == 0:
                return_free_memory()
            observer.step(position.step, plan.num_steps, report)
            done = position.step >= plan.num_steps
            due = position.step % config.eval_every == 0 if config.eval_every else report.epoch_ended
            if done or due:
                evaluate(position)
            saves = position.step % config.checkpoint_every == 0 if config.checkpoint_every else report.epoch_ended
            if (saves and not done) or stop.asked:
                checkpoint.save(run.checkpoints, model, optimizer, position, notes)
            if stop.asked and not done:
                raise Interrupted(position)
            return True

        with attention_set_to(model, names):
            end = fit(model, forward, plan.loader_of, optimizer, regime, after_step=after_step, start=start)
    if best is not None and notes["best_step"] != end.step:
        observer.say(f"keeping the weights of step {notes['best_step']:,}: validation loss {notes['best_loss']:.4f}")
        checkpoint.put(model, best)
    return Outcome(
        end, notes["best_loss"], notes["best_step"], last, time.perf_counter() - clock, tokens / max(seconds, 1e-9)
    )


class _Stop:
    asked = False


@contextmanager
def _stop_on_interrupt() -> Iterator[_Stop]:
    """The first Ctrl-C asks for a stop at the next step's end, the second stops at once."""
    stop = _Stop()

    def ask(number: int, frame: object) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True

    try:
        before = signal.signal(signal.SIGINT, ask)
    except ValueError:  # not the main thread: whoever runs us there handles its own signals
        yield stop
        return
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _cut_log(run: Run, step: int) -> None:
    """Drop what a run logged after the checkpoint it goes on from, so that no step stands twice."""
    import json

    for path in (run.metrics, run.panel):
        lines = read_jsonl(path)
        kept = [line for line in lines if line["step"] <= step] if step else []
        if path.exists() and len(kept) != len(lines):
            write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))


def check_same_recipe(run: Run, text: str, ignore: tuple[str, ...] = ()) -> None:
    """Refuse to go on with a run under another recipe, naming the keys that differ."""
    import yaml

    if not run.recipe.is_file() or not run.checkpoints.is_dir():
        return
    before, now = _flat(yaml.safe_load(run.recipe.read_text("utf8"))), _flat(yaml.safe_load(text))
    keys = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k) and not k.startswith(ignore))
    if keys:
        listed = ", ".join(f"{k} (was {before.get(k)!r}, now {now.get(k)!r})" for k in keys)
        raise HeedError(
            f"This run was begun with another recipe: {listed}.",
            str(run.root),
            "use the same recipe to go on, or another --run folder to start anew",
        )


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{prefix}{key}.").items()}
    return {prefix.rstrip("."): value}
