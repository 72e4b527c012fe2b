from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import AutoModelForCausalLM, CohereConfig, GptOssConfig

from heedlm.config import LoraConfig
from heedlm.model.adapters import add_adapter
from heedlm.train.optim import Schedule, adamw, decays, default_lr, lr_schedule
from tests.families import FAMILIES, build

SCHEDULES: tuple[Schedule, ...] = ("cosine", "linear", "constant", "wsd")
shares = st.floats(0.0, 0.99)


def test_small_models_want_more_and_adapters_ten_times() -> None:
    sizes = (4e6, 1e8, 5e8, 8e9)
    full = [default_lr("full", int(n)).value for n in sizes]
    assert full == sorted(full, reverse=True)
    assert default_lr("lora", int(8e9)).value == pytest.approx(10 * default_lr("full", int(8e9)).value)
    assert default_lr("qlora", int(8e9)) == default_lr("lora", int(8e9))
    assert "adapters" in default_lr("lora", int(8e9)).reason
    assert "8000.0M" in default_lr("full", int(8e9)).reason


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_warms_up_and_ends_where_it_should(name: Schedule) -> None:
    at = lr_schedule(1.0, 100, 0.1, name)
    rates = [at(step) for step in range(100)]
    assert 0 < rates[0] < rates[5] < rates[9] < 1
    assert rates[10] == pytest.approx(1.0)
    assert max(rates) <= 1.0
    end = {"constant": 1.0, "wsd": 0.0}.get(name, 0.1)
    assert rates[-1] == pytest.approx(end, abs=0.03)


@given(st.sampled_from(SCHEDULES), st.integers(1, 400), shares, st.floats(0.01, 1.0))
def test_every_step_moves_and_none_above_the_peak(name: Schedule, steps: int, warmup: float, decay: float) -> None:
    rates = list(map(lr_schedule(3e-4, steps, warmup, name, decay), range(steps)))
    assert all(0 < rate <= 3e-4 for rate in rates)
    warm = math.ceil(warmup * steps)
    assert rates[:warm] == sorted(rates[:warm])
    assert rates[warm:] == sorted(rates[warm:], reverse=True)


@given(st.integers(1, 400), shares, st.floats(0.01, 1.0))
def test_warm_up_stable_decay_has_three_parts_of_the_asked_lengths(steps: int, warmup: float, decay: float) -> None:
    rates = list(map(lr_schedule(1.0, steps, warmup, "wsd", decay), range(steps)))
    warm, fall = math.ceil(warmup * steps), math.ceil(decay * steps)
    stable = max(0, steps - warm - fall)
    assert rates[warm : warm + stable] == [1.0] * stable
    falling = rates[warm + stable :]
    assert len(set(falling)) == len(falling)
    assert all(rate < 1.0 for rate in falling)


@given(st.integers(1, 300), st.integers(2, 300))
def test_a_longer_run_has_the_same_beginning(steps: int, more: int) -> None:
    """What wsd is for: until it falls, a run does not know how long it will be."""
    short, long = (lr_schedule(1.0, n, 0.0, "wsd") for n in (steps, steps + more))
    stable = steps - math.ceil(0.2 * steps)
    assert [short(i) for i in range(stable)] == [long(i) for i in range(stable)]


def test_the_fall_is_one_minus_a_root() -> None:
    at = lr_schedule(2.0, 19, 0.0, "wsd", 9 / 19)
    assert [at(step) for step in range(10, 19)] == pytest.approx([2 * (1 - math.sqrt(k / 10)) for k in range(1, 10)])


def test_a_run_of_one_step_moves() -> None:
    assert lr_schedule(1.0, 1, 0.0, "cosine")(0) == 1.0
    assert lr_schedule(1.0, 1, 0.5, "cosine")(0) == 0.5
    assert lr_schedule(1.0, 1, 0.0, "wsd")(0) > 0.25


def test_only_matrices_decay() -> None:
    layer = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))
    optimizer = adamw(layer, 0.1)
    by_decay = {group["weight_decay"]: group["params"] for group in optimizer.param_groups}
    assert [p.ndim for p in by_decay[0.1]] == [2]
    assert all(p.ndim == 1 for p in by_decay[0.0])
    assert len(by_decay[0.0]) == 3


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_no_gain_and_no_bias_decays_whatever_the_family(family: str) -> None:
    model = build(family)
    groups = {g["weight_decay"]: {id(p) for p in g["params"]} for g in adamw(model, 0.1).param_groups}
    assert len(groups[0.1]) + len(groups[0.0]) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        spared = "norm" in name or "ln_" in name or name.endswith(("bias", "A_log", ".D")) or parameter.ndim < 2
        assert (id(parameter) in groups[0.0]) == spared, name


def test_gains_and_biases_of_two_dimensions_do_not_decay_either() -> None:
    shape = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    gains = AutoModelForCausalLM.from_config(CohereConfig(**shape, use_qk_norm=True))
    biases = AutoModelForCausalLM.from_config(GptOssConfig(**shape, num_local_experts=2, head_dim=8))
    two = [
        (model, name, p)
        for model in (gains, biases)
        for name, p in model.named_parameters()
        if p.ndim == 2 and ("norm" in name or "bias" in name)
    ]
    assert len(two) == 4
    assert not [name for model, name, p in two if decays(model, name, p)]


def test_a_magnitude_does_not_decay_and_an_adapter_does() -> None:
    model = add_adapter(build("llama"), LoraConfig(rank=2, dora=True, modules_to_save=("norm", "lm_head")))
    spared = [n for n, p in model.named_parameters() if p.requires_grad and not decays(model, n, p)]
    assert all("magnitude" in name or "norm" in name for name in spared)
    assert len(spared) == 14 + 1


def test_frozen_parameters_are_left_out() -> None:
    layer = torch.nn.Linear(4, 4)
    layer.bias.requires_grad_(False)
    assert sum(len(g["params"]) for g in adamw(layer, 0.0).param_groups) == 1


def stepped(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 5) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    for group in optimizer.param_groups:
        group["lr"] = 1e-2
    for _ in range(steps):
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


def test_the_optimiser_is_fused_and_gives_the_same_bits_whatever_the_threads() -> None:
    """A large enough matrix is cut among threads; resuming to the bit needs the cut not to matter."""
    start = nn.Sequential(nn.Linear(700, 600), nn.LayerNorm(600))
    assert adamw(start, 0.1).defaults["fused"]
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            model = copy.deepcopy(start)
            results.append(stepped(model, adamw(model, 0.1)))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_fused_it_is_the_same_optimiser() -> None:
    start = nn.Sequential(nn.Linear(40, 30), nn.LayerNorm(30))
    plain = copy.deepcopy(start)
    reference = torch.optim.AdamW(
        [
            {"params": [plain[0].weight], "weight_decay": 0.1},
            {"params": [plain[0].bias, plain[1].weight, plain[1].bias], "weight_decay": 0.0},
        ],
        lr=0.0,
        betas=(0.9, 0.95),
        fused=False,
        foreach=False,
    )
    fused = stepped(start, adamw(start, 0.1))
    for a, b in zip(fused, stepped(plain, reference), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
