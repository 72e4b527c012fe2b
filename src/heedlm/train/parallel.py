"""Several processes that train one model: who computes what, and how their gradients become one.

The model stays as it is. *ddp*: every process holds all of it, and once per step the gradients are summed. *fsdp*:
PyTorch's `fully_shard` cuts parameters, gradients and optimiser state among them. docs/decisions/0010 says why so.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import distributed, nn

from heedlm.errors import HeedError
from heedlm.launch import launched
from heedlm.memory_left import GIB, device_memory_bytes
from heedlm.train.ranks import ALONE, Ranks, Whole

T = TypeVar("T")
Engine = Literal["ddp", "fsdp"]

# How long a process waits for another that prepares data, saves or answers prompts.
PATIENCE = timedelta(hours=24)
# The share of a device's memory that weights and optimiser may take; activations want the rest.
ROOM = 0.6


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
    root = Whole(model)
    fully_shard(root, mesh=mesh)
    for module in root.modules():
        if isinstance(module, FSDPModule):
            # The loss is divided by the weights of the global batch: a sum is wanted, and not their mean.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    return replace(ranks, root=root)


def _layers(model: nn.Module) -> list[nn.Module]:
    """The blocks of a decoder; without those that share a parameter with another part, which must stay in one group."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    stacks = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    longest = {id(block) for block in max(stacks, key=len, default=())}  # in models of other makers
    usual = {id(module) for module in model.modules() if isinstance(module, GradientCheckpointingLayer)}
    return [
        module
        for prefix, module in model.named_modules()
        if id(module) in (usual or longest)
        and all(name.startswith(f"{prefix}.") for p in module.parameters() for name in names[id(p)])
    ]
