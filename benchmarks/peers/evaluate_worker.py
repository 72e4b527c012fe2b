"""The held-out loss of saved models, all by the same code: plain transformers, fp32, one row at a time.

Specification: models {name: folder}, pairs, out. Report: {"losses": {name: nats per learned token}, "learned": count}.
"""

from __future__ import annotations

import torch
from meter import read_pairs, read_spec, write_report
from plain_worker import encoded
from torch.nn import functional as F
from transformers import AutoModelForCausalLM


@torch.no_grad()
def held_out_loss(folder: str, rows: list[tuple[list[int], list[bool]]]) -> tuple[float, int]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    total, count = 0.0, 0
    for ids, learned in rows:
        tokens = torch.tensor([ids])
        logits = model(input_ids=tokens, use_cache=False).logits[0, :-1]
        nll = F.cross_entropy(logits, tokens[0, 1:], reduction="none")
        marks = torch.tensor(learned[1:])
        total += float(nll[marks].double().sum())
        count += int(marks.sum())
    return total / count, count


def main() -> None:
    spec = read_spec()
    torch.set_num_threads(spec["threads"])
    pairs = read_pairs(spec)
    losses, learned = {}, 0
    for name, folder in spec["models"].items():
        losses[name], learned = held_out_loss(folder, encoded(folder, pairs))
    write_report(spec, {"losses": losses, "learned": learned})


if __name__ == "__main__":
    main()
