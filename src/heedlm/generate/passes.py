"""One forward pass over rows of different lengths, with any Hugging Face causal language model.

Shapes: B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import Cache
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from heedlm.errors import HeedError
from heedlm.generate import cache as kv
from heedlm.model.load import context_length
from heedlm.model.quick import quick_products

_WORTH_SHARING = 256  # tokens that a shared beginning must save: below it another forward pass costs as much
_NEARLY, _KEPT = 16, 4  # tokens that a known beginning may lack; beginnings that are kept
_SPREAD_ROOM = 64  # columns beyond the prompts, for the first tokens of the replies

# Prompt and reply together; under the name by which upper floors ask for it.
context_limit = context_length


@contextmanager
def serving(model: PreTrainedModel) -> Iterator[None]:
    """Evaluation mode, no gradients, an attention that masks padding, the faster products; everything is put back afterwards.

    A model in training may use an attention function of its own that builds no padding mask.
    """
    training = [module for module in model.modules() if module.training]
    attention = model.config._attn_implementation
    foreign = attention is not None and attention not in ALL_MASK_ATTENTION_FUNCTIONS._global_mapping
    if foreign:
        model.set_attn_implementation("sdpa" if model._supports_sdpa else "eager")
    model.eval()
    try:
        with torch.no_grad(), quick_products(model):
            yield
    finally:
        for module in training:
            module.training = True
        if foreign:
            model.set_attn_implementation(attention)


def left_padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, list[int]]:
    """Rows of ids as one tensor [B, T] padded on the left (with id 0, which the mask hides), and where each begins."""
    length = max(map(len, rows))
    starts = [length - len(row) for row in rows]
    ids = torch.tensor([[0] * start + list(row) for start, row in zip(starts, rows, strict=True)], device=device)
    return ids, starts


def forward(
    model: PreTrainedModel,
    ids: torch.Tensor,
    starts: Sequence[int],
    *,
    cache: Cache | None = None,
    past: int = 0,
    keep: int = 0,
) -> torch.Tensor:
    """Logits [B, keep, V] of the last `keep` tokens of left-padded rows (0: of all tokens).

    ids: int64 [B, T], the tokens after the `past` columns that are in `cache`.   starts: first column of each row that
    is not padding, counted from the first column of the cache.
    """
    known = _inputs(model)
    total = past + ids.shape[1]
    begin = torch.tensor(starts, device=ids.device)[:, None]  # [B, 1]
    columns = torch.arange(total, device=ids.device)  # [past + T]
    extra: dict[str, object] = {}
    stateful = "past_key_values" not in known  # the Mamba kind: its state holds no columns to be masked later
    if cache is not None:
        extra["cache_params" if stateful else "past_key_values"] = cache
    if any(starts) and not (stateful and past):
        extra["attention_mask"] = (columns >= begin).long()
    if "position_ids" in known:
        extra["position_ids"] = (columns[past:] - begin).clamp(min=0)
    if "logits_to_keep" in known:
        extra["logits_to_keep"] = keep
    logits: torch.Tensor = model(input_ids=ids, use_cache=cache is not None, return_dict=True, **extra).logits
    return logits[:, -keep:]


@dataclass(frozen=True, slots=True)
class Beginning:
    """Tokens that many rows begin with, computed once. cache: one row of them."""

    ids: Sequence[int]
    cache: Cache


def opened(
    model: PreTrainedModel,
    rows: Sequence[Sequence[int]],
    starts: Sequence[int],
    known: list[Beginning],
    most: int | None = None,
) -> tuple[Cache, int]:
    """A cache for left-padded rows, and how many columns of it are filled: with what all rows begin with.

    known: beginnings of earlier batches, of which one is taken where it serves; a new one is added.   most: columns that
    may be filled at most; None leaves one token of each row.
    """
    cache = kv.new_cache(model)
    most = min(map(len, rows)) - 1 if most is None else most
    past = _shared(rows, most) if kv.resumable(cache) else 0
    if not past:
        return cache, 0
    wanted = rows[0][:past]
    # One that holds all but a few of the tokens saves as much: questions that begin with the same word make it longer.
    served = [(same, one) for one in known if (same := _same(one.ids, wanted)) + _NEARLY >= past]
    if not served:
        device = model.device
        forward(model, torch.tensor([list(wanted)], device=device), [0], cache=cache, keep=1)
        known[:] = [*known[-_KEPT + 1 :], Beginning(wanted, cache)]
        served = [(past, known[-1])]
    past, one = max(served, key=lambda found: found[0])
    return kv.spread(one.cache, starts, past, room=max(map(len, rows)) - past + _SPREAD_ROOM), past


def _shared(rows: Sequence[Sequence[int]], most: int) -> int:
    """How many tokens, from the first, all rows begin with, `most` at most, or 0 where it would save little.

    Examples before each question of a task, or one system text before all: such a beginning is computed once.
    """
    same = most
    for row in rows:
        same = min(same, _same(row, rows[0][:same]))
    return same if same * 4 >= max(map(len, rows)) and same * (len(rows) - 1) >= _WORTH_SHARING else 0


def _same(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _inputs(model: PreTrainedModel) -> frozenset[str]:
    """What the model's forward pass can be given; of an adapter, what the model inside can."""
    inside = model.get_base_model() if hasattr(model, "get_base_model") else model
    return _parameters(type(inside).__name__, type(inside).forward)


@lru_cache(maxsize=64)
def _parameters(name: str, function: Callable[..., object]) -> frozenset[str]:
    known = frozenset(inspect.signature(function).parameters)
    if not known & {"past_key_values", "cache_params"}:
        raise HeedError(
            f"{name} keeps what it has read in a way that heed does not know.",
            mend="use a model with a key/value cache, or one of the Mamba kind",
        )
    return known
