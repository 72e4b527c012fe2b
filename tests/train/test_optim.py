import pytest
import torch

from heedlm.train.optim import adamw, default_lr, lr_schedule


def test_small_models_want_more_and_adapters_ten_times() -> None:
    sizes = (4e6, 1e8, 5e8, 8e9)
    full = [default_lr("full", int(n)).value for n in sizes]
    assert full == sorted(full, reverse=True)
    assert default_lr("lora", int(8e9)).value == pytest.approx(10 * default_lr("full", int(8e9)).value)
    assert "adapters" in default_lr("lora", int(8e9)).reason
    assert "8000.0M" in default_lr("full", int(8e9)).reason


@pytest.mark.parametrize("name", ["cosine", "linear", "constant"])
def test_a_schedule_warms_up_and_ends_where_it_should(name: str) -> None:
    at = lr_schedule(1.0, 100, 0.1, name)  # type: ignore[arg-type]
    rates = [at(step) for step in range(100)]
    assert 0 < rates[0] < rates[5] < rates[9] < 1
    assert rates[10] == pytest.approx(1.0)
    assert max(rates) <= 1.0
    assert rates[-1] == pytest.approx(1.0 if name == "constant" else 0.1, abs=0.02)


def test_a_run_of_one_step_moves() -> None:
    assert lr_schedule(1.0, 1, 0.0, "cosine")(0) == 1.0
    assert lr_schedule(1.0, 1, 0.5, "cosine")(0) == 0.5


def test_only_matrices_decay() -> None:
    layer = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))
    optimizer = adamw(layer, 0.1)
    by_decay = {group["weight_decay"]: group["params"] for group in optimizer.param_groups}
    assert [p.ndim for p in by_decay[0.1]] == [2]
    assert all(p.ndim == 1 for p in by_decay[0.0])
    assert len(by_decay[0.0]) == 3


def test_frozen_parameters_are_left_out() -> None:
    layer = torch.nn.Linear(4, 4)
    layer.bias.requires_grad_(False)
    assert sum(len(g["params"]) for g in adamw(layer, 0.0).param_groups) == 1
