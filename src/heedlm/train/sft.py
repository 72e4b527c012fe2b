"""The stage `train`: proved tokens and a base model in, a verified instruct model out."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch

from heedlm.config import Recipe, dump_recipe
from heedlm.errors import HeedError
from heedlm.messages import Encoded
from heedlm.runs import Run, environment, write_text
from heedlm.tokens.loader import Loader
from heedlm.tokens.store import Joined, open_split, read_index
from heedlm.train.earlier import begun, check_same_recipe, check_same_tokens, finished, how_anew
from heedlm.train.forward import Packing
from heedlm.train.ranks import ALONE, Ranks
from heedlm.train.rowlog import RowNames
from heedlm.train.stage import Observer, OnEvaluate, Outcome, Plan, run_fit

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Trainee(NamedTuple):
    """A model ready to be trained. parameters: of the base, before anything was added.   packing: how batches reach it."""

    model: PreTrainedModel
    device: torch.device
    packing: Packing
    parameters: int


class Workshop(Protocol):
    """What happens to the model before the first step and after the last, handed in from above (train.workshop)."""

    def load(self) -> Trainee:
        """The base, with what trains of it."""
        ...

    def plan(self, sequences: Sequence[Encoded], trainee: Trainee) -> tuple[Plan, Loader]:
        """The plan, and the loader of its steps, computed so that they fit into memory."""
        ...

    def spread(self, model: PreTrainedModel, precision: torch.dtype) -> Ranks:
        """One model out of those that several processes hold."""
        ...

    def names(self) -> RowNames:
        """The rows behind the training sequences."""
        ...

    def watch(self, trainee: Trainee) -> OnEvaluate:
        """What is asked of the model in the making at every evaluation, and what follows from it."""
        ...

    def keep(self, trainee: Trainee, sample: Loader, template: Mapping[str, Any], facts: Mapping[str, Any]) -> Kept:
        """Save the plain model, read back. sample: rows on which it is compared with what was trained."""
        ...


class Kept(NamedTuple):
    """words: what was saved and how near it is to what was trained.   drift: the same in numbers."""

    words: str
    drift: dict[str, float]


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a run came to. rows, tokens: of the training split; dropped: rows that did not fit; drift: see train.drift."""

    model: Path
    steps: int
    rows: int
    dropped: int
    sequences: int
    tokens: int
    learned_tokens: int
    replay_tokens: int
    best_loss: float | None
    best_step: int
    accuracy: float | None
    seconds: float
    tokens_per_second: float
    packing: str
    template: str
    trainable_parameters: int
    parameters: int
    drift: dict[str, float] | None = None
    best_score: float | None = None


def train(recipe: Recipe, run: Run, observer: Observer, workshop: Workshop, ranks: Ranks = ALONE) -> TrainReport:
    """Tune on the token store `run.tokens`; the result is `run.model`. The same command goes on with what it finds there.

    ranks: the processes that train together; the first one writes.
    """
    text = dump_recipe(recipe)
    index = read_index(run.tokens)
    earlier = ranks.on_first(lambda: _earlier(run, text, index["key"], observer))
    if earlier is not None:
        return earlier
    sequences, val = open_splits(run)
    trainee = workshop.load()
    ranks.on_first(lambda: _begin(run, text, index["key"], observer))
    plan, loader = workshop.plan(sequences, trainee)
    validation = replace(loader, sequences=val) if val else None
    spread = workshop.spread(trainee.model, plan.precision)
    outcome = run_fit(
        run,
        trainee.model,
        plan,
        recipe.train,
        observer,
        validation=validation,
        on_evaluate=workshop.watch(trainee),
        row_names=workshop.names(),
        ranks=spread,
    )
    report = _report(run, index, outcome, plan, trainee)
    facts = {
        "base": recipe.model.path,
        "method": recipe.model.method,
        "template_kwargs": recipe.templates.kwargs,
        "rows": report.rows,
        "steps": report.steps,
        "validation_loss": report.best_loss,
        "seed": recipe.seed,
    }
    kept = workshop.keep(trainee, validation or loader, index["template"], facts)
    observer.say(kept.words)
    return ranks.on_first(lambda: _finish(run, replace(report, drift=kept.drift)))


def _earlier(run: Run, text: str, key: str, observer: Observer) -> TrainReport | None:
    """The report of a run that is finished. Raises HeedError where the recipe or the tokens are others than it began with."""
    check_same_recipe(run, text)
    check_same_tokens(run, key)
    return _report_again(run, observer) if finished(run) else None


def _begin(run: Run, text: str, key: str, observer: Observer) -> None:
    _clear(run, observer)
    write_text(run.recipe, text)
    run.note(train=environment(), tokens=key, train_result=None)


def _finish(run: Run, report: TrainReport) -> TrainReport:
    run.note(
        train_result={key: str(value) if isinstance(value, Path) else value for key, value in asdict(report).items()}
    )
    shutil.rmtree(run.checkpoints, ignore_errors=True)  # the verified result stands; nothing is left to resume
    return report


def _report_again(run: Run, observer: Observer) -> TrainReport:
    """The report of a finished run, which stays as it is."""
    try:
        report = TrainReport(**{**run.info()["train_result"], "model": run.model})
    except (KeyError, TypeError):
        raise HeedError("This run was finished by another version of heed.", str(run.root), how_anew(run)) from None
    observer.alarm(f"{run.root} is finished, nothing was trained: the model is {report.model}; {how_anew(run)}.")
    return report


def _clear(run: Run, observer: Observer) -> None:
    """A run that begins anew loses what an earlier model of the same folder left, so that nothing stale stands beside it."""
    if begun(run):
        return
    logs = (run.panel, run.metrics, run.rows, run.root / "scores.jsonl")
    stale = [path for path in (run.adapter, run.eval, *logs, *run.root.glob("report.*")) if path.exists()]
    for path in stale:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if stale:
        observer.say(
            "a new model for this run: removed " + ", ".join(path.name for path in stale) + " of the one before"
        )


def open_splits(run: Run) -> tuple[Sequence[Encoded], Sequence[Encoded] | None]:
    """What is learned (training rows, and documents to replay) and what validates."""
    train = open_split(run.tokens, "train")
    assert train is not None, "a token store holds the training split"
    replay = open_split(run.tokens, "replay")
    learned: Sequence[Encoded] = Joined((train, replay)) if replay else train
    return learned, open_split(run.tokens, "val")


def trainable_parameters(model: PreTrainedModel) -> int:
    """How many numbers of a model train."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _report(run: Run, index: dict[str, Any], outcome: Outcome, plan: Plan, trainee: Trainee) -> TrainReport:
    counts = index["counts"]["train"]
    return TrainReport(
        model=run.model,
        steps=outcome.position.step,
        rows=counts["rows"],
        dropped=counts["too_long"],
        sequences=counts["sequences"],
        tokens=counts["tokens"],
        learned_tokens=counts["learned_tokens"],
        replay_tokens=index["counts"].get("replay", {}).get("tokens", 0),
        best_loss=outcome.best_loss,
        best_step=outcome.best_step,
        accuracy=outcome.validation.accuracy if outcome.validation else None,
        seconds=outcome.seconds,
        tokens_per_second=outcome.tokens_per_second,
        packing=plan.packing.reason,
        template=index["template"]["name"],
        trainable_parameters=trainable_parameters(trainee.model),
        parameters=trainee.parameters,
        best_score=outcome.best_score,
    )
