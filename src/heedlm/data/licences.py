"""The licence that a data set names for itself: in what the library `datasets` saved beside it, or at the head of its README."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import yaml

_HEAD = 1 << 16  # characters of a README in which its fields stand
_NO_NAMES = ("", "unknown", "none", "other")


class Licence(NamedTuple):
    """name: as it is written there.   by: who says so."""

    name: str
    by: str


def of_folder(folder: Path) -> Licence | None:
    """The licence of the rows in a folder, by `dataset_info.json` or `README.md`; None where they name none."""
    try:
        info = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        info = None
    found = named(info.get("license")) if isinstance(info, dict) else ""
    return Licence(found, "dataset_info.json") if found else of_readme(folder / "README.md")


def of_readme(file: Path) -> Licence | None:
    """The field `license` (with `license_name` where it is "other") between the lines `---` at the head of a README."""
    try:
        with file.open(encoding="utf-8", errors="replace") as text:
            head = text.read(_HEAD).replace("\r\n", "\n")
        fields = yaml.safe_load(head.removeprefix("---\n").partition("\n---")[0]) if head.startswith("---\n") else None
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None
    if not isinstance(fields, dict):
        return None
    found = named(fields.get("license")) or named(fields.get("license_name"))
    return Licence(found, "its README") if found else None


def named(value: Any) -> str:
    """A licence as one line of text, or nothing."""
    if isinstance(value, (list, tuple)):
        return ", ".join(filter(None, map(named, value)))
    text = " ".join(value.split()) if isinstance(value, str) else ""
    return "" if text.lower() in _NO_NAMES else text
