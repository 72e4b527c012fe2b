"""What a person should know before a training begins: machine, model, data, plan, and what is wrong with them."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from heedlm.config import Recipe
from heedlm.errors import HeedError
from heedlm.memory_left import available_memory_bytes, device_memory_bytes, total_memory_bytes
from heedlm.model.adapters import tied_matrix
from heedlm.model.lean import make_lean
from heedlm.model.load import context_length, pick_device, resolve
from heedlm.model.method import load_base, make_trainable
from heedlm.model.untrained import spare_ids, untrained_rows
from heedlm.runs import Run, environment
from heedlm.templates.chat import ChatTemplate, stop_ids, writes_bos
from heedlm.templates.probe import USER, stop_texts, two_turns
from heedlm.templates.render import render, template_controls
from heedlm.templates.system import default_system
from heedlm.tokens.loader import Loader
from heedlm.tokens.mixture import told
from heedlm.tokens.store import open_split, read_index
from heedlm.train.findings import Finding, about_data, about_model, about_plan
from heedlm.train.outline import make_plan
from heedlm.train.pace import measure_pace
from heedlm.train.plan import FILL, Fitting, proposals, refuse_too_large, settle
from heedlm.train.probe import choose_packing
from heedlm.train.ranks import ALONE
from heedlm.train.sft import Trainee, open_splits
from heedlm.train.stage import Observer, pick_precision

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_FORWARD = 1 / 3  # of the time of a step: its forward pass, which is all that validation does


class Machine(NamedTuple):
    """cores, threads: there are, and that torch uses.   memory, available: bytes.   bf16: products in hardware."""

    system: str
    cores: int
    threads: int
    memory: int
    available: int
    device: str
    device_memory: int
    bf16: bool


class Model(NamedTuple):
    """What the checkpoint is, and the format in which it will speak.

    bos: how the beginning of a text is marked.   untrained: control tokens of the format to the evidence that the model
    never met them.   packing: how rows reach it, in words.   notes: what loading had to say.
    """

    path: str
    architecture: str
    parameters: int
    layers: int
    vocabulary: int
    context: int | None
    tied: bool
    template: str
    grade: str
    stop: list[str]
    bos: str
    system: str | None
    untrained: dict[str, str]
    packing: str
    shares_prefixes: bool
    head_in_parts: bool
    notes: list[str]


class Data(NamedTuple):
    """Counts of the training rows as they will be learned. lengths: shortest, median and longest sequence, in tokens.
    mixture: what one epoch holds of each source, in lines; nothing where that is all of one."""

    splits: dict[str, int]
    dropped: int
    sequences: int
    tokens: int
    learned_tokens: int
    lengths: tuple[int, int, int]
    replayed_tokens: int
    mixture: tuple[str, ...] = ()


class Proposal(NamedTuple):
    """Another way to compute the same step. micro_batches: into which it is cut."""

    way: str
    micro_tokens: int
    micro_batches: int
    peak: int
    fits: bool


class Planned(NamedTuple):
    """The run as it would be. memory: bytes by part (train.memory.Need).   seconds: of all steps and validations; None where
    no step could be timed."""

    trainable: int
    method: str
    precision: str
    steps: int
    tokens_per_step: int
    micro_tokens: int
    shares_prefixes: bool
    learning_rate: float
    recompute: str
    memory: dict[str, int]
    available: int
    seconds: float | None
    tokens_per_second: float | None
    proposals: list[Proposal]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All of it. A part is None where an error stood before it."""

    machine: Machine
    packages: dict[str, str]
    model: Model | None = None
    data: Data | None = None
    plan: Planned | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not any(finding.severity == "error" for finding in self.findings)


class Wire(NamedTuple):
    """A model's tokenizer, the chat template that holds for it, and what was said of them."""

    tokenizer: PreTrainedTokenizerBase
    template: ChatTemplate
    notes: Sequence[str]


def check(recipe: Recipe, run: Run, prepared: Callable[[], Wire], say: Callable[[str], None]) -> CheckReport:
    """Go through all that `heed train` would, up to a few timed steps; nothing of it is kept but rows and tokens in `run`.

    prepared: makes rows and tokens, and gives the wire.   say: hears what is being done.
    What can be mended in the recipe is a finding. Raises HeedError for input that cannot be read at all.
    """
    device = pick_device(recipe.train.device)
    report = CheckReport(_machine(device), environment()["packages"])
    findings = report.findings
    try:
        refuse_too_large(recipe.model, device_memory_bytes(device))
        say("rows and tokens")
        wire = prepared()
        data = _data(run)
        findings += about_data(data)
        say("the model")
        said: list[str] = []
        trainee, model = _model(recipe, wire, device, said)
        findings += about_model(model, recipe)
        report = replace(report, data=data, model=model)
        say("the plan, with a few steps to time it")
        planned, warned = _plan(recipe, run, trainee)
        findings += [Finding("warning", line, "") for line in warned]
        findings += about_plan(planned)
        return replace(report, plan=planned)
    except HeedError as error:
        findings += [
            Finding("error", f"{one.what} ({one.where})" if one.where else one.what, one.mend) for one in error.problems
        ]
        return report


def _machine(device: torch.device) -> Machine:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    bf16 = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
    return Machine(
        system=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        cores=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        memory=total_memory_bytes(),
        available=available_memory_bytes(),
        device=name,
        device_memory=device_memory_bytes(device),
        bf16=bool(bf16) and device.type != "mps",
    )


def _model(recipe: Recipe, wire: Wire, device: torch.device, said: list[str]) -> tuple[Trainee, Model]:
    base = load_base(recipe.model, wire.tokenizer, device, said.append)
    model = base.model
    packing = choose_packing(model)
    make_lean(model, pick_precision(recipe.train.precision, device)[0])  # as training does, or the plan is another one
    if recipe.model.method != "full" and recipe.model.lora.dropout:
        packing = packing._replace(shares=False)
    tokenizer, template = wire.tokenizer, wire.template
    config = model.config.get_text_config()
    parameters = model.num_parameters()
    facts = Model(
        path=resolve(recipe.model.path),
        architecture=type(model).__name__,
        parameters=parameters,
        layers=int(config.num_hidden_layers),
        vocabulary=int(config.vocab_size),
        context=context_length(model),
        tied=tied_matrix(model) is not None,
        template=template.name,
        grade=template.grade,
        stop=[str(tokenizer.convert_ids_to_tokens(i)) for i in stop_ids(template, tokenizer)],
        bos=_bos(template, tokenizer),
        system=default_system(template, tokenizer),
        untrained=_untrained(model, template, tokenizer),
        packing=packing.reason,
        shares_prefixes=packing.shares,
        head_in_parts=packing.splits,
        notes=[*wire.notes, *said],
    )
    return Trainee(make_trainable(base, recipe.model, said.append), device, packing, parameters), facts


def _bos(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> str:
    text = render(template, tokenizer, [USER], add_generation_prompt=True)
    written = tokenizer.bos_token is not None and text.startswith(str(tokenizer.bos_token))
    if written and writes_bos(tokenizer):
        return f"{tokenizer.bos_token}, once: written by the template, so a server must not add it again"
    if written:
        return f"{tokenizer.bos_token}, once: written by the template"
    if writes_bos(tokenizer):
        return f"missing: the tokenizer begins plain text with {tokenizer.bos_token}, the template does not"
    return "none"


def _untrained(model: PreTrainedModel, template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """Control tokens that the template writes and the model never met. Those that end an answer must be in its head too."""
    ids = template_controls(template, tokenizer).ids
    text = two_turns(template, tokenizer) or render(template, tokenizer, [USER], add_generation_prompt=True)
    stops = [stop for stop in stop_texts(template, tokenizer)[:1] if stop in ids]
    used = {name: index for name, index in ids.items() if name in text or name in stops}
    embedding = model.get_input_embeddings().weight
    spare = spare_ids(tokenizer.get_vocab(), len(embedding))
    found = untrained_rows(embedding, used.values(), spare)
    head = getattr(model.get_output_embeddings(), "weight", None)
    if head is not None and head is not embedding and head.shape[0] == embedding.shape[0]:
        found = {**untrained_rows(head, [used[stop] for stop in stops], spare), **found}
    return {name: found[index] for name, index in used.items() if index in found}


def _data(run: Run) -> Data:
    index = read_index(run.tokens)
    counts = index["counts"]
    train = open_split(run.tokens, "train")
    assert train is not None, "a token store holds the training split"
    lengths = sorted(train.lengths())
    files = {name: run.data / f"{name}.jsonl" for name in ("train", "val", "test")}
    return Data(
        splits={name: sum(1 for _ in file.open("rb")) for name, file in files.items() if file.is_file()},
        dropped=counts["train"]["too_long"],
        sequences=counts["train"]["sequences"],
        tokens=counts["train"]["tokens"],
        learned_tokens=counts["train"]["learned_tokens"],
        lengths=(lengths[0], int(statistics.median(lengths)), lengths[-1]),
        replayed_tokens=counts.get("replay", {}).get("tokens", 0),
        mixture=tuple(line.strip() for line in told(index.get("sources", {}))),
    )


def _plan(recipe: Recipe, run: Run, trainee: Trainee) -> tuple[Planned, list[str]]:
    """The plan of `heed train`, other ways beside it, and the time that it would take."""
    said: list[str] = []
    warned: list[str] = []
    observer = Observer(said.append, lambda step, of, report: None, warn=warned.append)
    settling = _Settling(recipe, observer, device_memory_bytes(trainee.device))
    sequences, validation = open_splits(run)
    plan, loader = make_plan(recipe, sequences, trainee, settling.settle, observer, ALONE)
    facts = settling.facts
    others = [_proposal(one, loader, settling.available) for one in settling.others]
    pace = measure_pace(trainee, plan, loader)
    tokens = sum(loader.lengths()) * plan.num_steps / max(1, loader.steps_in_epoch(0))
    steps_seconds = pace.step * plan.num_steps + pace.token * tokens
    seconds = steps_seconds
    if validation:
        every = recipe.train.eval_every or loader.steps_in_epoch(0)
        seen = -(-plan.num_steps // max(1, every)) * sum(replace(loader, sequences=validation).lengths())
        seconds += pace.token * seen * _FORWARD
    return Planned(
        trainable=sum(p.numel() for p in trainee.model.parameters() if p.requires_grad),
        method=recipe.model.method,
        precision=str(plan.precision).removeprefix("torch."),
        steps=plan.num_steps,
        tokens_per_step=loader.tokens_per_step,
        micro_tokens=loader.micro_tokens,
        shares_prefixes=loader.share,
        learning_rate=plan.lr,
        recompute=str(facts["way"]["recompute"]),
        memory=dict(facts["need"]),
        available=settling.available,
        seconds=seconds,
        tokens_per_second=tokens / max(steps_seconds, 1e-9),
        proposals=others,
        notes=said,
    ), warned


class _Settling:
    """What a plan needs to fit into memory; remembers what was settled, and what else there was."""

    def __init__(self, recipe: Recipe, observer: Observer, available: int) -> None:
        self._recipe, self._observer, self.available = recipe, observer, available
        self.facts: Mapping[str, Any] = {}
        self.others: list[Fitting] = []

    def settle(self, trainee: Trainee, loader: Loader, precision: torch.dtype) -> Loader:
        train, method = self._recipe.train, self._recipe.model.method
        self.others = proposals(trainee, loader, precision)
        settled = settle(train, method, trainee, loader, precision, self.available, None, self._observer)
        self.facts = settled.facts
        return settled.loader


def _proposal(fitting: Fitting, loader: Loader, available: int) -> Proposal:
    way, of = fitting
    name = {"off": "everything kept", "selective": "every second layer again", "full": "all layers again"}[
        way.recompute
    ]
    if way.at_once:
        name += ", no holes in memory"
    cut = -(-loader.tokens_per_step // way.micro_tokens)
    return Proposal(name, way.micro_tokens, cut, of.peak, of.peak <= FILL * available)
