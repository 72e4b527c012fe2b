"""An export's folder: written whole beside its place, then put there; nothing but an earlier export is ever replaced.

`export.json` says that a folder is an export, and what was proved of it:

    {"version": 1, "heed": "0.1.0", "to": "gguf", "source": "demo", "parity": {...}, "drift": {...} or null, "notes": [...]}
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from heedlm.errors import HeedError
from heedlm.runs import disk_errors, settle, sync, write_json

VERSION = 1
NAME = "export.json"


def check_place(out: Path, source: Path, *, force: bool) -> None:
    """Raises HeedError where `out` is taken, or holds what is exported, before anything is loaded."""
    if out.exists() and not out.is_dir():
        raise HeedError("The place of the export is a file.", str(out), "name a folder: --out FOLDER")
    if out.is_dir() and any(out.iterdir()) and not force:
        what = "An export is here already." if is_export(out) else "There is something here already."
        raise HeedError(what, str(out), "--force replaces it; or --out FOLDER" if is_export(out) else "--out FOLDER")
    if source.exists() and source.resolve().is_relative_to(out.resolve()):
        raise HeedError("This folder holds the model that is exported.", str(out), "--out FOLDER")
    if out.is_dir() and any(out.iterdir()) and not is_export(out):
        raise HeedError("This folder was written by no export: --force does not replace it.", str(out), "--out FOLDER")


def is_export(folder: Path) -> bool:
    """Whether a folder is one that `placed` put there."""
    return (folder / NAME).is_file()


def size_text(count: int) -> str:
    """Bytes as people say them: 312 B, 4.1 kB, 28.5 MB, 3.2 GB."""
    size, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while size >= 999.95 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:,.0f} {units[0]}" if units[0] == "B" else f"{size:,.1f} {units[0]}"


def write_record(folder: Path, facts: Mapping[str, Any]) -> None:
    """What was proved of an export, for programs."""
    write_json(folder / NAME, {"version": VERSION, **facts})


@contextmanager
def placed(out: Path) -> Iterator[Path]:
    """A folder to write into, which does not exist yet; when the block ends well it stands at `out`, else nothing does."""
    writing, before = (out.with_name(f".{out.name}.{word}") for word in ("writing", "before"))
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(writing, ignore_errors=True)
        try:
            yield writing
            settle(writing)
            if out.exists():  # a folder cannot be replaced in one move: the old one steps aside, whole
                shutil.rmtree(before, ignore_errors=True)
                os.replace(out, before)
            os.replace(writing, out)
            sync(out.parent)
            shutil.rmtree(before, ignore_errors=True)
        finally:
            shutil.rmtree(writing, ignore_errors=True)
