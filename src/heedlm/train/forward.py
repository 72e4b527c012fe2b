"""How a batch of documents reaches a model: packed where its architecture allows, padded and said aloud where not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn import functional as F

from heedlm.messages import Batch
from heedlm.model import attention
from heedlm.train.loss import Forward

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# The CPU's bf16 products are compiled per shape and kept: 2.2 MB for each number of rows (400 shapes took 887 MB, torch
# 2.13). Rounding the row count keeps both the memory and the compiling bounded.
_SHAPE_STEP = 256
# Logits of this many elements at most stand at once (bf16: 128 MB); with more, head and loss run on parts of the targets.
HEAD_ELEMENTS = 2**26
# Up to so many (fp32: 64 MB), head and loss are written as usual, which keeps fp32 copies of the logits.
PLAIN_ELEMENTS = 2**24


class Packing(NamedTuple):
    """packed: documents share a row without padding.   reason: why, in words for the report.

    shares: a prefix that several sequences have in common may be computed once.   splits: head and body may be called
    apart, so that the head runs on some learned tokens at a time. Both are tried on the model before they are used.
    """

    packed: bool
    reason: str
    shares: bool = False
    splits: bool = False


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


def target_logits(model: PreTrainedModel, packing: Packing) -> Forward:
    """How batches reach `model`: a Forward, to be used under `attention_set_to(model, attention.NAME)` where packed."""
    if not packing.packed:
        return Forward(lambda batch: _padded(model, batch), lambda logits: logits)
    if not packing.splits:
        return Forward(lambda batch: _packed(model, batch), lambda logits: logits)
    vocabulary, device = model.config.get_text_config().vocab_size, next(model.parameters()).device
    part = max(1, HEAD_ELEMENTS // vocabulary)
    part = part // _SHAPE_STEP * _SHAPE_STEP or part
    weights, overwrites = _learns_with(model)
    return Forward(
        lambda batch: _hidden(model, batch),
        lambda states: _head(model, states),
        part,
        min(part, PLAIN_ELEMENTS // vocabulary),
        weights,
        overwrites,
        lambda rows: _round_up(device, rows),
    )


def _learns_with(model: PreTrainedModel) -> tuple[tuple[torch.Tensor, ...], bool]:
    """The learned weights of the model's head, and whether its gradient can do without the logits: tried on one state."""
    hidden = torch.zeros(1, model.config.get_text_config().hidden_size, device=next(model.parameters()).device)
    with torch.enable_grad():
        logits = _head(model, hidden.requires_grad_())
    weights = tuple(leaf for leaf in _leaves(logits.grad_fn) if leaf is not hidden)
    try:
        torch.autograd.grad(logits, hidden, logits.detach().zero_())
    except RuntimeError:  # what was kept for the backward pass has been written over
        return weights, False
    return weights, True


def _leaves(node: Any) -> list[torch.Tensor]:
    """What a result was computed from, found in its graph: the learned weights of whatever a model's head consists of."""
    found: dict[int, torch.Tensor] = {}
    seen, todo = set(), [node]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found[id(node.variable)] = node.variable
        todo.extend(following for following, _ in node.next_functions)
    return list(found.values())


def _packed(model: PreTrainedModel, batch: Batch, calls: attention.CallCount | None = None) -> torch.Tensor:
    num_targets = _round_up(batch.ids.device, len(batch.target_index))
    keep = F.pad(batch.target_index, (0, num_targets - len(batch.target_index)))
    out = model(**_inputs(batch), logits_to_keep=keep, heed_calls=calls)
    return out.logits[0, : len(batch.target_index)]  # type: ignore[no-any-return]


def _inputs(batch: Batch) -> dict[str, Any]:
    """The row as every model takes it, filled up behind the last document."""
    num_tokens = _round_up(batch.ids.device, len(batch.ids))
    return {
        "input_ids": F.pad(batch.ids, (0, num_tokens - len(batch.ids)))[None],
        "position_ids": F.pad(batch.positions, (0, num_tokens - len(batch.positions)))[None],
        "use_cache": False,
        "heed_layout": attention.layout(batch.starts, num_tokens, batch.ids.device, batch.parents),
    }


def _hidden(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """The last hidden state [L, d] of every position that has a target, from the model's body alone."""
    body = _body(model)
    return body(**_inputs(batch)).last_hidden_state[0].index_select(0, batch.target_index)  # type: ignore[no-any-return]


def _head(model: PreTrainedModel, hidden: torch.Tensor) -> torch.Tensor:
    """Logits [L, V] by the model's own forward, its body replaced: scales and soft caps stay whatever they are."""
    body, rows = _body(model), len(hidden)
    hidden = F.pad(hidden, (0, 0, 0, _round_up(hidden.device, rows) - rows))
    given = _Given(hidden[None])
    ids = torch.zeros(1, len(hidden), dtype=torch.long, device=hidden.device)
    body.forward = lambda *args, **kwargs: given
    try:
        logits: torch.Tensor = _plain(model)(input_ids=ids, use_cache=False).logits.flatten(0, 1)
        return logits if len(hidden) == rows else logits[:rows]  # the gradient of a cut is a second matrix of zeros
    finally:
        del body.forward


class _Given:
    """What a body that did nothing gives back: the states, and None for whatever else its model would pass on."""

    def __init__(self, states: torch.Tensor) -> None:
        self.last_hidden_state = states

    def __getattr__(self, name: str) -> None:
        return None

    def __getitem__(self, index: int) -> torch.Tensor | None:
        return self.last_hidden_state if index == 0 else None


def _plain(model: PreTrainedModel) -> Any:
    """The model without the shell that an adapter puts around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _body(model: PreTrainedModel) -> Any:
    return _plain(model).get_decoder()


def _round_up(device: torch.device, count: int) -> int:
    """`count`, or in bf16 on a CPU the next multiple of `_SHAPE_STEP`: filler that no document and no target sees."""
    if device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
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
