"""What a training step takes from memory: parts that follow from the model, activations as its forward pass kept them.

The most stands at one of two moments. At the turn from the forward to the backward pass: all activations, and logits with
their gradients. At the end of the backward pass: all gradients. benchmarks/memory_plan.py holds this against what the
system counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from heedlm.machine import MIB
from heedlm.messages import Batch, Encoded
from heedlm.model import attention
from heedlm.model.recompute import Recompute, keeps_casts, set_recompute
from heedlm.tokens.pack import pack, to_device
from heedlm.train.forward import Packing, _round_up, attention_set_to, target_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_MOMENTS = 2  # of AdamW, per trainable weight
_FP32 = 4
# The first step of a process on a CPU runs code and takes scratch space that it keeps.
_LIBRARIES = 20 * MIB


class _Heap(NamedTuple):
    """What a process on a CPU holds beside the tensors of the plan, as shares of what a layer keeps, of the gradients, of the
    head's work, of weights that do not train, and of all that moves.

    Fitted to the 20 runs of benchmarks/memory_plan.py (2026-11-21). Blocks come and go in ever other order, small ones stay
    in the middle of large free ones, and the heap grows. Why frozen weights count again was not found out.
    """

    layers: float
    gradients: float
    head: float
    frozen: float
    moving: float


_KEPT, _AT_ONCE = _Heap(11.0, 0.6, 0.4, 0.6, 0.0), _Heap(3.0, 0.0, 0.0, 0.6, 0.05)


class Load(NamedTuple):
    """A micro-batch as memory sees it.

    rows: positions that the model computes, filler and padding included.   pairs: query and key positions whose attention
    weight is kept, per head: none but with soft caps and sinks.   targets: positions that need logits.
    """

    rows: int
    pairs: int
    targets: int


class Kept(NamedTuple):
    """Bytes that a forward pass keeps for the backward pass: `fixed` for any batch, the others per row and pair of a Load.

    fixed: the weights in the dtype of the products, where that is not theirs.
    """

    fixed: float
    per_row: float
    per_pair: float

    def activations(self, load: Load) -> float:
        return self.per_row * load.rows + self.per_pair * load.pairs


class Profile(NamedTuple):
    """What a model brings to the plan, in bytes.

    weights, gradients: parameters and buffers, and what trains of them.   kept, repeated: what a pass keeps when nothing
    and when all is computed again; the same where the architecture cannot.   layers, half: that are computed again with
    `full` and `selective`.   depth: layers there are.   vocabulary: logits of a target.   item: bytes per element of the products.   part: targets whose logits stand at once,
    0 for all, and up to `plain` they are kept in fp32.   head: elements of the head's matrix where it trains, else 0.   widest: elements of the largest matrix
    that trains.
    """

    weights: int
    gradients: int
    kept: Kept
    repeated: Kept
    layers: int
    half: int
    depth: int
    vocabulary: int
    item: int
    part: int
    plain: int
    head: int
    widest: int
    on_cpu: bool
    padded: bool


class Need(NamedTuple):
    """Bytes of a step by part; `peak` is the most that stands at once, less than their sum.

    weights, optimizer: always.   gradients: from the first backward pass to the optimiser's step.   copies, activations:
    from a micro-batch's forward to its backward pass.   work: for a moment, logits or a layer computed again.   heap: holes
    in the process's memory, and what libraries take.
    """

    weights: int
    optimizer: int
    gradients: int
    copies: int
    activations: int
    work: int
    heap: int
    peak: int


def profile(model: PreTrainedModel, packing: Packing, precision: torch.dtype, *, recompute: bool = True) -> Profile:
    """Look at the model, and run some hundred random tokens through it. Random states stay as they were.

    recompute: whether to look at layers that are computed again as well, which costs as much once more.
    """
    forward = target_logits(model, packing)
    trainable = [p for p in model.parameters() if p.requires_grad]
    device = next(model.parameters()).device
    half = set_recompute(model, "selective") if recompute else 0
    layers = set_recompute(model, "full") if recompute else 0
    full = _kept(model, packing, precision) if layers else None
    if layers:
        set_recompute(model, "off")
    off = _kept(model, packing, precision)
    if full is not None and keeps_casts(model):
        full = full._replace(fixed=off.fixed)
    head = getattr(model.get_output_embeddings(), "weight", None)
    return Profile(
        weights=_stored([*model.parameters(), *model.buffers()]),
        gradients=sum(p.numel() * p.element_size() for p in trainable),
        kept=off,
        repeated=full or off,
        layers=layers,
        half=half,
        depth=max(1, int(getattr(model.config.get_text_config(), "num_hidden_layers", 1))),
        vocabulary=model.config.get_text_config().vocab_size,
        item=precision.itemsize,
        part=forward.part,
        plain=forward.plain,
        head=head.numel() if head is not None and head.requires_grad else 0,
        widest=max((p.numel() for p in trainable), default=0),
        on_cpu=device.type == "cpu",
        padded=not packing.packed,
    )


def need(of: Profile, load: Load, how: Recompute, micro_batches: int, *, holes: bool) -> Need:
    """Bytes of a step whose largest micro-batch is `load`.

    micro_batches: of a step; gradients wait through all but one.   holes: freed memory stays with the process (machine).
    """
    again = {"off": 0, "selective": of.half, "full": of.layers}[how]
    repeated = of.repeated.activations(load) if of.layers else 0.0
    layer = max(0.0, (of.kept.activations(load) - repeated) / (of.layers or of.depth))
    activations = of.repeated.activations(load) + (of.layers - again) * layer if again else of.kept.activations(load)
    head = _head(of, load)
    work = max(head, layer if again else 0.0)
    copies = of.repeated.fixed if again else of.kept.fixed
    waiting = of.gradients if micro_batches > 1 else 0
    # The last gradient of a pass is that of the embedding: as large as its matrix, before it is added to what is there.
    end = of.gradients + of.widest * _FP32
    optimizer = _MOMENTS * of.gradients
    moving = max(waiting + copies + activations + work, end)
    heap = 0.0
    if of.on_cpu:
        share, frozen = _KEPT if holes else _AT_ONCE, max(0, of.weights - of.gradients)
        heap = _LIBRARIES + share.layers * layer + share.gradients * of.gradients + share.head * head
        heap += share.frozen * frozen + share.moving * moving
    parts = (of.weights, optimizer, of.gradients, copies, activations, work, heap)
    return Need(*(round(part) for part in (*parts, of.weights + optimizer + moving + heap)))


def _head(of: Profile, load: Load) -> float:
    """Logits, their logarithms and both gradients, in fp32; or a matrix's gradient, first in the dtype of the products."""
    converted = 0 if of.item == _FP32 else of.item
    matrix = of.head * (_FP32 + converted)
    whole = of.item * load.rows * of.vocabulary if of.padded else 0
    if of.part and load.targets > of.plain:
        # Each part's logits, over which their gradient is written, and the sum of the parts' gradients beside the newest.
        parts = -(-load.targets // of.part)
        return min(of.part, load.targets) * of.vocabulary * of.item + matrix + (of.head * _FP32 if parts > 1 else 0)
    logits = load.targets * of.vocabulary
    return max(3 * _FP32 * logits, of.item * logits + max(matrix, whole))


def load_of(model: PreTrainedModel, batch: Batch, packing: Packing, precision: torch.dtype) -> Load:
    """How large `batch` is for `model`."""
    device = next(model.parameters()).device
    targets = len(batch.target_id)
    if not packing.packed:
        lengths = batch.starts.diff()
        documents, width = len(lengths), int(lengths.max())
        return Load(documents * width, documents * width**2, targets)
    groups = attention.layout(batch.starts, parents=batch.parents).groups
    config = model.config.get_text_config()
    capped = getattr(config, "attn_logit_softcapping", None) is not None
    keeps = capped or any(hasattr(module, "sinks") for module in model.modules())
    pairs = 0
    for group in groups if keeps else ():
        seen = group.width + (0 if group.prefix is None else len(group.prefix))
        pairs += group.num_docs * group.width * seen
    with torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32):
        return Load(_round_up(device, len(batch.ids)), pairs, targets)


def _kept(model: PreTrainedModel, packing: Packing, precision: torch.dtype) -> Kept:
    """What three small passes keep, solved for what it depends on: two of one length, two of one size."""
    config = model.config.get_text_config()
    short = min(64, max(4, (getattr(config, "max_position_embeddings", None) or 128) // 2))
    size = 256 // short * short  # filled to a whole step of rows where products are rounded up
    seen = []
    for length, rows in ((short, size), (short, 2 * size), (2 * short, size)):
        batch = _documents(config.vocab_size, length, rows // length)
        seen.append((_bytes_kept(model, batch, packing, precision), load_of(model, batch, packing, precision)))
    (a, load), (b, double), (c, longer) = seen
    per_pair = max(0.0, (c - a) / max(1, longer.pairs - load.pairs))
    per_row = (b - a - per_pair * (double.pairs - load.pairs)) / (double.rows - load.rows)
    return Kept(max(0.0, a - per_row * load.rows - per_pair * load.pairs), per_row, per_pair)


def _documents(vocabulary: int, length: int, count: int) -> Batch:
    """Random documents that learn one token each: the logits of more would count as activations."""
    generator = torch.Generator().manual_seed(length)
    ids = torch.randint(0, vocabulary, (count, length), generator=generator).tolist()
    return pack([Encoded(tuple(row), (*(0.0,) * (length - 1), 1.0)) for row in ids])


def _bytes_kept(model: PreTrainedModel, batch: Batch, packing: Packing, precision: torch.dtype) -> int:
    """Bytes that autograd keeps after a forward pass, each storage once, those of the model's own tensors left out."""
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def keep(x: torch.Tensor) -> torch.Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return x.detach()  # the tensor itself would hold its own graph, which would never be freed

    device = next(model.parameters()).device
    forward = target_logits(model, packing)
    name = attention.NAME if packing.packed else str(model.config._attn_implementation)
    was_training = model.training
    model.train()
    with (
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        attention_set_to(model, name),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x),
        torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32),
    ):
        logits = forward(to_device(batch, device))
        total = sum(kept.values())
        del logits
    model.train(was_training)
    return total


def _stored(tensors: Sequence[torch.Tensor]) -> int:
    """Bytes of what lies behind tensors, each storage once."""
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())
