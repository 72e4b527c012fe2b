"""A few steps of TRL's SFTTrainer, run with the python of `.bench/trl`.

Specification: model (folder), pairs (JSONL of prompt and completion), work (folder), out, seed, device ("cpu" or "cuda"),
configs: a list of {"name", "steps", "batch", "packing", "padding_free", "checkpointing", "bf16", "lora", "model"}, the
last being what the model is loaded with; anything left out stays TRL's default. For the loss leg also order (row indices
of each step), lrs (of each step) and save. tolerant: a configuration that raises is reported and the next one tried.
Report: a list of one report per configuration.
"""

from __future__ import annotations

import gc
import math
from typing import Any

import torch
from datasets import Dataset
from meter import Meter, digest, read_pairs, read_spec, versions, write_report
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, TrainerCallback
from transformers.trainer_callback import PrinterCallback
from trl import SFTConfig, SFTTrainer

ROW_TOKENS = 1024  # TRL's default max_length; no row is longer, so nothing is cut


class Measured(SFTTrainer):
    """SFTTrainer that counts the real tokens of each step, and takes the rows of each step from a list where one is given."""

    def __init__(self, *, order: list[list[int]] | None, **options: Any) -> None:
        self.order = order
        self.tokens = self.learned = 0
        super().__init__(**options)

    def get_train_dataloader(self) -> DataLoader:
        if self.order is None:
            return super().get_train_dataloader()
        return DataLoader(self.train_dataset, batch_sampler=self.order, collate_fn=self.data_collator)

    def training_step(self, model: torch.nn.Module, inputs: dict[str, Any], *more: Any, **named: Any) -> torch.Tensor:
        mask = inputs.get("attention_mask")
        self.tokens += int(inputs["input_ids"].numel() if mask is None else mask.sum())
        self.learned += int((inputs["labels"][:, 1:] != -100).sum())
        return super().training_step(model, inputs, *more, **named)


class Watch(TrainerCallback):
    """Tells the meter of every step; the loss and the gradient norm come with the log line behind it."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.trainer: Measured | None = None
        self.lr = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.meter.start()

    def on_step_begin(self, *_: Any, **named: Any) -> None:
        self.lr = named["optimizer"].param_groups[0]["lr"]

    def on_step_end(self, *_: Any, **__: Any) -> None:
        assert self.trainer is not None
        self.meter.step(self.trainer.tokens, self.trainer.learned, loss=None, grad_norm=None, lr=self.lr)
        self.trainer.tokens = self.trainer.learned = 0

    def on_log(self, *_: Any, **named: Any) -> None:
        logs = named["logs"]
        if "grad_norm" in logs and self.meter.steps:
            self.meter.steps[-1].update(loss=float(logs["loss"]), grad_norm=float(logs["grad_norm"]))


def settings(spec: dict[str, Any], config: dict[str, Any]) -> SFTConfig:
    """TRL's defaults, but for what the configuration names and what keeps the run short and quiet."""
    chosen: dict[str, Any] = {
        "output_dir": spec["work"],
        "max_steps": config["steps"],
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "seed": spec["seed"],
        "use_cpu": spec["device"] == "cpu",
        "dataloader_pin_memory": spec["device"] != "cpu",
    }
    if "batch" in config:
        chosen["per_device_train_batch_size"] = config["batch"]
    if config.get("packing"):
        chosen |= {"packing": True, "packing_strategy": "bfd", "max_length": ROW_TOKENS}
    if config.get("padding_free"):
        chosen |= {"padding_free": True, "max_length": None}
    if "checkpointing" in config:
        chosen["gradient_checkpointing"] = config["checkpointing"]
    if "bf16" in config:
        chosen["bf16"] = config["bf16"]
    if "model" in config:
        chosen["model_init_kwargs"] = config["model"]
    if "lrs" in spec:  # the loss leg: AdamW, clipping and decay as heed has them
        chosen |= {"learning_rate": max(spec["lrs"]), "adam_beta1": 0.9, "adam_beta2": 0.95, "weight_decay": 0.0}
        chosen |= {"max_grad_norm": 1.0}
    return SFTConfig(**chosen)


def documents(trainer: Measured) -> Any:
    """The rows that TRL made of the pairs, one by one, packed or not."""
    for row in trainer.train_dataset:
        ids, labels = row["input_ids"], row["labels"]
        at = 0
        for length in row.get("seq_lengths") or [len(ids)]:
            yield ids[at : at + length], [label != -100 for label in labels[at : at + length]]
            at += length


def run(spec: dict[str, Any], config: dict[str, Any], rows: list[dict[str, str]]) -> dict[str, Any]:
    tokenizer = AutoTokenizer.from_pretrained(spec["model"])
    dataset = Dataset.from_list(rows)
    options: dict[str, Any] = {}
    if "lora" in config:
        from peft import LoraConfig

        options["peft_config"] = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", **config["lora"])
    meter = Meter(spec["device"])
    meter.before_model()
    watch = Watch(meter)
    trainer = Measured(
        order=spec.get("order"),
        model=spec["model"],
        args=settings(spec, config),
        train_dataset=dataset,
        processing_class=tokenizer,
        callbacks=[watch],
        **options,
    )
    watch.trainer = trainer
    trainer.remove_callback(PrinterCallback)
    if "lrs" in spec:
        lrs, peak = spec["lrs"], max(spec["lrs"])
        trainer.create_optimizer()
        trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            trainer.optimizer, lambda step: lrs[min(step, len(lrs) - 1)] / peak
        )
    parameters = sum(p.numel() for p in trainer.model.parameters())
    trainable = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    trainer.train()
    for step in meter.steps:
        if step["grad_norm"] is None or not math.isfinite(step["grad_norm"]):
            raise RuntimeError(f"TRL logged no gradient norm for a step: {step}")
    report = {
        "config": config,
        "dataset": digest(documents(trainer)),
        "parameters": parameters,
        "trainable": trainable,
        **meter.report(),
    }
    if spec.get("save"):
        trainer.save_model(spec["save"])
    return report


def main() -> None:
    spec = read_spec()
    if spec["device"] == "cpu":
        torch.set_num_threads(spec["threads"])
    rows = read_pairs(spec)
    reports = []
    for config in spec["configs"]:
        try:
            reports.append(run(spec, config, rows))
        except Exception as error:
            if not spec.get("tolerant"):
                raise
            # A configuration of the search that does not run here is not the fastest; it is kept with its reason.
            reports.append({"config": config, "error": f"{type(error).__name__}: {error}".split("\n")[0][:200]})
        gc.collect()
    write_report(spec, {"versions": versions("trl", "transformers", "torch", "accelerate"), "runs": reports})


if __name__ == "__main__":
    main()
