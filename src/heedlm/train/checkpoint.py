"""Checkpoints from which a run goes on: weights, optimiser, position, random state; complete or absent.

A checkpoint is a folder written under a temporary name, synced and renamed; its manifest holds a checksum per file, and
one whose checksums do not match is passed over for the one before, aloud.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from heedlm.runs import disk_errors, write_json
from heedlm.train.loop import Position

VERSION = 1


class Restored(NamedTuple):
    """Where a run goes on, and what its stage had noted (best loss and the like)."""

    position: Position
    notes: dict[str, Any]
    folder: Path


def trainable_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copies of the trainable parameters on the CPU, by name; a tied weight appears once."""
    return {name: p.detach().cpu().clone() for name, p in model.named_parameters() if p.requires_grad}


def save(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    position: Position,
    notes: Mapping[str, Any],
    keep: int = 2,
) -> Path:
    """Write `folder`/step-NNNNNN and remove all but the last `keep`, only after the new one stands. Returns its path."""
    final = folder / f"step-{position.step:06d}"
    temporary = folder / f".writing-{position.step:06d}"
    with disk_errors(folder):
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir(parents=True)
            save_file(trainable_state(model), temporary / "weights.safetensors")
            save_file(_optimizer_state(optimizer), temporary / "optimizer.safetensors")
            save_file(_random_state(), temporary / "random.safetensors")
            checksums = {path.name: _sha256(path) for path in sorted(temporary.iterdir())}
            manifest = {"version": VERSION, "position": asdict(position), "notes": dict(notes), "sha256": checksums}
            write_json(temporary / "manifest.json", manifest)
            for path in temporary.iterdir():
                _sync(path)
            shutil.rmtree(final, ignore_errors=True)
            temporary.rename(final)
            _sync(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    for old in _all(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def restore(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, warn: Callable[[str], None]
) -> Restored | None:
    """Load the newest checkpoint that is whole. None when there is none. `warn` hears of each that had to be passed over."""
    for path in reversed(_all(folder)):
        problem = _problem(path)
        if problem:
            warn(f"checkpoint {path.name} is damaged ({problem}); going back to the one before")
            continue
        manifest = json.loads((path / "manifest.json").read_text("utf8"))
        put(model, load_file(path / "weights.safetensors"))
        _load_optimizer_state(optimizer, load_file(path / "optimizer.safetensors"))
        _restore_random_state(load_file(path / "random.safetensors"))
        return Restored(Position(**manifest["position"]), manifest["notes"], path)
    return None


def save_best(folder: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """Keep the best weights so far beside the checkpoints, so that a resumed run still has them."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / ".best.tmp"
        save_file(dict(weights), temporary)
        _sync(temporary)
        temporary.replace(folder / "best.safetensors")


def load_best(folder: Path) -> dict[str, torch.Tensor] | None:
    """What `save_best` kept, or None."""
    path = folder / "best.safetensors"
    return load_file(path) if path.is_file() else None


def put(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Copy weights, by name, into the trainable parameters of a model."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(weights[name])


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*")) if folder.is_dir() else []


def _problem(path: Path) -> str:
    try:
        manifest = json.loads((path / "manifest.json").read_text("utf8"))
    except (OSError, json.JSONDecodeError):
        return "no readable manifest"
    if manifest.get("version") != VERSION:
        return f"written by another version ({manifest.get('version')})"
    for name, checksum in manifest["sha256"].items():
        if not (path / name).is_file() or _sha256(path / name) != checksum:
            return f"{name} does not match its checksum"
    return ""


def _optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"{i}.{key}": torch.as_tensor(value).cpu().clone() for i, slots in state.items() for key, value in slots.items()
    }


def _load_optimizer_state(optimizer: torch.optim.Optimizer, flat: Mapping[str, torch.Tensor]) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in flat.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _random_state() -> dict[str, torch.Tensor]:
    """State of every generator that dropout draws from."""
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"torch": torch.get_rng_state(), **{f"cuda.{i}": state for i, state in enumerate(devices)}}


def _restore_random_state(state: Mapping[str, torch.Tensor]) -> None:
    torch.set_rng_state(state["torch"])
    for i in range(torch.cuda.device_count()):
        if f"cuda.{i}" in state:
            torch.cuda.set_rng_state(state[f"cuda.{i}"], i)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _sha256_old(path)


def _sha256_old(path: Path) -> str:
    """Python 3.10 has no file_digest."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
