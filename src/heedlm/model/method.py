"""The methods of training, full, lora and qlora: how each loads a base, what it trains, what plain model it ends in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from heedlm.errors import HeedError
from heedlm.model.adapters import add_adapter
from heedlm.model.freeze import freeze
from heedlm.model.load import load_model
from heedlm.model.merge import merged, merged_onto, save_adapter
from heedlm.model.quantized import check_quantized, compute_in, load_quantized
from heedlm.model.vocabulary import make_room

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from heedlm.config import ModelConfig

Say = Callable[[str], None]


class Base(NamedTuple):
    """A model as it is before anything is trained. added: rows of its vocabulary that its checkpoint did not have."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    added: list[int]


def check_method(config: ModelConfig, device: torch.device) -> None:
    """Raises HeedError, before any work, for a method that cannot run here or fields that contradict it."""
    if config.method == "qlora":
        check_quantized(device)
    if config.method != "full" and config.freeze:
        raise HeedError(
            "Adapters leave every weight of the base frozen: there is nothing for model.freeze to do.",
            "model.freeze",
            "--set model.lora.targets=[...] chooses the layers that learn; or --set model.method=full",
        )


def load_base(config: ModelConfig, tokenizer: PreTrainedTokenizerBase, device: torch.device, say: Say) -> Base:
    """The base on its device, with a row for every token: fp32, or four bits under fp32 for qlora."""
    check_method(config, device)
    load = load_quantized if config.method == "qlora" else load_model
    model = load(config.path, device=device, trust_remote_code=config.trust_remote_code)
    return Base(model, tokenizer, make_room(model, tokenizer, say))


def make_trainable(base: Base, config: ModelConfig, say: Say) -> PreTrainedModel:
    """The model of which exactly what the method trains has a gradient."""
    if config.method == "full":
        if config.lora != type(config.lora)():
            say("model.lora is set and does nothing: model.method is full")
        freeze(base.model, config.freeze, say)
        return base.model
    if config.method == "qlora":
        compute_in(base.model, torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32)
    return add_adapter(base.model, config.lora, base.tokenizer, added=base.added, say=say)


def plain_model(model: PreTrainedModel, base: Base, config: ModelConfig, adapter: Path) -> PreTrainedModel:
    """The trained model without any shell around it, on the CPU; adapters are saved to `adapter` first, then merged.

    Adapters over four bits are merged into the base as its checkpoint has it, in full precision.
    """
    if config.method == "full":
        return model.to("cpu")
    save_adapter(model, base.tokenizer, adapter, config.path, grown=bool(base.added))
    if config.method == "lora":
        return merged(model).to("cpu")
    full = load_model(config.path, trust_remote_code=config.trust_remote_code)
    make_room(full, base.tokenizer)
    return merged_onto(full, adapter)
