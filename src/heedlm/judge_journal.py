"""Where the paid calls of a judge are kept: each judge has a journal of its own, so that a budget counts its calls alone."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from heedlm.errors import HeedError
from heedlm.runs import disk_errors, write_text

FOLDER, NAME = "judges", "journal.jsonl"
_LONGEST = 40  # characters of a folder's name, before what makes it unique


def journal_of(folder: Path, who: str) -> Path:
    """The journal of one judge in a folder of verdicts.   who: what tells it from others, as in the keys of its calls.

    An older folder has one journal of all judges; what is this judge's there is taken over, and so is what ended without an
    answer, of which nobody knows whose it was.   Raises HeedError where that journal is damaged.
    """
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", who).strip("-.")[:_LONGEST] or "judge"
    path = folder / FOLDER / f"{readable}-{hashlib.sha256(who.encode()).hexdigest()[:8]}" / NAME
    shared = folder / NAME
    if shared.is_file() and not path.exists():
        with disk_errors(folder):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, "".join(_of(shared, who)))
    return path


def is_judges(folder: Path) -> bool:
    """Whether a folder is one of verdicts."""
    return (folder / NAME).is_file() or (folder / FOLDER).is_dir()


def _of(shared: Path, who: str) -> list[str]:
    """The lines of a shared journal that are this judge's, or perhaps."""
    lines = shared.read_text("utf8").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):  # what a killed writer left
        lines.pop()
    events = [_event(line, f"{shared}:{number}") for number, line in enumerate(lines, start=1)]
    whose = {event["key"]: _key(who, event["call"]) == event["key"] for event in events if "call" in event}
    return [line for line, event in zip(lines, events, strict=True) if whose.get(event["key"], True)]


def _event(line: str, where: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
        return dict(event) if event["key"] is not None else {}
    except (ValueError, KeyError, TypeError):
        mend = "take the line as it was from a copy of the file; or choose another folder: --out FOLDER"
        raise HeedError("damaged line: it is no event", where, mend) from None


def _key(who: str, call: dict[str, Any]) -> str:
    """What `synth.journal.key_of` makes of a call, from its line."""
    return hashlib.blake2b(json.dumps([who, call], sort_keys=True).encode(), digest_size=12).hexdigest()


__all__ = ["is_judges", "journal_of"]
