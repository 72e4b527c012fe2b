import json
from pathlib import Path

import pytest
import torch

from heedlm.train import checkpoint
from heedlm.train.loop import Position
from heedlm.train.optim import adamw
from tests.families import build


def stepped(seed: int) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    model = build("llama")
    optimizer = adamw(model, 0.01)
    generator = torch.Generator().manual_seed(seed)
    for group in optimizer.param_groups:
        group["lr"] = 1e-2
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizer.step()
    return model, optimizer


def complain(line: str) -> None:
    raise AssertionError(line)


def test_what_is_saved_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    model, optimizer = stepped(1)
    position = Position(7, 1, 3, 999)
    torch.manual_seed(5)
    checkpoint.save(tmp_path, model, optimizer, position, {"best_loss": 1.5})
    expected = torch.rand(3)
    other, other_optimizer = stepped(2)
    torch.manual_seed(6)
    restored = checkpoint.restore(tmp_path, other, other_optimizer, complain)
    assert restored is not None
    assert restored.position == position
    assert restored.notes == {"best_loss": 1.5}
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    mine, theirs = optimizer.state_dict()["state"], other_optimizer.state_dict()["state"]
    assert all(torch.equal(mine[i][key], theirs[i][key]) for i in mine for key in mine[i])


def test_an_empty_folder_restores_nothing(tmp_path: Path) -> None:
    model, optimizer = stepped(1)
    assert checkpoint.restore(tmp_path / "none", model, optimizer, complain) is None


def test_only_the_last_two_are_kept(tmp_path: Path) -> None:
    model, optimizer = stepped(1)
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, model, optimizer, Position(step), {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000002", "step-000003"]


@pytest.mark.parametrize("damage", ["truncate", "flip", "no manifest", "other version"])
def test_a_damaged_checkpoint_is_passed_over_aloud(tmp_path: Path, damage: str) -> None:
    model, optimizer = stepped(1)
    checkpoint.save(tmp_path, model, optimizer, Position(1), {})
    checkpoint.save(tmp_path, model, optimizer, Position(2), {})
    weights = tmp_path / "step-000002" / "weights.safetensors"
    manifest = tmp_path / "step-000002" / "manifest.json"
    content = weights.read_bytes()
    if damage == "truncate":
        weights.write_bytes(content[:-10])
    elif damage == "flip":
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "no manifest":
        manifest.unlink()
    else:
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "version": 99}))
    heard: list[str] = []
    restored = checkpoint.restore(tmp_path, model, optimizer, heard.append)
    assert restored is not None
    assert restored.position.step == 1
    assert len(heard) == 1
    assert "step-000002" in heard[0]


def test_an_interrupted_save_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimizer = stepped(1)
    checkpoint.save(tmp_path, model, optimizer, Position(1), {})

    def full(*_: object) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(checkpoint, "_sync", full)
    with pytest.raises(RuntimeError):
        checkpoint.save(tmp_path, model, optimizer, Position(2), {})
    assert [p.name for p in tmp_path.iterdir()] == ["step-000001"]


def test_best_weights_travel_beside(tmp_path: Path) -> None:
    model, _ = stepped(1)
    assert checkpoint.load_best(tmp_path) is None
    checkpoint.save_best(tmp_path, checkpoint.trainable_state(model))
    other, _ = stepped(2)
    found = checkpoint.load_best(tmp_path)
    assert found is not None
    checkpoint.put(other, found)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
