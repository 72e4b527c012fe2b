"""The result folder: Hugging Face layout, safetensors, template, stop ids, card; reloaded before it is called saved."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from heedlm.errors import HeedError
from heedlm.model.load import quiet_bars
from heedlm.runs import disk_errors, write_text

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

VERSION = 1
# What heed adds to a model folder: where the result comes from and in which wire format it was taught.
CARD_FILE = "heed.json"


def save_base(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, facts: Mapping[str, Any]
) -> None:
    """A base model: bf16 weights, tokenizer, a card that says what it was made of. No chat template."""
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    _save(model, tokenizer, folder, torch.bfloat16, {"kind": "base", **facts}, _base_card(facts))


def save_result(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    dtype: torch.dtype,
    chat_template: str,
    stop_ids: tuple[int, ...],
    facts: Mapping[str, Any],
) -> None:
    """An instruct model that any runtime loads: its template and its stop ids travel with it."""
    tokenizer.chat_template = chat_template
    model.generation_config.eos_token_id = list(stop_ids)
    if model.generation_config.pad_token_id is None:
        model.generation_config.pad_token_id = (
            tokenizer.pad_token_id if tokenizer.pad_token_id is not None else stop_ids[0]
        )
    model.generation_config.do_sample = False
    for name in (
        "temperature",
        "top_p",
        "top_k",
    ):  # a base's sampling defaults would contradict do_sample=False on saving
        setattr(model.generation_config, name, None)
    _save(model, tokenizer, folder, dtype, {"kind": "instruct", **facts}, _instruct_card(facts))


def read_card(folder: str | Path) -> dict[str, Any]:
    """What heed wrote beside a model; empty for models made elsewhere."""
    path = Path(folder) / CARD_FILE
    return dict(json.loads(path.read_text("utf8"))) if path.is_file() else {}


def _save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    dtype: torch.dtype,
    facts: Mapping[str, Any],
    card: str,
) -> None:
    temporary = folder.with_name(f".{folder.name}.writing")
    with disk_errors(folder):
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            model.config.dtype = dtype
            state = _stored(model.state_dict(), dtype)
            with quiet_bars():
                model.save_pretrained(temporary, state_dict=state)
            tokenizer.save_pretrained(temporary)
            write_text(
                temporary / CARD_FILE, json.dumps({"version": VERSION, **facts}, indent=2, ensure_ascii=False) + "\n"
            )
            write_text(temporary / "README.md", card)
            _verify(model, temporary, dtype)
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _stored(state: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Weights in the stored dtype; tied ones stay one tensor, or they would be written twice."""
    made: dict[tuple[int, torch.Size], torch.Tensor] = {}
    out: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        key = (tensor.data_ptr(), tensor.shape)
        if key not in made:
            made[key] = tensor.to(dtype) if tensor.is_floating_point() else tensor
        out[name] = made[key]
    return out


def _verify(model: PreTrainedModel, folder: Path, dtype: torch.dtype) -> None:
    """Load what was written and compare every weight: "saved" is said only of what reads back."""
    with quiet_bars():
        again = type(model).from_pretrained(folder, dtype=dtype, use_safetensors=True)
    theirs = again.state_dict()
    for name, tensor in model.state_dict().items():
        want = tensor.detach().cpu().to(dtype) if tensor.is_floating_point() else tensor.cpu()
        if name not in theirs or not torch.equal(theirs[name].to(want.dtype), want):
            raise HeedError(
                f"The saved model does not read back: {name} differs.",
                str(folder),
                "this is a fault in heed: report it",
            )


def _base_card(facts: Mapping[str, Any]) -> str:
    rows = "\n".join(f"| {key.replace('_', ' ')} | {value} |" for key, value in facts.items())
    return f"""---
library_name: transformers
tags: [heed, base-model]
---
# A base model trained from scratch with heed

It continues text. It was never taught to answer: tune it with `heed train --model FOLDER --data FILE`.

| fact | value |
|---|---|
{rows}
"""


def _instruct_card(facts: Mapping[str, Any]) -> str:
    rows = "\n".join(
        f"| {key.replace('_', ' ')} | {value} |" for key, value in facts.items() if not isinstance(value, (dict, list))
    )
    return f"""---
library_name: transformers
base_model: {facts.get("base", "")}
tags: [heed, instruct, sft]
---
# An instruct model tuned with heed

The chat template and the stop tokens travel with the weights: `tokenizer.apply_chat_template` renders exactly what the
model was taught on.

| fact | value |
|---|---|
{rows}
"""
