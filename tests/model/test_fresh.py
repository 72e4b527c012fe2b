"""The first weights of a new model: it repeats what it has read before any training."""

from types import SimpleNamespace

import torch

from heedlm.model.fresh import new_model
from heedlm.pretrain_config import ShapeConfig


class Tokenizer(SimpleNamespace):
    """As much of a tokenizer as a new model asks for."""

    def __len__(self) -> int:
        return 2000


def share_repeated(shape: ShapeConfig, seed: int = 0) -> float:
    """Share of a second reading of 40 random tokens that is predicted exactly."""
    model = new_model(shape, Tokenizer(bos_token_id=0, eos_token_id=0, pad_token_id=1), seed)  # type: ignore[arg-type]
    once = torch.randint(2, 2000, (8, 40), generator=torch.Generator().manual_seed(seed))
    ids = torch.cat([once, once], dim=1)
    with torch.no_grad():
        predicted = model(ids).logits.argmax(dim=-1)
    return float((predicted[:, 40:-1] == ids[:, 41:]).float().mean())


def test_a_new_model_repeats_a_random_list_before_any_training() -> None:
    assert share_repeated(ShapeConfig(layers=2)) > 0.95


def test_without_grouped_queries_too() -> None:
    assert share_repeated(ShapeConfig(layers=2, heads=4, kv_heads=4)) > 0.9


def test_a_single_layer_cannot_and_is_left_as_the_library_makes_it() -> None:
    assert share_repeated(ShapeConfig(layers=1)) < 0.05


def test_the_seed_decides_every_weight() -> None:
    tokenizer = Tokenizer(bos_token_id=0, eos_token_id=0, pad_token_id=1)
    models = [new_model(ShapeConfig(layers=2), tokenizer, seed).state_dict() for seed in (0, 0, 1)]  # type: ignore[arg-type]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    assert not torch.equal(models[0]["model.embed_tokens.weight"], models[2]["model.embed_tokens.weight"])


def test_a_tiny_shape_is_no_error() -> None:
    shape = ShapeConfig(hidden=16, layers=2, heads=4, kv_heads=4, intermediate=16)
    assert share_repeated(shape) >= 0.0
