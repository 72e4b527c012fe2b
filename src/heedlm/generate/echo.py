"""How likely a model finds each token of a given text, with the tokens that it finds likeliest in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from heedlm.generate import cache as kv
from heedlm.generate.passes import forward
from heedlm.generate.sampling import likeliest, token_logprobs

_LOGITS = 2**25  # numbers in one logits tensor: 128 MiB of fp32


class Echo(NamedTuple):
    """logprobs: of every token but the first, which has nothing before it.   alternatives: for each of them."""

    logprobs: list[float]
    alternatives: list[tuple[tuple[int, float], ...]]


def echoed(model: PreTrainedModel, ids: Sequence[int], top: int) -> Echo:
    """Score ids, inside `passes.serving(model)`.   top: alternatives for each place, 0 for none.

    Logits are made for a stretch at a time, where the model can go on from a stretch.
    """
    whole = torch.tensor([list(ids)], device=model.device)
    cache = kv.new_cache(model)
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    stretch = max(1, _LOGITS // vocabulary) if kv.resumable(cache) else len(ids)
    found = Echo([], [])
    for begin in range(0, len(ids) - 1, stretch):
        end = min(begin + stretch, len(ids) - 1)
        logits = forward(model, whole[:, begin:end], [0], cache=cache, past=begin, keep=end - begin)[0]
        found.logprobs.extend(token_logprobs(logits, whole[0, begin + 1 : end + 1]).tolist())
        if top:
            found.alternatives.extend(tuple(likeliest(row, top)) for row in logits)
    return found
