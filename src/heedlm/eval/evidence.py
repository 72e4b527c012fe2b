"""A verdict bound to what it was reached on: the file that says which model, data, suite and gate were judged."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from heedlm.errors import HeedError
from heedlm.eval.results import Decision
from heedlm.messages import Task
from heedlm.runs import write_json

VERSION = 1
NAME = "evidence.json"
# Files of a model folder that change what it answers; its card and its README do not.
_OF_A_MODEL = (".safetensors", ".json", ".jinja", ".model", ".txt", ".bin")
_NOT = ("heed.json",)


def hash_of(path: Path, most: int | None = None) -> str:
    """The SHA-256 of a file, or of its first `most` bytes, in 64 hex digits."""
    digest = hashlib.sha256()
    left = path.stat().st_size if most is None else most
    with path.open("rb") as file:
        while block := file.read(min(1 << 20, left)):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()


def hashes_of_model(folder: Path) -> dict[str, str]:
    """Every file of a model folder that its answers depend on, by name."""
    files = sorted(path for path in folder.iterdir() if path.suffix in _OF_A_MODEL and path.name not in _NOT)
    return {path.name: hash_of(path) for path in files}


def hash_of_suite(tasks: Sequence[Task]) -> str:
    """What was asked and how it was judged: ids, turns, groups, checks and scorers of every item."""
    told = [
        [task.name, task.kind, asdict(replace(example, source=""))]  # where a row stands is no part of what it says
        for task in tasks
        for example in task.examples
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def write_evidence(
    folder: Path,
    decision: Decision,
    *,
    models: Mapping[str, Path],
    files: Sequence[Path],
    suite: str,
    gate: Path,
    about: Mapping[str, Any],
    config: Mapping[str, Any] | None = None,
    logs: Sequence[Path] = (),
    root: Path | None = None,
) -> Path:
    """`folder`/evidence.json, written whole or not at all.

    models: folders by role, hashed file by file.   files: data and report.   logs: files that only grow; what is added later
    does not count.   root: the run that `folder` is in; what lies inside of it is named from there, so that it can be moved.
    about: command, versions, machine, date.   config: the settings of the evaluation, as they were resolved.
    """
    root = root or folder
    value = {
        "version": VERSION,
        "verdict": decision.call,
        "figures": [asdict(figure) for figure in decision.figures],
        "models": {
            role: {"folder": _named(path, root), "sha256": hashes_of_model(path)} for role, path in models.items()
        },
        "files": {_named(path, root): hash_of(path) for path in files if path.is_file()},
        "logs": {
            _named(path, root): {"bytes": path.stat().st_size, "sha256": hash_of(path)}
            for path in logs
            if path.is_file()
        },
        "root": os.path.relpath(root.resolve(), folder.resolve()),
        "gate": {"file": str(gate), "sha256": hash_of(gate)},
        "suite": suite,
        "config": dict(config or {}),
        "about": dict(about),
    }
    write_json(folder / NAME, value)
    return folder / NAME


def read_evidence(folder: Path) -> dict[str, Any]:
    """What evidence.json holds. Raises HeedError where there is none, or none that can be read."""
    path = folder / NAME
    mend = "ask a gate first: the same command with --gate gate.yaml in place of --verify"
    try:
        value = json.loads(path.read_text("utf8"))
    except FileNotFoundError:
        raise HeedError("No gate was asked here yet.", str(path), mend) from None
    except ValueError:
        value = None
    if not isinstance(value, dict) or value.get("version") != VERSION or "verdict" not in value:
        raise HeedError(f"This is no evidence of version {VERSION}.", str(path), mend)
    return value


def changes(folder: Path) -> list[str]:
    """What is no longer as it was when the verdict was reached; empty where the evidence still holds."""
    value = read_evidence(folder)
    found = []
    root = folder / value.get("root", ".")
    for role, model in value["models"].items():
        place = _placed(model["folder"], root)
        now = hashes_of_model(place) if place.is_dir() else {}
        if not now:
            found.append(f"{role}: the model is gone ({place})")
            continue
        for name in sorted({*now, *model["sha256"]}):
            if now.get(name) != model["sha256"].get(name):
                found.append(f"{role}: {name} {_how(name in model['sha256'], name in now)}")
    for name, was in {**value["files"], value["gate"]["file"]: value["gate"]["sha256"]}.items():
        # the gate's file is named as it was typed, the others from the folder on
        path = Path(name) if name == value["gate"]["file"] else _placed(name, root)
        if not path.is_file() or hash_of(path) != was:
            found.append(f"{name} {_how(True, path.is_file())}")
    for name, log in value.get("logs", {}).items():
        path = _placed(name, root)
        if not path.is_file() or hash_of(path, log["bytes"]) != log["sha256"]:
            found.append(f"{name} {_how(True, path.is_file())}")
    return found


def _how(was: bool, there: bool) -> str:
    return "has changed" if was and there else "is gone" if was else "is new"


def _named(path: Path, folder: Path) -> str:
    inside = path.resolve().is_relative_to(folder.resolve())
    return str(path.resolve().relative_to(folder.resolve())) if inside else str(path)


def _placed(name: str, folder: Path) -> Path:
    return folder / name if (folder / name).exists() else Path(name)
