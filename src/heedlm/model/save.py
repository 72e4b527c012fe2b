"""The result folder: Hugging Face layout, safetensors, template, stop ids, card; reloaded before it is called saved."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from heedlm.errors import HeedError
from heedlm.model.load import quiet_bars
from heedlm.runs import disk_errors, settle, sync, write_text

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

VERSION = 1
# What heed adds to a model folder: where the result comes from and in which wire format it was taught.
CARD_FILE = "heed.json"
# What can be said of a model only once it is read back from the disk.
Measure = Callable[["PreTrainedModel"], Mapping[str, Any]]


def save_base(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, facts: Mapping[str, Any]
) -> None:
    """A base model: bf16 weights, tokenizer, a card that says what it was made of. No chat template."""
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    _save(model, tokenizer, folder, torch.bfloat16, {"kind": "base", **facts}, _base_card, lambda again: {})


def save_result(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    dtype: torch.dtype,
    chat_template: str,
    stop_ids: tuple[int, ...],
    facts: Mapping[str, Any],
    measure: Measure = lambda again: {},
) -> dict[str, Any]:
    """An instruct model that any runtime loads: its template and its stop ids travel with it.

    measure: called with the model as it was read back, in fp32; what it finds joins the card and is returned.
    """
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
    return _save(model, tokenizer, folder, dtype, {"kind": "instruct", **facts}, _instruct_card, measure)


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
    card: Callable[[Mapping[str, Any]], str],
    measure: Measure,
) -> dict[str, Any]:
    temporary, before = (folder.with_name(f".{folder.name}.{word}") for word in ("writing", "before"))
    with disk_errors(folder):
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            state = _stored(model.state_dict(), dtype)
            with quiet_bars():
                model.save_pretrained(temporary, state_dict=state)
            del state
            model.config.dtype = dtype  # transformers wrote that of the model in memory, and would load it in that
            model.config.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
            found = dict(measure(_read_back(model, tokenizer, temporary, dtype).float()))
            known = {**facts, **found}
            text = json.dumps({"version": VERSION, **known}, indent=2, ensure_ascii=False)
            write_text(temporary / CARD_FILE, text + "\n")
            write_text(temporary / "README.md", card(known))
            settle(temporary)
            if folder.exists():  # a folder cannot be replaced in one move: the old one steps aside, whole
                shutil.rmtree(before, ignore_errors=True)
                os.replace(folder, before)
            os.replace(temporary, folder)
            sync(folder.parent)
            shutil.rmtree(before, ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return found


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


def _read_back(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, dtype: torch.dtype
) -> PreTrainedModel:
    """Load what was written and compare it all: weights, stop ids, template, tokens. "Saved" is said only of what reads back."""
    from transformers import AutoTokenizer

    with quiet_bars():
        again = type(model).from_pretrained(folder, dtype=dtype, use_safetensors=True)
    theirs = again.state_dict()
    differs = [
        name
        for name, tensor in model.state_dict().items()
        if name not in theirs or not torch.equal(_as_stored(theirs[name], dtype), _as_stored(tensor, dtype))
    ]
    if again.generation_config.eos_token_id != model.generation_config.eos_token_id:
        differs.append("the stop ids")
    tokens = AutoTokenizer.from_pretrained(folder)
    if tokens.chat_template != tokenizer.chat_template:
        differs.append("the chat template")
    if tokens.get_vocab() != tokenizer.get_vocab():
        differs.append("the tokenizer's vocabulary")
    if differs:
        raise HeedError(
            f"The saved model does not read back: {', '.join(differs[:3])} differs.",
            str(folder),
            "this is a fault in heed: report it",
        )
    return again.eval()


def _as_stored(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return tensor.detach().cpu().to(dtype) if tensor.is_floating_point() else tensor.cpu()


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
    base = str(facts.get("base", ""))
    # The hub refuses a card whose base_model is no hub id: a folder of one's own is named in the table only.
    known = f"base_model: {base}\n" if re.fullmatch(r"[\w.-]+/[\w.-]+", base) and not Path(base).exists() else ""
    return f"""---
library_name: transformers
{known}tags: [heed, instruct, sft]
---
# An instruct model tuned with heed

The chat template and the stop tokens travel with the weights: `tokenizer.apply_chat_template` renders exactly what the
model was taught on.

| fact | value |
|---|---|
{rows}
"""
