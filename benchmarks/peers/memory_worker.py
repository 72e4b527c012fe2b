"""A few steps on a random model, beside what the plan says that they need; run with the python that has heed.

Specification: model (folder), vocabulary, lora, recompute, at_once, precision, rows (shortest and longest, in tokens),
learned (share), micro_tokens, tokens_per_step, steps, seed, device.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import peft  # noqa: F401 - loaded before memory is looked at
import torch
from meter import Meter, read_spec, versions, write_report
from transformers import LlamaForCausalLM  # noqa: F401

from heedlm.config import LoraConfig
from heedlm.messages import Encoded
from heedlm.model import attention
from heedlm.model.adapters import add_adapter
from heedlm.model.lean import make_lean
from heedlm.model.load import load_model
from heedlm.tokens.loader import Loader
from heedlm.train.forward import attention_set_to, target_logits
from heedlm.train.loop import Position, Regime, StepReport, fit
from heedlm.train.memory import profile
from heedlm.train.optim import adamw
from heedlm.train.plan import Way, apply, largest, largest_need
from heedlm.train.probe import choose_packing


def documents(spec: dict[str, Any]) -> list[Encoded]:
    """Random rows for all steps."""
    draw = random.Random(spec["seed"])
    made: list[Encoded] = []
    while sum(len(one.ids) for one in made) < spec["tokens_per_step"] * spec["steps"]:
        length = draw.randint(*spec["rows"])
        learned = max(1, round(spec["learned"] * length))
        ids = tuple(draw.randrange(spec["vocabulary"]) for _ in range(length))
        made.append(Encoded(ids, (*(0.0,) * (length - learned), *(1.0,) * learned)))
    return made


def main() -> None:
    spec = read_spec()
    if spec["device"] == "cpu":
        torch.set_num_threads(spec["threads"])
    precision = torch.bfloat16 if spec["precision"] == "bf16" else torch.float32
    rows = documents(spec)
    loader = Loader(rows, spec["tokens_per_step"], spec["micro_tokens"], spec["seed"])
    meter = Meter(spec["device"])
    meter.before_model()
    model = load_model(Path(spec["model"]), device=spec["device"])
    packing = choose_packing(model)
    make_lean(model, precision)
    if spec["lora"]:
        model = add_adapter(model, LoraConfig())
    found = profile(model, packing, precision)
    sizes = largest(model, loader, packing, precision)
    way = Way(spec["recompute"], spec["micro_tokens"], spec["at_once"])
    predicted = largest_need(found, sizes, way)
    apply(way, model, predicted.peak)
    forward = target_logits(model, packing)
    optimizer = adamw(model, 0.0)

    def after(position: Position, report: StepReport) -> bool:
        meter.step(report.tokens, report.learned_tokens, loss=report.loss, grad_norm=report.grad_norm)
        return True

    meter.start()
    with attention_set_to(model, attention.NAME if packing.packed else model.config._attn_implementation):
        fit(
            model,
            forward,
            lambda epoch: loader,
            optimizer,
            Regime(spec["steps"], lambda step: 1e-5, 1.0, precision),
            after_step=after,
        )
    report = meter.report()
    measured = max(report["peak"], *(step["peak"] for step in report["steps"])) - report["level"]
    write_report(
        spec,
        {
            "versions": versions("heedlm", "torch", "transformers"),
            "packing": packing.reason,
            "profile": {key: list(v) if isinstance(v, tuple) else v for key, v in found._asdict().items()},
            "sizes": [list(load) for load in sizes.loads],
            "predicted": predicted._asdict(),
            "measured": measured,
            "error": predicted.peak / measured - 1,
            **report,
        },
    )


if __name__ == "__main__":
    main()
