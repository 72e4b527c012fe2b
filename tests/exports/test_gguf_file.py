"""GGUF files: what is written is what is read, by us, and by transformers, which reads them with code of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from heedlm.errors import HeedError
from heedlm.exports import hf
from heedlm.exports.gguf_file import WEIGHTS, Weights, read_contents, read_model, write_gguf
from heedlm.exports.prompts import conversations
from heedlm.exports.shapes import shape_of, tensors, turned
from heedlm.exports.source import Source
from heedlm.exports.vocabulary import vocabulary_of
from tests.exports.makers import bytes_tokenizer, saved

pytest.importorskip("gguf")
IDS = torch.arange(3, 60)[None] * 5 % 384
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}


def write(source: Source, path: Path, weights: Weights = "f32") -> tuple[PreTrainedModel, tuple[str, ...]]:
    model = hf.load_source(source)
    shape = shape_of(model.config, source.folder)
    vocabulary, _ = vocabulary_of(source, model.get_input_embeddings().weight.shape[0], conversations(source, 12))
    about = {"name": "small", "license": "mit"}
    notes = write_gguf(path, model, shape, vocabulary, template=source.template.source, weights=weights, about=about)
    contents = read_contents(path)
    assert contents.vocabulary == vocabulary
    assert contents.template == source.template.source
    # Llama 3's scaling stands in a tensor of its own; everything else is a figure.
    rope = {"rope": "llama3"} if shape.rope == "llama3" else {}
    assert replace(contents.shape, eps=shape.eps, notes=shape.notes, **rope) == shape
    return model, notes


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits[0]


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("llama", {}),
        ("llama", {"tie_word_embeddings": True}),
        ("llama", {"attention_bias": True, "mlp_bias": True}),
        ("llama", {"rope_parameters": LLAMA3}),
        ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0}}),
        ("llama", {"head_dim": 16, "num_key_value_heads": 4}),
        ("mistral", {"sliding_window": None}),
        ("qwen2", {}),
        ("qwen3", {"tie_word_embeddings": True}),
    ],
)
def test_a_file_in_fp32_predicts_what_the_model_predicts(family: str, more: dict[str, object], tmp_path: Path) -> None:
    source = saved(tmp_path / "model", bytes_tokenizer("qwen2"), family, **more)
    model, _ = write(source, tmp_path / "one.gguf")
    assert float((logits(model) - logits(read_model(tmp_path / "one.gguf"))).abs().max()) < 2e-4
    if (
        "rope_parameters" in more or family == "qwen3"
    ):  # transformers' reader of GGUF leaves scaling and size of heads out
        return
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="one.gguf", dtype=torch.float32).eval()
    assert float((logits(model) - logits(theirs)).abs().max()) < 2e-4


def test_rows_of_queries_change_places_and_come_back(tmp_path: Path) -> None:
    source = saved(tmp_path / "model", bytes_tokenizer("qwen2"), "llama")
    model = hf.load_source(source)
    shape = shape_of(model.config, source.folder)
    name, rows = "blk.0.attn_q.weight", model.state_dict()["model.layers.0.self_attn.q_proj.weight"]
    there = turned(shape, name, rows)
    # A head of 8 rows: 0 1 2 3 of the first half and 4 5 6 7 of the second stand in pairs.
    assert torch.equal(there[:8], rows[[0, 4, 1, 5, 2, 6, 3, 7]])
    assert torch.equal(turned(shape, name, there, back=True), rows)
    assert torch.equal(turned(replace(shape, arch="qwen2"), name, rows), rows)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_every_kind_of_number_reads_back(weights: Weights, tmp_path: Path) -> None:
    source = saved(tmp_path / "model", bytes_tokenizer("qwen2"), "qwen3")
    model, notes = write(source, tmp_path / "one.gguf", weights)
    again = read_model(tmp_path / "one.gguf")
    worst = {"f32": 1e-6, "f16": 2e-3, "bf16": 2e-2, "q8_0": 2e-2}[weights]
    for (name, mine), theirs in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        assert float((mine - theirs).abs().max()) <= worst, name
    # Rows of 48 are one block of 32 and a half.
    assert bool(notes) == (weights == "q8_0")
    assert all("f16" in note for note in notes)


def test_a_number_that_f16_cannot_hold_is_refused(tmp_path: Path) -> None:
    source = saved(tmp_path / "model", bytes_tokenizer("qwen2"), "qwen2")
    model = hf.load_source(source)
    with torch.no_grad():
        model.get_input_embeddings().weight[3, 3] = 7e4
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(HeedError, match="f16 cannot"):
        write(source, tmp_path / "one.gguf", "f16")
    write(source, tmp_path / "two.gguf", "bf16")


def test_a_window_shortens_the_context(tmp_path: Path) -> None:
    source = saved(tmp_path / "model", bytes_tokenizer("qwen2"), "mistral", sliding_window=64)
    shape = shape_of(hf.load_source(source).config, source.folder)
    assert shape.context == 64
    assert "window of 64" in shape.notes[0]


@pytest.mark.parametrize("family", ["gemma3", "gpt2", "mixtral", "phi3"])
def test_other_families_are_refused_with_those_that_are_known_and_the_way(family: str, tmp_path: Path) -> None:
    source = saved(tmp_path / "model", bytes_tokenizer("qwen2"), family)
    with pytest.raises(HeedError) as refused:
        shape_of(hf.load_source(source).config, source.folder)
    assert "llama, mistral, qwen2, qwen3" in str(refused.value)
    assert "convert_hf_to_gguf.py" in str(refused.value)


def test_every_reason_is_told_at_once(tmp_path: Path) -> None:
    config = hf.load_source(saved(tmp_path / "model", bytes_tokenizer("qwen2"), "qwen2")).config
    config.hidden_act = "gelu"
    config.rope_parameters = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}
    with pytest.raises(HeedError) as refused:
        shape_of(config, "here")
    assert len(refused.value.problems) == 2


def test_a_weight_without_a_name_is_refused(tmp_path: Path) -> None:
    model = hf.load_source(saved(tmp_path / "model", bytes_tokenizer("qwen2"), "llama"))
    shape = shape_of(model.config, "here")
    state = {**model.state_dict(), "model.layers.0.more.weight": torch.zeros(2)}
    with pytest.raises(HeedError, match=r"more\.weight"):
        list(tensors(shape, state, False, "here"))
