"""The teacher's distributions: right for every token, whatever the packing, and the same after a stop at any moment."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from heedlm.config import LoraConfig
from heedlm.errors import HeedError
from heedlm.instructions.bake.objective import divergences
from heedlm.instructions.bake.targets import Targets, targets_of
from heedlm.messages import Batch, Encoded
from heedlm.model.adapters import add_adapter
from heedlm.tokens.loader import Loader
from heedlm.train.forward import Packing
from heedlm.train.probe import choose_packing
from tests.families import build

PADDED = Packing(False, "padded")


def sequence(prompt: list[int], answer: list[int]) -> Encoded:
    return Encoded((*prompt, *answer), (*(0.0 for _ in prompt), *(1.0 for _ in answer)))


def sides(count: int) -> tuple[list[Encoded], list[Encoded]]:
    """The same answers behind a short beginning, and behind a longer one."""
    generator = torch.Generator().manual_seed(1)

    def some(number: int) -> list[int]:
        return torch.randint(5, 300, (number,), generator=generator).tolist()

    answers = [some(1 + number % 4) for number in range(count)]
    short, long = some(3), some(9)
    return [sequence(short, one) for one in answers], [sequence([*long, *short], one) for one in answers]


def made(
    folder: Path, model: PreTrainedModel, packing: Packing, count: int = 9, key: str = "a", **how: object
) -> Targets:
    students, teachers = sides(count)
    given: dict[str, object] = {"top": 6, "micro_tokens": 40, **how}
    return targets_of(folder, key, students, teachers.__getitem__, model, packing, torch.float32, **given)  # type: ignore[arg-type]


def batches(count: int, *, share: bool) -> list[Batch]:
    loader = Loader(sides(count)[0], 60, 30, seed=4, share=share)
    return [micro for step in loader.batches(0) for micro in step.micro_batches]


def direct(model: PreTrainedModel, batch: Batch, count: int) -> torch.Tensor:
    """Logits [L, V] of the teacher at each target of a batch, sequence by sequence."""
    _, teachers = sides(count)
    rows = []
    for row, place in zip(batch.target_row.tolist(), batch.positions[batch.target_index].tolist(), strict=True):
        ids = teachers[row].ids
        behind = len(teachers[row].ids) - len(sides(count)[0][row].ids)
        with torch.no_grad():
            rows.append(model(torch.tensor([ids])).logits[0, place + behind])
    return torch.stack(rows)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("share", [True, False])
def test_every_target_finds_what_the_teacher_says_there(packed: bool, share: bool, tmp_path: Path) -> None:
    model = build("llama")
    packing = choose_packing(model) if packed else PADDED
    assert packing.packed is packed
    targets = made(tmp_path / "t", model, packing)
    seen = 0
    for batch in batches(9, share=share):
        wanted = targets.at(batch)
        assert float(divergences(direct(model, batch, 9), wanted)[0].abs().max()) < 1e-4
        seen += len(batch.target_id)
    assert seen == len(targets) == sum(1 + number % 4 for number in range(9))


def test_adapters_are_off_for_the_teacher_and_on_again(tmp_path: Path) -> None:
    plain = made(tmp_path / "a", build("llama"), PADDED)
    model = add_adapter(build("llama"), LoraConfig(rank=2))
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "lora_B" in name:
                weights.add_(0.5)
    model.train()
    ids = torch.tensor([[1, 2, 3]])
    before = model(ids).logits
    other = made(tmp_path / "b", model, PADDED)
    assert model.training
    assert torch.equal(model(ids).logits, before)
    (batch, *_) = batches(9, share=False)
    for one, two in zip(plain.at(batch), other.at(batch), strict=True):
        torch.testing.assert_close(one, two)


class Killed(Exception):
    pass


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_pass_that_is_cut_off_goes_on_to_the_same_bytes(after: int, tmp_path: Path) -> None:
    model = build("llama")
    made(tmp_path / "whole", model, PADDED)
    calls: list[int] = []

    def killed(done: int, of: int) -> None:
        calls.append(done)
        if len(calls) == after:
            raise Killed

    with pytest.raises(Killed):
        made(tmp_path / "cut", model, PADDED, on_progress=killed)
    assert not (tmp_path / "cut").exists()
    heard: list[int] = []
    made(tmp_path / "cut", model, PADDED, on_progress=lambda done, of: heard.append(done))
    assert heard
    assert heard[0] > calls[-1]
    same_bytes(tmp_path / "whole", tmp_path / "cut")


def same_bytes(whole: Path, cut: Path) -> None:
    for name in ("keys", "ids", "logprobs", "rest"):
        one, other = (np.load(folder / f"{name}.npy") for folder in (whole, cut))
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
        assert (whole / f"{name}.npy").read_bytes() == (cut / f"{name}.npy").read_bytes()


def test_what_is_there_is_used_and_what_depends_on_something_else_is_made_anew(tmp_path: Path) -> None:
    model = build("llama")
    made(tmp_path / "t", model, PADDED)
    heard: list[int] = []
    made(tmp_path / "t", model, PADDED, on_progress=lambda done, of: heard.append(done))
    assert not heard
    made(tmp_path / "t", model, PADDED, key="b", on_progress=lambda done, of: heard.append(done))
    assert heard
    (tmp_path / "t" / "index.json").write_text("{")
    heard.clear()
    made(tmp_path / "t", model, PADDED, key="b", on_progress=lambda done, of: heard.append(done))
    assert heard


def test_more_tokens_than_there_are_is_all_but_one_of_them(tmp_path: Path) -> None:
    targets = made(tmp_path / "t", build("llama"), PADDED, count=2, top=10_000)
    (batch, *_) = batches(2, share=False)
    assert targets.at(batch).ids.shape == (3, 319)


def test_the_rows_of_a_broken_progress_file_are_made_anew(tmp_path: Path) -> None:
    place = tmp_path / ".t.writing"
    place.mkdir()
    (place / "done.json").write_text('{"key": "other", "sequences": 5}')
    (place / "ids.npy").write_bytes(b"rubbish")
    assert len(made(tmp_path / "t", build("llama"), PADDED)) == 21
    assert not place.exists()


@pytest.mark.parametrize("name", ["keys", "ids", "logprobs", "rest"])
def test_a_full_disk_is_an_error_that_says_where_and_the_same_call_goes_on(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build("llama")
    made(tmp_path / "whole", model, PADDED)
    real_open, real_save, writes = Path.open, np.save, list[str]()

    def full(path: Path, mode: str = "r", *more: object, **how: object) -> object:
        if path.name == f"{name}.npy" and mode == "ab":
            writes.append(name)
            if len(writes) == 3:  # the first two stretches fit
                with real_open(path, "ab") as file:
                    file.write(b"half")
                raise OSError(errno.ENOSPC, "full", str(path))
        return real_open(path, mode, *more, **how)  # type: ignore[call-overload]

    def no_room(file: object, array: object) -> None:
        raise OSError(errno.ENOSPC, "full", str(file))

    monkeypatch.setattr(Path, "open", full)
    if name == "keys":
        monkeypatch.setattr(np, "save", no_room)
    with pytest.raises(HeedError, match="No space left"):
        made(tmp_path / "cut", model, PADDED)
    assert not (tmp_path / "cut").exists()
    monkeypatch.setattr(Path, "open", real_open)
    monkeypatch.setattr(np, "save", real_save)
    heard: list[int] = []
    made(tmp_path / "cut", model, PADDED, on_progress=lambda done, of: heard.append(done))
    assert len(heard) == (5 if name == "keys" else 3)  # what was done before stayed done
    same_bytes(tmp_path / "whole", tmp_path / "cut")


def test_no_part_is_mapped_while_it_is_written(tmp_path: Path) -> None:
    # A page of a mapped file that finds no room on the disk ends the process; a write is refused in words.
    script = f"""
import resource, signal
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from tests.instructions.bake.test_targets import PADDED, build, made
model = build("llama")
resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))
try:
    made(Path({str(tmp_path)!r}) / "t", model, PADDED, count=40)
except OSError as error:
    print("refused:", error.errno)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert ran.stdout.strip() == f"refused: {errno.EFBIG}", ran.stderr


@pytest.mark.parametrize("cut", [0, 1, 60])
def test_files_shorter_than_what_was_noted_are_made_anew(cut: int, tmp_path: Path) -> None:
    model = build("llama")
    made(tmp_path / "whole", model, PADDED)

    def killed(done: int, of: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        made(tmp_path / "cut", model, PADDED, on_progress=killed)
    ids = tmp_path / ".cut.writing" / "ids.npy"
    ids.write_bytes(ids.read_bytes()[: ids.stat().st_size - cut])  # as a power cut may leave it
    heard: list[int] = []
    made(tmp_path / "cut", model, PADDED, on_progress=lambda done, of: heard.append(done))
    assert len(heard) == (5 if cut else 4)
    same_bytes(tmp_path / "whole", tmp_path / "cut")
