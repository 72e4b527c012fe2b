"""The stage `train`: proved tokens and a base model in, a verified instruct model out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from heedlm.config import Recipe, dump_recipe
from heedlm.errors import HeedError
from heedlm.messages import Encoded
from heedlm.model import adapters
from heedlm.model.load import load_model, pick_device, resolve, stored_dtype
from heedlm.model.save import save_result
from heedlm.runs import Run, append_jsonl, environment, write_text
from heedlm.tokens.loader import Loader
from heedlm.tokens.store import Joined, open_split, read_index
from heedlm.tokens.tokenizer import load_tokenizer
from heedlm.train.forward import Packing, attention_set_to, choose_packing
from heedlm.train.loop import Position, Validation
from heedlm.train.optim import default_lr, default_tokens_per_step
from heedlm.train.stage import Observer, Outcome, Plan, check_same_recipe, count_steps, pick_precision, run_fit

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class PanelAnswer(NamedTuple):
    """What the model in the making answered to one fixed prompt of a split, beside the row's own answer."""

    split: str
    id: str
    prompt: str
    reply: str
    target: str


# The text side of training, handed in from above: a model in, its answers to the fixed panel of prompts out.
Panel = Callable[["PreTrainedModel"], Sequence[PanelAnswer]]


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a run came to. rows, tokens: of the training split; dropped: rows that did not fit."""

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


def train(recipe: Recipe, run: Run, observer: Observer, panel: Panel | None = None) -> TrainReport:
    """Tune on the token store `run.tokens`; the result is `run.model`. The same command goes on with what it finds there.

    panel: answers of the model in the making to fixed prompts, asked at every evaluation; None leaves it out.
    """
    text = dump_recipe(recipe)
    check_same_recipe(run, text, ignore=("eval.",))
    index = read_index(run.tokens)
    _check_same_tokens(run, index["key"])
    sequences, val = _splits(run)
    device = pick_device(recipe.train.device)
    trust = recipe.model.trust_remote_code
    model = load_model(recipe.model.path, device=device, trust_remote_code=trust)
    _clear(run, observer)
    write_text(run.recipe, text)
    run.note(train=environment(), tokens=index["key"])
    torch.manual_seed(recipe.seed)  # adapter initialisation and dropout take no generator; this is the stage's edge
    parameters = sum(p.numel() for p in model.parameters())
    packing = choose_packing(model)
    if recipe.model.method == "lora":
        model = adapters.add_adapter(model, recipe.model.lora)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    plan, per_step = _plan(recipe, sequences, parameters, trainable, packing, device, observer)
    validation = Loader(val, per_step, recipe.train.micro_tokens, recipe.seed) if val else None
    plain_attention = str(model.config._attn_implementation)

    def evaluated(position: Position, result: Validation | None) -> None:
        if result:
            observer.say(
                f"step {position.step:,}: validation loss {result.loss:.4f}, token accuracy {result.accuracy:.1%}"
            )
        if panel is None:
            return
        with attention_set_to(model, plain_attention):
            answers = panel(model)
        for answer in answers:
            append_jsonl(run.panel, {"step": position.step, **answer._asdict()})
        observer.panel(position.step, answers)

    outcome = run_fit(run, model, plan, recipe.train, observer, validation=validation, on_evaluate=evaluated)
    if recipe.model.method == "lora":
        adapters.save_adapter(model, run.adapter)
        model = adapters.merged(model)
    report = _report(run, index, outcome, plan, trainable, parameters)
    template = index["template"]
    facts = {
        "base": recipe.model.path,
        "method": recipe.model.method,
        "template": {key: template[key] for key in ("name", "grade", "fingerprint")},
        "template_kwargs": recipe.templates.kwargs,
        "rows": report.rows,
        "steps": report.steps,
        "validation_loss": report.best_loss,
        "seed": recipe.seed,
    }
    save_result(
        model,
        load_tokenizer(resolve(recipe.model.path), trust),
        run.model,
        dtype=stored_dtype(recipe.model.path, trust_remote_code=trust),
        chat_template=template["source"],
        stop_ids=tuple(template["stop_ids"]),
        facts=facts,
    )
    run.note(
        train_result={key: str(value) if isinstance(value, Path) else value for key, value in asdict(report).items()}
    )
    shutil.rmtree(run.checkpoints, ignore_errors=True)  # the verified result stands; nothing is left to resume
    return report


def _check_same_tokens(run: Run, key: str) -> None:
    """Refuse to go on with a run on other tokens than it was begun with: its position would point into other rows."""
    before = run.info().get("tokens")
    if run.checkpoints.is_dir() and before is not None and before != key:
        raise HeedError(
            "The rows or what they are tokenised with have changed since this run was begun.",
            str(run.root),
            "put the data back to go on, or use another --run folder to start anew",
        )


def _clear(run: Run, observer: Observer) -> None:
    """A run that begins anew loses what an earlier model of the same folder left, so that nothing stale stands beside it."""
    if run.checkpoints.is_dir():
        return
    stale = [
        path for path in (run.adapter, run.eval, run.panel, run.metrics, *run.root.glob("report.*")) if path.exists()
    ]
    for path in stale:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if stale:
        observer.say(
            "a new model for this run: removed " + ", ".join(path.name for path in stale) + " of the one before"
        )


def _splits(run: Run) -> tuple[Sequence[Encoded], Sequence[Encoded] | None]:
    """What is learned (training rows, and documents to replay) and what validates."""
    train = open_split(run.tokens, "train")
    assert train is not None, "a token store holds the training split"
    replay = open_split(run.tokens, "replay")
    learned: Sequence[Encoded] = Joined((train, replay)) if replay else train
    return learned, open_split(run.tokens, "val")


def _plan(
    recipe: Recipe,
    sequences: Sequence[Encoded],
    parameters: int,
    trainable: int,
    packing: Packing,
    device: torch.device,
    observer: Observer,
) -> tuple[Plan, int]:
    """The plan, and the tokens of a step that it settled on."""
    precision, why = pick_precision(recipe.train.precision, device)
    per_step, size = recipe.train.tokens_per_step, "as asked"
    if per_step is None:
        tokens = sum(Loader(sequences, 1, 1, 0).lengths())
        chosen = default_tokens_per_step(tokens, recipe.train.epochs)
        per_step, size = int(chosen.value), chosen.reason
    loader = Loader(sequences, per_step, recipe.train.micro_tokens, recipe.seed)
    num_steps = count_steps(lambda epoch: loader, recipe.train.epochs, recipe.train.max_steps)
    lr, reason = (
        default_lr(recipe.model.method, parameters) if recipe.train.lr is None else (recipe.train.lr, "as asked")
    )
    share = f"{parameters / 1e6:.1f}M parameters, {trainable / 1e6:.2f}M trainable ({recipe.model.method})"
    observer.say(f"{share}; {why}; {packing.reason}")
    observer.say(f"{num_steps:,} steps of about {per_step:,} tokens ({size}); learning rate {lr:.1e} ({reason})")
    return Plan(lambda epoch: loader, num_steps, lr, packing, precision), per_step


def _report(
    run: Run, index: dict[str, Any], outcome: Outcome, plan: Plan, trainable: int, parameters: int
) -> TrainReport:
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
        trainable_parameters=trainable,
        parameters=parameters,
    )
