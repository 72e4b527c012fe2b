"""Several processes that train one model: who computes what, and how their gradients become one.

The model stays as it is. *ddp*: every process holds all of it, and once per step the gradients are summed. *fsdp*:
PyTorch's `fully_shard` cuts parameters, gradients and optimiser state among them. docs/decisions/0010 says why so.
"""

from __future__ import annotations

import atexit
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal, NamedTuple, TypeVar, cast

import torch
from torch import distributed, nn

from heedlm.errors import HeedError
from heedlm.launch import Elsewhere, launched
from heedlm.machine import GIB, device_memory_bytes
from heedlm.messages import Batch
from heedlm.train.loss import Forward, LossSum, StepLoss

T = TypeVar("T")
Engine = Literal["ddp", "fsdp"]

# How long a process waits for another that prepares data, saves or answers prompts.
PATIENCE = timedelta(hours=24)
# Gradients are summed in pieces of so many elements (fp32: 128 MB), for a piece is copied together first.
PIECE = 2**25
# The share of a device's memory that weights and optimiser may take; activations want the rest.
ROOM = 0.6


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those that train together. One alone: nothing is sent, every value is its own.

    rank: its number.   size: how many there are.   words: the group in which they exchange Python values.
    root: where parameters are cut among the processes, the module in whose forward pass they are whole.
    """

    rank: int = 0
    size: int = 1
    words: distributed.ProcessGroup | None = None
    root: _Whole | None = None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def on_first(self, work: Callable[[], T]) -> T:
        """What `work` gives on the first process, on all of them; they wait for it, and fail with it.

        Raises HeedError on all of them where it does, and `Elsewhere` on the others for anything else.
        """
        if self.size == 1:
            return work()
        told: list[Any] = [None, None]
        if self.first:
            try:
                told = [work(), None]
            except HeedError as error:
                told = [None, error]
            except BaseException:
                distributed.broadcast_object_list([None, Elsewhere()], 0, self.words)
                raise
        distributed.broadcast_object_list(told, 0, self.words)
        if told[1] is not None:
            raise told[1]
        return cast("T", told[0])

    def gather(self, value: T) -> list[T]:
        """The value of every process, in their order."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value, self.words)
        return values

    def sum(self, *values: float) -> tuple[float, ...]:
        """Each value summed over the processes, in float64; all of them get the same."""
        if self.size == 1:
            return values
        totals = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(totals, group=self.words)
        return tuple(totals.tolist())

    def share(self, micro_batches: Sequence[Batch]) -> list[Batch]:
        """The micro-batches of this process; the sums over all processes are those of all micro-batches.

        Where parameters are cut all processes must compute the same number, or those with more wait for ever: the others
        get batches of two tokens that nothing is learned from.
        """
        if self.size == 1 or not micro_batches:
            return list(micro_batches)
        parts = balanced([len(batch.ids) for batch in micro_batches], self.size)
        mine = [micro_batches[index] for index in parts[self.rank]]
        if self.root is not None:
            mine += [_without_targets(micro_batches[0])] * (max(map(len, parts)) - len(mine))
        return mine

    def draw(self, *what: object) -> None:
        """Dropout of its own for each process at each step, the same when the run is repeated or goes on."""
        if self.size > 1:
            torch.manual_seed(random.Random("/".join(map(str, (*what, self.rank)))).getrandbits(63))

    def objective(self, step_loss: StepLoss) -> StepLoss:
        """The same objective, computed where parameters are whole.

        A Forward calls inner parts of the model, past the hooks of its outermost module; so all of it, head and loss
        included, runs inside the root's forward pass.
        """
        if self.root is None:
            return step_loss

        def gathered(forward: Forward, batch: Batch) -> LossSum:
            result = cast("LossSum", root(lambda: step_loss(forward, batch)))
            if not torch.is_grad_enabled():  # else the backward pass wants the root whole, and cuts it again
                root.reshard()
            return result

        root = self.root
        return gathered

    def with_root(self, work: Callable[[], T]) -> T:
        """What `work` gives where parameters are whole; on all processes, for they gather them together."""
        if self.root is None:
            return work()
        made: list[T] = []
        try:
            self.root(lambda: made.append(work()))  # kept from the root, which would await a gradient of what it gives
        finally:
            self.root.reshard()
        return made[0]

    def with_weights(self, work: Callable[[], T]) -> T:
        """What `work` gives where weights are at hand: on the first process, or on all of them if weights are cut."""
        return self.on_first(work) if self.root is None else self.with_root(work)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Make every process's gradients the sum over all of them. One that no process has stays absent.

        fsdp has summed its gradients by then.
        """
        if self.size == 1 or self.root is not None:
            return
        trained = [p for p in parameters if p.requires_grad]
        held = self.sum(*(float(p.grad is not None) for p in trained))
        for parameter, count in zip(trained, held, strict=True):
            if count and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for piece in _pieces([p.grad for p in trained if p.grad is not None]):
            flat = torch.cat([gradient.reshape(-1) for gradient in piece])
            distributed.all_reduce(flat)
            parts = torch.split(flat, [gradient.numel() for gradient in piece])
            for gradient, part in zip(piece, parts, strict=True):
                gradient.copy_(part.view_as(gradient))


ALONE = Ranks()


def balanced(sizes: Sequence[int], parts: int) -> list[list[int]]:
    """Indices of `sizes` in `parts` lists of about the same total, each in rising order: the largest first, to whom has least.

    >>> balanced([5, 9, 4], 2)
    [[1], [0, 2]]
    """
    made: list[list[int]] = [[] for _ in range(parts)]
    totals = [0] * parts
    for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        least = totals.index(min(totals))
        made[least].append(index)
        totals[least] += sizes[index]
    return [sorted(part) for part in made]


def _without_targets(batch: Batch) -> Batch:
    """The first two tokens of a batch, with nothing to learn: its loss is zero, and so are its gradients."""
    none = slice(0, 0)
    return replace(
        batch,
        ids=batch.ids[:2],
        positions=batch.positions[:2],
        starts=torch.tensor([0, 2], dtype=batch.starts.dtype),
        parents=batch.parents[:1],
        target_index=batch.target_index[none],
        target_id=batch.target_id[none],
        target_weight=batch.target_weight[none],
        target_row=batch.target_row[none],
    )


def _pieces(gradients: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Gradients of one dtype in lists of about `PIECE` elements."""
    piece: list[torch.Tensor] = []
    held = 0
    for gradient in gradients:
        if piece and (held + gradient.numel() > PIECE or gradient.dtype != piece[0].dtype):
            yield piece
            piece, held = [], 0
        piece.append(gradient)
        held += gradient.numel()
    if piece:
        yield piece


@contextmanager
def together(device: torch.device) -> Iterator[Ranks]:
    """The processes that a launcher started, joined until the end of the block. One process: alone.

    device: what this process computes on; CUDA devices talk through NCCL, everything else through gloo.
    """
    launch = launched()
    if launch.size == 1:
        yield ALONE
        return
    cuda = device.type == "cuda"
    joined = not distributed.is_initialized()  # a program of the user's may have done it
    if joined:
        distributed.init_process_group("nccl" if cuda else "gloo", device_id=device if cuda else None)
        # After a failure only at the very end: the others must not hear of it before it is told what it was.
        atexit.register(_leave)
    # Python values never pass through the device, and wait as long as it takes.
    words = distributed.new_group(backend="gloo", timeout=PATIENCE)
    yield Ranks(launch.rank, launch.size, words)
    if joined:
        _leave()


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def own_device(device: torch.device) -> torch.device:
    """The device of this process among those on this machine. Raises HeedError where there are fewer devices."""
    launch = launched()
    if launch.size == 1 or device.type == "cpu":
        return device
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if launch.local >= count:
        what = f"{launch.local_size} processes on this machine, which has {count} {device.type} device(s)."
        raise HeedError(what, "train.device", f"torchrun --nproc-per-node {count}, or --set train.device=cpu")
    if device.type != "cuda":
        return device
    own = torch.device("cuda", launch.local)
    torch.cuda.set_device(own)
    return own


class Choice(NamedTuple):
    """An engine, with the reason that is shown."""

    engine: Engine
    reason: str


def choose_engine(
    wanted: str, ranks: Ranks, *, method: str, parameters: Callable[[], int], products: torch.dtype, memory: int
) -> Choice:
    """ddp while weights, gradients and optimiser fit into `ROOM` of every device, else fsdp; or what is asked for.

    parameters: counts them.   products: dtype of the matrix products.   memory: bytes that the device has left for this
    process.
    Raises HeedError for an engine where there is one process, and for fsdp over weights in four bits.
    """
    if ranks.size == 1:
        if wanted != "auto":
            mend = "torchrun --nproc-per-node 2 -m heedlm -- train ..., or --set train.parallel=auto"
            raise HeedError(f"train.parallel is {wanted}, and this is one process.", "train.parallel", mend)
        return Choice("ddp", "one process")
    if method == "qlora" and wanted == "fsdp":
        what = "Weights in four bits cannot be cut among processes."
        raise HeedError(what, "train.parallel", "--set train.parallel=ddp, or --set model.method=lora")
    # fp32 masters with their copy in the dtype of the products; where all of them train, gradients and two moments.
    per_weight = 4 + (0 if products == torch.float32 else products.itemsize) + (12 if method == "full" else 0)
    need, least = per_weight * parameters(), min(ranks.gather(memory))
    size = f"weights and optimiser of {need / GIB:,.2g} GiB on devices of {least / GIB:,.2g} GiB"
    if wanted == "fsdp" or (wanted == "auto" and method != "qlora" and need > ROOM * least):
        return Choice("fsdp", f"{ranks.size} processes, each with a part of the weights (fsdp): {size}")
    return Choice("ddp", f"{ranks.size} processes, each with all weights (ddp): {size}")


def memory_left(device: torch.device) -> int:
    """Bytes that this process may take of its device, or its share of the machine's."""
    return device_memory_bytes(device) // (1 if device.type == "cuda" else launched().local_size)


def micro_tokens(ranks: Ranks, tokens_per_step: int, most: int) -> int:
    """Tokens of a row, so that a step has one for every process."""
    return min(most, -(-tokens_per_step // ranks.size))


def spread(model: nn.Module, ranks: Ranks, engine: Engine, device: torch.device, products: torch.dtype) -> Ranks:
    """Make one model of those that the processes loaded. For fsdp they may lie elsewhere than on `device`.

    Returns the ranks to train with.
    """
    if engine == "fsdp":
        return shard(model, ranks, device, products)
    for parameter in model.parameters() if ranks.size > 1 else ():
        if parameter.requires_grad:
            distributed.broadcast(parameter.data, 0)
    return ranks


def shard(model: nn.Module, ranks: Ranks, device: torch.device, products: torch.dtype) -> Ranks:
    """Cut parameters, gradients and optimiser state of `model` among the processes, on `device`, layer by layer.

    Every layer is a group that is gathered when it is needed; the rest, embedding and head with their tie among it, is the
    root's. Products are of dtype `products` as elsewhere, from gathered weights of that dtype; what flows between
    layers, the masters and the sums of gradients stay fp32.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(device.type, (ranks.size,))
    # No cast of what enters a layer, so that the sum over layers is kept in fp32, as autocast keeps it on one device.
    policy = MixedPrecisionPolicy(
        param_dtype=None if products == torch.float32 else products,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,
    )
    for layer in reversed(_layers(model)):  # an inner one before the one round it
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    root = _Whole(model)
    fully_shard(root, mesh=mesh)
    for module in root.modules():
        if isinstance(module, FSDPModule):
            # The loss is divided by the weights of the global batch: a sum is wanted, and not their mean.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    return replace(ranks, root=root)


class _Whole(nn.Module):
    """A module round the model in whose forward pass any work may be done; `fully_shard` makes its class an FSDPModule."""

    reshard: Callable[[], None]

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[], T]) -> T:
        return work()


def _layers(model: nn.Module) -> list[nn.Module]:
    """The blocks of a decoder; without those that share a parameter with another part, which must stay in one group."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [
        module
        for prefix, module in model.named_modules()
        if isinstance(module, GradientCheckpointingLayer)
        and all(name.startswith(f"{prefix}.") for p in module.parameters() for name in names[id(p)])
    ]


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor that may be cut among the processes, in one piece. All of them must ask."""
    full = getattr(tensor, "full_tensor", None)
    return tensor if full is None else cast("torch.Tensor", full())


def collected(tensor: torch.Tensor) -> torch.Tensor:
    """The same, in the first process's main memory; the others must ask too, and get nothing."""
    full = whole(tensor)
    if full is tensor:
        return tensor
    return full.cpu() if distributed.get_rank() == 0 else torch.empty(0)


def part_like(like: torch.Tensor, full: torch.Tensor) -> torch.Tensor:
    """This process's part of a tensor that is to lie as `like` does."""
    if getattr(like, "full_tensor", None) is None:
        return full
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor), "only a tensor that is cut can be asked for its whole"
    return distribute_tensor(full.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
