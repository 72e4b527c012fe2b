"""The data files of a folder: of one that a person filled, or of a dataset that the library `datasets` saved."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from heedlm.data.texts import about_folder
from heedlm.errors import HeedError, Problem

_ARCHIVES = (".zip", ".bz2", ".xz", ".7z", ".rar", ".lz4", ".br")
_PARTS = (".part", ".partial", ".crdownload", ".incomplete", ".download", ".aria2")
_ABOUT = (
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
)  # what `datasets` writes beside rows
_NAMED = 3  # shown of what was passed over
_SHARD = re.compile(r"(?P<start>.*-)(?P<number>\d{5})-of-(?P<of>\d{5})(?P<end>\..*)")


def folder_files(folder: Path, endings: Sequence[str]) -> list[Path]:
    """The files directly in `folder` that hold rows, by name. Raises HeedError with all that is wrong; OSError."""
    entries = sorted(folder.iterdir())
    names = {entry.name for entry in entries}
    if {"card.json", "dropped.jsonl"} <= names:
        raise HeedError(
            "folder is the output of `heed prepare`, which also holds rows that were dropped",
            str(folder),
            f"name one file of it, for example {folder / 'train.jsonl'}",
        )
    if "dataset_dict.json" in names:
        inside = [entry.name for entry in entries if (entry / "state.json").is_file()]
        mend = f"name one of them: {folder / inside[0]}" if inside else "save the dataset again"
        raise HeedError(f"folder holds a dataset of several splits: {', '.join(inside) or 'none'}", str(folder), mend)
    if {"state.json", "dataset_info.json"} <= names:
        return _saved(folder)
    named = [entry for entry in entries if is_data_name(entry.name, endings) and not entry.is_dir()]
    problems = [*_lost(named), *_unread(entries, endings), *_missing_shards(folder, named)]
    if problems:
        raise HeedError.of(problems)
    if not named:
        found = ", ".join(entry.name for entry in entries[:5]) or "nothing"
        deeper = [
            entry for entry in entries if entry.is_dir() and any(is_data_name(e.name, endings) for e in entry.iterdir())
        ]
        mend = (
            f"name the folder with the files: {deeper[0]}"
            if deeper
            else "put files there that end in .jsonl, .json, .csv, .tsv, .parquet, .arrow, .txt or .md"
        )
        raise HeedError(f"folder holds no data file; found {found}", str(folder), mend)
    return [entry for entry in named if entry.is_file()]


def passed_over_in(folder: Path, endings: Sequence[str]) -> list[str]:
    """What else is in `folder`, where only files directly in it are read: nobody should miss rows that are not."""
    entries = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
    if {"state.json", "dataset_info.json"} <= {entry.name for entry in entries}:
        return []
    deeper = [entry for entry in entries if entry.is_dir() and _holds_rows(entry, endings)]
    others = [entry.name for entry in entries if entry.is_file() and not _is_known(entry.name, endings)]
    notes = []
    if deeper:
        options = " ".join(f"--data {shlex.quote(str(entry))}" for entry in deeper[:_NAMED])
        more = f" and {len(deeper) - _NAMED:,} more" if len(deeper) > _NAMED else ""
        notes.append(
            f"{folder}: the folders in it hold rows too, and were not read; name them as well: {options}{more}"
        )
    if others:
        more = f" and {len(others) - _NAMED:,} more" if len(others) > _NAMED else ""
        notes.append(f"{folder}: of no kind that is read, so left alone: {', '.join(others[:_NAMED])}{more}")
    return notes


def _holds_rows(folder: Path, endings: Sequence[str]) -> bool:
    """Whether rows may lie in a folder; where a card of ours lies beside them they are an account of other rows."""
    try:
        names = [entry.name for entry in folder.iterdir()]
        return "card.json" not in names and any(is_data_name(name, endings) for name in names)
    except OSError:  # not for us to look into
        return False


def _is_known(name: str, endings: Sequence[str]) -> bool:
    """Whether a file is read, or is one of those about the folder that nobody expects rows in."""
    return is_data_name(name, endings) or about_folder(name) or name in _ABOUT


def _lost(named: Sequence[Path]) -> list[Problem]:
    mend = "remove the link, or make it again: ln -sf FILE LINK"
    lost = [entry for entry in named if entry.is_symlink() and not entry.exists()]
    return [Problem("the link leads nowhere", str(entry), mend) for entry in lost]


def _unread(entries: Sequence[Path], endings: Sequence[str]) -> list[Problem]:
    """Files with rows that would be passed over for what is appended to their names."""
    problems = []
    for entry in entries:
        ending = entry.suffix.lower()
        if ending not in (*_ARCHIVES, *_PARTS) or not is_data_name(entry.stem, endings):
            continue
        if ending in _ARCHIVES:
            what, mend = f"rows are packed as {ending}, which is not read", "unpack the file, or move it away"
        else:
            what, mend = "the file was not fetched to its end", "fetch it again, or remove it"
        problems.append(Problem(what, str(entry), mend))
    return problems


def _missing_shards(folder: Path, named: Sequence[Path]) -> list[Problem]:
    """Parts that are not there of files named `...-00001-of-00004...`."""
    parts: dict[tuple[str, str, str], set[int]] = {}
    for entry in named:
        found = _SHARD.fullmatch(entry.name)
        if found:
            parts.setdefault((found["start"], found["of"], found["end"]), set()).add(int(found["number"]))
    problems = []
    for (start, of, end), there in parts.items():
        first = 0 if int(of) not in there else 1  # counted from 0 by nearly all
        lost = [number for number in range(first, first + int(of)) if number not in there]
        if lost:
            names = ", ".join(f"{start}{number:05}-of-{of}{end}" for number in lost[:3])
            what = f"{len(lost):,} of {int(of):,} parts are missing: {names}{', ...' if len(lost) > 3 else ''}"
            problems.append(Problem(what, str(folder), "fetch them, or name the files that you want one by one"))
    return problems


def is_data_name(name: str, endings: Sequence[str]) -> bool:
    """Whether a file of this name in a folder is taken for rows: by its ending, and not hidden or about the folder."""
    if name in _ABOUT:
        return False
    documents = name.lower().endswith((".txt", ".md", ".markdown"))
    return name.lower().endswith(tuple(endings)) and not name.startswith(".") and not (documents and about_folder(name))


def _saved(folder: Path) -> list[Path]:
    """The files of a dataset as `Dataset.save_to_disk` leaves them, in its order."""
    mend = "save it again: dataset.save_to_disk(...), or to_json('rows.jsonl')"
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        files = [folder / Path(entry["filename"]).name for entry in state["_data_files"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise HeedError("state.json does not list the files of a saved dataset", str(folder), mend) from error
    lost = [file.name for file in files if not file.is_file()]
    if lost:
        raise HeedError(f"saved dataset is incomplete: {', '.join(lost[:3])} is missing", str(folder), mend)
    if not files:
        raise HeedError("saved dataset holds no rows", str(folder), "save one that holds some")
    return files
