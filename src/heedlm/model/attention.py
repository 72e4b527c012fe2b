"""Attention over documents laid end to end: no padding, no dense mask over the row, no leak between neighbours.

A document may be a branch: it continues the end of another one, its prefix, and attends to that and to itself.

The function is registered with transformers under `NAME`, deliberately without a mask function, so that transformers
builds no mask. Document structure travels as a forward keyword (`heed_layout`), never as a global, because activation
checkpointing calls the layer again during backward.

Shapes: N tokens in the row, H query heads, K key/value heads, R = H / K, D head size, G documents in a group, T longest
of a group, P tokens of the prefix that the documents of a group continue (0 for most).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F

from heedlm.model.products import SoftmaxAttention, TreeAttention

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
    """`num_docs` documents padded to a common `width`, all continuing the same prefix or none.

    tokens: int64 [n] their tokens in the row.   places: int64 [n] where these stand in the padded [num_docs * width].
    prefix: int64 [P] tokens of the row that every document sees before its own; None for roots.
    """

    tokens: torch.Tensor
    places: torch.Tensor
    num_docs: int
    width: int
    prefix: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """How a row of N tokens falls into documents, prepared once per batch and used by every layer.

    Filler tokens behind the last document are in no group.   masks: what documents see, made once for all layers.
    """

    groups: tuple[Group, ...]
    num_tokens: int
    masks: dict[tuple[int, int, int | None, int, torch.dtype], torch.Tensor] = field(default_factory=dict)


class CallCount:
    """Counts attention calls of one forward pass: the gate that tells whether a model really uses our function."""

    def __init__(self) -> None:
        self.calls = 0


def layout(
    starts: torch.Tensor,
    num_tokens: int | None = None,
    device: torch.device | str | None = None,
    parents: torch.Tensor | None = None,
) -> Layout:
    """Group documents by prefix and length. starts: int32 [D + 1], document d is tokens starts[d]..starts[d + 1] - 1.

    num_tokens: of the row, where filler follows the last document.   parents: int32 [D], the document that each one
    continues, itself a root; -1 for roots.
    """
    bounds = [int(x) for x in starts.tolist()]
    by_parent: dict[int, list[int]] = {}
    for document, parent in enumerate(parents.tolist() if parents is not None else [-1] * (len(bounds) - 1)):
        by_parent.setdefault(parent, []).append(document)
    groups: list[Group] = []
    for parent, documents in by_parent.items():
        prefix = torch.arange(bounds[parent], bounds[parent + 1], device=device) if parent >= 0 else None
        spans = [(bounds[d], bounds[d + 1] - bounds[d]) for d in documents]
        groups.extend(_group(some, prefix, device) for some in _of_like_length(spans))
    return Layout(tuple(groups), num_tokens or bounds[-1])


def _of_like_length(spans: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Spans (start, length) in groups of little padding; the longest comes last in each, and sets the width."""
    order = sorted(spans, key=lambda span: (span[1], span[0]))
    groups = []
    at = len(order)
    while at > 0:
        longest = order[at - 1][1]
        first, tokens = at - 1, longest
        while first > 0 and tokens + order[first - 1][1] >= (1 - _MAX_GROUP_PADDING) * longest * (at - first + 1):
            first -= 1
            tokens += order[first][1]
        groups.append(order[first:at])
        at = first
    return groups


def _group(spans: list[tuple[int, int]], prefix: torch.Tensor | None, device: torch.device | str | None) -> Group:
    width = -(-spans[-1][1] // _WIDTH_STEP) * _WIDTH_STEP
    place = torch.arange(width)
    start = torch.tensor([s for s, _ in spans])[:, None]
    length = torch.tensor([n for _, n in spans])[:, None]
    places = (place[None, :] < length).flatten().nonzero()[:, 0]
    tokens = (start + place[None, :]).flatten()[places]
    return Group(tokens.to(device), places.to(device), len(spans), width, prefix)


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
    rules = _Rules(scaling, dropout, sliding_window, softcap, sinks, heed_layout.masks)
    rows = tuple(x[0].transpose(0, 1) for x in (query, key, value))  # [N, H or K, D]
    laid = zip(*(_Lay.apply(x, heed_layout.groups) for x in rows), strict=True)  # type: ignore[no-untyped-call]
    attended = []
    for group, (q, k, v) in zip(heed_layout.groups, laid, strict=True):
        before = None if group.prefix is None else tuple(x.index_select(0, group.prefix) for x in rows[1:])
        attended.append(_attend(q, k, v, before, rules))
    return _TakeUp.apply(heed_layout, *attended)[None], None  # type: ignore[no-untyped-call]


class _Rules(NamedTuple):
    """How scores become weights: see `packed_attention`."""

    scaling: float
    dropout: float
    window: int | None
    softcap: float | None
    sinks: torch.Tensor | None
    masks: dict[tuple[int, int, int | None, int, torch.dtype], torch.Tensor]

    @property
    def plain(self) -> bool:
        """Nothing but a softmax over scaled scores."""
        return self.softcap is None and self.sinks is None


class _Lay(torch.autograd.Function):
    """[N, heads, D] -> for every group [num_docs, width, heads, D], zeros where a document is shorter.

    Every token stands at most at one place, so that reading back is the gradient; autograd's own chain keeps the tokens
    once more and adds up a row of zeros for every group.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, groups: tuple[Group, ...]) -> tuple[torch.Tensor, ...]:
        ctx.groups, ctx.rows = groups, len(x)
        return tuple(
            x.new_zeros(group.num_docs * group.width, *x.shape[1:])
            .index_copy_(0, group.places, x.index_select(0, group.tokens))
            .view(group.num_docs, group.width, *x.shape[1:])
            for group in groups
        )

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        x = grads[0].new_zeros(ctx.rows, *grads[0].shape[2:])
        for group, grad in zip(ctx.groups, grads, strict=True):
            x.index_copy_(0, group.tokens, grad.flatten(0, 1).index_select(0, group.places))
        return x, None


class _TakeUp(torch.autograd.Function):
    """The way back from `_Lay`: what stands at the groups' places, [num_docs, width, heads, D] each, as [N, heads, D]."""

    @staticmethod
    def forward(ctx: Any, layout: Layout, *padded: torch.Tensor) -> torch.Tensor:
        ctx.layout = layout
        rows = padded[0].new_zeros(layout.num_tokens, *padded[0].shape[2:])
        for group, piece in zip(layout.groups, padded, strict=True):
            rows.index_copy_(0, group.tokens, piece.flatten(0, 1).index_select(0, group.places))
        return rows

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        pieces = (
            grads[0]
            .new_zeros(group.num_docs * group.width, *grads[0].shape[1:])
            .index_copy_(0, group.places, grads[0].index_select(0, group.tokens))
            .view(group.num_docs, group.width, *grads[0].shape[1:])
            for group in ctx.layout.groups
        )
        return None, *pieces


def _attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, before: tuple[torch.Tensor, ...] | None, rules: _Rules
) -> torch.Tensor:
    """q [G, T, H, D], k and v [G, T, K, D], before: k and v of the prefix, [P, K, D] -> [G, T, H, D]; causal.

    Padding sits at the right, so it is never seen.
    """
    width, prefix_len = q.shape[1], 0 if before is None else before[0].shape[0]
    by_products = q.device.type == "cpu" and width * (prefix_len + width) <= _MANUAL_UP_TO**2
    if rules.plain and not by_products:
        return _fused(q, k, v, before, rules)
    return _by_products(q, k, v, before, rules)


def _fused(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, before: tuple[torch.Tensor, ...] | None, rules: _Rules
) -> torch.Tensor:
    """The library's kernel; a prefix is laid before every document's own keys."""
    width, prefix_len = q.shape[1], 0
    if before is not None:
        prefix_len = before[0].shape[0]
        k, v = (torch.cat([x[None].expand(len(q), -1, -1, -1), y], dim=1) for x, y in zip(before, (k, v), strict=True))
    masked = prefix_len > 0 or (rules.window is not None and rules.window < width)
    out = F.scaled_dot_product_attention(
        q.transpose(1, 2),
        k.transpose(1, 2),
        v.transpose(1, 2),
        attn_mask=_allowed(width, prefix_len, rules.window, q.device) if masked else None,
        is_causal=not masked,
        dropout_p=rules.dropout,
        scale=rules.scaling,
        enable_gqa=q.shape[2] != k.shape[2],
    )
    return out.transpose(1, 2)


def _by_products(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, before: tuple[torch.Tensor, ...] | None, rules: _Rules
) -> torch.Tensor:
    """Two batched products with a softmax between. The prefix is never copied: all branches meet it in one product."""
    num_docs, width, heads, size = q.shape
    kv_heads, value_size = k.shape[2], v.shape[3]
    repeat, batch = heads // kv_heads, num_docs * kv_heads
    # Query heads of one key/value head are laid under each other, so keys and values are never copied; the head comes
    # first, so that all branches of a prefix are one matrix per head.
    qs = (q * rules.scaling).to(v.dtype).view(num_docs, width, kv_heads, repeat, size)
    qs = qs.permute(2, 0, 3, 1, 4).reshape(batch, repeat * width, size)
    ks = k.to(v.dtype).permute(2, 0, 1, 3).reshape(batch, width, size)
    vs = v.permute(2, 0, 1, 3).reshape(batch, width, value_size)
    prefix = None if before is None else tuple(x.to(v.dtype).transpose(0, 1).contiguous() for x in before)  # [K, P, D]
    prefix_len = 0 if prefix is None else prefix[0].shape[1]
    if rules.plain and not rules.dropout:
        key = (width, prefix_len, rules.window, repeat, v.dtype)
        if (bias := rules.masks.get(key)) is None:
            allowed = _allowed(width, prefix_len, rules.window, q.device)  # [T, P + T]
            bias = torch.zeros(allowed.shape, dtype=v.dtype, device=v.device).masked_fill_(~allowed, float("-inf"))
            bias = rules.masks[key] = bias.repeat(repeat, 1)
        if prefix is None:
            out: torch.Tensor = SoftmaxAttention.apply(qs, ks, vs, bias)  # type: ignore[no-untyped-call]
        else:
            grouped = (x.view(kv_heads, num_docs, *x.shape[1:]) for x in (qs, ks, vs))
            out = TreeAttention.apply(*grouped, *prefix, bias)  # type: ignore[no-untyped-call]
    else:
        scores = torch.bmm(qs, ks.transpose(1, 2))
        if prefix is not None:
            earlier = torch.bmm(qs.view(kv_heads, -1, size), prefix[0].transpose(1, 2))
            scores = torch.cat([earlier.view(batch, repeat * width, prefix_len), scores], dim=-1)
        allowed = _allowed(width, prefix_len, rules.window, q.device)  # [T, P + T]
        weights = _weights(scores.view(kv_heads, num_docs, repeat, width, prefix_len + width), allowed, rules)
        weights = weights.to(v.dtype).reshape(batch, repeat * width, prefix_len + width)
        out = torch.bmm(weights[..., prefix_len:], vs)
        if prefix is not None:
            seen = torch.bmm(weights[..., :prefix_len].reshape(kv_heads, -1, prefix_len), prefix[1])
            out = out + seen.view(out.shape)
    out = out.view(kv_heads, num_docs, repeat, width, value_size)
    return out.permute(1, 3, 0, 2, 4).reshape(num_docs, width, heads, value_size)


def _weights(scores: torch.Tensor, allowed: torch.Tensor, rules: _Rules) -> torch.Tensor:
    """scores [K, G, R, T, P + T] -> attention weights of the same shape, fp32."""
    if rules.softcap is not None:
        scores = torch.tanh(scores / rules.softcap) * rules.softcap
    scores = scores.masked_fill(~allowed, float("-inf"))
    if rules.sinks is not None:
        sinks = rules.sinks.view(scores.shape[0], 1, scores.shape[2], 1, 1).expand(*scores.shape[:-1], 1)
        scores = torch.cat([scores, sinks.to(scores.dtype)], dim=-1)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32)
    weights = weights[..., :-1] if rules.sinks is not None else weights
    return F.dropout(weights, rules.dropout) if rules.dropout else weights


def _allowed(width: int, prefix_len: int, window: int | None, device: torch.device) -> torch.Tensor:
    """bool [T, P + T]: what a document's tokens may see of the prefix and of itself; windows go by position."""
    place = torch.arange(prefix_len, prefix_len + width, device=device)
    distance = place[:, None] - torch.arange(prefix_len + width, device=device)[None, :]
    allowed = distance >= 0
    return allowed if window is None else allowed & (distance < window)


def register() -> None:
    """Make the function known to transformers. Safe to call again."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, packed_attention)
