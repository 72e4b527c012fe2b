"""What happens to a model round its training: loaded and made trainable, fitted into memory, spread, saved and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from heedlm.config import Recipe
from heedlm.machine import return_free_memory
from heedlm.messages import Encoded
from heedlm.model.lean import make_lean
from heedlm.model.load import configured_parameters, pick_device, resolve, stored_dtype
from heedlm.model.method import Base, load_base, make_trainable, plain_model
from heedlm.model.save import save_result
from heedlm.runs import Run
from heedlm.tokens.loader import Loader
from heedlm.tokens.tokenizer import load_tokenizer
from heedlm.train import checkpoint, parallel, plan
from heedlm.train.drift import Drift, witness
from heedlm.train.earlier import begun
from heedlm.train.outline import make_plan
from heedlm.train.probe import choose_packing
from heedlm.train.ranks import Ranks
from heedlm.train.rownames import Names
from heedlm.train.sft import Kept, Trainee
from heedlm.train.stage import Observer, OnEvaluate, Plan, pick_precision
from heedlm.train.watch import NOTHING, Watch, watching

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Bench:
    """The workshop of one run; see `train.sft.Workshop`. ranks: the processes that train together.   watch: asks on the way."""

    def __init__(self, recipe: Recipe, run: Run, observer: Observer, ranks: Ranks, watch: Watch = NOTHING) -> None:
        self._recipe, self._run, self._observer, self._ranks, self._watch = recipe, run, observer, ranks, watch
        self._tokenizer = load_tokenizer(resolve(recipe.model.path), recipe.model.trust_remote_code)
        self._device = parallel.own_device(pick_device(recipe.train.device))
        self._engine: parallel.Engine = "ddp"
        self._base: Base | None = None

    def load(self) -> Trainee:
        recipe, say = self._recipe, self._observer.say
        self._engine = self._choose_engine()
        # A model to be cut need not fit onto the device.
        place = torch.device("cpu") if self._engine == "fsdp" else self._device
        self._base = load_base(recipe.model, self._tokenizer, place, say)
        torch.manual_seed(recipe.seed)  # adapter initialisation and dropout take no generator; this is the stage's edge
        parameters = self._base.model.num_parameters()
        packing = choose_packing(self._base.model)
        if lean := make_lean(self._base.model, pick_precision(recipe.train.precision, self._device)[0]):
            say(lean)
        if recipe.model.method != "full" and recipe.model.lora.dropout:
            packing = packing._replace(shares=False)  # branches of a prefix would share its draw
        return Trainee(make_trainable(self._base, recipe.model, say), self._device, packing, parameters)

    def plan(self, sequences: Sequence[Encoded], trainee: Trainee) -> tuple[Plan, Loader]:
        return make_plan(self._recipe, sequences, trainee, self._settle, self._observer, self._ranks)

    def _settle(self, trainee: Trainee, loader: Loader, precision: torch.dtype) -> Loader:
        cut = self._engine == "fsdp"  # a model to be cut is nowhere in one piece that could be measured
        available = None if cut else min(self._ranks.gather(parallel.memory_left(self._device)))
        noted = self._run.info().get("memory") if begun(self._run) else None
        train, method = self._recipe.train, self._recipe.model.method
        settled = plan.settle(train, method, trainee, loader, precision, available, noted, self._observer)
        self._ranks.on_first(lambda: self._run.note(memory=settled.facts))
        return settled.loader

    def spread(self, model: PreTrainedModel, precision: torch.dtype) -> Ranks:
        self._ranks = parallel.spread(model, self._ranks, self._engine, self._device, precision)
        return self._ranks

    def names(self) -> Names:
        return Names(self._run)

    def watch(self, trainee: Trainee) -> OnEvaluate:
        return watching(self._watch, self._run, trainee.model, self._observer, self._ranks)

    def keep(self, trainee: Trainee, sample: Loader, template: Mapping[str, Any], facts: Mapping[str, Any]) -> Kept:
        weights = checkpoint.trainable(trainee.model) if self._engine == "fsdp" else None
        kept = self._ranks.on_first(lambda: self._keep(trainee, sample, template, facts, weights))
        return_free_memory()  # of the steps: a program that goes on has other uses for it
        return kept

    def _keep(
        self,
        trainee: Trainee,
        sample: Loader,
        template: Mapping[str, Any],
        facts: Mapping[str, Any],
        weights: Mapping[str, torch.Tensor] | None,
    ) -> Kept:
        recipe = self._recipe.model
        assert self._base is not None, "a model is loaded before it is kept"
        model, base, place = trainee.model, self._base, self._device
        if weights is not None:  # in one piece again, where there is room for it
            base = load_base(recipe, self._tokenizer, torch.device("cpu"), lambda line: None)
            model, place = make_trainable(base, recipe, lambda line: None), torch.device("cpu")
            checkpoint.put(model, weights)
        compare = witness(model, trainee.packing, sample)
        plain = plain_model(model, base, recipe, self._run.adapter)
        found: list[Drift] = []

        def measured(again: PreTrainedModel) -> dict[str, Any]:
            found.append(compare(again.to(place)))
            return {"against_the_trained_weights": str(found[0]), "drift": asdict(found[0])}

        save_result(
            plain,
            self._tokenizer,
            self._run.model,
            dtype=stored_dtype(recipe.path, trust_remote_code=recipe.trust_remote_code),
            chat_template=template["source"],
            stop_ids=tuple(template["stop_ids"]),
            facts={**facts, "template": {key: template[key] for key in ("name", "grade", "fingerprint")}},
            measure=measured,
        )
        done = "saved" if recipe.method == "full" else "merged"
        return Kept(f"{done}, read back from disk: {found[0]}", asdict(found[0]))

    def _choose_engine(self) -> parallel.Engine:
        """How several processes share the model, said aloud."""
        model, train = self._recipe.model, self._recipe.train
        choice = parallel.choose_engine(
            train.parallel,
            self._ranks,
            method=model.method,
            parameters=lambda: configured_parameters(model.path, trust_remote_code=model.trust_remote_code),
            products=pick_precision(train.precision, self._device)[0],
            memory=parallel.memory_left(self._device),
        )
        if self._ranks.size > 1:
            self._observer.say(choice.reason)
        return choice.engine
