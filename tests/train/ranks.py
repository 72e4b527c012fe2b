"""Small runs that one process or several compute alike. As a script, under torchrun: CASES, or MORE, into a file.

torchrun --nproc-per-node 2 tests/train/ranks.py FILE [more]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch

from heedlm.config import LoraConfig
from heedlm.messages import Encoded
from heedlm.model import adapters, attention
from heedlm.model.recompute import set_recompute
from heedlm.tokens.loader import Loader
from heedlm.train import forward as room
from heedlm.train import parallel
from heedlm.train.forward import Packing, attention_set_to, target_logits
from heedlm.train.loop import Position, Regime, StepReport, fit, validate
from heedlm.train.optim import lr_schedule
from heedlm.train.probe import choose_packing
from heedlm.train.ranks import ALONE, Ranks, whole
from tests.families import VOCABULARY, build

STEPS = 20


class Case(NamedTuple):
    """One way of training. rows: how many; few of them leave a rank without work in some steps."""

    engine: parallel.Engine
    family: str = "llama"
    tied: bool = False
    lora: bool = False
    padded: bool = False
    parted: bool = False
    shared: bool = False
    repeated: bool = False
    products: torch.dtype = torch.float32
    rows: int = 40


CASES = {
    "ddp, all weights, packed, head in parts": Case("ddp", tied=True, parted=True),
    "ddp, all weights, padded, some steps with work for one rank only": Case("ddp", "qwen3", padded=True, rows=9),
    "ddp, adapters": Case("ddp", lora=True),
    "fsdp, all weights, packed": Case("fsdp", "qwen3"),
    "fsdp, tied embeddings, head in parts, some steps with work for one rank only": Case(
        "fsdp", tied=True, parted=True, rows=9
    ),
    "fsdp, tied embeddings, padded": Case("fsdp", tied=True, padded=True),
    "fsdp, adapters, layers repeated in the backward pass": Case("fsdp", lora=True, tied=True, repeated=True),
}
MORE = {
    "ddp, shared prefixes": Case("ddp", shared=True),
    "ddp, experts": Case("ddp", "mixtral"),
    "fsdp, shared prefixes, windows": Case("fsdp", "gemma2", tied=True, shared=True),
    "fsdp, experts": Case("fsdp", "mixtral"),
    "fsdp, learned positions": Case("fsdp", "gpt2", tied=True),
    "fsdp, adapters, head in parts": Case("fsdp", "gemma3", lora=True, parted=True),
    "fsdp, state-space layers": Case("fsdp", "lfm2", tied=True),
    "fsdp, bf16 products": Case("fsdp", tied=True, parted=True, products=torch.bfloat16),
    "ddp, bf16 products": Case("ddp", tied=True, products=torch.bfloat16),
}


class Result(NamedTuple):
    """gradients: of the first step, before clipping.   weights: at the end."""

    gradients: dict[str, torch.Tensor]
    losses: list[float]
    tokens: list[tuple[int, int]]
    norms: list[float]
    validation: tuple[float, float, int]
    weights: dict[str, torch.Tensor]


class Recording(torch.optim.AdamW):
    """AdamW that keeps the first gradients it is given."""

    gradients: dict[str, torch.Tensor] | None = None

    def name(self, model: torch.nn.Module) -> Recording:
        self.names = {id(p): name for name, p in model.named_parameters()}
        return self

    def step(self, closure: Any = None) -> Any:
        if self.gradients is None:
            held = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
            self.gradients = {self.names[id(p)]: whole(p.grad).detach().clone() for p in held}
        return super().step(closure)


def sequences(count: int, shared: bool) -> list[Encoded]:
    generator = torch.Generator().manual_seed(3)
    rows: list[list[int]] = []
    for number in range(count):
        size = int(torch.randint(6, 40, (1,), generator=generator))
        rows.append(torch.randint(0, VOCABULARY, (size,), generator=generator).tolist())
        if shared:
            rows[number][:5] = rows[number - number % 4][:5]
    return [Encoded(tuple(row), tuple((0.0, 1.0, 0.5)[min(at % 5, 2)] for at in range(len(row)))) for row in rows]


def model_of(case: Case) -> tuple[Any, Packing]:
    model = build(case.family, **({"tie_word_embeddings": True} if case.tied else {}))
    packing = Packing(False, "") if case.padded else choose_packing(model)
    torch.manual_seed(0)
    if case.lora:
        model = adapters.add_adapter(model, LoraConfig(rank=4, alpha=8))
        with torch.no_grad():  # an adapter that begins at zero would hide whether its first matrix gets a gradient
            for name, weights in model.named_parameters():
                if "lora_B" in name:
                    weights.normal_(std=0.05)
    if case.repeated:
        assert set_recompute(model, "full") == 2
    return model.train(), packing


def run(case: Case, ranks: Ranks = ALONE, steps: int = STEPS) -> Result:
    """The same training, whoever computes it."""
    model, packing = model_of(case)
    if ranks.size > 1:
        ranks = parallel.spread(model, ranks, case.engine, torch.device("cpu"), case.products)
    before, room.HEAD_ELEMENTS = room.HEAD_ELEMENTS, 7 * VOCABULARY if case.parted else room.HEAD_ELEMENTS
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = Recording(trained, lr=0.0, weight_decay=0.01, fused=True).name(model)
    loader = Loader(sequences(case.rows, case.shared), 200, 50, seed=1, share=case.shared)
    reports: list[StepReport] = []

    def after(position: Position, report: StepReport) -> bool:
        reports.append(report)
        return True

    attention.register()
    regime = Regime(steps, lr_schedule(1e-3, steps, 0.1, "cosine"), 1.0, case.products)
    try:
        with attention_set_to(model, attention.NAME if packing.packed else model.config._attn_implementation):
            forward = ranks.with_root(lambda: target_logits(model, packing))
            fit(model, forward, lambda epoch: loader, optimizer, regime, after_step=after, ranks=ranks)
            checked = validate(model, forward, loader, case.products, ranks)
    finally:
        room.HEAD_ELEMENTS = before
    assert optimizer.gradients is not None
    return Result(
        optimizer.gradients,
        [r.loss for r in reports],
        [(r.tokens, r.learned_tokens) for r in reports],
        [r.grad_norm for r in reports],
        (checked.loss, checked.accuracy, checked.learned_tokens),
        {name: whole(p).detach().clone() for name, p in model.named_parameters() if p.requires_grad},
    )


def main(out: Path, cases: dict[str, Case]) -> None:
    with parallel.together(torch.device("cpu")) as ranks:
        results = {name: run(case, ranks)._asdict() for name, case in cases.items()}
        again = run(next(iter(cases.values())), ranks)._asdict()
        every = ranks.gather(results)
        if ranks.first:
            torch.save({"ranks": every, "again": again}, out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), MORE if "more" in sys.argv[2:] else CASES)
