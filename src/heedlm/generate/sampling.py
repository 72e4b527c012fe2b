"""Choosing the next token of every row from its logits.

Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

import torch

_NUCLEUS = 256  # tokens that hold top_p of the mass in nearly every step of a trained model


def draws(seed: int, num_draws: int) -> torch.Tensor:
    """Uniform numbers in [0, 1), one for each token that a request may make; float32 [num_draws], on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(num_draws, generator=generator)


def choose(
    logits: torch.Tensor,
    draw: torch.Tensor | None,
    *,
    temperature: float,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
) -> torch.Tensor:
    """The next token of each row; int64 [B].

    logits: [B, V].   draw: float32 [B] in [0, 1), used by inverse transform; None only where temperature is 0.
    temperature 0 takes the largest logit (the first of equals).   top_k 0, top_p 1.0 and min_p 0.0 switch the filters off;
    they act in the order top_k, top_p, min_p, and the most likely token always survives them all.
    """
    if temperature == 0.0:
        return _largest(logits)
    assert draw is not None, "sampling needs a draw for each row"
    scores = logits.float() / temperature
    drawn = draw[:, None].to(scores.device)  # [B, 1]
    ids: torch.Tensor | None = None
    if 0 < top_k < scores.shape[-1]:
        scores, ids = scores.topk(top_k, dim=-1)
    if top_p < 1.0:
        place = _nucleus(scores, drawn, top_p, min_p, _NUCLEUS if ids is None else top_k)
    else:
        place = _drawn_place(_likely(scores.softmax(-1), min_p), drawn)
    return (place if ids is None else ids.gather(-1, place)).squeeze(-1)


def _largest(logits: torch.Tensor) -> torch.Tensor:
    """The place of the largest logit of each row, the first of equals; int64 [B].

    On a CPU numpy finds it in a twelfth of the time: torch looks at one number at a time there.
    """
    if logits.device.type == "cpu" and logits.dtype == torch.float32:
        return torch.from_numpy(logits.detach().numpy().argmax(axis=-1))
    return logits.argmax(dim=-1)


def _likely(weights: torch.Tensor, min_p: float) -> torch.Tensor:
    """`weights` without those below `min_p` of the largest of their row."""
    return weights.where(weights >= min_p * weights.amax(dim=-1, keepdim=True), 0.0) if min_p > 0.0 else weights


def _nucleus(scores: torch.Tensor, drawn: torch.Tensor, top_p: float, min_p: float, width: int) -> torch.Tensor:
    """A draw from the smallest set of most likely tokens that holds at least `top_p` of the mass; int64 [B, 1].

    The `width` most likely tokens are sorted; a row whose set is larger sorts them all, whatever the other rows do.
    """
    best, ids = scores.topk(min(width, scores.shape[-1]), dim=-1)
    probabilities = (best - scores.logsumexp(dim=-1, keepdim=True)).exp()
    mass = probabilities.cumsum(dim=-1)
    stays = (mass - probabilities) < top_p  # the mass before a token that stays has not reached top_p
    stays[:, 0] = True
    place = ids.gather(-1, _drawn_place(_likely(probabilities.where(stays, 0.0), min_p), drawn))
    larger = mass[:, -1] < top_p
    if best.shape[-1] < scores.shape[-1] and bool(larger.any()):
        place[larger] = _nucleus(scores[larger], drawn[larger], top_p, min_p, scores.shape[-1])
    return place


def _drawn_place(weights: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
    """The place that each draw falls on when `weights` [B, N] are laid end to end; int64 [B, 1].

    The first place whose mass exceeds the draw has a weight above zero. Rounding may leave no such place for a draw
    near 1: the last place that adds mass takes it.
    """
    mass = weights.cumsum(dim=-1)
    total = mass[:, -1:]
    place = (mass <= drawn * total).sum(dim=-1, keepdim=True)
    return torch.minimum(place, (mass < total).sum(dim=-1, keepdim=True))


def penalised(logits: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """Logits [V] of one row, those of the tokens it has `seen` (bool [V]) made less likely: divided by `penalty` where they
    are positive, multiplied where they are negative.

    Source: arXiv 1909.05858; the same arithmetic as in transformers.
    """
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def token_logprobs(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Log-probability (nats, float32) that the model itself gives `ids`: no temperature, no filter.

    logits: [..., V].   ids: int64 [...].
    """
    scores = logits.float()
    return scores.gather(-1, ids.unsqueeze(-1)).squeeze(-1) - scores.logsumexp(dim=-1)


def likeliest(logits: torch.Tensor, count: int) -> list[tuple[int, float]]:
    """The `count` most likely tokens of one row [V] with their log-probabilities, best first."""
    scores = logits.float()
    best, ids = scores.topk(min(count, scores.shape[-1]))
    return list(zip(ids.tolist(), (best - scores.logsumexp(dim=-1)).tolist(), strict=True))
