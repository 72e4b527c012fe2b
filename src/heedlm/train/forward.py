"""How a batch of documents reaches a model: packed where its architecture allows, padded and said aloud where not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn import functional as F

from heedlm.messages import Batch, Encoded
from heedlm.model import attention
from heedlm.tokens.pack import pack, to_device
from heedlm.tokens.prefix import Tree
from heedlm.train.loss import Forward

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What a model raises when it cannot take a batch in our form.
_REFUSALS = (AssertionError, TypeError, ValueError, RuntimeError, KeyError, IndexError)
# Packed against alone, fp32, relative: rounding differs because products have other shapes; a leak is orders larger.
_TOLERANCE = 1e-4

# The CPU's bf16 products are compiled per shape and kept: 2.2 MB for each number of rows (400 shapes took 887 MB, torch
# 2.13). Rounding the row count keeps both the memory and the compiling bounded.
_SHAPE_STEP = 256
# Logits of this many elements at most stand at once (fp32: 128 MB); with more, head and loss run on parts of the targets.
HEAD_ELEMENTS = 2**25


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
    hidden = torch.zeros(1, model.config.get_text_config().hidden_size, device=next(model.parameters()).device)
    with torch.enable_grad():
        logits = _head(model, hidden.requires_grad_())
    weights = tuple(leaf for leaf in _leaves(logits.grad_fn) if leaf is not hidden)
    part = max(1, HEAD_ELEMENTS // logits.shape[-1])
    part = part // _SHAPE_STEP * _SHAPE_STEP or part
    return Forward(lambda batch: _hidden(model, batch), lambda states: _head(model, states), part, weights)


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
        return _plain(model)(input_ids=ids, use_cache=False).logits[0, :rows]  # type: ignore[no-any-return]
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


@torch.no_grad()
def choose_packing(model: PreTrainedModel) -> Packing:
    """Try packing on the user's own model before trusting it.

    Three gates: our attention function was called once per attention layer; a document gives the same logits packed as
    alone; changing the first document moves nothing in the second. Any failure means padded rows, with the reason. Shared
    prefixes, and the head apart from the body, are each compared with the same documents done plainly.
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
    except _REFUSALS as error:
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
    reason = f"packed rows without padding (probe: leak {leak:.0e}, packed against alone {apart:.0e})"
    with attention_set_to(model, attention.NAME):
        shared = _shared_prefix_difference(model, first, second)
        split = _split_head_difference(model, to_device(pack([first, second]), device), both)
    return Packing(True, reason, shares=shared <= _TOLERANCE, splits=split <= _TOLERANCE)


def _shared_prefix_difference(model: PreTrainedModel, prefix: Encoded, branch: Encoded) -> float:
    """Logits of two branches of one prefix, computed with it once, against the same sequences side by side.

    Infinite where the model may not share: with dropout the branches would share its draw; router losses average over
    tokens as they are computed; rotary factors that follow the longest position see other positions.
    """
    config = model.config.get_text_config()
    rope = str((getattr(config, "rope_parameters", None) or {}).get("rope_type", "default"))
    dropout = any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in model.modules())
    # Some call dropout as a function. The heads for classification that some configurations describe are not here.
    elsewhere = ("summary_", "classifier_")
    dropout = dropout or any(v for name, v in vars(config).items() if "drop" in name and not name.startswith(elsewhere))
    if dropout or getattr(config, "output_router_logits", False) or rope in ("dynamic", "longrope"):
        return math.inf
    device = next(model.parameters()).device
    ends = (branch.ids, tuple(reversed(branch.ids))[: len(branch.ids) // 2])
    pair = [Encoded(prefix.ids + end, (1.0,) * (len(prefix.ids) + len(end))) for end in ends]
    tree = pack(pair, trees=[Tree((0, 1), len(prefix.ids))])
    try:
        return _difference(_packed(model, to_device(tree, device)), _packed(model, to_device(pack(pair), device)))
    except _REFUSALS:
        return math.inf


def _split_head_difference(model: PreTrainedModel, batch: Batch, logits: torch.Tensor) -> float:
    try:
        return _difference(_head(model, _hidden(model, batch)), logits)
    except (*_REFUSALS, AttributeError):
        return math.inf


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
