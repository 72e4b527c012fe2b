"""From a trained adapter to files: saved, read back, and merged into the weights of its base in fp32."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from heedlm.errors import HeedError
from heedlm.model.adapters import tied_matrix
from heedlm.runs import disk_errors, settle, write_text

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def save_adapter(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, base: str, *, grown: bool = False
) -> None:
    """The adapter alone, in peft's format, with the tokenizer it was trained with; in place only once it reads back.

    Trained rows of the vocabulary travel in it, so that tokens that were added keep their meaning (pain 16).
    base: what the adapter belongs to, for its card.   grown: the base was given rows for added tokens first.
    """
    temporary = folder.with_name(f".{folder.name}.writing")
    with disk_errors(folder):
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            # Rows and modules that were trained are in the adapter already; peft's own guess would ask the hub.
            model.save_pretrained(temporary, save_embedding_layers=False)
            tokenizer.save_pretrained(temporary)
            write_text(temporary / "README.md", _card(base, grown))
            _verify(model, temporary)
            settle(temporary)
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def merged(model: PreTrainedModel) -> PreTrainedModel:
    """The plain model with its adapter added to the weights, in the fp32 of the masters (pain 18).

    Raises HeedError if that would cut the tie of head and embedding: peft does so in silence.
    """
    from peft import PeftModel

    wrapped = cast("Any", model)
    assert isinstance(wrapped, PeftModel), "only a model with adapters is merged"
    was_tied = bool(wrapped.get_base_model().config.get_text_config().tie_word_embeddings)
    plain = cast("PreTrainedModel", wrapped.merge_and_unload())
    if was_tied and tied_matrix(plain) is None:
        raise HeedError(
            "Merging would part head and embedding, which are one matrix in the base.",
            "model.lora",
            "this is a fault in heed: report it; the adapter itself is saved",
        )
    return plain


def merged_onto(base: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """A base in full precision with a saved adapter merged into it: what an adapter over four bits becomes."""
    from peft import PeftModel

    return merged(cast("PreTrainedModel", PeftModel.from_pretrained(base, str(folder))))


def _verify(model: PreTrainedModel, folder: Path) -> None:
    """Load what was written, by peft's own way, beside the trained adapter, and compare the two."""
    wrapped = cast("Any", model)
    active, again = wrapped.active_adapter, "read_back"
    trained = {n: p.requires_grad for n, p in wrapped.named_parameters()}
    try:
        with warnings.catch_warnings():  # beside the trained adapter peft does not find the tie that it made itself
            warnings.filterwarnings("ignore", message=".*ensure_weight_tying", category=UserWarning)
            wrapped.load_adapter(str(folder), adapter_name=again)
        held = dict(wrapped.named_parameters())
        pairs = [(p, held.get(_renamed(n, active, again))) for n, p in held.items() if f".{active}" in n]
        if not pairs or any(theirs is None or not torch.equal(mine, theirs) for mine, theirs in pairs):
            raise HeedError("The saved adapter does not read back.", str(folder), "this is a fault in heed: report it")
    finally:
        if again in wrapped.peft_config:
            wrapped.delete_adapter(again)
        wrapped.set_adapter(active)
        for name, parameter in wrapped.named_parameters():
            parameter.requires_grad_(trained[name])


def _renamed(name: str, old: str, new: str) -> str:
    head, _, tail = name.rpartition(f".{old}")
    return f"{head}.{new}{tail}"


def _card(base: str, grown: bool) -> str:
    resize = "\nbase.resize_token_embeddings(len(transformers.AutoTokenizer.from_pretrained(FOLDER)))" if grown else ""
    return f"""---
library_name: peft
tags: [heed, lora]
---
# Adapters tuned with heed

They belong to `{base}`. The tokenizer is the one they were trained with.

```python
import peft, transformers

base = transformers.AutoModelForCausalLM.from_pretrained({base!r}){resize}
model = peft.PeftModel.from_pretrained(base, FOLDER)
```
"""
