"""A base model in four bits under adapters (QLoRA, arXiv 2305.14314), where a CUDA device and bitsandbytes are there."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from heedlm.errors import HeedError
from heedlm.model.load import quiet_bars, resolve

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def check_quantized(device: torch.device) -> None:
    """Raises HeedError, before any work, where a model in four bits cannot be trained."""
    if device.type != "cuda":
        raise HeedError(
            f"QLoRA needs a CUDA device; this run is on {device.type}.", "model.method", "--set model.method=lora"
        )
    if find_spec("bitsandbytes") is None:
        raise HeedError(
            "QLoRA needs the package bitsandbytes, which is not installed.",
            "model.method",
            "pip install 'heedlm[qlora]', or --set model.method=lora",
        )


def load_quantized(name: str | Path, *, device: torch.device | str, trust_remote_code: bool = False) -> PreTrainedModel:
    """A causal language model whose linear layers are NF4 with double quantisation; the rest, norms and head, is fp32.

    Products are taken in fp32 until `compute_in` says otherwise, so that packing can be probed without bf16's noise.
    """
    import peft
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    with quiet_bars():
        model = AutoModelForCausalLM.from_pretrained(
            resolve(name),
            quantization_config=settings,
            dtype=torch.float32,
            device_map={"": device},
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
        )
    return cast("PreTrainedModel", peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=False))


def compute_in(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Take the products of the four-bit layers in `dtype`; their weights are unpacked to it for each."""
    for module in model.modules():
        if hasattr(module, "compute_dtype"):
            setattr(module, "compute_dtype", dtype)  # noqa: B010 - bitsandbytes' own attribute, unknown to nn.Module
