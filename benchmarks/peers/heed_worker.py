"""A few steps of heed's own stage `train`, measured as the peers are; run with the python that has heed.

Specification: model (folder), rows (split file), pairs, work (folder), out, steps, seed, device, settings (`a.b=c` lines
of the recipe); save: let the stage finish and keep its model.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from meter import Meter, digest, read_spec, versions, write_report

from heedlm.api import make_recipe
from heedlm.data.store import read_split
from heedlm.runs import Run
from heedlm.templates.chat import load_template
from heedlm.tokens.loader import Loader
from heedlm.tokens.store import open_split
from heedlm.tokens.tokenise import Limits, tokenise
from heedlm.tokens.tokenizer import load_tokenizer
from heedlm.train import sft
from heedlm.train.loop import StepReport
from heedlm.train.ranks import ALONE
from heedlm.train.stage import Observer
from heedlm.train.workshop import Bench

TEMPLATE = "human_assistant"


class Enough(Exception):
    """As many steps as asked for have been measured: what the stage does behind them is not part of it."""


def main() -> None:
    spec = read_spec()
    if spec["device"] == "cpu":
        torch.set_num_threads(spec["threads"])
    folder = Path(spec["work"])
    shutil.rmtree(folder, ignore_errors=True)
    run = Run.create(folder)
    lines = [f"train.max_steps={spec['steps']}", "train.panel=0", f"train.device={spec['device']}"]
    recipe = make_recipe(model=spec["model"], seed=spec["seed"], settings=[*lines, *spec["settings"]])
    said: list[str] = []
    tokenizer = load_tokenizer(spec["model"])
    run.data.mkdir(exist_ok=True)
    shutil.copy(spec["rows"], run.data / "train.jsonl")
    examples = list(read_split(run.data / "train.jsonl"))
    limits = Limits(recipe.tokens.max_tokens or 2048, "refuse", True, 0.0, recipe.seed)
    tokenise(run.tokens, load_template(TEMPLATE, tokenizer), tokenizer, {"train": examples}, [], limits, said.append)
    train = open_split(run.tokens, "train")
    assert train is not None
    meter = Meter(spec["device"])

    def step(number: int, of: int, report: StepReport) -> None:
        meter.step(report.tokens, report.learned_tokens, loss=report.loss, grad_norm=report.grad_norm, lr=report.lr)
        if number >= of and not spec.get("save"):
            raise Enough

    def say(line: str) -> None:
        said.append(line)

    result: dict[str, Any] = {"dataset": digest((one.ids, [w > 0 for w in one.weights]) for one in train)}
    per_step = recipe.train.tokens_per_step
    if per_step is not None:
        result["order"] = Loader(train, per_step, recipe.train.micro_tokens, recipe.seed).epoch_plan(0)
    meter.before_model()
    meter.start()
    try:
        observer = Observer(say, step)
        report = sft.train(recipe, run, observer, Bench(recipe, run, observer, ALONE))
        result["model"] = str(report.model)
    except Enough:
        pass
    write_report(
        spec,
        {
            "versions": versions("heedlm", "transformers", "torch"),
            "said": said,
            "settings": spec["settings"],
            **result,
            **meter.report(),
        },
    )


if __name__ == "__main__":
    main()
