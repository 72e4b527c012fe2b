"""A few steps of litgpt's full fine-tuning, run with the python of `.bench/litgpt`.

Specification: model, pairs, work, out, seed, device, configs: a list of one {"name", "batch", "steps"}. The Hugging Face
folder is converted with litgpt's own converter; the style `default` writes the prompt as it is.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from litgpt.args import EvalArgs, TrainArgs
from litgpt.config import Config
from litgpt.data import JSON
from litgpt.finetune import full
from litgpt.prompts import Default
from litgpt.scripts.convert_hf_checkpoint import copy_weights_hf_llama
from meter import Meter, digest, read_pairs, read_spec, versions, write_report
from safetensors.torch import load_file


def convert(model: Path, folder: Path) -> None:
    """The checkpoint in litgpt's layout."""
    facts = json.loads((model / "config.json").read_text("utf8"))
    config = Config(
        name="benchmark",
        block_size=facts["max_position_embeddings"],
        vocab_size=facts["vocab_size"],
        padded_vocab_size=facts["vocab_size"],
        n_layer=facts["num_hidden_layers"],
        n_head=facts["num_attention_heads"],
        n_query_groups=facts["num_key_value_heads"],
        n_embd=facts["hidden_size"],
        intermediate_size=facts["intermediate_size"],
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        norm_eps=facts["rms_norm_eps"],
        mlp_class_name="LLaMAMLP",
        rope_base=int((facts.get("rope_parameters") or {}).get("rope_theta", facts.get("rope_theta", 10000))),
    )
    folder.mkdir(parents=True)
    weights: dict[str, torch.Tensor] = {}
    for file in sorted(model.glob("*.safetensors")):
        weights |= load_file(file)
    state: dict[str, torch.Tensor] = {}
    copy_weights_hf_llama(config, {}, state, weights)
    torch.save(state, folder / "lit_model.pth")
    from dataclasses import asdict

    (folder / "model_config.yaml").write_text(yaml.safe_dump(asdict(config)), "utf8")
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "config.json"):
        shutil.copy(model / name, folder / name)


class Measured:
    """What litgpt's loop calls, watched: tokens of each batch, the gradient norm before a step, the end of the step."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.tokens = self.learned = 0
        self.norm = 0.0

    def batch(self, ids: torch.Tensor, labels: torch.Tensor, real: int) -> None:
        self.tokens += real
        self.learned += int((labels[:, 1:] != -100).sum())

    def step(self, lr: float) -> None:
        if self.tokens:
            self.meter.step(self.tokens, self.learned, loss=None, grad_norm=self.norm, lr=lr)
        self.tokens = self.learned = 0


class Rows(JSON):
    """litgpt's JSON data module, whose training batches are counted."""

    watch: Measured

    def train_dataloader(self) -> Any:
        loader = super().train_dataloader()
        collate = loader.collate_fn

        def counted(samples: list[Any]) -> Any:
            made = collate(samples)
            real = int(made["token_counts"]["raw_plus_prompt_template"].sum())
            self.watch.batch(made["input_ids"], made["labels"], real)
            return made

        loader.collate_fn = counted
        return loader


def main() -> None:
    spec = read_spec()
    (config,) = spec["configs"]
    if spec["device"] == "cpu":
        torch.set_num_threads(spec["threads"])
    work = Path(spec["work"])
    shutil.rmtree(work, ignore_errors=True)
    convert(Path(spec["model"]), work / "checkpoint")
    pairs = read_pairs(spec)
    eos = json.loads((work / "checkpoint" / "tokenizer_config.json").read_text("utf8"))["eos_token"]
    rows = [{"instruction": row["prompt"], "output": row["completion"].removesuffix(eos)} for row in pairs]
    (work / "rows").mkdir()
    (work / "rows" / "train.json").write_text(json.dumps(rows), "utf8")
    (work / "rows" / "val.json").write_text(json.dumps(rows[:2]), "utf8")
    meter = Meter(spec["device"])
    watch = Measured(meter)
    data = Rows(json_path=work / "rows", mask_prompt=True, prompt_style=Default(), seed=spec["seed"], num_workers=0)
    data.watch = watch
    made = full.get_dataloaders
    seen: list[Any] = []

    def loaders(*more: Any, **named: Any) -> Any:
        found = made(*more, **named)
        seen.append(data.train_dataset)
        return found

    full.get_dataloaders = loaders
    full.fit = begins(full.fit, meter, watch)
    full.setup(
        work / "checkpoint",
        out_dir=work / "out",
        precision="bf16-mixed",
        devices=1,
        data=data,
        train=TrainArgs(
            save_interval=None,
            log_interval=1,
            global_batch_size=config["batch"],
            micro_batch_size=config["batch"],
            lr_warmup_steps=1,
            epochs=100,
            max_steps=config["steps"],
        ),
        eval=EvalArgs(interval=10**9, max_new_tokens=1, max_iters=1, final_validation=False, initial_validation=False),
        optimizer={"class_path": "torch.optim.AdamW", "init_args": {"lr": 2e-5, "weight_decay": 0.0, "fused": True}},
        seed=spec["seed"],
    )
    rows_made = ((one["input_ids"].tolist(), (one["labels"] != -100).tolist()) for one in seen[0])
    report = {"config": config, "dataset": digest(rows_made), **meter.report()}
    write_report(spec, {"versions": versions("litgpt", "lightning", "torch"), "runs": [report]})


def begins(fit: Any, meter: Meter, watch: Measured) -> Any:
    """litgpt's loop with its optimiser and scheduler watched: the first step begins when the loop does."""

    def run(*, fabric: L.Fabric, state: dict[str, Any], **named: Any) -> Any:
        optimizer, scheduler, model = state["optimizer"], state["scheduler"], state["model"]
        step, after = optimizer.step, scheduler.step

        def measured_step(*more: Any, **options: Any) -> Any:
            norms = torch._foreach_norm([p.grad for p in model.parameters() if p.grad is not None])
            watch.norm = float(torch.stack(list(norms)).norm())
            return step(*more, **options)

        def measured_after(*more: Any, **options: Any) -> Any:
            result = after(*more, **options)
            watch.step(scheduler.get_last_lr()[0])
            return result

        optimizer.step, scheduler.step = measured_step, measured_after
        meter.start()
        return fit(fabric=fabric, state=state, **named)

    return run


if __name__ == "__main__":
    main()
