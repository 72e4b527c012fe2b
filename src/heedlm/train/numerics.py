"""Numerical self-tests on a user's own model: every way to compute a step against a plainer one, with the largest difference.

All in fp32 and without dropout, through the one loop, on random documents: a difference that rounding does not explain
is a defect of this program, of a library, or of an architecture that was taken for another.
"""

from __future__ import annotations

import math
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from heedlm.messages import Encoded
from heedlm.model import attention
from heedlm.model.lean import make_lean, make_plain
from heedlm.model.load import load_model
from heedlm.tokens.loader import Loader
from heedlm.tokens.pack import pack, target_weight_sum, to_device
from heedlm.train.forward import Packing, attention_set_to, target_logits
from heedlm.train.loop import Position, Regime, StepReport, fit
from heedlm.train.loss import Forward, token_nll
from heedlm.train.probe import choose_packing
from heedlm.train.ranks import ALONE, Ranks, whole

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOSS, GRADIENT, RANKS = 1e-6, 1e-4, 1e-5  # relative; the largest difference over the largest value
_LIBRARY = 1e-5  # the library's own loss is a mean over one document, summed in another order
_LEAK = 1e-5
_FLOOR = 1e-2  # of the largest gradient: below it a gradient may be nothing but rounding (a key's bias has none)
_SAMPLED = 2**18  # elements of a gradient that are compared, spread over it
_ROW = 64
_WHOLE = 10**9  # tokens of a row that holds everything


class Comparison(NamedTuple):
    """One way against a plainer one. difference: the largest; None where it does not apply, and why stands in `note`."""

    name: str
    difference: float | None
    tolerance: float
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.difference is None or self.difference <= self.tolerance


class Step(NamedTuple):
    """What one step came to: loss per learned token, and of every gradient a sample."""

    loss: float
    gradients: dict[str, torch.Tensor]


def documents(vocabulary: int, context: int | None, seed: int = 0) -> list[Encoded]:
    """Random rows of several lengths; four of them begin alike. Some tokens are not learned, some by half."""
    draw = random.Random(seed)
    longest = min(48, context or 48)
    stem = tuple(draw.randrange(vocabulary) for _ in range(longest // 2))
    made = []
    for number in range(12):
        own = tuple(draw.randrange(vocabulary) for _ in range(draw.randint(3, longest - len(stem))))
        ids = stem + own if number % 3 == 0 else own + own[::-1]
        first = draw.randrange(1, len(ids))
        made.append(Encoded(ids, tuple(0.0 if at < first else (1.0, 0.5)[at % 5 == 0] for at in range(len(ids)))))
    return made


def compare_all(
    path: str | Path, device: torch.device, say: Callable[[str], None] = lambda line: None, *, trust: bool = False
) -> list[Comparison]:
    """Every comparison on the model in `path`. say: hears what is being compared."""
    model = load_model(path, device=device, trust_remote_code=trust)
    return [*compare(model, say), reloaded(model), *across_ranks(model, say)]


def compare(model: PreTrainedModel, say: Callable[[str], None] = lambda line: None) -> list[Comparison]:
    """What one process can compare without writing anything."""
    packing = choose_packing(model)
    config = model.config.get_text_config()
    rows = documents(config.vocab_size, getattr(config, "max_position_embeddings", None))
    plain = packing._replace(splits=False, shares=False)
    tokens = sum(len(row.ids) for row in rows)
    one = Loader(rows, tokens, _WHOLE, 0)
    reference = take_step(model, target_logits(model, plain), plain, one)
    found: list[Comparison] = []

    def against(name: str, forward: Forward, how: Packing, loader: Loader) -> None:
        say(name)
        found.extend(_differences(name, take_step(model, forward, how, loader), reference))

    against("a step in one row or in several", target_logits(model, plain), plain, replace(one, micro_tokens=_ROW))
    say("accumulation")
    found += _differences("gradients of a step, or of its rows one by one", _row_by_row(model, plain, rows), reference)
    if packing.packed:
        padded = Packing(False, "")
        against("packed rows or padded ones", target_logits(model, padded), padded, one)
    else:
        found.append(Comparison("packed rows or padded ones", None, GRADIENT, packing.reason))
    name = "shared prefixes or each by itself"
    if packing.shares:
        against(name, target_logits(model, plain), plain, replace(one, share=True))
    else:
        found.append(Comparison(name, None, GRADIENT, "not used with this model: it failed the probe"))
    name = "head and loss in parts or whole"
    if packing.splits:
        parted = replace(target_logits(model, packing), part=7, plain=7)
        against(name, parted, packing, one)
    else:
        found.append(Comparison(name, None, GRADIENT, "not used with this model: its head cannot be called apart"))
    name = "norms, gates and embeddings written out or the model's own"
    said = make_lean(model, torch.float32)
    if any("forward" in vars(module) for module in model.modules()):
        against(name, target_logits(model, plain), plain, one)
        make_plain(model)
    else:
        found.append(Comparison(name, None, GRADIENT, said or "none of this model's are"))
    say("the library's own loss")
    found.append(Comparison("our loss or the library's own", *_against_library(model, plain, rows)))
    say("contamination")
    found.append(_contamination(model, plain, rows, packing))
    return found


class _Recorder(torch.optim.Optimizer):
    """An optimiser that keeps the gradients it is given, and changes nothing."""

    def __init__(self, model: torch.nn.Module) -> None:
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        super().__init__(list(trained.values()), {"lr": 0.0})
        self._names = {id(p): name for name, p in trained.items()}
        self.gradients: dict[str, torch.Tensor] = {}

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    gradient = whole(parameter.grad).detach().flatten()
                    stride = max(1, len(gradient) // _SAMPLED)
                    self.gradients[self._names[id(parameter)]] = gradient[::stride].cpu().clone()


def take_step(model: PreTrainedModel, forward: Forward, packing: Packing, loader: Loader, ranks: Ranks = ALONE) -> Step:
    """The first step of `loader` through the one loop; weights stay as they are."""
    recorder = _Recorder(model)
    losses: list[float] = []

    def hidden(batch: Any) -> torch.Tensor:
        model.eval()  # the loop has set it to training, and dropout would differ from pass to pass
        return forward.hidden(batch)

    def after(position: Position, report: StepReport) -> bool:
        losses.append(report.loss)
        return False

    name = attention.NAME if packing.packed else str(model.config._attn_implementation)
    regime = Regime(1, lambda step: 0.0, math.inf)
    with attention_set_to(model, name):
        fit(
            model,
            replace(forward, hidden=hidden),
            lambda epoch: loader,
            recorder,
            regime,
            after_step=after,
            ranks=ranks,
        )
    return Step(losses[0], recorder.gradients)


def _differences(name: str, found: Step, wanted: Step, gradient: float = GRADIENT) -> list[Comparison]:
    loss = abs(found.loss - wanted.loss) / max(abs(wanted.loss), 1e-12)
    apart, worst = _apart(found.gradients, wanted.gradients)
    return [Comparison(f"{name}: loss", loss, LOSS), Comparison(f"{name}: gradients", apart, gradient, worst)]


def _apart(found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> tuple[float, str]:
    """The largest relative difference and where it is; infinite where a gradient is missing on one side or not finite."""
    if found.keys() != wanted.keys():
        return math.inf, "other parameters have gradients: " + ", ".join(sorted(found.keys() ^ wanted.keys())[:3])
    largest = max((float(g.abs().max()) for g in wanted.values()), default=0.0)
    worst, where = 0.0, ""
    for name, mine in wanted.items():
        scale = max(float(mine.abs().max()), _FLOOR * largest, 1e-30)
        apart = float((found[name] - mine).abs().max()) / scale
        if not apart <= worst:  # NaN is larger than anything here
            worst, where = (apart if math.isfinite(apart) else math.inf), name
    return worst, where


def _row_by_row(model: PreTrainedModel, packing: Packing, rows: Sequence[Encoded]) -> Step:
    """The step as its definition says: every row alone, weighted by what it learns."""
    total = target_weight_sum(rows)
    loss = 0.0
    sums: dict[str, torch.Tensor] = {}
    for row in rows:
        share = target_weight_sum([row]) / total
        if not share:
            continue
        step = take_step(model, target_logits(model, packing), packing, Loader([row], len(row.ids), _WHOLE, 0))
        loss += share * step.loss
        for name, gradient in step.gradients.items():
            sums[name] = sums.get(name, torch.zeros(())) + share * gradient
    return Step(loss, sums)


@torch.no_grad()
def _against_library(
    model: PreTrainedModel, packing: Packing, rows: Sequence[Encoded]
) -> tuple[float | None, float, str]:
    """The loss that the model's own class computes from labels, one document at a time."""
    model.eval()
    device = next(model.parameters()).device
    even = [Encoded(row.ids, (1.0,) * len(row.ids)) for row in rows]
    theirs = 0.0
    for row in even:
        ids = torch.tensor([row.ids], device=device)
        theirs += float(model(input_ids=ids, labels=ids, use_cache=False).loss) * (len(row.ids) - 1)
    name = attention.NAME if packing.packed else str(model.config._attn_implementation)
    with attention_set_to(model, name):
        ours = float(token_nll(target_logits(model, packing), to_device(pack(even), device)).loss)
    if getattr(model.config.get_text_config(), "output_router_logits", False):
        return None, _LIBRARY, "its own adds losses of the router"
    return abs(ours - theirs) / max(abs(theirs), 1e-12), _LIBRARY, ""


@torch.no_grad()
def _contamination(model: PreTrainedModel, packing: Packing, rows: Sequence[Encoded], chosen: Packing) -> Comparison:
    """Change each document of a row in turn: no logit of another may move. Branches of one prefix are such documents too."""
    name = "a document changed, logits of its neighbours"
    model.eval()
    config = model.config.get_text_config()
    device = next(model.parameters()).device
    even = [Encoded(row.ids, (1.0,) * len(row.ids)) for row in rows]
    attended = attention.NAME if packing.packed else str(model.config._attn_implementation)
    moved = 0.0
    with attention_set_to(model, attended):
        forward = target_logits(model, packing)
        for share in (False, True) if chosen.shares else (False,):
            batch = next(Loader(even, _WHOLE, _WHOLE, 0, share).batches(0)).micro_batches[0]
            before = forward(to_device(batch, device)).float().cpu()
            scale = float(before.abs().max())
            for document, (start, end) in enumerate(
                zip(batch.starts[:-1].tolist(), batch.starts[1:].tolist(), strict=True)
            ):
                ids = batch.ids.clone()
                ids[start:end] = (ids[start:end] + 1) % config.vocab_size
                after = forward(to_device(replace(batch, ids=ids), device)).float().cpu()
                changed = (batch.target_index >= start) & (batch.target_index < end)
                for child in (batch.parents == document).nonzero()[:, 0].tolist():
                    inside = (batch.target_index >= batch.starts[child]) & (
                        batch.target_index < batch.starts[child + 1]
                    )
                    changed |= inside
                others = (after - before).abs()[~changed]
                moved = max(moved, float(others.max()) / scale if others.numel() else 0.0)
    return Comparison(name, moved, _LEAK, "" if packing.packed else "padded rows")


@torch.no_grad()
def reloaded(model: PreTrainedModel) -> Comparison:
    """The model saved, loaded again, compared tensor by tensor: the same bits, ties kept."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        again = load_model(folder)
    mine, theirs = dict(model.named_parameters()), dict(again.named_parameters())
    if mine.keys() != theirs.keys():
        return Comparison("saved and loaded again", math.inf, 0.0, "other parameters came back")
    apart = max(float((mine[name].cpu().float() - theirs[name].float()).abs().max()) for name in mine)
    return Comparison("saved and loaded again", apart, 0.0)


def across_ranks(model: PreTrainedModel, say: Callable[[str], None]) -> list[Comparison]:
    """One process against two that talk through gloo on the CPU: all weights in each, and cut among them."""
    names = {"ddp": "one process or two (ddp)", "fsdp": "one process or two, weights cut (fsdp)"}
    say("two processes")
    model.to("cpu")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        model.save_pretrained(work / "model")
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command += ["-m", "heedlm.train.numerics_ranks", str(work)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = next((line for line in reversed(done.stderr.splitlines()) if "Error" in line), "no reason given")
            return [Comparison(name, math.inf, RANKS, f"it failed: {last.strip()}") for name in names.values()]
        results = torch.load(work / "results.pt", weights_only=True)
    alone = Step(*results["alone"])
    return [
        comparison._replace(tolerance=RANKS)
        for engine, name in names.items()
        for comparison in _differences(name, Step(*results[engine]), alone)
    ]
