"""The run folder: the contract between stages, and the only place that knows its layout.

Every file has one writer and one reader; writes are atomic (a temporary name beside the target, then a rename).
"""

from __future__ import annotations

import errno
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heedlm.errors import HeedError, nearest

VERSION = 1
DEMO = "runs/demo"  # where `heed demo` puts its run, and `heed chat` looks first
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Run:
    """Names of everything in a run folder; creating one creates the folder."""

    root: Path

    @classmethod
    def create(cls, path: str | Path) -> Run:
        root = Path(path)
        if not str(path) or (root.exists() and not root.is_dir()):
            what = "The run folder is a file." if str(path) else "The run folder has no name."
            raise HeedError(what, str(path) or "--run", "name another folder: --run runs/NAME")
        with disk_errors(root):
            root.mkdir(parents=True, exist_ok=True)
        return cls(root)

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """An existing run. Raises HeedError when the folder is not a run."""
        root = Path(path)
        if not (root / "run.json").is_file():
            what = "This folder is not a run: it holds no run.json." if root.is_dir() else "There is no run here."
            beside = root.parent.iterdir() if root.parent.is_dir() else ()
            runs = sorted(str(entry) for entry in beside if (entry / "run.json").is_file())
            begin = f"heed train --model MODEL --data FILE --run {root}"
            mend = f"{nearest(str(root), runs)} To make one: {begin}" if runs else begin
            raise HeedError(what, str(root), mend)
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
    def rows(self) -> Path:
        return self.root / "rows.jsonl"

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
        """Add facts about a stage to run.json; a fact that is None is taken away."""
        kept = {key: value for key, value in {**self.info(), "version": VERSION, **facts}.items() if value is not None}
        write_json(self.root / "run.json", kept)


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
        "command": _command(),
        "git": _git_revision(),
        "packages": packages,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _command() -> str:
    """What was typed, ready to be typed again."""
    name = Path(sys.argv[0]).name
    return shlex.join(["heed" if name == "__main__.py" else name, *sys.argv[1:]])


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
            sync(path.parent)
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


def cut_jsonl(path: Path, step: int) -> None:
    """Drop the lines of a log whose `step` is later, and a last line cut by a kill. Steps rise from line to line."""
    if not path.is_file():
        return
    with disk_errors(path), path.open("rb+") as file:
        end = 0
        for line in file:
            if not line.endswith(b"\n") or json.loads(line)["step"] > step:
                break
            end += len(line)
        file.truncate(end)


def sync(path: Path) -> None:
    """Return only when the file, or the names in the folder, are on the disk. Nothing to do where there is none."""
    if not path.exists():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def settle(folder: Path) -> None:
    """See that all files of a folder are on the disk, readable by whom files made here usually are.

    safetensors writes its files for their owner alone (0.8), whatever the umask says.
    """
    with disk_errors(folder):
        probe = folder / f".probe.{os.getpid()}"
        probe.touch()
        usual = probe.stat().st_mode
        probe.unlink()
        for path in folder.rglob("*"):
            if path.is_file():
                path.chmod(usual)
            sync(path)
        sync(folder)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into an error that says where and how to mend."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise HeedError(
                "No space left on the disk.", str(path), "free some space, then run the same command again"
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise HeedError("Not allowed to write here.", str(path), "name another folder, where you may") from error
        raise
