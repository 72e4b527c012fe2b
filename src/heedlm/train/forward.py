"""How a batch of documents reaches a model: packed where its architecture allows, padded and said aloud where not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn import functional as F

from heedlm.messages import Batch, Encoded
from heedlm.model import attention
from heedlm.tokens.pack import pack, to_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Packed against alone, fp32, relative: rounding differs because products have other shapes; a leak is orders larger.
_TOLERANCE = 1e-4

# The CPU's bf16 products are compiled per shape and kept: 2.2 MB for each number of rows (400 shapes took 887 MB, torch
# 2.13). Rounding the row count keeps both the memory and the compiling bounded.
_SHAPE_STEP = 256


class Packing(NamedTuple):
    """packed: documents share a row without padding.   reason: why, in words for the report."""

    packed: bool
    reason: str


@contextmanager
def attention_set_to(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Every part of `model` uses the attention function `name` inside the block."""
    configs = {
        id(m.config): m.config for m in model.modules() if hasattr(getattr(m, "config", None), "_attn_implementation")
    }
    before = {key: config._attn_implementation for key, config in configs.items()}
    try:
        for config in configs.values():
            config._attn_implementation = name
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]


def target_logits(model: PreTrainedModel, packing: Packing) -> Callable[[Batch], torch.Tensor]:
    """A function from a batch to the logits [L, V] of its targets. Packed models must stand under `attention_set_to`."""
    return (lambda batch: _packed(model, batch)) if packing.packed else (lambda batch: _padded(model, batch))


def _packed(model: PreTrainedModel, batch: Batch, calls: attention.CallCount | None = None) -> torch.Tensor:
    num_tokens, num_targets = _round_up(batch, len(batch.ids)), _round_up(batch, len(batch.target_index))
    out = model(
        input_ids=F.pad(batch.ids, (0, num_tokens - len(batch.ids)))[None],
        position_ids=F.pad(batch.positions, (0, num_tokens - len(batch.positions)))[None],
        use_cache=False,
        logits_to_keep=F.pad(batch.target_index, (0, num_targets - len(batch.target_index))),
        heed_layout=attention.layout(batch.starts, num_tokens, batch.ids.device),
        heed_calls=calls,
    )
    return out.logits[0, : len(batch.target_index)]  # type: ignore[no-any-return]


def _round_up(batch: Batch, count: int) -> int:
    """`count`, or in bf16 on a CPU the next multiple of `_SHAPE_STEP`: filler that no document and no target sees."""
    if batch.ids.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return count
    return -(-count // _SHAPE_STEP) * _SHAPE_STEP


def _padded(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """One document per row, padded on the right: causal models never look there, whatever the pad id is."""
    bounds = batch.starts.tolist()
    lengths = [bounds[d + 1] - bounds[d] for d in range(len(bounds) - 1)]
    width = max(lengths)
    device = batch.ids.device
    document = torch.repeat_interleave(torch.arange(len(lengths), device=device), torch.tensor(lengths, device=device))
    ids = torch.zeros(len(lengths), width, dtype=torch.long, device=device)
    ids[document, batch.positions] = batch.ids
    mask = torch.zeros_like(ids)
    mask[document, batch.positions] = 1
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits  # [D, T, V]
    return logits[document[batch.target_index], batch.positions[batch.target_index]]  # type: ignore[no-any-return]


@torch.no_grad()
def choose_packing(model: PreTrainedModel) -> Packing:
    """Try packing on the user's own model before trusting it.

    Three gates: our attention function was called once per attention layer; a document gives the same logits packed as
    alone; changing the first document moves nothing in the second. Any failure means padded rows, with the reason.
    """
    was_training = model.training
    model.eval()
    try:
        return _probe(model)
    finally:
        model.train(was_training)


def _probe(model: PreTrainedModel) -> Packing:
    attention.register()
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    length = min(24, window + 4) if isinstance(window, int) and window > 0 else 24
    first, other, second = (
        _document(config.vocab_size, length + extra, seed) for extra, seed in ((0, 1), (0, 2), (5, 3))
    )
    device = next(model.parameters()).device
    calls = attention.CallCount()
    try:
        with attention_set_to(model, attention.NAME):
            both = _packed(model, to_device(pack([first, second]), device), calls)
            moved = _packed(model, to_device(pack([other, second]), device))
    except (AssertionError, TypeError, ValueError, RuntimeError, KeyError, IndexError) as error:
        return Packing(False, f"padded rows: {type(model).__name__} does not take packed rows ({_short(error)})")
    layers = _attention_layers(model)
    if calls.calls != layers:
        return Packing(
            False,
            f"padded rows: {type(model).__name__} called our attention {calls.calls} times for {layers} attention layers",
        )
    own = len(second.ids) - 1
    alone = _padded(model, to_device(pack([second]), device))
    leak = _difference(both[-own:], moved[-own:])
    if leak > _TOLERANCE:
        return Packing(
            False, f"padded rows: packed documents see each other in {type(model).__name__} (probe moved {leak:.1e})"
        )
    apart = _difference(both[-own:], alone)
    if apart > _TOLERANCE:
        return Packing(False, f"padded rows: {type(model).__name__} gives other logits packed than alone ({apart:.1e})")
    return Packing(True, f"packed rows without padding (probe: leak {leak:.0e}, packed against alone {apart:.0e})")


def _attention_layers(model: PreTrainedModel) -> int:
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    if kinds:
        return sum("attention" in kind and "linear" not in kind for kind in kinds)
    return int(config.num_hidden_layers)


def _document(vocab_size: int, length: int, seed: int) -> Encoded:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, vocab_size, (length,), generator=generator).tolist()
    return Encoded(tuple(ids), (1.0,) * length)


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    scale = float(b.abs().max()) or 1.0
    return float((a - b).abs().max()) / scale


def _short(error: BaseException) -> str:
    return str(error).split("\n")[0][:80] or type(error).__name__
