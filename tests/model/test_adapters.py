"""Adapters on every family: which layers get one, what is said of the rest, what trains, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedModel

from heedlm.config import LoraConfig
from heedlm.errors import HeedError
from heedlm.model.adapters import add_adapter, tied_matrix
from heedlm.tokens.tokenizer import train_tokenizer
from tests.families import FAMILIES, TEXTS, VOCABULARY, build

IDS = torch.arange(30)[None]
# Matrices without an adapter, beside embedding and head: routers, short convolutions, and what state-space kernels read.
WITHOUT = {
    "mixtral": {"mlp.gate": 2},
    "lfm2": {"conv.conv": 1},
    "qwen3_5": {"linear_attn.conv1d": 1},
    "mamba": {"mixer.A_log": 2, "mixer.conv1d": 2, "mixer.out_proj": 2},
}


def adapted(family: str, say: list[str] | None = None, model: PreTrainedModel | None = None, **config: Any) -> Any:
    said: list[str] = [] if say is None else say
    torch.manual_seed(0)
    tokenizer = train_tokenizer(TEXTS, VOCABULARY)
    return add_adapter(model or build(family), LoraConfig(**{"rank": 4, **config}), tokenizer, say=said.append)


def shaken(model: Any) -> Any:
    """The model with its trainable weights moved, as training would."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return model.eval()


def trainable(model: Any) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_matrix_has_an_adapter_or_is_named(family: str) -> None:
    said: list[str] = []
    model = adapted(family, said)
    have, of = map(int, re.findall(r"on (\d+) of (\d+)", said[0])[0])
    named = {kind.split(".*.")[1]: int(n) for kind, n in re.findall(r"([\w.*]+) \((\d+)\)", said[0])}
    assert named == WITHOUT.get(family, {})
    assert have + sum(named.values()) == of
    assert all("lora_" in name for name in trainable(model))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_an_adapter_begins_as_nothing_and_all_of_it_learns(family: str) -> None:
    base = build(family)
    plain = base(IDS).logits
    model = adapted(family, model=base)
    torch.testing.assert_close(model.eval()(IDS).logits, plain, rtol=1e-5, atol=1e-5)
    shaken(model)(IDS).logits.logsumexp(-1).sum().backward()
    idle = [n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not bool(p.grad.any()))]
    assert not idle


def test_what_no_gradient_reaches_is_left_out_and_named() -> None:
    """Mamba multiplies with the weight of dt_proj itself: an adapter there would be carried along for nothing."""
    said: list[str] = []
    model = adapted("mamba", said)
    assert "no gradient reaches the adapters on backbone.layers.*.mixer.dt_proj (2)" in said[1]
    assert not [name for name in trainable(model) if "dt_proj" in name]
    with pytest.raises(HeedError, match="No gradient reaches any"):
        adapted("mamba", targets=["dt_proj"])


def test_experts_get_no_adapter_where_peft_cannot_compute_it_and_that_is_said() -> None:
    for config in ({"dropout": 0.1}, {"dora": True}):
        said: list[str] = []
        adapted("mixtral", said, **config)
        assert "experts.gate_up_proj (2)" in said[0]
        assert "experts.down_proj (2)" in said[0]
    model = adapted("mixtral", targets=["down_proj"])
    assert all("experts" in name for name in trainable(model))


def test_layers_that_peft_takes_for_experts_are_named() -> None:
    """peft renames the dense layers of this family to its experts, and leaves them out: at least nobody is deceived."""
    config = transformers.Qwen3MoeConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        moe_intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        num_experts=4,
        num_experts_per_tok=2,
        mlp_only_layers=[0],
    )
    said: list[str] = []
    adapted("", said, AutoModelForCausalLM.from_config(config))
    assert "adapters on 10 of 14" in said[0]
    assert "mlp.up_proj (1)" in said[0]


def test_rank_alpha_and_rslora_set_the_scale() -> None:
    for config, scale in (
        ({"rank": 4, "alpha": 8}, 2.0),
        ({"rank": 16, "alpha": 8}, 0.5),
        ({"rank": 16, "alpha": 8, "rslora": True}, 2.0),
    ):
        layer = adapted("llama", **config).get_submodule("base_model.model.model.layers.0.self_attn.q_proj")
        assert layer.scaling["default"] == scale
        assert layer.lora_A["default"].weight.shape[0] == config["rank"]


def test_dora_trains_a_magnitude_per_output() -> None:
    model = adapted("llama", dora=True, targets=["q_proj"])
    sizes = {name.rpartition("layers.")[2]: p.numel() for name, p in model.named_parameters() if "magnitude" in name}
    assert list(sizes.values()) == [32, 32]


def test_dropout_acts_in_training_only() -> None:
    model = shaken(adapted("llama", dropout=0.5))
    assert torch.equal(model(IDS).logits, model(IDS).logits)
    model.train()
    assert not torch.equal(model(IDS).logits, model(IDS).logits)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("tied", [True, False])
def test_rows_of_named_tokens_train_and_no_others(family: str, tied: bool) -> None:
    model = adapted(family, model=build(family, tie_word_embeddings=tied), tokens=["<|im_end|>", "<|im_start|>"])
    own = {name: p for name, p in model.named_parameters() if p.requires_grad and "lora_" not in name}
    assert [tuple(p.shape) for p in own.values()] == [(2, 32)] * (1 if tied else 2)
    before, after = build(family, tie_word_embeddings=tied), shaken(model).merge_and_unload()
    for end in ("get_input_embeddings", "get_output_embeddings"):
        moved = (getattr(before, end)().weight != getattr(after, end)().weight).any(1)
        assert moved.nonzero().flatten().tolist() == [2, 3]
    assert (tied_matrix(after) is not None) == tied


@pytest.mark.parametrize("name", ["embed_tokens", "lm_head"])
def test_a_tied_matrix_trained_in_full_gets_the_gradient_of_both_its_uses(name: str) -> None:
    model = adapted("llama", model=build("llama", tie_word_embeddings=True), modules_to_save=[name])
    whole = build("llama", tie_word_embeddings=True)
    for one in (model.eval(), whole):
        one(IDS).logits.logsumexp(-1).sum().backward()
    copies = [p for n, p in model.named_parameters() if p.requires_grad and "lora_" not in n]
    assert len(copies) == 1
    torch.testing.assert_close(copies[0].grad, whole.get_input_embeddings().weight.grad, rtol=1e-5, atol=1e-5)


def test_other_modules_can_be_trained_in_full() -> None:
    model = adapted("llama", modules_to_save=["input_layernorm", "lm_head"])
    own = sorted(name.partition(".modules_to_save")[0][-20:] for name in trainable(model) if "lora_" not in name)
    assert len(own) == 3
    assert sum("input_layernorm" in name for name in own) == 2


def test_a_matrix_that_trains_as_a_whole_is_not_missed() -> None:
    said: list[str] = []
    adapted("mixtral", said, modules_to_save=["gate"])
    assert said == ["adapters on 12 of 14 weight matrices between embedding and head"]


def test_what_peft_cannot_combine_is_a_message() -> None:
    for config in (
        {"targets": ["q_proj", "embed_tokens"], "tokens": ["<|im_end|>"]},
        {"targets": ["q_proj"], "modules_to_save": ["self_attn"]},
    ):
        with pytest.raises(HeedError, match="peft cannot put these adapters on"):
            adapted("llama", **config)


def test_tokens_within_a_module_that_trains_whole_need_no_rows_of_their_own() -> None:
    for tied in (True, False):
        model = adapted(
            "llama",
            model=build("llama", tie_word_embeddings=tied),
            modules_to_save=["lm_head"],
            tokens=["<|im_end|>"],
        )
        rows = [name for name in trainable(model) if "trainable_tokens" in name]
        assert len(rows) == (0 if tied else 1)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize("end", ["get_input_embeddings", "get_output_embeddings"])
def test_an_adapter_on_a_tied_matrix_is_refused_with_what_works(family: str, end: str) -> None:
    """peft merges it into other weights than it was trained with, by several units of logits, and says nothing."""
    model = build(family, tie_word_embeddings=True)
    name = next(n for n, m in model.named_modules() if m is getattr(model, end)()).rpartition(".")[2]
    with pytest.raises(HeedError, match="head and embedding in one matrix") as caught:
        adapted(family, model=model, targets=[name])
    mend = re.search(r"modules_to_save=\[(\w+)\]", caught.value.problems[0].mend)
    assert mend is not None
    adapted(family, model=build(family, tie_word_embeddings=True), modules_to_save=[mend[1]])


def test_names_that_are_not_there_are_refused_with_the_nearest() -> None:
    for config, where, hint in (
        ({"targets": ["q_prj"]}, "model.lora.targets", "did you mean 'q_proj'?"),
        ({"targets": ["q_proj", "nothing"]}, "model.lora.targets", "known: "),
        ({"modules_to_save": ["lm_hed"]}, "model.lora.modules_to_save", "did you mean 'lm_head'?"),
        ({"tokens": ["<|im_ent|>"]}, "model.lora.tokens", "did you mean '<|im_end|>'?"),
    ):
        with pytest.raises(HeedError) as caught:
            adapted("llama", **config)
        problem = caught.value.problems[0]
        assert problem.where == where
        assert problem.mend.startswith(hint)
    assert "head" not in problem.mend.partition("known")[0]


def test_a_full_name_targets_one_layer() -> None:
    model = adapted("llama", targets=["model.layers.1.mlp.up_proj"])
    assert {name.partition(".lora")[0] for name in trainable(model)} == {"base_model.model.model.layers.1.mlp.up_proj"}


def test_the_probe_leaves_no_trace() -> None:
    """Neither gradients, nor a changed mode, nor drawn random numbers."""
    model = build("llama").train()
    adapter = adapted("llama", model=model)
    assert adapter.training
    assert all(p.grad is None for p in adapter.parameters())


def test_it_works_without_memory_for_the_weights() -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(transformers.LlamaConfig(num_hidden_layers=2))
    said: list[str] = []
    adapted("", said, model)
    assert said == ["adapters on 14 of 14 weight matrices between embedding and head"]
