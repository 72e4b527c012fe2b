"""The plan: all that a run will do, decided and said before its first step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from heedlm.config import ModelConfig, StepConfig
from heedlm.errors import HeedError
from heedlm.machine import return_free_memory
from heedlm.memory_left import GIB
from heedlm.model.load import configured_parameters, resolve
from heedlm.model.recompute import Recompute, set_recompute
from heedlm.tokens.loader import Loader
from heedlm.train.forward import Packing
from heedlm.train.heap import keep_freed_memory, keeps_freed_memory, return_memory_at_once
from heedlm.train.memory import Load, Need, Profile, load_of, need, profile
from heedlm.train.stage import Observer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from heedlm.train.sft import Trainee

# The share of the memory there is that a plan may fill: a prediction may be wrong by 15 %.
FILL = 0.85
NARROWER = "--set train.activation_checkpointing=auto lets the plan choose, --set train.micro_tokens=1024 takes less"
# The share of the tokens from which on computing shared prefixes once gains more than its smaller products cost.
BREAK_EVEN = 0.03
LEAST_ROW = 256  # tokens of a micro-batch below which splitting saves next to nothing
_TOKENS_LOOKED_AT = 200_000


class Way(NamedTuple):
    """How a step is computed. at_once: freed memory goes back to the system at once (machine.return_memory_at_once)."""

    recompute: Recompute
    micro_tokens: int
    at_once: bool


class Fitting(NamedTuple):
    """A way to compute a step, and the bytes that it needs."""

    way: Way
    need: Need


class Sizes(NamedTuple):
    """The largest micro-batches of an epoch, and how many a step has at most."""

    loads: tuple[Load, ...]
    micro_batches: int


class Sharing(NamedTuple):
    """Whether beginnings that sequences have in common are computed once, and why; no reason where they have none."""

    share: bool
    why: str


def choose_sharing(wanted: str, packing: Packing, loader: Loader) -> Sharing:
    """wanted: as train.share_prefixes. Raises HeedError where sharing is asked for of a model that may not."""
    if wanted == "off":
        return Sharing(False, "shared prefixes: off, as asked")
    if not packing.shares:
        if wanted == "on":
            what = "This model cannot share prefixes: the probe failed, or dropout, router losses or its positions forbid it."
            raise HeedError(what, "train.share_prefixes", "--set train.share_prefixes=auto")
        return Sharing(False, "")
    saving = loader.saving()
    said = f"shared prefixes: {saving:.1%} of the tokens are beginnings that others have as well"
    if wanted == "on":
        return Sharing(True, f"{said}; they are computed once, as asked")
    if saving >= BREAK_EVEN:
        return Sharing(True, f"{said}; they are computed once")
    return Sharing(False, f"{said}; too few to gain from computing them once" if saving > 0 else "")


def largest(model: PreTrainedModel, loader: Loader, packing: Packing, precision: torch.dtype) -> Sizes:
    """Look at some steps of the first epoch, the one with the longest sequence among them."""
    lengths = loader.lengths()
    steps = loader.epoch_plan(0)
    longest = max(range(len(lengths)), key=lengths.__getitem__)
    count = max(1, min(len(steps), _TOKENS_LOOKED_AT // loader.tokens_per_step))
    chosen = [steps[i * len(steps) // count] for i in range(count)]
    chosen += [step for step in steps if longest in step and step not in chosen]
    loads: list[Load] = []
    most = 1
    for step in chosen:
        whole = sum(lengths[i] for i in step)
        one = replace(loader, sequences=[loader.sequences[i] for i in step], tokens_per_step=whole)
        for batch in one.batches(0):
            loads += [load_of(model, micro, packing, precision) for micro in batch.micro_batches]
            most = max(most, len(batch.micro_batches))
    return Sizes(tuple(loads) or (Load(1, 1, 1),), most)


def fit_into(
    available: int, wanted: str, of: Profile, sizes_at: Callable[[int], Sizes], micro_tokens: int, longest: int
) -> list[Fitting]:
    """Ways to compute a step, the fastest first, up to the one that fits into `available` bytes, or all there are.

    wanted: as train.activation_checkpointing.   sizes_at: of micro-batches of so many tokens.   longest: tokens of the
    longest sequence, which no micro-batch can be shorter than.
    """
    tried: list[Fitting] = []
    for way in _ways(wanted, of, micro_tokens, longest):
        tried.append(Fitting(way, largest_need(of, sizes_at(way.micro_tokens), way)))
        if tried[-1].need.peak <= FILL * available:
            break
    return tried


def largest_need(of: Profile, sizes: Sizes, way: Way) -> Need:
    """What a step of these sizes needs at most."""
    holes = keeps_freed_memory() and not way.at_once
    needs = (need(of, load, way.recompute, sizes.micro_batches, holes=holes) for load in sizes.loads)
    return max(needs, key=lambda one: one.peak)


def _ways(wanted: str, of: Profile, micro_tokens: int, longest: int) -> Iterator[Way]:
    """What may be tried, the fastest first. Layers that somebody asks to be computed again leave as little as can be.

    On a CPU, memory that goes back to the system at once costs more time than layers computed again: a step of 1,900 tokens
    on a 135M model took 2.9 s, with every second layer computed again 3.1, with all 3.5, and at once 7
    (docs/decisions/0016; notes of building).
    """
    hows: tuple[Recompute, ...] = ("off", "selective", "full")
    able = [how for how in hows if wanted in ("auto", how) and (of.layers or how == "off")] or ["off"]
    if wanted != "auto":
        yield Way(able[0], micro_tokens, of.on_cpu and able[0] != "off")
        return
    yield from (Way(how, micro_tokens, False) for how in able)
    if of.on_cpu:
        yield Way(able[-1], micro_tokens, True)
    while micro_tokens // 2 >= max(LEAST_ROW, longest):
        micro_tokens //= 2
        yield Way(able[-1], micro_tokens, of.on_cpu)


def proposals(trainee: Trainee, loader: Loader, precision: torch.dtype) -> list[Fitting]:
    """Every way to compute a step at its own size, then in halves and quarters with all layers computed again."""
    model, packing = trainee.model, trainee.packing
    of = profile(model, packing, precision)
    longest = max(loader.lengths())
    floor = max(longest, loader.micro_tokens // 4)
    ways = list(_ways("auto", of, loader.micro_tokens, floor))
    sizes = {way.micro_tokens: replace(loader, micro_tokens=way.micro_tokens) for way in ways}
    found = {size: largest(model, one, packing, precision) for size, one in sizes.items()}
    return [Fitting(way, largest_need(of, found[way.micro_tokens], way)) for way in ways]


class Memory(NamedTuple):
    """How steps fit into what there is. tried: the way that was chosen last, those before it too large.

    available: bytes.   layers: that can be computed again.
    """

    tried: tuple[Fitting, ...]
    available: int
    layers: int

    @property
    def chosen(self) -> Fitting:
        return self.tried[-1]

    @property
    def fits(self) -> bool:
        return self.chosen.need.peak <= FILL * self.available


def plan_memory(
    model: PreTrainedModel, config: StepConfig, loader: Loader, packing: Packing, precision: torch.dtype, available: int
) -> Memory:
    """Find the fastest way that fits. Leaves the model without layers that are computed again."""
    wanted = config.activation_checkpointing
    longest = max(loader.lengths())
    known: dict[int, Sizes] = {}

    def sizes_at(micro_tokens: int) -> Sizes:
        if micro_tokens not in known:
            known[micro_tokens] = largest(model, replace(loader, micro_tokens=micro_tokens), packing, precision)
        return known[micro_tokens]

    if wanted == "auto":  # looking at layers that are computed again is another pass over the model
        of = profile(model, packing, precision, recompute=False)
        plain = Way("off", loader.micro_tokens, False)
        fits = Fitting(plain, largest_need(of, sizes_at(loader.micro_tokens), plain))
        if fits.need.peak <= FILL * available:
            return Memory((fits,), available, of.layers)
    of = profile(model, packing, precision)
    return Memory(tuple(fit_into(available, wanted, of, sizes_at, loader.micro_tokens, longest)), available, of.layers)


def refuse(memory: Memory, method: str) -> None:
    """Raises HeedError where not even the smallest step fits."""
    least = memory.chosen.need
    if least.peak <= memory.available:
        return
    held = least.weights + least.optimizer + least.gradients
    mends = []
    if method == "full":
        with_adapters = least.peak - least.optimizer - least.gradients
        mends.append(f"--set model.method=lora needs about {gib(with_adapters)}")
    if held < memory.available:
        mends.append("--set tokens.max_tokens=... with shorter rows, for micro-batches are as long as the longest row")
    mends.append("or a smaller model")
    raise HeedError(
        f"A step of this model needs {gib(least.peak)} at least, and {gib(memory.available)} are there: "
        f"{in_words(least)}.",
        "model.path",
        "; ".join(mends),
    )


def refuse_too_large(config: ModelConfig, available: int) -> None:
    """Raises HeedError, before weights are loaded, for a model whose weights and optimiser alone do not fit.

    Full training takes 16 bytes for each (weight, gradient, two moments, all fp32), adapters 4, adapters over four bits 1.
    """
    method, each = config.method, {"full": 16, "lora": 4, "qlora": 1}[config.method]
    folder = Path(resolve(config.path))
    files = [file.stat().st_size for file in folder.glob("*.safetensors")] if folder.is_dir() else []
    if files and each * 2 * sum(files) <= available:  # a stored weight takes half a byte at least
        return
    parameters = configured_parameters(config.path, trust_remote_code=config.trust_remote_code)
    if each * parameters <= available:
        return
    most = {name: available // size for name, size in (("full", 16), ("lora", 4))}
    mends = []
    if method == "full" and 4 * parameters < FILL * available:
        mends.append(f"--set model.method=lora ({gib(4 * parameters)} and activations)")
    mends.append(
        f"this memory holds models of up to {most['full'] / 1e9:.2g}B parameters in full and {most['lora'] / 1e9:.2g}B with adapters"
    )
    raise HeedError(
        f"The model is too large: {parameters / 1e9:.2g}B parameters take {gib(each * parameters)} to train "
        f"({method}), and {gib(available)} are there.",
        "model.path",
        "; ".join(mends),
    )


def gib(size: float) -> str:
    """ "1.5 GiB"; less than a tenth of one in MiB."""
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{size / 2**20:.0f} MiB"


def in_words(of: Need) -> str:
    """The parts, largest first; those under one percent left out."""
    parts = {
        "weights": of.weights,
        "optimiser": of.optimizer,
        "gradients": of.gradients,
        "copies of weights": of.copies,
        "activations": of.activations,
        "logits and the like": of.work,
        "heap and libraries": of.heap,
    }
    shown = sorted(((size, name) for name, size in parts.items() if size > 0.01 * of.peak), reverse=True)
    return ", ".join(f"{name} {gib(size)}" for size, name in shown)


def told(memory: Memory, wanted: str, micro_tokens: int) -> list[str]:
    """What a person should know of it. wanted, micro_tokens: as they were asked for."""
    way, of = memory.chosen
    lines = [f"memory: {gib(of.peak)} at the peak of {gib(memory.available)} there is ({in_words(of)})"]
    first = memory.tried[0].need.peak
    if wanted in ("selective", "full") and not memory.layers:
        lines.append("activation checkpointing: this architecture cannot compute its layers again; everything is kept")
    elif way.recompute != "off":
        why = "as asked" if wanted != "auto" else f"with everything kept {gib(first)}"
        lines.append(f"activation checkpointing: {way.recompute} ({why})")
    if way.micro_tokens < micro_tokens:
        lines.append(f"micro-batches of {way.micro_tokens:,} tokens instead of {micro_tokens:,}, so that a step fits")
    if way.at_once:
        lines.append("freed memory goes back to the system at once, which is slower and leaves no holes")
    return lines


class Settled(NamedTuple):
    """The loader of a run's steps, and what run.json notes: a run that goes on computes as it began."""

    loader: Loader
    facts: Mapping[str, Any]


def settle(
    config: StepConfig,
    method: str,
    trainee: Trainee,
    loader: Loader,
    precision: torch.dtype,
    available: int | None,
    noted: Mapping[str, Any] | None,
    observer: Observer,
) -> Settled:
    """Decide how steps are computed, say so, and set model and process up.

    available: bytes, None where memory is not looked at.   noted: the facts of a run that goes on, which are kept whatever
    memory there is by now.
    Raises HeedError where no step fits, and for sharing that is asked for where it cannot be.
    """
    model, packing = trainee.model, trainee.packing
    wanted = config.activation_checkpointing
    if noted:
        way = Way(**noted["way"])
        apply(way, model, noted.get("need", {}).get("peak", 0))
        return Settled(replace(loader, share=noted["share"], micro_tokens=way.micro_tokens), noted)
    share, why = choose_sharing(config.share_prefixes, packing, loader)
    loader = replace(loader, share=share)
    if why:
        observer.say(why)
    facts: dict[str, Any] = {"share": share}
    if available is None:
        way = Way("off" if wanted == "auto" else wanted, loader.micro_tokens, False)
    else:
        memory = plan_memory(model, config, loader, packing, precision, available)
        refuse(memory, method)
        for line in told(memory, wanted, loader.micro_tokens):
            observer.say(line)
        if not memory.fits:
            observer.alarm(f"this step may not fit into the memory there is; {NARROWER}")
        way, of = memory.chosen
        facts |= {"need": of._asdict(), "available": available}
    facts["way"] = way._asdict()
    apply(way, model, facts.get("need", {}).get("peak", 0))
    return Settled(replace(loader, micro_tokens=way.micro_tokens), facts)


def apply(way: Way, model: PreTrainedModel, peak: int = 0) -> None:
    """Set model and process up for a way. peak: bytes that the plan expects, 0 if unknown."""
    return_free_memory()  # what probes and plan took
    if way.at_once:
        return_memory_at_once()
    elif next(model.parameters()).device.type == "cpu":
        keep_freed_memory(peak)
    set_recompute(model, way.recompute)
