"""Softmax attention as two batched products, its weights computed again in the backward pass instead of kept.

Letters as in attention.py; B = G * K documents and key heads. Written for the CPU; see docs/decisions/0003.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

# Scores of some documents at a time (8 MB in bf16): all of them at once would be the largest thing in a step of long rows.
_SCORES = 2**22


class SoftmaxAttention(torch.autograd.Function):
    """softmax(q k^T + bias) v, some documents at a time, whose weights are computed again in the backward pass.

    q [B, R, D] already scaled, k [B, T, D], v [B, T, D], bias [R, T]. Autograd's own chain would keep the scores, a masked
    copy and an fp32 copy of each. The weights alone were a fifth of all that a 135M model kept, and computing them again
    takes one percent of its step.
    """

    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(q, k, v, bias)
        with torch.autocast(q.device.type, enabled=False):
            pieces = [torch.bmm(_softmax(q[at], k[at], bias), v[at]) for at in _some(len(q), bias)]
            return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        q, k, v, bias = ctx.saved_tensors
        d_q, d_k, d_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        with torch.autocast(q.device.type, enabled=False):
            for at in _some(len(q), bias):
                grad, weights = grads[0][at].to(v.dtype).contiguous(), _softmax(q[at], k[at], bias)
                torch.bmm(weights.transpose(1, 2), grad, out=d_v[at])
                d_weights = torch.bmm(grad, v[at].transpose(1, 2))
                d_scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype)
                torch.bmm(d_scores, k[at], out=d_q[at])
                torch.bmm(d_scores.transpose(1, 2), q[at], out=d_k[at])
        return d_q, d_k, d_v, None


def _some(batch: int, bias: torch.Tensor) -> Iterator[slice]:
    count = max(1, _SCORES // bias.numel())
    return (slice(first, min(first + count, batch)) for first in range(0, batch, count))


def _softmax(q: torch.Tensor, k: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    scores = torch.bmm(q, k.transpose(1, 2)).add_(bias)
    return torch.softmax(scores, dim=-1)  # sums in fp32 whatever the dtype


# Scores of a few branches at a time (1 MB in bf16): what is done to them element by element stays in the cache.
_TREE_SCORES = 2**19


class TreeAttention(torch.autograd.Function):
    """`SoftmaxAttention` of branches that also see one prefix, some branches at a time.

    q [K, G, R, D], k and v [K, G, T, D], the prefix's k and v [K, P, D], bias [R, P + T]. The prefix is never copied: the
    branches of a key head are one matrix against it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        prefix_k: torch.Tensor,
        prefix_v: torch.Tensor,
        bias: torch.Tensor,
    ) -> torch.Tensor:
        ctx.save_for_backward(q, k, v, prefix_k, prefix_v, bias)
        out = v.new_empty(*q.shape[:3], v.shape[-1])
        with torch.autocast(q.device.type, enabled=False):
            for at in _branches(q, bias):
                earlier, own = _tree_softmax(q[:, at], k[:, at], prefix_k, bias)
                seen = torch.bmm(own, v[:, at].flatten(0, 1)).view(*earlier.shape[:3], -1)
                out[:, at] = seen + torch.bmm(earlier.flatten(1, 2), prefix_v).view(seen.shape)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, prefix_k, prefix_v, bias = ctx.saved_tensors
        heads, prefix_len, _ = prefix_k.shape
        d_q, d_k, d_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        # Many branches owe the prefix a little each: summed in fp32.
        d_prefix_k, d_prefix_v = (torch.zeros_like(x, dtype=torch.float32) for x in (prefix_k, prefix_v))
        with torch.autocast(q.device.type, enabled=False):
            for at in _branches(q, bias):
                grad, queries = grads[0][:, at].to(v.dtype).contiguous(), q[:, at].contiguous()
                by_head, by_branch = grad.flatten(1, 2), grad.flatten(0, 1)
                keys, values = k[:, at].flatten(0, 1), v[:, at].flatten(0, 1)
                weights = _tree_weights(queries, keys, prefix_k, bias)  # [K, g, R, P + T]
                d_weights = torch.empty_like(weights)
                d_weights[..., :prefix_len] = torch.bmm(by_head, prefix_v.transpose(1, 2)).view(*weights.shape[:3], -1)
                d_weights[..., prefix_len:] = torch.bmm(by_branch, values.transpose(1, 2)).view(*weights.shape[:3], -1)
                d_scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype)
                earlier, own = _cut(weights, prefix_len)
                d_earlier, d_own = _cut(d_scores, prefix_len)
                shape = queries.shape
                d_q[:, at] = torch.bmm(d_own, keys).view(shape) + torch.bmm(d_earlier.flatten(1, 2), prefix_k).view(
                    shape
                )
                d_k[:, at] = torch.bmm(d_own.transpose(1, 2), queries.flatten(0, 1)).view(heads, -1, *k.shape[2:])
                d_v[:, at] = torch.bmm(own.transpose(1, 2), by_branch).view(heads, -1, *v.shape[2:])
                d_prefix_k += torch.bmm(d_earlier.flatten(1, 2).transpose(1, 2), queries.flatten(1, 2))
                d_prefix_v += torch.bmm(earlier.flatten(1, 2).transpose(1, 2), by_head)
        return d_q, d_k, d_v, d_prefix_k.to(prefix_k.dtype), d_prefix_v.to(prefix_v.dtype), None


def _branches(q: torch.Tensor, bias: torch.Tensor) -> Iterator[slice]:
    """Ranges of branches whose scores fit into the cache."""
    heads, branches = q.shape[:2]
    some = max(1, _TREE_SCORES // (heads * bias.numel()))
    return (slice(first, min(first + some, branches)) for first in range(0, branches, some))


def _tree_softmax(
    q: torch.Tensor, k: torch.Tensor, prefix_k: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    return _cut(_tree_weights(q.contiguous(), k.flatten(0, 1), prefix_k, bias), prefix_k.shape[1])


def _cut(weights: torch.Tensor, prefix_len: int) -> tuple[torch.Tensor, torch.Tensor]:
    """[K, g, R, P + T] -> what is before the branches [K, g, R, P], and their own part [K * g, R, T]."""
    return weights[..., :prefix_len].contiguous(), weights[..., prefix_len:].flatten(0, 1).contiguous()


def _tree_weights(q: torch.Tensor, k: torch.Tensor, prefix_k: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """q [K, g, R, D], k [K * g, T, D], prefix_k [K, P, D] -> attention weights [K, g, R, P + T]."""
    prefix_len = prefix_k.shape[1]
    scores = q.new_empty(*q.shape[:3], prefix_len + k.shape[1])
    scores[..., :prefix_len] = torch.bmm(q.flatten(1, 2), prefix_k.transpose(1, 2)).view(*q.shape[:3], -1)
    scores[..., prefix_len:] = torch.bmm(q.flatten(0, 1), k.transpose(1, 2)).view(*q.shape[:3], -1)
    return torch.softmax(scores.add_(bias), dim=-1)
