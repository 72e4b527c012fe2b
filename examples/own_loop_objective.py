"""Another objective through the same training loop: a function of a batch, handed to `fit`.

An objective returns a weighted *sum* over the learned tokens of a batch. Counting, accumulation, clipping and the schedule
stay in the loop, so two objectives that are compared differ in nothing else. Here: cross-entropy, and cross-entropy in
which each token counts as much as the model already believes in it (arXiv 2508.05629), which holds back what surprises.

    python examples/own_loop_objective.py                # the built-in base model, in seconds
    python examples/own_loop_objective.py --model FOLDER --data FILE
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn import functional as F

import heedlm
from heedlm.data.store import read_split
from heedlm.messages import Batch, Encoded
from heedlm.model import attention
from heedlm.model.load import load_model, pick_device, resolve
from heedlm.templates.chat import load_template
from heedlm.tokens.loader import Loader
from heedlm.tokens.rows import make_rows
from heedlm.tokens.tokenizer import load_tokenizer
from heedlm.train.forward import attention_set_to, target_logits
from heedlm.train.loop import Regime, Validation, fit, validate
from heedlm.train.loss import Forward, LossSum, StepLoss, token_nll
from heedlm.train.optim import adamw, default_lr, lr_schedule
from heedlm.train.probe import choose_packing


def trusted_nll(forward: Forward, batch: Batch) -> LossSum:
    """Cross-entropy in which each token is weighted with its own probability (the weight itself is not differentiated)."""
    logits = forward(batch).float()  # [L, V]
    nll = F.cross_entropy(logits, batch.target_id, reduction="none")  # [L]
    trust = torch.exp(-nll.detach())  # [L], in 0..1
    correct = logits.detach().argmax(dim=-1) == batch.target_id
    return LossSum((batch.target_weight * trust * nll).sum(), nll.detach(), correct)


OBJECTIVES: dict[str, StepLoss] = {"cross-entropy": token_nll, "trusted cross-entropy": trusted_nll}


def encoded_rows(model: str, data: str | Path) -> dict[str, Sequence[Encoded]]:
    """Training and validation rows, rendered, encoded and proved as `heed train` does it."""
    tokenizer = load_tokenizer(resolve(model))
    template = load_template(None, tokenizer)
    with tempfile.TemporaryDirectory() as run:
        heedlm.prepare(run=run, data=data, settings={"data.val": 0.2, "data.test": None})
        splits = {name: list(read_split(Path(run) / "data" / f"{name}.jsonl")) for name in ("train", "val")}
    return {
        name: make_rows(template, tokenizer, examples, max_tokens=1024, overflow="drop").sequences
        for name, examples in splits.items()
    }


def tuned(name: str, rows: dict[str, Sequence[Encoded]], objective: StepLoss, num_steps: int) -> Validation:
    """Tune `name` on the rows with one objective; what validation says, always measured in plain cross-entropy."""
    model = load_model(name, device=pick_device())
    packing = choose_packing(model)
    forward = target_logits(model, packing)
    train, val = (Loader(rows[split], tokens_per_step=512, micro_tokens=512, seed=0) for split in ("train", "val"))
    lr, _ = default_lr("full", model.num_parameters())
    regime = Regime(num_steps, lr_schedule(lr, num_steps, warmup=0.1, schedule="cosine"), clip_norm=1.0)
    layout = attention.NAME if packing.packed else model.config._attn_implementation
    with attention_set_to(model, layout):
        fit(
            model,
            forward,
            lambda epoch: train,
            adamw(model, weight_decay=0.0),
            regime,
            after_step=lambda position, report: True,
            step_loss=objective,
        )
        return validate(model, forward, val)


def main(arguments: Sequence[str] | None = None) -> dict[str, Validation]:
    parser = argparse.ArgumentParser(description="Two objectives through the same training loop.")
    parser.add_argument("--model", default="atlas", help="a base model: a folder, a hub id, or `atlas`")
    parser.add_argument("--data", default=str(Path(__file__).with_name("rows.jsonl")), help="rows as JSON or JSONL")
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args(arguments)
    rows = encoded_rows(options.model, options.data)
    found = {}
    for name, objective in OBJECTIVES.items():
        found[name] = tuned(options.model, rows, objective, options.steps)
        print(f"{name:<22} validation loss {found[name].loss:.3f}, token accuracy {found[name].accuracy:.1%}")
    return found


if __name__ == "__main__":
    main()
