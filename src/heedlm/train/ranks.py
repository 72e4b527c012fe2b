"""This process among those that train one model: what it computes, and how values and gradients become one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import torch
from torch import distributed, nn

from heedlm.errors import HeedError
from heedlm.launch import Elsewhere
from heedlm.messages import Batch
from heedlm.train.loss import Forward, LossSum, StepLoss

T = TypeVar("T")

# Gradients are summed in pieces of so many elements (fp32: 128 MB), for a piece is copied together first.
PIECE = 2**25


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those that train together. One alone: nothing is sent, every value is its own.

    rank: its number.   size: how many there are.   words: the group in which they exchange Python values.
    root: where parameters are cut among the processes, the module in whose forward pass they are whole.
    """

    rank: int = 0
    size: int = 1
    words: distributed.ProcessGroup | None = None
    root: Whole | None = None

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
        root = self.root
        if root is None:
            return step_loss

        def gathered(forward: Forward, batch: Batch) -> LossSum:
            result = cast("LossSum", root(lambda: step_loss(forward, batch)))
            if not torch.is_grad_enabled():  # else the backward pass wants the root whole, and cuts it again
                root.reshard()
            return result

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


def _pieces(gradients: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
    """Gradients of one dtype in lists of about `PIECE` elements."""
    pieces: list[list[torch.Tensor]] = []
    held = 0
    for gradient in gradients:
        held += gradient.numel()
        if not pieces or held > PIECE or gradient.dtype != pieces[-1][0].dtype:
            pieces.append([])
            held = gradient.numel()
        pieces[-1].append(gradient)
    return pieces


def micro_tokens(ranks: Ranks, tokens_per_step: int, most: int) -> int:
    """Tokens of a row, so that a step has one for every process."""
    return min(most, -(-tokens_per_step // ranks.size))


class Whole(nn.Module):
    """A module round the model in whose forward pass any work may be done; `fully_shard` makes its class an FSDPModule."""

    reshard: Callable[[], None]

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[], T]) -> T:
        return work()


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
    from torch.distributed.tensor import distribute_tensor

    cut = cast("Any", like)
    return distribute_tensor(full.to(cut.device), cut.device_mesh, cut.placements, src_data_rank=None)
