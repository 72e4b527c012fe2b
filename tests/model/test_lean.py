"""Norms and gates that keep less: the same logits to the last bit, gradients as near to the truth, less kept."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from heedlm.model import lean as room
from heedlm.model.lean import _is_gated, _norms, keep_no_casts, make_lean, make_plain

from ..families import FAMILIES, build

IDS = torch.randint(4, 100, (2, 40), generator=torch.Generator().manual_seed(1))
LEAN = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "mixtral", "lfm2", "qwen3_5", "mamba")


def _loss(model: PreTrainedModel, dtype: torch.dtype) -> torch.Tensor:
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        logits = model(input_ids=IDS, use_cache=False).logits.float()
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())


def _gradients(model: PreTrainedModel, dtype: torch.dtype) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    loss = _loss(model, dtype)
    loss.backward()
    return float(loss.detach()), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def _kept(model: PreTrainedModel) -> int:
    """Bytes that a bf16 forward pass keeps for the backward pass, each storage once."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    sizes: dict[int, int] = {}
    tensors: list[torch.Tensor] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        tensors.append(tensor)
        if tensor.untyped_storage().data_ptr() not in own:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        _loss(model, torch.bfloat16)
    return sum(sizes.values())


@pytest.mark.parametrize("family", LEAN)
def test_the_loss_is_the_same_bit_and_the_gradients_are_as_near_to_the_truth(family: str) -> None:
    plain = build(family).eval()
    lean = copy.deepcopy(plain)
    assert "equal to the last bit" in make_lean(lean, torch.bfloat16)
    loss, truth = _gradients(plain, torch.float32)
    assert _gradients(lean, torch.float32)[0] == loss
    found = _gradients(lean, torch.float32)[1]
    assert float((found - truth).abs().max()) <= 1e-5 * float(truth.abs().max())
    narrow_loss, narrow = _gradients(plain, torch.bfloat16)
    lean_loss, lean_narrow = _gradients(lean, torch.bfloat16)
    assert lean_loss == narrow_loss
    assert float((lean_narrow - truth).norm()) <= 1.15 * float((narrow - truth).norm())
    assert _kept(lean) < _kept(plain)


def test_a_llama_keeps_a_fifth_less_logits_and_all() -> None:
    model = build("llama").eval()
    before = _kept(model)
    make_lean(model, torch.bfloat16)
    assert _kept(model) < 0.8 * before


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - set(LEAN)))
def test_others_stay_as_they_are(family: str) -> None:
    model = build(family).eval()
    assert make_lean(model, torch.bfloat16) == ""
    assert not any("forward" in vars(module) for module in model.modules())


def test_serving_goes_through_the_models_own_code() -> None:
    model = build("llama").eval()
    with torch.no_grad():
        before = model(input_ids=IDS).logits
    make_lean(model, torch.bfloat16)
    with torch.no_grad():
        assert torch.equal(model(input_ids=IDS).logits, before)


def test_a_norm_of_another_formula_is_left_alone() -> None:
    model = build("llama").eval()

    class OddRMSNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(model.config.hidden_size))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 0.1)

    model.model.norm = OddRMSNorm()
    assert "norm" not in {name.split(".")[-1] for name, _, _ in _norms(model)}


def test_a_gated_product_that_does_more_is_given_back() -> None:
    """An MLP that looks like the usual one and is not: the logits differ, so only the norms are changed."""
    model = build("llama").eval()
    mlp = model.model.layers[0].mlp

    class Doubled(type(mlp)):  # type: ignore[misc]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2.0 * super().forward(x)

    mlp.__class__ = Doubled
    assert _is_gated(mlp)
    told = make_lean(model, torch.bfloat16)
    assert "norms" in told
    assert "gated" not in told
    assert "forward" not in vars(mlp)
    assert "forward" in vars(model.model.norm)


def test_a_frozen_weight_gets_no_gradient() -> None:
    model = build("llama").eval()
    make_lean(model, torch.bfloat16)
    model.model.norm.weight.requires_grad_(False)
    _gradients(model, torch.float32)
    assert model.model.norm.weight.grad is None


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma2", "mixtral"])
def test_matrices_that_keep_no_casts_compute_the_same(family: str) -> None:
    plain = build(family).eval()
    lean = copy.deepcopy(plain)
    keep_no_casts([lean], on=True)
    for dtype in (torch.float32, torch.bfloat16):
        (loss, grads), (lean_loss, lean_grads) = _gradients(plain, dtype), _gradients(lean, dtype)
        assert lean_loss == loss
        assert float((lean_grads - grads).abs().max()) <= 0.02 * float(grads.abs().max())
    assert _kept(lean) < _kept(plain)
    keep_no_casts([lean], on=False)
    assert not any("forward" in vars(module) for module in lean.modules())


def test_an_adapter_learns_through_matrices_that_keep_no_casts() -> None:
    from peft import LoraConfig, get_peft_model

    plain = build("llama").eval()
    adapted = get_peft_model(copy.deepcopy(plain), LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
    make_lean(adapted, torch.bfloat16)
    before = _gradients(adapted, torch.bfloat16)
    keep_no_casts([adapted], on=True)
    after = _gradients(adapted, torch.bfloat16)
    assert after[0] == before[0]
    assert after[1].numel() == before[1].numel() == sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert float((after[1] - before[1]).abs().max()) <= 0.02 * float(before[1].abs().max())


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "opt"])
@pytest.mark.parametrize("tied", [True, False])
def test_an_embeddings_gradient_added_row_by_row(family: str, tied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two backward passes, as with several micro-batches; a padding row learns nothing from being looked up."""
    monkeypatch.setattr(room, "LARGE_EMBEDDING", 1000)
    torch.manual_seed(0)
    plain = build(family, tie_word_embeddings=tied).eval()
    table = plain.get_input_embeddings()
    table.padding_idx = int(IDS[0, 3])
    lean = copy.deepcopy(plain)
    assert "row by row" in make_lean(lean, torch.float32)
    for model in (plain, lean):
        model.zero_grad()
        for _ in range(2):
            _loss(model, torch.float32).backward()
    for (name, one), (_, other) in zip(plain.named_parameters(), lean.named_parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None, name
        assert float((one.grad - other.grad).abs().max()) <= 2e-6 * float(one.grad.abs().max()), name
    if not tied:
        assert not lean.get_input_embeddings().weight.grad[IDS[0, 3]].any()


def test_a_frozen_or_small_embedding_is_looked_up_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("llama").eval()
    assert "row by row" not in make_lean(model, torch.float32)
    monkeypatch.setattr(room, "LARGE_EMBEDDING", 1000)
    make_lean(model, torch.float32)
    table = model.get_input_embeddings()
    table.weight.requires_grad_(False)
    _gradients(model, torch.float32)
    assert table.weight.grad is None


def test_no_matrix_of_the_vocabularys_size_waits_for_the_embedding(monkeypatch: pytest.MonkeyPatch) -> None:
    """With tied weights autograd alone holds the head's gradient until the embedding's has come, in a matrix of its own."""
    monkeypatch.setattr(room, "LARGE_EMBEDDING", 1000)
    model = build("llama", tie_word_embeddings=True).eval()
    make_lean(model, torch.float32)
    weight, found = model.get_input_embeddings().weight, []
    model.model.layers[0].register_full_backward_hook(lambda *_: found.append(weight.grad is not None))
    _loss(model, torch.float32).backward()
    assert found == [True]


def test_a_model_gets_its_own_code_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LARGE_EMBEDDING", 1000)
    model = build("llama").eval()
    make_lean(model, torch.bfloat16)
    keep_no_casts([model], on=True)
    make_plain(model)
    assert not any("forward" in vars(module) for module in model.modules())


def test_it_is_said_when_leaner_forms_give_other_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("llama").eval()
    monkeypatch.setattr(room, "_scaled", lambda normed, dtype, weight, shift: weight * normed.to(dtype) * 1.01)
    monkeypatch.setattr(room, "_same", lambda module, shift: not shift)
    mlp = type(model.model.layers[0].mlp)
    monkeypatch.setattr(room, "_is_gated", lambda module: False)
    assert "gave other logits" in make_lean(model, torch.bfloat16)
    assert mlp is type(model.model.layers[0].mlp)
    assert not any("forward" in vars(module) for module in model.modules())
