"""One step by this process alone and with others, under torchrun: what `train.numerics` compares.

torchrun --nproc-per-node 2 -m heedlm.train.numerics_ranks FOLDER   reads FOLDER/model, writes FOLDER/results.pt
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from heedlm.model.load import load_model
from heedlm.tokens.loader import Loader
from heedlm.train import parallel
from heedlm.train.forward import target_logits
from heedlm.train.numerics import Step, documents, take_step
from heedlm.train.probe import choose_packing
from heedlm.train.ranks import ALONE, Ranks

_TOKENS = 64  # of a row: small enough that every process has several


def step_with(folder: Path, engine: parallel.Engine, ranks: Ranks) -> Step:
    """The first step on random documents, by all processes of `ranks`."""
    model = load_model(folder / "model")
    packing = choose_packing(model)
    config = model.config.get_text_config()
    rows = documents(config.vocab_size, getattr(config, "max_position_embeddings", None))
    if ranks.size > 1:
        ranks = parallel.spread(model, ranks, engine, torch.device("cpu"), torch.float32)
    forward = ranks.with_root(lambda: target_logits(model, packing))
    loader = Loader(rows, sum(len(row.ids) for row in rows), _TOKENS, 0)
    return take_step(model, forward, packing, loader, ranks)


def main(folder: Path) -> None:
    engines: tuple[parallel.Engine, ...] = ("ddp", "fsdp")
    with parallel.together(torch.device("cpu")) as ranks:
        results: dict[str, tuple[object, ...]] = {one: tuple(step_with(folder, one, ranks)) for one in engines}
        if ranks.first:
            results["alone"] = tuple(step_with(folder, "ddp", ALONE))
            torch.save(results, folder / "results.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
