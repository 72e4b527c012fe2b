"""Choosing the next token of every row from its logits.

Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

import torch


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
) -> torch.Tensor:
    """The next token of each row; int64 [B].

    logits: [B, V].   draw: float32 [B] in [0, 1), used by inverse transform; None only where temperature is 0.
    temperature 0 takes the largest logit (the first of equals).   top_k 0 and top_p 1.0 switch the filters off;
    top_k acts before top_p, and the most likely token always survives both.
    """
    if temperature == 0.0:
        return logits.argmax(dim=-1)
    assert draw is not None, "sampling needs a draw for each row"
    scores = logits.float() / temperature
    ids: torch.Tensor | None = None
    if 0 < top_k < scores.shape[-1]:
        scores, ids = scores.topk(top_k, dim=-1)
    elif top_p < 1.0:
        scores, ids = scores.sort(dim=-1, descending=True, stable=True)
    probabilities = scores.softmax(dim=-1)
    mass = probabilities.cumsum(dim=-1)
    if top_p < 1.0:
        # A token stays while the mass before it is below top_p: the smallest set that holds at least top_p.
        stays = (mass - probabilities) < top_p
        stays[:, 0] = True
        probabilities = probabilities.where(stays, 0.0)
        mass = probabilities.cumsum(dim=-1)
    # The first place whose mass exceeds the draw has a probability above zero. Rounding may leave no such place for a
    # draw near 1; the last place that adds mass takes it.
    total = mass[:, -1:]
    place = (mass <= draw[:, None].to(mass.device) * total).sum(dim=-1, keepdim=True)
    last = (mass < total).sum(dim=-1, keepdim=True)
    place = torch.minimum(place, last)
    return (place if ids is None else ids.gather(-1, place)).squeeze(-1)


def token_logprobs(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Log-probability (nats, float32) that the model itself gives `ids`: no temperature, no filter.

    logits: [..., V].   ids: int64 [...].
    """
    scores = logits.float()
    return scores.gather(-1, ids.unsqueeze(-1)).squeeze(-1) - scores.logsumexp(dim=-1)
