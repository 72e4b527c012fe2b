"""Matrices in blocks: the same logits, nothing doubled, everything as it was where it cannot be."""

from __future__ import annotations

from collections.abc import Callable

import peft
import pytest
import torch
from transformers import PreTrainedModel

from heedlm.generate import packed
from heedlm.generate.engine import decode
from heedlm.generate.packed import pack, unpack
from heedlm.messages import Sampling
from heedlm.model.quick import Rounding
from tests.generate.test_live import some_prompts

Build = Callable[..., PreTrainedModel]

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch comes without oneDNN")


@pytest.fixture(autouse=True)
def _all_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(packed, "_LARGE", 1)


def logits_of(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(torch.tensor(some_prompts([40])), use_cache=False).logits
    return logits


def test_a_packed_model_says_the_same(family: str, tiny: Build) -> None:
    model = tiny(family)
    prompts = some_prompts([3, 9, 1, 14, 5])
    before, said = logits_of(model), decode(model, prompts, Sampling(max_tokens=10))
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    count = pack(model)
    linear = [module for module in model.modules() if type(module) is torch.nn.Linear]
    assert count == (0 if family == "mamba" else len(linear)), "mamba reads a matrix itself and is left alone"
    moved = float((logits_of(model) - before).abs().max())
    assert moved <= packed._TOLERANCE * float(before.abs().max())
    again = decode(model, prompts, Sampling(max_tokens=10))
    assert [one.ids for one in again] == [one.ids for one in said]
    unpack(model)
    assert not any("forward" in vars(module) for module in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_matrices_are_held_once_but_for_a_tied_head(tiny: Build) -> None:
    model = tiny("llama", tie_word_embeddings=True)
    number = model.num_parameters()
    assert pack(model) == 2 * 7 + 1
    assert model.num_parameters() == number
    here = {name for name, weights in model.named_parameters() if not weights.is_meta}
    assert {name for name in here if "norm" not in name} == {"model.embed_tokens.weight"}
    with pytest.raises((RuntimeError, NotImplementedError)):
        model.model.layers[0].mlp.up_proj.weight.sum().item()
    untied = tiny("llama", tie_word_embeddings=False)
    assert pack(untied) == 2 * 7 + 1
    assert untied.lm_head.weight.is_meta
    assert pack(untied) == 0, "nothing is left to be packed"


def test_a_model_that_reads_a_matrix_itself_stays_as_it_was(tiny: Build) -> None:
    model = tiny("llama")
    layer = model.model.layers[0]
    layer.register_forward_hook(lambda module, _args, out: out + module.mlp.up_proj.weight.mean())
    before = logits_of(model)
    assert pack(model) == 0
    assert torch.equal(logits_of(model), before)
    assert not any(weights.is_meta for weights in model.parameters())


def test_a_model_that_would_say_something_else_stays_as_it_was(tiny: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("llama")
    before = logits_of(model)
    monkeypatch.setattr(packed, "product", lambda x, weight, *rest: x.new_zeros(*x.shape[:-1], weight.shape[0]))
    assert pack(model) == 0
    assert torch.equal(logits_of(model), before)


@pytest.mark.parametrize("error", [AttributeError, RuntimeError, TypeError])
def test_a_torch_without_such_blocks_serves_as_before(
    tiny: Build, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    model, made = tiny("llama"), packed._pack

    def refused(module: torch.nn.Module, rounding: Rounding, *, alone: bool) -> None:
        if module is model.lm_head:
            raise error("no such function")
        made(module, rounding, alone=alone)

    before = logits_of(model)
    monkeypatch.setattr(packed, "_pack", refused)
    assert pack(model) == 0
    assert torch.equal(logits_of(model), before)


def test_only_large_fp32_matrices_on_a_cpu(tiny: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("llama")
    monkeypatch.setattr(packed, "_LARGE", 32 * 48)
    assert pack(model) == 2 * 3 + 1, "gate, up and down of two layers, and the head"
    assert pack(tiny("llama").to(torch.bfloat16)) == 0


@pytest.mark.parametrize("dora", [False, True])
def test_adapters_act_on_packed_matrices_and_dora_on_plain_ones(tiny: Build, dora: bool) -> None:
    model = tiny("llama")
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "up_proj"], init_lora_weights=False, use_dora=dora)
    adapted = peft.get_peft_model(model, config).eval()
    before = logits_of(adapted)
    count = pack(adapted)
    assert count == 0 if dora else count > 14
    assert torch.allclose(logits_of(adapted), before, rtol=1e-4, atol=1e-4)
    adapted.base_model.disable_adapter_layers()
    assert not torch.allclose(logits_of(adapted), before, atol=1e-2)
