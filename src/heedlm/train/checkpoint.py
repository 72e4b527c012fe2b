"""Checkpoints from which a run goes on: weights, optimiser, position, random state; complete or absent.

A checkpoint is a folder written under a temporary name, synced, read back against the checksums of what was meant, and
only then renamed; only then are older ones removed. Reading passes over one that is damaged for the one before, aloud.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import nn

from heedlm.errors import HeedError
from heedlm.launch import launched
from heedlm.runs import NO_SPACE, disk_errors, sync, write_json
from heedlm.train.loop import Position
from heedlm.train.ranks import ALONE, Ranks, collected, part_like
from heedlm.train.tensorfile import checksum, num_bytes, write_tensors

VERSION = 2
_WEIGHTS, _OPTIMIZER, _RANDOM = "weights.safetensors", "optimizer.safetensors", "random.safetensors"


class Best(NamedTuple):
    """The best weights so far: validation loss, step, checksum of what lies in best-NNNNNN.safetensors, score if it chose."""

    loss: float | None
    step: int
    sha256: str
    score: float | None = None


class Restored(NamedTuple):
    """Where a run goes on, and what its stage had noted.   best: None also where its file is damaged."""

    position: Position
    notes: dict[str, Any]
    best: Best | None
    folder: Path


def trainable(model: nn.Module) -> dict[str, torch.Tensor]:
    """The trainable parameters by name, where they lie; a tied weight appears once. Cut ones: see `collected`."""
    return {name: collected(p.detach()) for name, p in model.named_parameters() if p.requires_grad}


def save(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    position: Position,
    notes: Mapping[str, Any],
    *,
    best: Best | None = None,
    keep: int = 2,
    ranks: Ranks = ALONE,
) -> Path:
    """Write `folder`/step-NNNNNN; once it reads back, remove all but the last `keep` and the best weights they name.

    Of several ranks the first one writes; what is written does not tell how many there were.
    Raises HeedError when the disk is full or does not give back what it was given; the checkpoints before are then intact.
    """
    tensors = trainable(model), _optimizer_state(model, optimizer)
    under = conditions(next(model.parameters()).device)
    return ranks.on_first(lambda: _write(folder, *tensors, under, position, notes, best, keep))


def _write(
    folder: Path,
    weights: Mapping[str, torch.Tensor],
    state: Mapping[str, torch.Tensor],
    under: Mapping[str, Any],
    position: Position,
    notes: Mapping[str, Any],
    best: Best | None,
    keep: int,
) -> Path:
    final = folder / f"step-{position.step:06d}"
    temporary = folder / f".writing-{final.name}"
    with _disk(folder, f"checkpoint of step {position.step:,}", num_bytes(weights) + num_bytes(state)):
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir(parents=True)
            sums = {
                _WEIGHTS: _write_weights(
                    temporary / _WEIGHTS, weights, best if best and best.step == position.step else None
                ),
                _OPTIMIZER: write_tensors(temporary / _OPTIMIZER, state),
                _RANDOM: write_tensors(temporary / _RANDOM, _random_state()),
            }
            manifest = {
                "version": VERSION,
                "position": asdict(position),
                "notes": dict(notes),
                "best": best._asdict() if best else None,
                "conditions": dict(under),
                "sha256": sums,
            }
            write_json(temporary / "manifest.json", {**manifest, "self": _own_sum(manifest)})
            problem = _problem(temporary, manifest)
            if problem:
                what = (
                    f"The checkpoint of step {position.step:,} does not read back: {problem}. Those before are intact."
                )
                raise HeedError(what, str(folder), "check the disk, then run the same command again")
            _remove(final)
            temporary.rename(final)
            sync(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        prune(folder, position.step, keep)
    return final


def restore(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, warn: Callable[[str], None]
) -> Restored | None:
    """Load the newest checkpoint that is whole; None when there is none. `warn` hears of each that had to be passed over.

    Raises HeedError when one was written in another version, or when there are some and none is whole: to begin anew in
    such a folder would be to lose them.
    """
    found = _newest_whole(folder, warn)
    if found is None:
        return None
    path, manifest, best = found
    put(model, load_file(path / _WEIGHTS))
    _load_optimizer_state(model, optimizer, load_file(path / _OPTIMIZER))
    _restore_random_state(load_file(path / _RANDOM))
    before, now = manifest["conditions"], conditions(next(model.parameters()).device)
    differing = [f"{key} was {before.get(key)}, is {now[key]}" for key in now if before.get(key) != now[key]]
    if differing:
        warn(f"going on under other conditions, so not to the same bits: {'; '.join(differing)}")
    return Restored(Position(**manifest["position"]), manifest["notes"], best, path)


def prove(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, ranks: Ranks = ALONE) -> None:
    """Load a checkpoint that was just saved, as a resumed run would, and compare every tensor with the one in memory."""
    live = {_WEIGHTS: trainable(model), _OPTIMIZER: _optimizer_state(model, optimizer), _RANDOM: _random_state()}
    ranks.on_first(lambda: _compare(path, live))


def _compare(path: Path, kept: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
    for file, live in kept.items():
        stored = load_file(path / file)
        for name in stored.keys() | live.keys():
            # Compared as bytes: a weight that is not a number is still the same weight.
            same = name in stored and name in live and _bytes_equal(stored[name], live[name])
            if not same:
                raise HeedError(
                    f"The first checkpoint does not read back: {name} differs.",
                    str(path),
                    "check the disk; else report it",
                )


def save_best(
    folder: Path, model: nn.Module, loss: float | None, step: int, ranks: Ranks = ALONE, score: float | None = None
) -> Best:
    """Keep the best weights beside the checkpoints; those before stay until a checkpoint is saved."""
    weights = trainable(model)
    return ranks.on_first(lambda: _write_best(folder, weights, loss, step, score))


def _write_best(
    folder: Path, weights: Mapping[str, torch.Tensor], loss: float | None, step: int, score: float | None
) -> Best:
    path = _best_file(folder, step)
    temporary = folder / f".writing-{path.name}"
    with _disk(folder, f"best weights, of step {step:,}", num_bytes(weights)):
        try:
            best = Best(loss, step, write_tensors(temporary, weights), score)
            if not _matches(temporary, best.sha256):
                what = f"The best weights, of step {step:,}, do not read back. Those before are intact."
                raise HeedError(what, str(folder), "check the disk, then run the same command again")
            temporary.replace(path)
            sync(folder)
        finally:
            temporary.unlink(missing_ok=True)
    return best


def load_best(folder: Path, best: Best) -> dict[str, torch.Tensor]:
    """What `save_best` kept."""
    weights: dict[str, torch.Tensor] = load_file(_best_file(folder, best.step))
    return weights


def put(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Copy weights, by name, into the trainable parameters of a model."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(part_like(parameter, weights[name]))


def conditions(device: torch.device) -> dict[str, Any]:
    """What the bits of a result depend on besides recipe and data: versions, instructions, threads, device."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "threads": torch.get_num_threads(),
        "processes": launched().size,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "device": f"{device.type}, {name}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


@contextmanager
def _disk(folder: Path, what: str, size: int) -> Iterator[None]:
    """A full disk in numbers; other refusals of the file system as everywhere."""
    try:
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            yield
    except HeedError as error:
        cause = error.__cause__
        if not (isinstance(cause, OSError) and cause.errno in NO_SPACE):
            raise
        free = shutil.disk_usage(folder).free
        last = _all(folder)[-1:]
        intact = f"; {last[0].name} is intact" if last else ""
        text = f"No space left on the disk for the {what}: {_size(size)} needed, {_size(free)} free{intact}."
        mend = "free some space, then run the same command again; --set train.keep_checkpoints=1 keeps fewer of them"
        raise HeedError(text, str(folder), mend) from cause


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _write_weights(path: Path, weights: Mapping[str, torch.Tensor], same: Best | None) -> str:
    """Write the weights, or link to the best ones where these are `same`. Returns their checksum."""
    if same is not None:
        try:
            os.link(_best_file(path.parent.parent, same.step), path)
            return same.sha256
        except OSError:  # no such links on this file system
            pass
    return write_tensors(path, weights)


def _newest_whole(folder: Path, warn: Callable[[str], None]) -> tuple[Path, dict[str, Any], Best | None] | None:
    """The newest checkpoint that is whole with its best weights; else the newest one that is whole without them."""
    spare = None
    paths = _all(folder)
    for path in reversed(paths):
        manifest = _manifest(path)
        problem = _problem(path, manifest) if manifest else "no readable manifest"
        if problem:
            warn(f"checkpoint {path.name} is damaged ({problem}); going back to the one before")
            continue
        best = Best(**manifest["best"]) if manifest["best"] else None
        if best is None or _matches(_best_file(folder, best.step), best.sha256):
            return path, manifest, best
        spare = spare or (path, manifest, None)
    if spare is not None:
        warn("the best weights so far are damaged; the best is chosen among the evaluations to come")
    elif paths:
        mend = f"to begin anew remove them: rm -r {folder}"
        raise HeedError(f"None of the {len(paths)} checkpoints of this run is whole.", str(folder), mend)
    return spare


def _all(folder: Path) -> list[Path]:
    """Checkpoints, the oldest first."""
    return sorted(folder.glob("step-*"), key=_step_of) if folder.is_dir() else []


def _step_of(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _best_file(folder: Path, step: int) -> Path:
    return folder / f"best-{step:06d}.safetensors"


def _manifest(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint; empty where it cannot be read. Raises HeedError for another version."""
    try:
        manifest: dict[str, Any] = json.loads((path / "manifest.json").read_text("utf8"))
        found = manifest["version"]
        if found == VERSION:
            return manifest if manifest.pop("self") == _own_sum(manifest) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    what = f"This checkpoint has format version {found}, this heed reads {VERSION}."
    raise HeedError(what, str(path), "go on with the heed that wrote it, or name another --run folder to start anew")


def _own_sum(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _problem(path: Path, manifest: Mapping[str, Any]) -> str:
    wrong = [name for name, found in manifest["sha256"].items() if not _matches(path / name, found)]
    return f"{' and '.join(wrong)} not as written" if wrong else ""


def _matches(path: Path, sha256: str) -> bool:
    try:
        return checksum(path) == sha256
    except OSError:
        return False


def prune(folder: Path, newest: int, keep: int) -> None:
    """Remove what no run will go on from, but the last `keep` checkpoints up to step `newest`, which is known to be whole.

    Later steps belong to a past that the run went back behind.
    """
    kept = [path for path in _all(folder) if _step_of(path) <= newest][-keep:]
    best = [manifest["best"] for path in kept if (manifest := _manifest(path))]
    names = {path.name for path in kept} | {_best_file(folder, one["step"]).name for one in best if one}
    ours = ("step-", "best-", ".writing-", ".removing-")
    for path in sorted(folder.iterdir()):
        if path.name.startswith(ours) and path.name not in names:
            _remove(path)


def _remove(path: Path) -> None:
    """Remove a file or a folder; a folder loses its name first, so that a half removed one is never met."""
    if path.is_dir():
        leaving = path.with_name(f".removing-{path.name.removeprefix('.removing-')}")
        if leaving != path:
            shutil.rmtree(leaving, ignore_errors=True)
            path.rename(leaving)
        shutil.rmtree(leaving)
    else:
        path.unlink(missing_ok=True)


def _names(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of the optimiser's parameters, in its own order."""
    by_id = {id(p): name for name, p in model.named_parameters()}
    return [by_id[id(p)] for group in optimizer.param_groups for p in group["params"]]


def _optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """State by "slot/parameter", where it lies."""
    state = optimizer.state_dict()["state"]
    names = _names(model, optimizer)
    return {
        f"{slot}/{names[i]}": collected(torch.as_tensor(value))
        for i, slots in state.items()
        for slot, value in slots.items()
    }


def _load_optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer, flat: Mapping[str, torch.Tensor]) -> None:
    index = {name: i for i, name in enumerate(_names(model, optimizer))}
    parameters = dict(model.named_parameters())
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in flat.items():
        slot, _, name = key.partition("/")
        # A copy of its own: a tensor that is mapped from a file keeps the file's room on the disk after its removal.
        mine = part_like(parameters[name], value) if value.dim() else value  # AdamW's count of steps is one number
        state.setdefault(index[name], {})[slot] = mine.clone()
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _random_state() -> dict[str, torch.Tensor]:
    """State of the generators that dropout draws from: torch's own, and that of the accelerator."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    own = {accelerator.type: torch.get_device_module(accelerator).get_rng_state()} if accelerator else {}
    return {"cpu": torch.get_rng_state(), **own}


def _restore_random_state(state: Mapping[str, torch.Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    for name in _random_state().keys() & state.keys() - {"cpu"}:
        torch.get_device_module(name).set_rng_state(state[name])


def _bytes_equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    a, b = a.cpu().contiguous(), b.cpu().contiguous()
    same = a.dtype == b.dtype and a.shape == b.shape
    return same and torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))
