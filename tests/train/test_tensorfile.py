"""Our writer writes what safetensors reads."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from heedlm.train.tensorfile import checksum, num_bytes, write_tensors

KINDS = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool]


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(KINDS), st.lists(st.integers(0, 4), max_size=3)),
        max_size=6,
    )
)
def test_every_kind_and_shape_comes_back(
    tmp_path_factory: pytest.TempPathFactory, shapes: dict[str, tuple[torch.dtype, list[int]]]
) -> None:
    path = tmp_path_factory.mktemp("tensors") / "file.safetensors"
    tensors = {name: torch.randn(shape).mul(100).to(kind) for name, (kind, shape) in shapes.items()}
    found = write_tensors(path, tensors)
    back = load_file(path)
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)
    assert found == checksum(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.stat().st_size >= num_bytes(tensors)


def test_views_and_parameters_are_stored_as_they_read(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {"t": base.t(), "part": base[1:, ::2], "p": torch.nn.Parameter(base), "same": base}
    write_tensors(tmp_path / "f", tensors)
    back = load_file(tmp_path / "f")
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())


def test_no_tensor_at_all_is_a_file_too(tmp_path: Path) -> None:
    write_tensors(tmp_path / "f", {})
    with safe_open(tmp_path / "f", "pt") as file:
        assert list(file.keys()) == []


def test_one_bit_changes_the_checksum(tmp_path: Path) -> None:
    found = write_tensors(tmp_path / "f", {"a": torch.zeros(1000)})
    content = bytearray((tmp_path / "f").read_bytes())
    content[-1] ^= 1
    (tmp_path / "f").write_bytes(content)
    assert checksum(tmp_path / "f") != found
