"""The stage `pretrain`: plain documents in, a tokenizer and a base model out, through the same loop as tuning."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from heedlm.config import dump_recipe
from heedlm.errors import HeedError
from heedlm.model.fresh import new_model
from heedlm.model.lean import make_lean
from heedlm.model.load import load_model, pick_device, resolve
from heedlm.model.save import read_card, save_base
from heedlm.pretrain_config import PretrainRecipe, ShapeConfig
from heedlm.runs import Run, environment, settle, write_text
from heedlm.tokens.documents import encode_documents
from heedlm.tokens.loader import Loader
from heedlm.tokens.tokenizer import load_tokenizer, train_tokenizer
from heedlm.train import plan
from heedlm.train.earlier import begun, check_same_recipe, finished, how_anew
from heedlm.train.parallel import memory_left
from heedlm.train.probe import choose_packing
from heedlm.train.sft import Trainee
from heedlm.train.stage import Observer, Outcome, Plan, pick_precision, run_fit

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DocumentsOf = Callable[[str], list[str]]


class PretrainReport(NamedTuple):
    """The result folder and what it took."""

    model: Path
    outcome: Outcome
    num_parameters: int


def pretrain(recipe: PretrainRecipe, run: Run, documents_of: DocumentsOf, observer: Observer) -> PretrainReport:
    """Train tokenizer and model from scratch; the same command goes on with what it finds in the run folder.

    documents_of: the documents of a part ("tokenizer", "val", "epoch-3"), the same list for the same name.
    """
    text = dump_recipe(recipe)
    check_same_recipe(run, text)
    if finished(run):
        return _report_again(run, observer)
    write_text(run.recipe, text)
    run.note(pretrain=environment(), pretrain_result=None)
    tokenizer = _tokenizer(recipe, run, documents_of, observer)
    device = pick_device(recipe.train.device)
    precision, why = pick_precision(recipe.train.precision, device)
    model = _first_weights(recipe, tokenizer).to(device)
    context = model.config.max_position_embeddings
    packing = choose_packing(model)
    lean = make_lean(model, precision)
    num_parameters = sum(p.numel() for p in model.parameters())
    observer.say(f"{num_parameters / 1e6:.2f}M parameters; {why}; {packing.reason}{lean and '; '}{lean}")

    def loader_of(epoch: int) -> Loader:
        if epoch not in cache:
            cache.clear()
            encoded = encode_documents(tokenizer, documents_of(f"epoch-{epoch}"), context)
            cache[epoch] = replace(first, sequences=encoded)
        return cache[epoch]

    cache: dict[int, Loader] = {}
    noted = run.info().get("memory") if begun(run) else None
    encoded = [] if noted else encode_documents(tokenizer, documents_of("epoch-0"), context)
    first = Loader(encoded, recipe.train.tokens_per_step, recipe.train.micro_tokens, recipe.seed)
    trainee = Trainee(model, device, packing, num_parameters)
    settled = plan.settle(recipe.train, "full", trainee, first, precision, memory_left(device), noted, observer)
    run.note(memory=settled.facts)
    first = settled.loader
    if not noted:
        cache[0] = first
    held_out = encode_documents(tokenizer, documents_of("val"), context)
    validation = replace(first, sequences=held_out)
    steps = Plan(loader_of, recipe.train.max_steps, recipe.train.lr, packing, precision)
    outcome = run_fit(run, model, steps, recipe.train, observer, validation=validation)
    calm_unseen_tokens(model, tokenizer)
    facts: dict[str, Any] = {
        "corpus": recipe.corpus.source,
        "seed": recipe.seed,
        "steps": outcome.position.step,
        "tokens": outcome.position.tokens,
        "validation_loss": outcome.best_loss,
        "hours": round(outcome.seconds / 3600, 2),
        "device": str(device),
    }
    if recipe.start:  # its card, whole: what a model has read is all that it has read
        facts |= {"mix": recipe.corpus.mix, "begun_from": read_card(resolve(recipe.start))}
    save_base(model, tokenizer, run.model, facts)
    run.note(pretrain_result={**facts, "parameters": num_parameters, "outcome": asdict(outcome)})
    shutil.rmtree(run.checkpoints, ignore_errors=True)  # the verified result stands; nothing is left to resume
    return PretrainReport(run.model, outcome, num_parameters)


def _report_again(run: Run, observer: Observer) -> PretrainReport:
    """The report of a finished run, which stays as it is."""
    try:
        noted = run.info()["pretrain_result"]
        outcome = Outcome.of(noted["outcome"])
        parameters = int(noted["parameters"])
    except (KeyError, TypeError):
        raise HeedError("This run was finished by another version of heed.", str(run.root), how_anew(run)) from None
    observer.alarm(f"{run.root} is finished, nothing was trained: the model is {run.model}; {how_anew(run)}.")
    return PretrainReport(run.model, outcome, parameters)


def _first_weights(recipe: PretrainRecipe, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    if recipe.start is None:
        return new_model(recipe.shape, tokenizer, recipe.seed)
    if recipe.shape != ShapeConfig():
        what = f"{recipe.start} has a shape, and the recipe gives another."
        raise HeedError(what, "shape", "leave shape out, or leave start out to begin with nothing")
    return load_model(recipe.start)


@torch.no_grad()
def calm_unseen_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Give control tokens that the corpus never held the mean embedding.

    With tied embeddings every step pushes an unseen token away from every hidden state: its norm had grown to 2.3 where the
    mean was 1.3, and tuning with such turn marks failed where plain text marks worked (docs/log.md, 2026-11-20).
    """
    weight = model.get_input_embeddings().weight
    unseen = [i for i in tokenizer.all_special_ids if i != tokenizer.eos_token_id]
    seen = torch.ones(len(weight), dtype=torch.bool)
    seen[unseen] = False
    weight[unseen] = weight[seen.to(weight.device)].mean(dim=0)


def _tokenizer(
    recipe: PretrainRecipe, run: Run, documents_of: DocumentsOf, observer: Observer
) -> PreTrainedTokenizerBase:
    """The tokenizer that a run was begun with, or a new one."""
    folder = run.root / "tokenizer"
    if recipe.start:
        return load_tokenizer(resolve(recipe.start))
    if not begun(run):
        observer.say(f"training a tokenizer of {recipe.shape.vocab_size:,} tokens")
        shutil.rmtree(folder, ignore_errors=True)
        train_tokenizer(documents_of("tokenizer"), recipe.shape.vocab_size).save_pretrained(folder)
        settle(folder)
    return load_tokenizer(folder)
