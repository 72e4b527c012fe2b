"""Training as a first script does it: padded rows, `model(labels=...)`, autocast to bf16, fused AdamW.

Specification: model, pairs, work, out, steps, device, checkpointing. All rows make one batch, the same at every step.
"""

from __future__ import annotations

from typing import Any

import torch
from meter import Meter, digest, read_pairs, read_spec, versions, write_report
from transformers import AutoModelForCausalLM, AutoTokenizer

IGNORED = -100  # the label that transformers' loss leaves out


def encoded(model: str, rows: list[dict[str, str]]) -> list[tuple[list[int], list[bool]]]:
    tokenizer = AutoTokenizer.from_pretrained(model)
    made = []
    for row in rows:
        before, after = (
            tokenizer(row[part], add_special_tokens=False)["input_ids"] for part in ("prompt", "completion")
        )
        made.append((before + after, [False] * len(before) + [True] * len(after)))
    return made


def batch(rows: list[tuple[list[int], list[bool]]]) -> dict[str, torch.Tensor]:
    width = max(len(ids) for ids, _ in rows)
    made: dict[str, list[list[int]]] = {"input_ids": [], "attention_mask": [], "labels": []}
    for ids, learned in rows:
        room = width - len(ids)
        made["input_ids"].append(ids + [0] * room)
        made["attention_mask"].append([1] * len(ids) + [0] * room)
        made["labels"].append([i if yes else IGNORED for i, yes in zip(ids, learned, strict=True)] + [IGNORED] * room)
    return {name: torch.tensor(values) for name, values in made.items()}


def main() -> None:
    spec: dict[str, Any] = read_spec()
    device = spec["device"]
    if device == "cpu":
        torch.set_num_threads(spec["threads"])
    rows = encoded(spec["model"], read_pairs(spec))
    inputs = {name: values.to(device) for name, values in batch(rows).items()}
    meter = Meter(device)
    meter.before_model()
    model = AutoModelForCausalLM.from_pretrained(spec["model"], dtype=torch.float32).to(device)
    model.train()
    if spec["checkpointing"]:
        model.gradient_checkpointing_enable()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    meter.start()
    for _ in range(spec["steps"]):
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = model(**inputs, use_cache=False).loss
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tokens, learned = int(inputs["attention_mask"].sum()), int((inputs["labels"][:, 1:] != IGNORED).sum())
        meter.step(tokens, learned, loss=float(loss.detach()), grad_norm=float(norm), lr=1e-5)
        del loss
    write_report(spec, {"versions": versions("transformers", "torch"), "dataset": digest(iter(rows)), **meter.report()})


if __name__ == "__main__":
    main()
