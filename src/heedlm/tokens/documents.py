"""Plain documents as sequences that are learned in full: pretraining, and replay during tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from heedlm.messages import Encoded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode_documents(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], context: int) -> list[Encoded]:
    """Each document opened and closed by the end-of-text token, every token after the first learned.

    A document longer than `context` is cut into pieces of that length; nothing is dropped. The opening token is what the
    start of a text looks like to the model; it is never a target itself.
    """
    end = tokenizer.eos_token_id
    assert end is not None, "a tokenizer without an end-of-text token cannot mark where documents end"
    out: list[Encoded] = []
    for ids in (
        tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"] if texts else []
    ):
        whole = (end, *ids, end)
        pieces = [tuple(whole[at : at + context]) for at in range(0, len(whole), context)]
        out += [Encoded(piece, (1.0,) * len(piece)) for piece in pieces if len(piece) > 1]
    return out
