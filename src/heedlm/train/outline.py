"""The plan of a run: how many steps, of what size, at what rate; each that was not given is chosen, and said with its reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from heedlm.config import Recipe
from heedlm.messages import Encoded
from heedlm.tokens.loader import Loader
from heedlm.train.optim import default_lr, default_tokens_per_step
from heedlm.train.ranks import Ranks, micro_tokens
from heedlm.train.sft import Trainee, trainable_parameters
from heedlm.train.stage import Observer, Plan, count_steps, pick_precision


def make_plan(
    recipe: Recipe,
    sequences: Sequence[Encoded],
    trainee: Trainee,
    settle: Callable[[Trainee, Loader, torch.dtype], Loader],
    observer: Observer,
    ranks: Ranks,
) -> tuple[Plan, Loader]:
    """The plan, and the loader of its steps. settle: makes steps fit into memory."""
    precision, why = pick_precision(recipe.train.precision, trainee.device)
    per_step, size = recipe.train.tokens_per_step, "as asked"
    if per_step is None:
        tokens = sum(Loader(sequences, 1, 1, 0).lengths())
        chosen = default_tokens_per_step(tokens, recipe.train.epochs)
        per_step, size = int(chosen.value), chosen.reason
    trainable = trainable_parameters(trainee.model)
    share = f"{trainee.parameters / 1e6:.1f}M parameters, {trainable / 1e6:.2f}M trainable"
    observer.say(
        f"{share} ({recipe.model.method}, {trainable / trainee.parameters:.1%}); {why}; {trainee.packing.reason}"
    )
    rows = micro_tokens(ranks, per_step, recipe.train.micro_tokens)
    loader = settle(trainee, Loader(sequences, per_step, rows, recipe.seed), precision)
    num_steps = count_steps(lambda epoch: loader, recipe.train.epochs, recipe.train.max_steps)
    lr, reason = (
        default_lr(recipe.model.method, trainee.parameters)
        if recipe.train.lr is None
        else (recipe.train.lr, "as asked")
    )
    observer.say(f"{num_steps:,} steps of about {per_step:,} tokens ({size}); learning rate {lr:.1e} ({reason})")
    return Plan(lambda epoch: loader, num_steps, lr, trainee.packing, precision), loader
