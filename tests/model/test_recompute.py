"""Repeating layers in the backward pass: the same gradients, fewer bytes kept."""

import pytest
import torch

from heedlm.model.recompute import Recompute, set_recompute
from tests.families import VOCABULARY, build


def measured(model: torch.nn.Module) -> tuple[int, dict[str, torch.Tensor]]:
    """Bytes kept for the backward pass, and the gradients."""
    model.train()
    model.zero_grad()
    kept: dict[int, int] = {}

    def keep(x: torch.Tensor) -> torch.Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    ids = torch.randint(0, VOCABULARY, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        loss = model(input_ids=ids, use_cache=False).logits.float().logsumexp(-1).sum()
    loss.backward()
    return sum(kept.values()), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3", "mixtral", "bloom"])
def test_every_kind_gives_the_same_gradients_and_keeps_less(name: str) -> None:
    model = build(name)
    kept, expected = measured(model)
    for how, layers in (("selective", 1), ("full", 2)):
        assert set_recompute(model, how) == layers  # type: ignore[arg-type]
        fewer, gradients = measured(model)
        assert fewer < kept
        kept = fewer
        for key, gradient in expected.items():
            torch.testing.assert_close(gradients[key], gradient, rtol=1e-5, atol=1e-6)
    assert set_recompute(model, "off") == 0
    assert measured(model)[0] > kept


@pytest.mark.parametrize("how", ["selective", "full"])
def test_an_architecture_that_cannot_says_so_by_its_count(how: Recompute) -> None:
    model = build("llama")
    model.supports_gradient_checkpointing = False
    assert set_recompute(model, how) == 0
