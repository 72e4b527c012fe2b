"""Attention over documents laid end to end: no padding, no dense mask over the row, no leak between neighbours.

The function is registered with transformers under `NAME`, deliberately without a mask function, so that transformers
builds no mask. Document structure travels as a forward keyword (`heed_layout`), never as a global, because activation
checkpointing calls the layer again during backward.

Shapes: N tokens in the row, H query heads, K key/value heads, D head size, G documents in a group, T longest of a group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

NAME = "heed_packed"

# Documents share one padded matrix product while padding stays below this share; beyond it a new group is cheaper.
_MAX_GROUP_PADDING = 0.25
# Up to this length two batched products with a softmax between beat the fused CPU kernel: on documents of 185 tokens with
# 32-wide heads the fused kernel took 53 % of a training step (docs/log.md, 2026-11-20). Beyond it the T x T scores cost memory.
_MANUAL_UP_TO = 1024
# Widths are rounded up, so that the shapes of products repeat: the CPU's bf16 products are compiled per shape and kept.
_WIDTH_STEP = 16


@dataclass(frozen=True, slots=True)
class Group:
    """`num_docs` documents padded to a common `width`.

    tokens: int64 [n] their tokens in the row.   places: int64 [n] where these stand in the padded [num_docs * width].
    """

    tokens: torch.Tensor
    places: torch.Tensor
    num_docs: int
    width: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How a row of N tokens falls into documents, prepared once per batch and used by every layer.

    inverse: int64 [N], where each token of the row stands in the groups' outputs laid end to end; filler tokens behind the
    last document point at one row of zeros.
    """

    groups: tuple[Group, ...]
    inverse: torch.Tensor


class CallCount:
    """Counts attention calls of one forward pass: the gate that tells whether a model really uses our function."""

    def __init__(self) -> None:
        self.calls = 0


def layout(starts: torch.Tensor, num_tokens: int | None = None, device: torch.device | str | None = None) -> Layout:
    """Group documents by length. starts: int32 [D + 1], document d is tokens starts[d]..starts[d + 1] - 1.

    num_tokens: of the row, where filler follows the last document.
    """
    bounds = [int(x) for x in starts.tolist()]
    lengths = [bounds[d + 1] - bounds[d] for d in range(len(bounds) - 1)]
    order = sorted(range(len(lengths)), key=lambda d: (lengths[d], d))
    groups: list[Group] = []
    at = len(order)
    while at > 0:  # longest first: the longest of a group sets its width
        longest = lengths[order[at - 1]]
        width = -(-longest // _WIDTH_STEP) * _WIDTH_STEP
        first, tokens = at - 1, longest
        while first > 0 and tokens + lengths[order[first - 1]] >= (1 - _MAX_GROUP_PADDING) * longest * (at - first + 1):
            first -= 1
            tokens += lengths[order[first]]
        groups.append(_group([(bounds[d], lengths[d]) for d in order[first:at]], width, device))
        at = first
    inverse = torch.argsort(torch.cat([group.tokens for group in groups]))
    filler = (num_tokens or bounds[-1]) - bounds[-1]
    return Layout(tuple(groups), torch.cat([inverse, inverse.new_full((filler,), bounds[-1])]))


def _group(documents: list[tuple[int, int]], width: int, device: torch.device | str | None) -> Group:
    place = torch.arange(width)
    start = torch.tensor([s for s, _ in documents])[:, None]
    length = torch.tensor([n for _, n in documents])[:, None]
    places = (place[None, :] < length).flatten().nonzero()[:, 0]
    tokens = (start + place[None, :]).flatten()[places]
    return Group(tokens.to(device), places.to(device), len(documents), width)


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    heed_layout: Layout | None = None,
    heed_calls: CallCount | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention inside each document only. query [1, H, N, D], key and value [1, K, N, D] -> [1, N, H, D].

    sliding_window counts positions, the current one included, as in Mistral and Gemma.   softcap: Gemma 2's tanh cap.
    s_aux: one attention-sink logit per query head (gpt-oss); takes part in the softmax, gives no value.
    """
    assert heed_layout is not None, "packed rows come with their layout"
    assert attention_mask is None, "packed rows have no mask"
    assert query.shape[0] == 1, "packed rows are one row"
    if heed_calls is not None:
        heed_calls.calls += 1
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    sinks = s_aux if s_aux is not None else getattr(module, "sinks", None)
    rows = tuple(x[0].transpose(0, 1) for x in (query, key, value))  # [N, H or K, D]
    pieces: list[torch.Tensor] = []
    for group in heed_layout.groups:
        q, k, v = (_pad(x, group) for x in rows)
        attended = _attend(q, k, v, scaling, dropout, sliding_window, softcap, sinks)
        pieces.append(attended.flatten(0, 1).index_select(0, group.places))
    pieces.append(pieces[0].new_zeros(1, *pieces[0].shape[1:]))
    return torch.cat(pieces).index_select(0, heed_layout.inverse)[None], None


def _pad(x: torch.Tensor, group: Group) -> torch.Tensor:
    """[N, heads, D] -> [num_docs, width, heads, D], zeros where a document is shorter.

    index_copy, whose backward is a plain read: gathering with repeated indices would accumulate in backward, and was slower.
    """
    padded = x.new_zeros(group.num_docs * group.width, *x.shape[1:])
    padded = padded.index_copy(0, group.places, x.index_select(0, group.tokens))
    return padded.view(group.num_docs, group.width, *x.shape[1:])


def _attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scaling: float,
    dropout: float,
    window: int | None,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """q [G, T, H, D], k and v [G, T, K, D] -> [G, T, H, D]; causal; padding sits at the right, so it is never seen."""
    num_docs, width, heads, size = q.shape
    kv_heads = k.shape[2]
    repeat = heads // kv_heads
    plain = softcap is None and sinks is None
    if plain and (width > _MANUAL_UP_TO or q.device.type != "cpu"):
        windowed = window is not None and window < width
        out = F.scaled_dot_product_attention(
            q.transpose(1, 2),
            k.transpose(1, 2),
            v.transpose(1, 2),
            attn_mask=_causal(width, window, q.device) if windowed else None,
            is_causal=not windowed,
            dropout_p=dropout,
            scale=scaling,
            enable_gqa=heads != kv_heads,
        )
        return out.transpose(1, 2)
    # Query heads of one key/value head are laid under each other, so keys and values are never copied.
    qs = (q * scaling).to(v.dtype).permute(0, 2, 1, 3).reshape(num_docs * kv_heads, repeat * width, size)
    ks = k.to(v.dtype).permute(0, 2, 1, 3).reshape(num_docs * kv_heads, width, size)
    vs = v.permute(0, 2, 1, 3).reshape(num_docs * kv_heads, width, v.shape[3])
    allowed = _causal(width, window, q.device)  # [T, T]
    if plain and not dropout:
        bias = torch.zeros(width, width, dtype=v.dtype, device=v.device).masked_fill_(~allowed, float("-inf"))
        out = _softmax_attention(qs, ks, vs, bias.repeat(repeat, 1))
    else:
        scores = torch.bmm(qs, ks.transpose(1, 2)).view(num_docs, kv_heads, repeat, width, width)
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        scores = scores.masked_fill(~allowed, float("-inf"))
        if sinks is not None:
            sink = sinks.view(1, kv_heads, repeat, 1, 1).expand(num_docs, -1, -1, width, 1).to(scores.dtype)
            scores = torch.cat([scores, sink], dim=-1)
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(v.dtype)[..., :width]
        weights = F.dropout(weights, dropout) if dropout else weights
        out = torch.bmm(weights.reshape(num_docs * kv_heads, repeat * width, width), vs)
    return out.view(num_docs, heads, width, v.shape[3]).transpose(1, 2)


class _SoftmaxAttention(torch.autograd.Function):
    """softmax(q k^T + bias) v with the scores masked in place and kept once.

    q [B, R, D] already scaled, k [B, T, D], v [B, T, D], bias [R, T]. Autograd's own chain would keep the scores, a masked
    copy and an fp32 copy of each; this keeps the probabilities alone.
    """

    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        with torch.autocast(q.device.type, enabled=False):
            scores = torch.bmm(q, k.transpose(1, 2)).add_(bias)
            weights = torch.softmax(scores, dim=-1)  # sums in fp32 whatever the dtype
            ctx.save_for_backward(q, k, v, weights)
            return torch.bmm(weights, v)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        q, k, v, weights = ctx.saved_tensors
        with torch.autocast(q.device.type, enabled=False):
            grad = grads[0].to(v.dtype).contiguous()
            grad_v = torch.bmm(weights.transpose(1, 2), grad)
            grad_weights = torch.bmm(grad, v.transpose(1, 2))
            grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            return torch.bmm(grad_scores, k), torch.bmm(grad_scores.transpose(1, 2), q), grad_v, None


def _softmax_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    out: torch.Tensor = _SoftmaxAttention.apply(q, k, v, bias)  # type: ignore[no-untyped-call]
    return out


def _causal(width: int, window: int | None, device: torch.device) -> torch.Tensor:
    place = torch.arange(width, device=device)
    distance = place[:, None] - place[None, :]
    allowed = distance >= 0
    return allowed if window is None else allowed & (distance < window)


def register() -> None:
    """Make the function known to transformers. Safe to call again."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, packed_attention)
