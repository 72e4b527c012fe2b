"""A checksum that tells models apart and depends on nothing but them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from heedlm.eval.stage import known_as
from heedlm.generate.chat import load_chat
from heedlm.model.identity import identity
from heedlm.synth.teacher import teacher_of
from tests.families import checkpoint


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def large() -> nn.ModuleDict:
    """Enough numbers that several threads share a sum."""
    torch.manual_seed(0)
    return nn.ModuleDict({"a": nn.Linear(700, 900), "b": nn.LayerNorm(900), "c": nn.Embedding(2000, 64)})


def test_the_number_of_threads_changes_nothing(threads: None) -> None:
    """Sums of floats differ with it: items were asked again, and rows paid for twice, on another machine."""
    model = large()
    found = set()
    for count in (1, 2, 3, 4, 8):
        torch.set_num_threads(count)
        found.add(identity(model, "template"))
    assert len(found) == 1
    assert len(found.pop()) == 16


def matrix(model: nn.ModuleDict) -> torch.Tensor:
    found = model["a"].weight
    assert isinstance(found, nn.Parameter)
    return found.data


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_one_bit_of_one_weight_makes_another_model(dtype: torch.dtype) -> None:
    model = large().to(dtype)
    before = identity(model, "t")
    assert identity(large().to(dtype), "t") == before
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[torch.empty(0, dtype=dtype).element_size()]
    matrix(model).view(bits)[500, 300] ^= 1
    assert identity(model, "t") != before


def test_exchanged_rows_and_columns_and_another_template_make_another_model() -> None:
    model, before = large(), identity(large(), "t")
    weight = matrix(model).clone()
    found = {before, identity(model, "u")}
    for swapped in (weight.flip(0), weight.flip(1)):
        matrix(model).copy_(swapped)
        found.add(identity(model, "t"))
    assert len(found) == 4


def test_a_model_of_no_weights_or_of_a_single_number_has_one_too() -> None:
    model = nn.Module()
    nothing = identity(model, "t")
    model.register_buffer("scale", torch.tensor(2.0))
    model.register_buffer("none", torch.empty(0, 3))
    assert nothing != identity(model, "t")


def test_evaluation_and_synthesis_know_a_model_by_the_same_sum(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "base")
    chat = load_chat(folder)
    assert teacher_of(folder, "x", None, 1.0).weights == known_as(chat) == identity(chat.model, chat.template.source)
    assert known_as(load_chat(folder, "alpaca")) != known_as(chat)
