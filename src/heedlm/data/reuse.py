"""Telling whether an output folder already holds the result, and if not, why not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from heedlm.data.card import KIND
from heedlm.data.card import VERSION as CARD_VERSION
from heedlm.data.sources import local_files
from heedlm.data.spool import Input
from heedlm.errors import HeedError

VERSION = 2  # of what preparing does to rows: a change of meaning makes earlier results a miss


class Earlier(NamedTuple):
    """card: of an earlier run with the same result, or None.   why: the reason of that."""

    card: dict[str, Any] | None
    why: str


def fingerprint(inputs: Sequence[Input], settings: Mapping[str, Any]) -> dict[str, Any]:
    """All that the result depends on."""
    files = [
        {
            "path": str(file),
            "side": side,
            "mapping": dict(mapping),
            "blake2": file_hash(file),
            **({"prompts": prompts.settings()} if prompts is not None else {}),
            **({"licence": licence.name} if licence is not None else {}),
        }
        for file, mapping, side, prompts, licence in inputs
    ]
    return {"prepare": VERSION, "settings": dict(settings), "inputs": files}


def file_hash(path: Path) -> str:
    """The content of what `path` names as 32 hexadecimal digits. Raises HeedError when it cannot be read."""
    found = hashlib.blake2b(digest_size=16)
    try:
        for local in local_files(path):
            with local.open("rb") as file:
                while chunk := file.read(1 << 20):
                    found.update(chunk)
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}"
        raise HeedError(what, str(path), "check the file and its permissions") from error
    return found.hexdigest()


def earlier(out: Path, now: Mapping[str, Any]) -> Earlier:
    """What an earlier run left in `out`, if it is the result for fingerprint `now`.

    Raises HeedError when `out` may not be replaced: it is not ours, or a person has changed a file in it.
    """
    try:
        if not out.is_dir() or not any(out.iterdir()):
            return Earlier(None, "nothing was prepared here before")
        card = json.loads((out / "card.json").read_text(encoding="utf-8"))
        if card["kind"] != KIND:
            raise ValueError(card["kind"])
        files, before = card["files"].values(), card["fingerprint"]
        lost = [file["name"] for file in files if not (out / file["name"]).is_file()]
        edited = [
            file["name"]
            for file in files
            if file["name"] not in lost and file_hash(out / file["name"]) != file["blake2"]
        ]
        if edited:
            raise HeedError(
                "file was changed after it was prepared, and preparing again would lose that",
                str(out / edited[0]),
                "move it elsewhere and name it as a source, or delete the folder",
            )
        if card["version"] != CARD_VERSION or before["prepare"] != now["prepare"]:
            return Earlier(None, "prepared by another version of heed")
        changed = f"{lost[0]} is gone" if lost else _changed(before, now)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        what = "folder is not empty and holds no readable data card, so it is not replaced"
        raise HeedError(what, str(out), "name another output folder") from None
    return Earlier(None, changed) if changed else Earlier(card, "same files and settings as before")


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first difference in words, or nothing."""
    for name, value in now["settings"].items():
        if before["settings"][name] != value:
            return f"{name} was {before['settings'][name]}, is {value}"
    old = {entry["path"]: entry for entry in before["inputs"]}
    for entry in now["inputs"]:
        if entry["path"] not in old:
            return f"{entry['path']} is new"
        for name, what in (
            *(("blake2", "has changed"), ("mapping", "has another mapping"), ("side", "has another side")),
            ("prompts", "has other prompts"),
            ("licence", "has another licence"),
        ):
            if entry.get(name) != old[entry["path"]].get(name):
                return f"{entry['path']} {what}"
    gone = old.keys() - {entry["path"] for entry in now["inputs"]}
    if gone:
        return f"{min(gone)} is no longer a source"
    return "" if before["inputs"] == now["inputs"] else "the sources have another order"
