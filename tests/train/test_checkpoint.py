"""Checkpoints: what is saved comes back to the bit, what is damaged is noticed, what is interrupted costs nothing."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from heedlm.errors import HeedError
from heedlm.train import checkpoint
from heedlm.train.loop import Position
from heedlm.train.optim import adamw
from tests.families import build

NOTES = {"validation": None}


def stepped(seed: int, steps: int = 1) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    model = build("llama")
    optimizer = adamw(model, 0.01)
    generator = torch.Generator().manual_seed(seed)
    for group in optimizer.param_groups:
        group["lr"] = 1e-2
    for _ in range(steps):
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return model, optimizer


def equal(
    one: tuple[torch.nn.Module, torch.optim.Optimizer], other: tuple[torch.nn.Module, torch.optim.Optimizer]
) -> bool:
    weights = all(torch.equal(a, b) for a, b in zip(one[0].parameters(), other[0].parameters(), strict=True))
    mine, theirs = one[1].state_dict()["state"], other[1].state_dict()["state"]
    return (
        weights
        and mine.keys() == theirs.keys()
        and all(torch.equal(mine[i][k], theirs[i][k]) for i in mine for k in mine[i])
    )


def complain(line: str) -> None:
    raise AssertionError(line)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()  # a hard link to the best weights keeps its own bytes
    path.write_bytes(content)


def test_what_is_saved_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    model, optimizer = stepped(1, steps=3)
    position = Position(7, 1, 3, 999)
    torch.manual_seed(5)
    checkpoint.save(tmp_path, model, optimizer, position, {"noted": 1.5})
    expected = torch.rand(3)
    other = stepped(2)
    torch.manual_seed(6)
    restored = checkpoint.restore(tmp_path, *other, complain)
    assert restored is not None
    assert restored.position == position
    assert restored.notes == {"noted": 1.5}
    assert torch.equal(torch.rand(3), expected)
    assert equal((model, optimizer), other)


def test_a_step_after_a_restore_is_the_step_that_would_have_been(tmp_path: Path) -> None:
    model, optimizer = stepped(1, steps=2)
    checkpoint.save(tmp_path, model, optimizer, Position(2), NOTES)
    other = stepped(9)
    checkpoint.restore(tmp_path, *other, complain)
    shutil.rmtree(tmp_path)  # what was restored does not lean on the file
    for one in (model, other[0]):
        generator = torch.Generator().manual_seed(3)
        for parameter in one.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizer.step()
    other[1].step()
    assert equal((model, optimizer), other)


def test_the_optimiser_is_stored_by_the_names_of_its_parameters(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, *stepped(1), Position(1), NOTES)
    stored = load_file(path / "optimizer.safetensors")
    assert stored["exp_avg/model.norm.weight"].shape == (32,)
    assert float(stored["step/model.norm.weight"]) == 1.0


def test_an_empty_folder_restores_nothing(tmp_path: Path) -> None:
    assert checkpoint.restore(tmp_path / "none", *stepped(1), complain) is None


def test_before_the_first_step_the_moments_are_zero_and_that_is_saved_and_proved_too(tmp_path: Path) -> None:
    model = build("llama")
    optimizer = adamw(model, 0.0)
    path = checkpoint.save(tmp_path, model, optimizer, Position(), NOTES)
    checkpoint.prove(path, model, optimizer)
    other = build("llama")
    assert checkpoint.restore(tmp_path, other, again := adamw(other, 0.0), complain) is not None
    assert len(again.state) == len(list(other.parameters()))
    assert not any(state["exp_avg"].any() or state["step"] for state in again.state.values())


@pytest.mark.parametrize("file", ["weights.safetensors", "random.safetensors", "optimizer.safetensors"])
def test_the_first_checkpoint_is_compared_with_what_is_in_memory(tmp_path: Path, file: str) -> None:
    model, optimizer = stepped(1)
    path = checkpoint.save(tmp_path, model, optimizer, Position(0), NOTES)
    checkpoint.prove(path, model, optimizer)
    flip(path / file)
    with pytest.raises(HeedError, match="does not read back"):
        checkpoint.prove(path, model, optimizer)


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_last_ones_are_kept(tmp_path: Path, keep: int) -> None:
    model, optimizer = stepped(1)
    for step in (1, 2, 3, 1_000_000):
        checkpoint.save(tmp_path, model, optimizer, Position(step), NOTES, keep=keep)
    assert names(tmp_path) == ["step-000001", "step-000002", "step-000003", "step-1000000"][-keep:]
    restored = checkpoint.restore(tmp_path, model, optimizer, complain)
    assert restored is not None
    assert restored.position.step == 1_000_000


def test_what_lies_ahead_of_a_run_that_went_back_is_removed_when_it_saves_again(tmp_path: Path) -> None:
    model, optimizer = stepped(1)
    for step in (2, 4, 6):
        checkpoint.save(tmp_path, model, optimizer, Position(step), NOTES, keep=9)
    checkpoint.save(tmp_path, model, optimizer, Position(3), NOTES, keep=2)
    assert names(tmp_path) == ["step-000002", "step-000003"]


@pytest.mark.parametrize(
    "file", ["weights.safetensors", "optimizer.safetensors", "random.safetensors", "manifest.json"]
)
@pytest.mark.parametrize("damage", ["truncate", "flip", "gone", "empty"])
def test_a_damaged_checkpoint_is_passed_over_aloud(tmp_path: Path, damage: str, file: str) -> None:
    first, second = stepped(1), stepped(1, steps=2)
    checkpoint.save(tmp_path, *first, Position(1), NOTES)
    path = checkpoint.save(tmp_path, *second, Position(2), NOTES) / file
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "flip":
        path.write_bytes(
            content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 1]) + content[len(content) // 2 + 1 :]
        )
    else:
        path.write_bytes(content[:-10] if damage == "truncate" else b"")
    heard: list[str] = []
    other = stepped(3)
    restored = checkpoint.restore(tmp_path, *other, heard.append)
    assert restored is not None
    assert restored.position.step == 1
    assert equal(other, first)
    assert len(heard) == 1
    assert "step-000002 is damaged" in heard[0]


def test_where_none_is_whole_nothing_is_begun_anew_in_silence(tmp_path: Path) -> None:
    for step in (1, 2):
        flip(checkpoint.save(tmp_path, *stepped(1), Position(step), NOTES) / "random.safetensors")
    heard: list[str] = []
    with pytest.raises(HeedError, match="None of the 2 checkpoints of this run is whole") as caught:
        checkpoint.restore(tmp_path, *stepped(1), heard.append)
    assert f"rm -r {tmp_path}" in caught.value.problems[0].mend
    assert len(heard) == 2


def test_a_checkpoint_of_another_version_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, *stepped(1), Position(1), NOTES)
    path = checkpoint.save(tmp_path, *stepped(1), Position(2), NOTES) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 99}))
    with pytest.raises(HeedError, match="format version 99, this heed reads 2") as caught:
        checkpoint.restore(tmp_path, *stepped(1), complain)
    assert "the heed that wrote it" in caught.value.problems[0].mend


def test_other_conditions_are_said_because_bits_depend_on_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimizer = stepped(1)
    checkpoint.save(tmp_path, model, optimizer, Position(1), NOTES)
    now = checkpoint.conditions(torch.device("cpu"))
    assert now["torch"] == torch.__version__
    assert now["threads"] == 1
    monkeypatch.setattr(checkpoint, "conditions", lambda device: {**now, "torch": "9.9", "threads": 64})
    heard: list[str] = []
    assert checkpoint.restore(tmp_path, model, optimizer, heard.append) is not None
    assert heard == [
        f"going on under other conditions, so not to the same bits: torch was {torch.__version__}, is 9.9; threads was 1, is 64"
    ]


def test_best_weights_travel_beside_and_go_when_no_checkpoint_names_them(tmp_path: Path) -> None:
    model, optimizer = stepped(1)
    kept = {name: p.detach().clone() for name, p in model.named_parameters()}
    best = checkpoint.save_best(tmp_path, model, 2.0, 1)
    checkpoint.save(tmp_path, model, optimizer, Position(2), NOTES, best=best)
    optimizer.step()
    restored = checkpoint.restore(tmp_path, *stepped(4), complain)
    assert restored is not None
    assert restored.best == best
    other, _ = stepped(2)
    checkpoint.put(other, checkpoint.load_best(tmp_path, best))
    assert all(torch.equal(kept[name], p) for name, p in other.named_parameters())
    better = checkpoint.save_best(tmp_path, model, 1.0, 3)
    assert names(tmp_path) == ["best-000001.safetensors", "best-000003.safetensors", "step-000002"]
    for step in (4, 5):
        checkpoint.save(tmp_path, model, optimizer, Position(step), NOTES, best=better)
    assert names(tmp_path) == ["best-000003.safetensors", "step-000004", "step-000005"]


def test_best_weights_that_came_after_the_checkpoint_do_not_reach_a_run_that_goes_on_from_it(tmp_path: Path) -> None:
    """Killed between the evaluation and the next checkpoint: the run goes back behind the evaluation, and its best with it."""
    model, optimizer = stepped(1)
    early = checkpoint.save_best(tmp_path, model, 2.0, 1)
    checkpoint.save(tmp_path, model, optimizer, Position(2), NOTES, best=early)
    kept = checkpoint.load_best(tmp_path, early)
    later, _ = stepped(5)
    checkpoint.save_best(tmp_path, later, 1.0, 3)
    restored = checkpoint.restore(tmp_path, model, optimizer, complain)
    assert restored is not None
    assert restored.best == early
    again = checkpoint.load_best(tmp_path, early)
    assert all(torch.equal(kept[name], again[name]) for name in kept)


def test_best_weights_of_the_same_step_are_written_once(tmp_path: Path) -> None:
    model, optimizer = stepped(1)
    best = checkpoint.save_best(tmp_path, model, 2.0, 4)
    path = checkpoint.save(tmp_path, model, optimizer, Position(4), NOTES, best=best)
    assert (path / "weights.safetensors").samefile(tmp_path / "best-000004.safetensors")
    for step in (5, 6):  # the checkpoint goes, the best stays
        checkpoint.save(tmp_path, model, optimizer, Position(step), NOTES, best=best)
    assert checkpoint.load_best(tmp_path, best).keys() == dict(model.named_parameters()).keys()


def test_without_hard_links_the_weights_are_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refused)
    model, optimizer = stepped(1)
    best = checkpoint.save_best(tmp_path, model, 2.0, 4)
    checkpoint.save(tmp_path, model, optimizer, Position(4), NOTES, best=best)
    assert checkpoint.restore(tmp_path, *stepped(2), complain) is not None


def test_damaged_best_weights_send_a_run_back_to_a_checkpoint_with_its_own(tmp_path: Path) -> None:
    model, optimizer = stepped(1)
    first = checkpoint.save_best(tmp_path, model, 2.0, 1)
    checkpoint.save(tmp_path, model, optimizer, Position(2), NOTES, best=first)
    second = checkpoint.save_best(tmp_path, model, 1.0, 3)
    checkpoint.save(tmp_path, model, optimizer, Position(4), NOTES, best=second)
    flip(tmp_path / "best-000003.safetensors")
    restored = checkpoint.restore(tmp_path, model, optimizer, lambda line: None)
    assert restored is not None
    assert (restored.position.step, restored.best) == (2, first)
    flip(tmp_path / "best-000001.safetensors")
    heard: list[str] = []
    restored = checkpoint.restore(tmp_path, model, optimizer, heard.append)
    assert restored is not None
    assert (restored.position.step, restored.best) == (4, None)
    assert any("best weights so far are damaged" in line for line in heard)


def test_files_are_readable_by_whom_files_usually_are(tmp_path: Path) -> None:
    model, optimizer = stepped(1)
    before = os.umask(0o027)
    try:
        best = checkpoint.save_best(tmp_path, model, 2.0, 1)
        path = checkpoint.save(tmp_path, model, optimizer, Position(2), NOTES, best=best)
    finally:
        os.umask(before)
    for file in (*path.iterdir(), tmp_path / "best-000001.safetensors"):
        assert file.stat().st_mode & 0o777 == 0o640, file


class Disk:
    """The file system as the calls that change it, counted; the one numbered `last` does not happen, nor any after it."""

    CALLS = ("mkdir", "rename", "replace", "link", "unlink", "rmdir", "fsync", "open")

    def __init__(self, monkeypatch: pytest.MonkeyPatch, last: int) -> None:
        self.count, self.last = 0, last
        for name in self.CALLS:
            monkeypatch.setattr(os, name, self._counted(getattr(os, name)))
        monkeypatch.setattr(checkpoint, "write_tensors", self._half(checkpoint.write_tensors))

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            self.happens()
            return call(*args, **options)

        return run

    def _half(self, write: Callable[..., str]) -> Callable[..., str]:
        def run(path: Path, tensors: dict[str, torch.Tensor]) -> str:
            found = write(path, tensors)
            try:
                self.happens()
            except Killed:
                os.truncate(path, path.stat().st_size // 2)
                raise
            return found

        return run

    def happens(self) -> None:
        self.count += 1
        if self.count > self.last:
            raise Killed


class Killed(BaseException):
    """What kill -9 is to a program: nothing that follows is done, clean-up included."""


@pytest.mark.parametrize("keep", [1, 2])
def test_a_crash_at_any_point_of_saving_leaves_a_checkpoint_to_go_on_from(tmp_path: Path, keep: int) -> None:
    states = {step: stepped(7, steps=step) for step in (1, 2, 3)}

    early = checkpoint.save_best(tmp_path / "before", states[1][0], 2.0, 1)
    for step in (1, 2):
        checkpoint.save(tmp_path / "before", *states[step], Position(step), NOTES, best=early, keep=keep)

    def saving(folder: Path) -> None:
        best = checkpoint.save_best(folder, states[3][0], 1.0, 3)
        checkpoint.save(folder, *states[3], Position(3), NOTES, best=best, keep=keep)

    with pytest.MonkeyPatch.context() as patch:
        shutil.copytree(tmp_path / "before", tmp_path / "all")
        disk = Disk(patch, 10**9)
        saving(tmp_path / "all")
    assert disk.count > 30
    reached = set()
    for last in range(disk.count):
        folder = tmp_path / str(last)
        shutil.copytree(tmp_path / "before", folder)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            Disk(patch, last)
            saving(folder)
        other = stepped(9)
        restored = checkpoint.restore(folder, *other, complain)
        assert restored is not None, last
        step = restored.position.step
        reached.add(step)
        assert step in (2, 3), last
        assert equal(other, states[step]), last
        assert restored.best is not None
        assert restored.best.step == (early.step if step == 2 else 3)
        best = checkpoint.load_best(folder, restored.best)
        assert all(torch.equal(best[n], p) for n, p in states[1 if step == 2 else 3][0].named_parameters()), last
        saving(folder)  # and the run goes on as if nothing had been
        assert names(folder) == names(tmp_path / "all"), last
        shutil.rmtree(folder)
    assert reached == {2, 3}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("file", ["weights", "optimizer", "random", "manifest", "best"])
def test_a_full_disk_leaves_the_checkpoint_before_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, code: int
) -> None:
    before = stepped(1)
    checkpoint.save(tmp_path, *before, Position(1), NOTES)
    usual = Path.open

    class Full:
        """A file on a disk with room for a hundred bytes more."""

        def __init__(self, inner: Any) -> None:
            self.inner, self.room = inner, 100

        def write(self, data: Any) -> int:
            self.room -= len(data)
            if self.room < 0:
                self.inner.write(data[: max(0, self.room + len(data))])
                raise OSError(code, os.strerror(code))
            return int(self.inner.write(data))

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.inner.close()

    def opened(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        inner = usual(path, mode, *args, **options)
        return Full(inner) if "w" in mode and file in path.name else inner

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(
        HeedError, match=r"No space left on the disk for the .* needed, .* free; step-000001 is intact"
    ) as caught:
        if file == "best":
            checkpoint.save_best(tmp_path, before[0], 1.0, 2)
        else:
            checkpoint.save(tmp_path, *stepped(1, steps=2), Position(2), NOTES)
    assert "free some space" in caught.value.problems[0].mend
    assert names(tmp_path) == ["step-000001"]
    other = stepped(3)
    assert checkpoint.restore(tmp_path, *other, complain) is not None
    assert equal(other, before)


def test_a_disk_that_does_not_give_back_what_it_was_given_is_noticed_before_the_old_one_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, optimizer = stepped(1)
    checkpoint.save(tmp_path, model, optimizer, Position(1), NOTES, keep=1)
    write = checkpoint.write_tensors

    def bad(path: Path, tensors: dict[str, torch.Tensor]) -> str:
        found = write(path, tensors)
        flip(path)
        return found

    monkeypatch.setattr(checkpoint, "write_tensors", bad)
    with pytest.raises(HeedError, match="does not read back"):
        checkpoint.save(tmp_path, model, optimizer, Position(2), NOTES, keep=1)
    with pytest.raises(HeedError, match="do not read back"):
        checkpoint.save_best(tmp_path, model, 1.0, 2)
    assert names(tmp_path) == ["step-000001"]
