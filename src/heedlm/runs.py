"""The run folder: the contract between stages, and the only place that knows its layout.

Every file has one writer and one reader; writes are atomic (a temporary name beside the target, then a rename).
"""

from __future__ import annotations

import errno
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heedlm.errors import HeedError

VERSION = 1


@dataclass(frozen=True, slots=True)
class Run:
    """Names of everything in a run folder; creating one creates the folder."""

    root: Path

    @classmethod
    def create(cls, path: str | Path) -> Run:
        root = Path(path)
        if root.exists() and not root.is_dir():
            raise HeedError("The run folder is a file.", str(root), "name another folder: --run runs/NAME")
        with disk_errors(root):
            root.mkdir(parents=True, exist_ok=True)
        return cls(root)

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """An existing run. Raises HeedError when the folder is not a run."""
        root = Path(path)
        if not (root / "run.json").is_file():
            raise HeedError("This folder is not a run: it holds no run.json.", str(root), "heed train makes one")
        return cls(root)

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def tokens(self) -> Path:
        return self.root / "tokens"

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def adapter(self) -> Path:
        return self.root / "adapter"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def panel(self) -> Path:
        return self.root / "panel.jsonl"

    @property
    def eval(self) -> Path:
        return self.root / "eval"

    @property
    def recipe(self) -> Path:
        return self.root / "recipe.yaml"

    def info(self) -> dict[str, Any]:
        """What run.json holds; empty when no stage has written it yet."""
        path = self.root / "run.json"
        return dict(json.loads(path.read_text("utf8"))) if path.is_file() else {}

    def note(self, **facts: Any) -> None:
        """Add facts about a stage to run.json."""
        write_json(self.root / "run.json", {**self.info(), "version": VERSION, **facts})


def environment() -> dict[str, Any]:
    """What a result depends on besides recipe and data: command, source revision, versions, machine."""
    from importlib.metadata import PackageNotFoundError, version

    packages = {}
    for name in ("heedlm", "torch", "transformers", "peft", "tokenizers", "numpy"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "not installed"
    return {
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "git": _git_revision(),
        "packages": packages,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _git_revision() -> str | None:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("w", encoding="utf8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """`write_text` of indented JSON, readable with head."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False) + "\n")


def append_jsonl(path: Path, value: Mapping[str, Any]) -> None:
    """One more line at the end of a log."""
    with disk_errors(path), path.open("a", encoding="utf8") as file:
        file.write(json.dumps(value, ensure_ascii=False) + "\n")


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Every complete line of a log that we wrote; a last line cut by a kill is left out. Empty when there is no log."""
    if not path.is_file():
        return []
    lines = path.read_text("utf8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line.strip()]


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into an error that says where and how to mend."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise HeedError(
                "No space left on the disk.", str(path), "free some space, then run the same command again"
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise HeedError("Not allowed to write here.", str(path), "choose another folder: --run FOLDER") from error
        raise
