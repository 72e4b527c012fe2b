"""Tensors to a safetensors file without a second copy of them in memory, and the checksum by which it is known again.

safetensors' own writer makes no copy either (from 0.8), but it hides what the disk refused behind an error of its own,
and a checksum would need a second pass.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

_CHUNK = 1 << 22
_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> str:
    """Write and sync the file. Returns the SHA-256 of what was handed to the disk, which `checksum` compares with.

    Layout: length of the header as 8 bytes, little endian; the header as JSON, filled up with spaces to a multiple of 8;
    the tensors. Wide types come first, so that every tensor is aligned. Raises OSError as the system does.
    """
    found = hashlib.sha256()
    with path.open("wb") as file:
        for part in _parts(tensors):
            found.update(part)
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    return found.hexdigest()


def checksum(path: Path) -> str:
    """SHA-256 of the file as it lies on the disk: the system is asked to forget its own copy first, where it can."""
    found = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def num_bytes(tensors: Mapping[str, torch.Tensor]) -> int:
    """Size of the tensors, without the header."""
    return sum(tensor.nbytes for tensor in tensors.values())


def _parts(tensors: Mapping[str, torch.Tensor]) -> Iterator[Any]:
    """The file as a sequence of buffers; tensors on the CPU are handed over where they lie."""
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {}
    at = 0
    for name in names:
        end = at + tensors[name].nbytes
        header[name] = {
            "dtype": _NAMES[tensors[name].dtype],
            "shape": list(tensors[name].shape),
            "data_offsets": [at, end],
        }
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little")
    yield text
    for name in names:
        yield tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
