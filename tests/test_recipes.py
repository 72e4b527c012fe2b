"""The recipes for public base models: what they say of a model is checked against its architecture, and each runs a step.

No weights are fetched. A model's real shape is built without memory (torch's meta device) and counted; the recipe's method
then trains a tiny checkpoint of the same family for one step.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from heedlm import api
from heedlm.config import Recipe
from heedlm.model.adapters import add_adapter
from heedlm.pretrain_config import PretrainRecipe
from heedlm.recipe_file import load_recipe
from heedlm.tokens.tokenizer import train_tokenizer
from tests.families import TEXTS, VOCABULARY

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
PRETRAINING = {f"atlas_base{part}.yaml" for part in ("", "_figures", "_forms", "_briefs", "_desks")}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the config.json of a model says, and how many parameters its hub page counts (tied weights once)."""

    model_type: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int
    tied: bool
    parameters: int


# From the config.json of each model on the hub, read there or, where the model is gated, in unchanged copies of it and
# in the tables of litgpt (litgpt/config.py) and fairseq2 (its OLMo 2 defaults); parameters as the hub counts safetensors.
HUB = {
    "Qwen/Qwen3-0.6B-Base": Facts("qwen3", 1024, 3072, 28, 16, 8, 128, 151936, 32768, True, 596_049_920),
    "Qwen/Qwen3-8B-Base": Facts("qwen3", 4096, 12288, 36, 32, 8, 128, 151936, 32768, False, 8_190_735_360),
    "Qwen/Qwen2.5-0.5B": Facts("qwen2", 896, 4864, 24, 14, 2, 64, 151936, 32768, True, 494_032_768),
    "Qwen/Qwen2.5-1.5B": Facts("qwen2", 1536, 8960, 28, 12, 2, 128, 151936, 131072, True, 1_543_714_304),
    "meta-llama/Llama-3.2-1B": Facts("llama", 2048, 8192, 16, 32, 8, 64, 128256, 131072, True, 1_235_814_400),
    "meta-llama/Llama-3.1-8B": Facts("llama", 4096, 14336, 32, 32, 8, 128, 128256, 131072, False, 8_030_261_248),
    "HuggingFaceTB/SmolLM2-360M": Facts("llama", 960, 2560, 32, 15, 5, 64, 49152, 8192, True, 361_821_120),
    "HuggingFaceTB/SmolLM2-1.7B": Facts("llama", 2048, 8192, 24, 32, 32, 64, 49152, 8192, True, 1_711_376_384),
    "google/gemma-3-1b-pt": Facts("gemma3_text", 1152, 6912, 26, 4, 1, 256, 262144, 32768, True, 999_885_952),
    "mistralai/Mistral-7B-v0.3": Facts("mistral", 4096, 14336, 32, 32, 8, 128, 32768, 32768, False, 7_248_023_552),
    "allenai/OLMo-2-0425-1B": Facts("olmo2", 2048, 8192, 16, 16, 16, 128, 100352, 4096, False, 1_484_916_736),
}
# Families whose configuration has no field for the head size: it is the hidden size shared out.
NO_HEAD_DIM = {"qwen2", "olmo2"}

ALL = sorted(path.name for path in RECIPES.glob("*.yaml") if path.name not in PRETRAINING)


def recipe_of(name: str) -> Recipe:
    return load_recipe(Recipe, RECIPES / name)


def comment_of(name: str) -> str:
    """The comment on top of a recipe, as one line."""
    lines = (RECIPES / name).read_text(encoding="utf-8").splitlines()
    return " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))


def number(text: str) -> float:
    """ "596M" and "8.19B" as numbers."""
    return float(text[:-1]) * {"M": 1e6, "B": 1e9}[text[-1]]


def config_of(facts: Facts, **changed: Any) -> Any:
    fields: dict[str, Any] = {
        "hidden_size": facts.hidden,
        "intermediate_size": facts.intermediate,
        "num_hidden_layers": facts.layers,
        "num_attention_heads": facts.heads,
        "num_key_value_heads": facts.kv_heads,
        "vocab_size": facts.vocabulary,
        "max_position_embeddings": facts.context,
        "tie_word_embeddings": facts.tied,
        **({} if facts.model_type in NO_HEAD_DIM else {"head_dim": facts.head_dim}),
        **changed,
    }
    return AutoConfig.for_model(facts.model_type, **fields)


def without_memory(facts: Facts) -> PreTrainedModel:
    """The model in its real size: shapes only."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config_of(facts))


@cache
def counted(hub_id: str) -> int:
    return sum(weights.numel() for weights in without_memory(HUB[hub_id]).parameters())


def test_every_recipe_and_every_fact_is_used() -> None:
    assert {recipe_of(name).model.path for name in ALL} == set(HUB)
    methods = {recipe_of(name).model.method for name in ALL}
    assert methods == {"full", "lora"}
    assert len(ALL) >= 12


def test_the_recipe_of_the_base_that_ships_loads() -> None:
    for name in PRETRAINING:
        load_recipe(PretrainRecipe, RECIPES / name)


@pytest.mark.parametrize("hub_id", sorted(HUB))
def test_the_facts_describe_the_model_that_the_hub_counts(hub_id: str) -> None:
    facts = HUB[hub_id]
    assert counted(hub_id) == facts.parameters
    if facts.model_type in NO_HEAD_DIM:
        assert facts.heads * facts.head_dim == facts.hidden


@pytest.mark.parametrize("name", ALL)
def test_what_a_recipe_says_of_its_model_is_true(name: str) -> None:
    recipe, comment = recipe_of(name), comment_of(name)
    facts = HUB[recipe.model.path]
    assert comment.startswith(f"{recipe.model.path}, ")
    assert f"heed train recipes/{name} " in comment
    assert "Not measured here." in comment
    assert f"context {facts.context:,}" in comment
    said = re.search(r"([\d.]+[MB]) parameters \((\w+)\)", comment)
    assert said is not None
    assert said[2] == facts.model_type
    assert number(said[1]) == pytest.approx(counted(recipe.model.path), rel=0.02)
    assert recipe.tokens.max_tokens is not None
    assert recipe.tokens.max_tokens <= facts.context
    # A row longer than a micro-batch would make one of its own, larger than the memory was planned for.
    assert recipe.train.micro_tokens >= recipe.tokens.max_tokens
    assert len((RECIPES / name).read_text().splitlines()) <= 14


@pytest.mark.parametrize("name", ALL)
def test_the_memory_arithmetic_of_a_recipe_adds_up(name: str) -> None:
    """Full: 4 bytes each for weight and gradient, 8 for AdamW. LoRA: frozen weights once, the adapter as in full tuning."""
    recipe, comment = recipe_of(name), comment_of(name)
    facts = HUB[recipe.model.path]
    weights = counted(recipe.model.path)
    if recipe.model.method == "full":
        need = 16.0 * weights
        said = re.search(r"16 bytes x ([\d.]+[MB]) = ([\d.]+) GB", comment)
        assert said is not None
        assert number(said[1]) == pytest.approx(weights, rel=0.02)
    else:
        adapted = add_adapter(without_memory(facts), recipe.model.lora)
        adapter = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
        need = 4.0 * weights + 16.0 * adapter
        said = re.search(r"4 bytes x [\d.]+[MB] \+ 16 bytes x ([\d.]+[MB]) of adapter = ([\d.]+) GB", comment)
        assert said is not None
        assert number(said[1]) == pytest.approx(adapter, rel=0.02)
    assert float(said[2]) == pytest.approx(need / 1e9, rel=0.02)
    logits = re.search(r"([\d.]+) GB for each copy of the logits", comment)
    assert logits is not None
    assert float(logits[1]) == pytest.approx(4.0 * facts.vocabulary * recipe.train.micro_tokens / 1e9, abs=0.06)


def tiny(folder: Path, facts: Facts) -> Path:
    """A checkpoint of the same family, with its tying, its context and its share of key-value heads, small enough for a test."""
    config = config_of(
        facts,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=max(1, round(4 * facts.kv_heads / facts.heads)),
        vocab_size=VOCABULARY,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
        **({} if facts.model_type in NO_HEAD_DIM else {"head_dim": 8}),
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    train_tokenizer(TEXTS, VOCABULARY).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", ALL)
def test_a_recipe_runs_on_a_tiny_model_of_its_family(name: str, tmp_path: Path) -> None:
    recipe = recipe_of(name)
    facts = HUB[recipe.model.path]
    rows = tmp_path / "rows.jsonl"
    turns = [
        ("system", "Be brief."),
        ("user", "What is water in Hindi?"),
        ("assistant", "पानी"),
        ("user", "Thanks."),
        ("assistant", "🙂"),
    ]
    row = {"messages": [{"role": role, "content": content} for role, content in turns]}
    rows.write_text("".join(json.dumps({**row, "id": str(n)}) + "\n" for n in range(3)))
    model = tiny(tmp_path / "base", facts)
    only_here = {"train.max_steps": 1, "train.panel": 0, "data.val": None, "data.test": None}
    report = api.train(recipe=RECIPES / name, model=model, data=rows, run=tmp_path / "run", settings=only_here)
    assert report.steps == 1
    assert report.dropped == 0
    assert report.packing.startswith("packed rows")
    assert (report.trainable_parameters < report.parameters) == (recipe.model.method == "lora")
    tuned = AutoModelForCausalLM.from_pretrained(report.model)
    assert tuned.config.model_type == facts.model_type
    assert tuned.config.max_position_embeddings == facts.context
    # An adapter leaves the embedding rows alone, so its answers must end with a token known from pretraining (pain 17).
    tokenizer = AutoTokenizer.from_pretrained(report.model)
    end = "<|im_end|>" if recipe.templates.chat in (None, "chatml") else tokenizer.eos_token
    assert tokenizer.convert_tokens_to_ids(end) in tuned.generation_config.eos_token_id
    if recipe.model.method == "lora":
        assert tuned.generation_config.eos_token_id == [tokenizer.eos_token_id]
