"""Tiny models with random weights, one per architecture, and a tokenizer of this project's own making."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedModel

from heedlm.tokens.tokenizer import train_tokenizer

VOCABULARY = 320
TEXTS = [
    "Human: What is the capital of France?\n\nAssistant: Paris is the capital of France.",
    "हिन्दी में 'water' को पानी कहते हैं। Ein schöner Tag, naïve café, 東京 🙂",
    "Write a short story that begins with a mysterious letter.",
] * 3


def _shape(**more: object) -> dict[str, object]:
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": 0,
        **more,
    }


_GEMMA = {"head_dim": 8, "sliding_window": 4, "query_pre_attn_scalar": 8}
_GPT = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": None, "eos_token_id": None}
FAMILIES: dict[str, tuple[str, dict[str, object]]] = {
    "llama": ("LlamaConfig", _shape()),
    "mistral": ("MistralConfig", _shape(sliding_window=5)),
    "qwen2": ("Qwen2Config", _shape()),
    "qwen3": ("Qwen3Config", _shape(head_dim=8)),
    "gemma2": ("Gemma2Config", _shape(**_GEMMA)),
    "gemma3": ("Gemma3TextConfig", _shape(**_GEMMA)),
    "phi3": ("Phi3Config", _shape()),
    "gpt2": ("GPT2Config", {**_GPT, "n_positions": 128, "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}),
    "neox": ("GPTNeoXConfig", {key: value for key, value in _shape().items() if key != "num_key_value_heads"}),
    "opt": ("OPTConfig", _shape(ffn_dim=48, word_embed_proj_dim=32, dropout=0.0)),
    "mixtral": ("MixtralConfig", _shape(num_local_experts=4)),
    "bloom": ("BloomConfig", {**_GPT, "hidden_size": 32}),
    "gptj": ("GPTJConfig", {**_GPT, "n_positions": 128, "rotary_dim": 4}),
    "lfm2": ("Lfm2Config", _shape(layer_types=["conv", "full_attention"])),
    "qwen3_5": (
        "Qwen3_5TextConfig",
        _shape(
            head_dim=8,
            layer_types=["linear_attention", "full_attention"],
            linear_num_key_heads=2,
            linear_num_value_heads=2,
            linear_key_head_dim=8,
            linear_value_head_dim=8,
        ),
    ),
    "mamba": (
        "MambaConfig",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "state_size": 8,
            "bos_token_id": None,
            "eos_token_id": None,
        },
    ),
}


def build(family: str, **more: object) -> PreTrainedModel:
    """A model of `family` whose weights are large enough that greedy decoding does not fall into one repeated token."""
    name, shape = FAMILIES[family]
    model = AutoModelForCausalLM.from_config(getattr(transformers, name)(**{**shape, **more}))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() > 1:
                weights.copy_(torch.randn(weights.shape, generator=generator) * 0.3)
    assert sum(weights.numel() for weights in model.parameters()) < 100_000
    return model.eval()


def checkpoint(folder: Path, family: str = "llama", **more: object) -> Path:
    """A model folder as people have them: config, safetensors, tokenizer; no chat template."""
    tokenizer = train_tokenizer(TEXTS, VOCABULARY)
    build(family, **more).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
