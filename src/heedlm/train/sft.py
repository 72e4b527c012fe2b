"""The stage `train`: prepared splits and a base model in, a proved and verified instruct model out."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from heedlm.config import Recipe, dump_recipe
from heedlm.data.store import read_split
from heedlm.errors import HeedError
from heedlm.messages import Encoded, Example
from heedlm.model import adapters
from heedlm.train.forward import attention_set_to, choose_packing
from heedlm.model.load import context_length, load_model, pick_device, resolve, stored_dtype
from heedlm.model.save import save_result
from heedlm.runs import Run, append_jsonl, environment, write_text
from heedlm.templates.chat import ChatTemplate, fingerprint, load_template, stop_ids, with_defaults
from heedlm.tokens.loader import Loader
from heedlm.tokens.rows import Rows, make_rows
from heedlm.tokens.tokenizer import load_tokenizer
from heedlm.tokens.documents import encode_documents, read_documents
from heedlm.train.loop import Position, Validation
from heedlm.train.optim import default_lr
from heedlm.train.stage import Observer, Outcome, Plan, check_same_recipe, count_steps, pick_precision, run_fit

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# From a model, its tokenizer, its template and examples to a reply each: the text side of training, handed in from above.
Answer = Callable[["PreTrainedModel", "PreTrainedTokenizerBase", ChatTemplate, Sequence[Example]], list[str]]

DEFAULT_MAX_TOKENS = 2048  # where neither recipe nor model says


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


@dataclass(frozen=True, slots=True)
class _Material:
    """Encoded splits. replay: documents learned in full so that the model keeps what it knew."""

    train: Rows
    val: Rows | None
    test: tuple[Example, ...]
    replay: tuple[Encoded, ...]


def train(recipe: Recipe, run: Run, observer: Observer, answer: Answer | None = None) -> TrainReport:
    """Tune on `run.data`; the result is `run.model`. The same command goes on with what it finds in the run folder.

    answer: replies of the model in the making, for the panel of fixed prompts; None leaves the panel out.
    """
    text = dump_recipe(recipe)
    check_same_recipe(run, text, ignore=("eval.",))
    tokenizer = load_tokenizer(resolve(recipe.model.path), recipe.model.trust_remote_code)
    template = _template(recipe, tokenizer, observer)
    device = pick_device(recipe.train.device)
    model = load_model(recipe.model.path, device=device, trust_remote_code=recipe.model.trust_remote_code)
    material = _material(recipe, run, tokenizer, template, context_length(model), observer)
    write_text(run.recipe, text)
    run.note(train=environment())
    torch.manual_seed(recipe.seed)  # adapter initialisation and dropout take no generator; this is the stage's edge
    parameters = sum(p.numel() for p in model.parameters())
    dtype = stored_dtype(recipe.model.path, trust_remote_code=recipe.model.trust_remote_code)
    packing = choose_packing(model)
    if recipe.model.method == "lora":
        model = adapters.add_adapter(model, recipe.model.lora)
    plan = _plan(recipe, material, model, parameters, packing, device, observer)
    val = material.val
    validation = (
        Loader(val.sequences, recipe.train.tokens_per_step, recipe.train.micro_tokens, recipe.seed) if val else None
    )
    plain_attention = str(model.config._attn_implementation)

    def panel(position: Position, result: Validation | None) -> None:
        if result:
            observer.say(
                f"step {position.step:,}: validation loss {result.loss:.4f}, token accuracy {result.accuracy:.1%}"
            )
        if answer is None:
            return
        chosen = _panel(material, recipe.train.panel)
        with attention_set_to(model, plain_attention):
            replies = answer(model, tokenizer, template, [example for _, example in chosen])
        for (split, example), reply in zip(chosen, replies, strict=True):
            target = example.messages[-1].content
            append_jsonl(
                run.panel, {"step": position.step, "split": split, "id": example.id, "reply": reply, "target": target}
            )

    outcome = run_fit(run, model, plan, recipe.train, observer, validation=validation, on_evaluate=panel)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if recipe.model.method == "lora":
        adapters.save_adapter(model, run.adapter)
        model = adapters.merged(model)
    report = _report(run, material, outcome, plan, template, trainable, parameters)
    facts = {
        "base": recipe.model.path,
        "method": recipe.model.method,
        "template": {"name": template.name, "grade": template.grade, "fingerprint": fingerprint(template, tokenizer)},
        "template_kwargs": recipe.templates.kwargs,
        "rows": report.rows,
        "steps": report.steps,
        "validation_loss": report.best_loss,
        "seed": recipe.seed,
    }
    stops = stop_ids(template, tokenizer)
    save_result(model, tokenizer, run.model, dtype=dtype, chat_template=template.source, stop_ids=stops, facts=facts)
    run.note(
        train_result={key: str(value) if isinstance(value, Path) else value for key, value in asdict(report).items()}
    )
    shutil.rmtree(run.checkpoints, ignore_errors=True)  # the verified result stands; nothing is left to resume
    return report


def _template(recipe: Recipe, tokenizer: PreTrainedTokenizerBase, observer: Observer) -> ChatTemplate:
    template = load_template(recipe.templates.chat, tokenizer)
    if recipe.templates.kwargs:
        template = with_defaults(template, tokenizer, recipe.templates.kwargs)
    if template.note:
        observer.say(template.note)
    if template.grade == "soft":
        observer.say(
            f"{template.name} marks roles with ordinary text: a user who types those marks can imitate a turn (soft format)"
        )
    return template


def _material(
    recipe: Recipe,
    run: Run,
    tokenizer: PreTrainedTokenizerBase,
    template: ChatTemplate,
    context: int | None,
    observer: Observer,
) -> _Material:
    limit = recipe.tokens.max_tokens or context or DEFAULT_MAX_TOKENS
    if context is not None and limit > context:
        raise HeedError(
            f"tokens.max_tokens is {limit:,}, the model sees {context:,} tokens.",
            "tokens.max_tokens",
            f"--set tokens.max_tokens={context}",
        )

    def rows(name: str) -> Rows | None:
        path = run.data / f"{name}.jsonl"
        examples = list(read_split(path)) if path.is_file() else []
        if not examples:
            return None
        made = make_rows(
            template,
            tokenizer,
            examples,
            max_tokens=limit,
            overflow=recipe.tokens.overflow,
            learn_reasoning=recipe.templates.learn_reasoning,
        )
        lost = f", {len(made.dropped):,} too long dropped" if made.dropped else ""
        cut = f", {made.shortened:,} without their oldest turns" if made.shortened else ""
        observer.say(
            f"{name}: {len(made.examples):,} rows, {made.proof.tokens:,} tokens, {made.proof.learned_tokens:,} learned, "
            f"every row proved{lost}{cut}"
        )
        return made

    train_rows = rows("train")
    if train_rows is None or not train_rows.sequences:
        where = train_rows.dropped[0].where if train_rows and train_rows.dropped else str(run.data / "train.jsonl")
        raise HeedError(
            "There is nothing to learn from: no training row is left.",
            where,
            f"raise tokens.max_tokens (now {limit:,})",
        )
    if train_rows.proof.learned_tokens == 0:
        raise HeedError(
            "No token of the training rows is learned.",
            str(run.data / "train.jsonl"),
            "give an assistant turn a weight above 0",
        )
    test = run.data / "test.jsonl"
    replay = _replay(recipe, train_rows, tokenizer, limit, observer)
    return _Material(train_rows, rows("val"), tuple(read_split(test)) if test.is_file() else (), replay)


def _replay(
    recipe: Recipe, rows: Rows, tokenizer: PreTrainedTokenizerBase, limit: int, observer: Observer
) -> tuple[Encoded, ...]:
    """Documents for `data.replay_share` of all training tokens, drawn without putting back."""
    if not recipe.data.replay or not recipe.data.replay_share:
        return ()
    wanted = rows.proof.tokens * recipe.data.replay_share / (1 - recipe.data.replay_share)
    documents = [text for path in recipe.data.replay for text in read_documents(path)]
    random.Random(f"{recipe.seed}/replay").shuffle(documents)
    chosen: list[Encoded] = []
    tokens = 0
    for text in documents:
        if tokens >= wanted:
            break
        pieces = encode_documents(tokenizer, [text], limit)
        chosen += pieces
        tokens += sum(len(piece.ids) for piece in pieces)
    short = "" if tokens >= wanted else f" (all there is; {wanted:,.0f} were asked for)"
    observer.say(f"replay: {len(chosen):,} pieces of plain documents, {tokens:,} tokens mixed in{short}")
    return tuple(chosen)


def _plan(
    recipe: Recipe,
    material: _Material,
    model: PreTrainedModel,
    parameters: int,
    packing: Any,
    device: torch.device,
    observer: Observer,
) -> Plan:
    precision, why = pick_precision(recipe.train.precision, device)
    loader = Loader(
        (*material.train.sequences, *material.replay),
        recipe.train.tokens_per_step,
        recipe.train.micro_tokens,
        recipe.seed,
    )
    num_steps = count_steps(lambda epoch: loader, recipe.train.epochs, recipe.train.max_steps)
    lr, reason = (
        default_lr(recipe.model.method, parameters) if recipe.train.lr is None else (recipe.train.lr, "as asked")
    )
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    observer.say(
        f"{parameters / 1e6:.1f}M parameters, {trainable / 1e6:.2f}M trainable ({recipe.model.method}); {why}; {packing.reason}"
    )
    observer.say(
        f"{num_steps:,} steps of about {recipe.train.tokens_per_step:,} tokens; learning rate {lr:.1e} ({reason})"
    )
    return Plan(lambda epoch: loader, num_steps, lr, packing, precision)


def _panel(material: _Material, count: int) -> list[tuple[str, Example]]:
    """The first `count` rows of each split: fixed, so that memorising and generalising can be told apart over time."""
    splits = (
        ("train", material.train.examples),
        ("validation", material.val.examples if material.val else ()),
        ("test", material.test),
    )
    return [(name, example) for name, examples in splits for example in examples[:count]]


def _report(
    run: Run, material: _Material, outcome: Outcome, plan: Plan, template: ChatTemplate, trainable: int, parameters: int
) -> TrainReport:
    return TrainReport(
        model=run.model,
        steps=outcome.position.step,
        rows=len(material.train.examples),
        dropped=len(material.train.dropped),
        sequences=len(material.train.sequences),
        tokens=material.train.proof.tokens,
        learned_tokens=material.train.proof.learned_tokens,
        replay_tokens=sum(len(one.ids) for one in material.replay),
        best_loss=outcome.best_loss,
        best_step=outcome.best_step,
        accuracy=outcome.validation.accuracy if outcome.validation else None,
        seconds=outcome.seconds,
        tokens_per_second=outcome.tokens_per_second,
        packing=plan.packing.reason,
        template=template.name,
        trainable_parameters=trainable,
        parameters=parameters,
    )
