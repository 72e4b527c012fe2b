"""Whether a model may be packed, share prefixes and split off its head: tried on the model itself before it is trusted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from heedlm.messages import Batch, Encoded
from heedlm.model import attention
from heedlm.tokens.pack import pack, to_device
from heedlm.tokens.prefix import Tree
from heedlm.train.forward import Packing, _head, _hidden, _packed, _padded, attention_set_to

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What a model raises when it cannot take a batch in our form.
_REFUSALS = (AssertionError, TypeError, ValueError, RuntimeError, KeyError, IndexError)
# Packed against alone, fp32, relative: rounding differs because products have other shapes; a leak is orders larger.
_TOLERANCE = 1e-4


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
