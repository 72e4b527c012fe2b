"""What sharing prefixes saves: many examples that begin alike, computed as one prefix with branches, against one by one.

    .venv/bin/python benchmarks/shared_prefix.py            64 examples on one prefix of 600 tokens, branches of 100; 135M
    .venv/bin/python benchmarks/shared_prefix.py --quick    a smoke run on a tiny model

Both sides are heed's: its loader, its forward pass, its loss and the backward pass of one optimiser step; the optimiser
itself is left out. Speed in the precision that training takes, the sides in turn, medians over the runs. Differences in
fp32, on the same rows, as max |a - b| / max |a| over the gradient of each weight, the largest of them.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import common
from common import SHAPES, Failed, say

if TYPE_CHECKING:
    import torch

    from heedlm.messages import Encoded
    from heedlm.tokens.loader import StepBatch


def make_step(sequences: Sequence[Encoded], micro_tokens: int, share: bool) -> StepBatch:
    """All sequences as one optimiser step, cut into micro-batches as training cuts them: where sharing is switched."""
    from heedlm.tokens.loader import Loader

    tokens = sum(len(one.ids) for one in sequences)
    (step,) = Loader(sequences, tokens, micro_tokens, 0, share).batches(0)
    return step


class Size(NamedTuple):
    """examples: on one prefix.   compared: of them, in fp32.   runs: of each side."""

    shape: str
    examples: int
    prefix: int
    branch: int
    compared: int
    runs: int


WHOLE = Size("135m", 64, 600, 100, 8, 3)
SMOKE = Size("tiny", 6, 60, 10, 6, 1)


def examples(count: int, prefix: int, branch: int, vocab: int, seed: int) -> list[Encoded]:
    """Random tokens: one beginning, and an end of its own for each, which is what is learned."""
    from heedlm.messages import Encoded

    rng = random.Random(seed)
    start = tuple(rng.randrange(vocab) for _ in range(prefix))
    weights = (0.0,) * prefix + (1.0,) * branch
    # No two branches begin alike, or the prefix would be longer than what is asked for.
    firsts = rng.sample(range(vocab), count)
    return [Encoded((*start, first, *(rng.randrange(vocab) for _ in range(branch - 1))), weights) for first in firsts]


class Trainee(NamedTuple):
    """A model as the training loop uses it."""

    model: Any
    forward: Any
    precision: torch.dtype


def one_step(trainee: Trainee, step: StepBatch) -> float:
    """Forward and backward of one step; the gradients stay in the model. The loss per learned token."""
    import torch

    from heedlm.tokens.pack import to_device
    from heedlm.train.loss import token_nll

    device = next(trainee.model.parameters()).device
    trainee.model.zero_grad(set_to_none=True)
    total = 0.0
    for micro in step.micro_batches:
        on_device = to_device(micro, device)
        with torch.autocast(device.type, dtype=trainee.precision, enabled=trainee.precision != torch.float32):
            result = token_nll(trainee.forward, on_device)
        (result.loss / step.weight_sum).backward()
        total += float(result.loss.detach())
    return total / step.weight_sum


def compare(trainee: Trainee, shared: StepBatch, alone: StepBatch) -> dict[str, float]:
    """Relative differences of loss and gradients between the two ways of computing one step."""
    losses, gradients = [], []
    for step in (alone, shared):
        losses.append(one_step(trainee, step))
        gradients.append({name: p.grad.clone() for name, p in trainee.model.named_parameters() if p.grad is not None})
    wanted, found = gradients
    if not wanted or wanted.keys() != found.keys():
        raise Failed("the two sides do not have gradients for the same weights")
    largest = 0.0
    for name, gradient in wanted.items():
        scale = float(gradient.abs().max())
        if scale == 0:
            raise Failed(f"the gradient of {name} is zero")
        largest = max(largest, float((gradient - found[name]).abs().max()) / scale)
    return {"loss_difference": abs(losses[0] - losses[1]) / abs(losses[0]), "gradient_difference": largest}


def measure(size: Size, threads: int, seed: int, micro_tokens: int, device: str) -> dict[str, Any]:
    import torch
    from rows import model_folder

    from heedlm.model import attention
    from heedlm.model.load import load_model
    from heedlm.train.forward import attention_set_to, target_logits
    from heedlm.train.probe import choose_packing
    from heedlm.train.stage import pick_precision

    if device == "cpu":
        torch.set_num_threads(threads)
    shape = SHAPES[size.shape]
    ceiling = common.matrix_ceiling(threads, device)
    model = load_model(model_folder(size.shape), device=device)
    packing = choose_packing(model)
    if not packing.packed:
        raise Failed(f"this model is not packed, so nothing can be shared: {packing.reason}")
    rows = examples(size.examples, size.prefix, size.branch, shape.vocab, seed)
    steps = {name: make_step(rows, micro_tokens, name == "shared") for name in ("shared", "alone")}
    computed = {name: sum(len(micro.ids) for micro in step.micro_batches) for name, step in steps.items()}
    learned = {name: sum(len(micro.target_id) for micro in step.micro_batches) for name, step in steps.items()}
    whole = size.examples * (size.prefix + size.branch)
    if computed["alone"] != whole or len(set(learned.values())) != 1:
        raise Failed(f"the sides do not learn the same: computed {computed}, learned {learned}")
    if computed["shared"] >= whole:
        raise Failed(f"nothing was shared: {computed}")
    precision, reason = pick_precision("auto", torch.device(device))
    model.train()
    with attention_set_to(model, attention.NAME):
        few = rows[: size.compared]
        say(f"differences in fp32 over {len(few)} examples")
        exact = Trainee(model, target_logits(model, packing), torch.float32)
        result: dict[str, Any] = compare(exact, make_step(few, micro_tokens, True), make_step(few, micro_tokens, False))
        trainee = exact._replace(precision=precision)
        say(f"speed ({reason}): {computed['shared']:,} tokens computed for {whole:,}")
        for step in steps.values():  # the first products of a shape are compiled
            one_step(trainee, step._replace(micro_batches=[step.micro_batches[0], step.micro_batches[-1]]))
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for number in range(size.runs):
            for name in sorted(steps, reverse=bool(number % 2)):
                clock = time.perf_counter()
                loss = one_step(trainee, steps[name])
                if device != "cpu":
                    torch.cuda.synchronize()
                seconds[name].append(time.perf_counter() - clock)
                say(f"  run {number + 1}, {name}: {seconds[name][-1]:.2f} s, loss {loss:.4f}")
    middle = {name: common.median_and_spread(values) for name, values in seconds.items()}
    flops = common.needed_flops(shape, [size.prefix + size.branch] * size.examples, learned["alone"])
    print(
        common.table(
            ("side", "seconds", "spread", "tokens computed"),
            [(name, f"{middle[name][0]:.2f}", f"{middle[name][1]:.0%}", f"{computed[name]:,}") for name in steps],
        )
    )
    return {
        "ratio": round(middle["alone"][0] / middle["shared"][0], 3),
        **result,
        "ratio_of_computed_tokens": round(whole / computed["shared"], 3),
        "alone_ceiling_share": round(flops / middle["alone"][0] / ceiling["bf16"], 4),
        "seconds_per_step": {name: round(value[0], 3) for name, value in middle.items()},
        "spread": {name: round(value[1], 3) for name, value in middle.items()},
        "computed_tokens": computed,
        "examples": size.examples,
        "prefix": size.prefix,
        "branch": size.branch,
        "compared": len(few),
        "shape": size.shape,
        "precision": str(precision).removeprefix("torch."),
        "ceiling_gflops": {kind: round(value / 1e9, 1) for kind, value in ceiling.items()},
        "runs": size.runs,
        "peers": {},
        "tokens": whole * size.runs * 2,
        "rows_sha": common.worker_digest((one.ids, [w > 0 for w in one.weights]) for one in rows)["sha"][:16],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="compare the gradients of all examples in fp32")
    parser.add_argument("--quick", action="store_true", help="smoke run on a tiny model; nothing is claimed")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--runs", type=int, help="runs of each side (default 3)")
    parser.add_argument("--micro-tokens", type=int, default=4096, help="as train.micro_tokens")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--shape", choices=sorted(SHAPES), help="another model than the usual one")
    given = parser.parse_args()
    began = time.perf_counter()
    size = SMOKE if given.quick else WHOLE
    size = size._replace(
        runs=given.runs or size.runs,
        shape=given.shape or size.shape,
        compared=size.examples if given.full else size.compared,
    )
    try:
        result = measure(size, given.threads, given.seed, given.micro_tokens, given.device)
    except Failed as failure:
        say(f"FAILED: {failure}")
        return 1
    common.finish("shared_prefix", result, began=began, threads=given.threads, smoke=given.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
