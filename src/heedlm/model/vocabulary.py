"""A model's rows and its tokenizer's tokens, made to agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@torch.no_grad()
def make_room(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, say: Callable[[str], None] = lambda line: None
) -> list[int]:
    """Give every token of the tokenizer a row in embedding and head; returns the ids of the new rows, rising.

    A tokenizer to which tokens were added can be longer than the model it lies beside. Each new row is the mean of the
    old ones: a token of which nothing is known yet. Rows without a token, which many models have, stay.
    """
    have, need = model.get_input_embeddings().weight.shape[0], len(tokenizer)
    if need <= have:
        return []
    model.resize_token_embeddings(need, mean_resizing=False)
    for end in (model.get_input_embeddings(), model.get_output_embeddings()):
        weight = getattr(end, "weight", None)
        if weight is not None and weight.shape[0] == need:
            weight[have:] = weight[:have].float().mean(0).to(weight.dtype)
    say(f"the tokenizer has {need - have:,} tokens more than the model: rows for them are added, and trained")
    return list(range(have, need))
