"""A few steps of LLaMA-Factory's supervised fine-tuning, run with the python of `.bench/llamafactory`.

Specification: model, pairs, work, out, seed, device, configs: a list of one {"name", "batch", "neat_packing",
"checkpointing", "steps"}. Its template `empty` writes the prompt and the completion as they are, so that the tokens are
the same as everybody's.
"""

from __future__ import annotations

import importlib.machinery
import json
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import transformers  # noqa: F401  (looks for torchaudio itself, and must find that there is none)
from meter import Meter, digest, read_pairs, read_spec, versions, write_report

try:
    import torchaudio  # noqa: F401
except (ImportError, OSError):
    # Imported by LLaMA-Factory for rows with sound; its wheels are built for CUDA and do not load beside CPU torch.
    sys.modules["torchaudio"] = types.ModuleType("torchaudio")
    sys.modules["torchaudio"].__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)

import torch
from llamafactory.train.sft import trainer as sft_trainer
from llamafactory.train.tuner import run_exp
from transformers import TrainerCallback

ROW_TOKENS = 1024
_counts = {"tokens": 0, "learned": 0}
_rows: list[Any] = []


class Watch(TrainerCallback):
    """Tells the meter of every step; loss and gradient norm come with the log line behind it."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.meter.start()

    def on_step_end(self, *_: Any, **named: Any) -> None:
        lr = named["optimizer"].param_groups[0]["lr"]
        self.meter.step(_counts["tokens"], _counts["learned"], loss=None, grad_norm=None, lr=lr)
        _counts.update(tokens=0, learned=0)

    def on_log(self, *_: Any, **named: Any) -> None:
        logs = named["logs"]
        if "grad_norm" in logs and self.meter.steps:
            self.meter.steps[-1].update(loss=float(logs["loss"]), grad_norm=float(logs["grad_norm"]))


def count_real_tokens(pad: int) -> None:
    """Count what each step is fed. Packed rows are filled up with pad tokens, so ids are counted rather than the mask."""
    before = sft_trainer.CustomSeq2SeqTrainer.training_step
    prepared = sft_trainer.CustomSeq2SeqTrainer.__init__

    def training_step(self: Any, model: Any, inputs: dict[str, Any], *more: Any, **named: Any) -> Any:
        ids, labels = inputs["input_ids"], inputs["labels"]
        _counts["tokens"] += int(((ids != pad) | (labels != -100)).sum())
        _counts["learned"] += int((labels[:, 1:] != -100).sum())
        return before(self, model, inputs, *more, **named)

    def initialise(self: Any, *more: Any, **named: Any) -> None:
        prepared(self, *more, **named)
        _rows.append(self.train_dataset)

    sft_trainer.CustomSeq2SeqTrainer.training_step = training_step
    sft_trainer.CustomSeq2SeqTrainer.__init__ = initialise


def documents(pad: int) -> Any:
    """Rows as LLaMA-Factory made them; packed rows are cut where positions begin again, and their filling is dropped."""
    for row in _rows[0]:
        ids, labels = row["input_ids"], row["labels"]
        kept = [at for at, (i, label) in enumerate(zip(ids, labels, strict=True)) if i != pad or label != -100]
        places = row.get("position_ids") or list(range(len(ids)))
        starts = [at for at in kept if places[at] == 0]
        for start, end in zip(starts, [*starts[1:], kept[-1] + 1], strict=True):
            yield ids[start:end], [label != -100 for label in labels[start:end]]


def main() -> None:
    spec = read_spec()
    (config,) = spec["configs"]
    if spec["device"] == "cpu":
        torch.set_num_threads(spec["threads"])
    work = Path(spec["work"])
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    rows = [{"instruction": row["prompt"], "input": "", "output": row["completion"]} for row in read_pairs(spec)]
    (work / "rows.json").write_text(json.dumps(rows), "utf8")
    (work / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}), "utf8")
    from transformers import AutoTokenizer

    pad = int(AutoTokenizer.from_pretrained(spec["model"]).eos_token_id)  # it pads with the end of text
    count_real_tokens(pad)
    meter = Meter(spec["device"])
    meter.before_model()
    options: dict[str, Any] = {
        "model_name_or_path": spec["model"],
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full",
        "template": "empty",
        "dataset": "rows",
        "dataset_dir": str(work),
        "cutoff_len": ROW_TOKENS,
        "overwrite_cache": True,
        "preprocessing_num_workers": 1,
        "output_dir": str(work / "out"),
        "max_steps": config["steps"],
        "per_device_train_batch_size": config["batch"],
        "logging_steps": 1,
        "save_strategy": "no",
        "save_only_model": True,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": spec["seed"],
        "bf16": True,
        "use_cpu": spec["device"] == "cpu",
        "disable_gradient_checkpointing": not config["checkpointing"],
        "plot_loss": False,
    }
    if config.get("neat_packing"):
        options |= {"packing": True, "neat_packing": True}
    run_exp(options, [Watch(meter)])
    report = {"config": config, "dataset": digest(documents(pad)), **meter.report()}
    write_report(spec, {"versions": versions("llamafactory", "transformers", "torch"), "runs": [report]})


if __name__ == "__main__":
    main()
