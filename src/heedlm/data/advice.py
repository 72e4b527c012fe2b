"""What to do next with files that were looked at: the command that prepares them, and what stands in its way."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from heedlm.data.sources import ASKED_STDIN, STDIN

if TYPE_CHECKING:
    from heedlm.data.inspect import FileFound, Trouble
    from heedlm.data.suggest import Suggestion

_MAX_BAD = 0.01  # as in DataConfig: above it `prepare` refuses
_RUN = "runs/first"


def advice(
    files: Sequence[FileFound],
    troubles: Sequence[Trouble],
    named: Sequence[str],
    rows: int,
    mapping: Mapping[str, str],
) -> tuple[str, ...]:
    """Lines for a person, the one to type first.

    named: files and folders as they were given.   mapping: that the rows were read with.
    """
    dead = [_typed(file) for file in files if not file.whole]
    if dead:
        listed = ", ".join(dead[:3]) + (f" and {len(dead) - 3:,} more" if len(dead) > 3 else "")
        return (f"mend {listed} first: what cannot be read to its end is refused, with all that is named beside it",)
    if not rows:
        return ("write at least one row into the file",)
    counted = {trouble.reason: trouble.rows for trouble in troubles}
    mappable = [file for file in files if _whole(file)]
    readable = sum(file.rows - file.broken for file in files)
    bad = max(0, rows - readable - sum(_gain(file) for file in mappable))
    lines = []
    if bad < rows:
        sources = _sources(files, named, mapping)
        allowed = f" --set data.max_bad={_rounded_up(bad / rows):g}" if bad > _MAX_BAD * rows else ""
        lines.append(f"heed prepare {sources} --run {_RUN}{allowed}")
        if allowed:
            lines.append(f"{bad:,} of {rows:,} rows are left out by that; mend them instead where you can")
        lines.append(f"heed show --model MODEL {sources}{allowed}")
    lines += [_about(file, one) for file in files for one in file.suggestions]
    lines += [line for file in files if file.templates for line in _templates(file)]
    if counted.get("document") and not any(file.suggestions or file.templates for file in files):
        lines.append(_documents(files))
    unasked = counted.get("missing field", 0) + counted.get("no answer", 0)
    if bad == rows and unasked == rows:
        setting = shlex.quote("data.decontaminate=" + json.dumps(list(named), ensure_ascii=False))
        lines.append(
            "questions without answers are items of an evaluation, to be kept out of other rows: "
            f"heed prepare --data ROWS --set {setting}"
        )
    if not lines:
        lines.append(
            "no row can be read: mend what is listed, or say which fields hold what: --map question=FIELD --map answer=FIELD"
        )
    return tuple(lines)


def _whole(file: FileFound) -> bool:
    """Whether a mapping may hold for the whole file: it wants its fields in every row."""
    return len(file.suggestions) == 1 and file.broken == file.rows


def _gain(file: FileFound) -> int:
    """Rows of a file that its suggested mapping would read, as far as those it was tried on say."""
    (found,) = file.suggestions
    return round(file.broken * found.read / found.of)


def _sources(files: Sequence[FileFound], named: Sequence[str], mapping: Mapping[str, str]) -> str:
    """The options that name these files, with mappings where they are needed."""
    if not mapping and not any(_whole(file) for file in files):
        return " ".join(f"--data {shlex.quote(name)}" for name in named)
    mappings = [dict(file.suggestions[0].mapping) if _whole(file) else dict(mapping) for file in files]
    if all(theirs == mappings[0] for theirs in mappings):
        pairs = (shlex.quote(f"{ours}={theirs}") for ours, theirs in mappings[0].items())
        return " ".join([*(f"--data {shlex.quote(name)}" for name in named), *(f"--map {pair}" for pair in pairs)])
    entries: list[Any] = [
        {"path": _typed(file), "mapping": theirs} if theirs else _typed(file)
        for file, theirs in zip(files, mappings, strict=True)
    ]
    return f"--set {shlex.quote('data.sources=' + json.dumps(entries, ensure_ascii=False))}"


def _typed(file: FileFound) -> str:
    """The name of a file as it is typed."""
    return ASKED_STDIN if file.path == str(STDIN) else file.path


def _about(file: FileFound, found: Suggestion) -> str:
    pairs = ", ".join(f"{ours} is '{theirs}'" for ours, theirs in found.mapping.items())
    known = "" if _whole(file) else "; a mapping holds for whole files, so put those rows into a file of their own"
    return f"{file.path}: {pairs} ({found.why}; reads {found.read} of the {found.of} rows it was tried on){known}"


def _templates(file: FileFound) -> list[str]:
    """How prompt templates make conversations of labelled rows; which of them is meant is for a person to say."""
    name = file.templates[0]
    setting = shlex.quote("data.sources=" + json.dumps([{"path": _typed(file), "prompts": [name]}], ensure_ascii=False))
    return [
        f"heed templates try {name} --data {shlex.quote(_typed(file))}",
        f"prompt templates that have words for these columns: {', '.join(file.templates)}; if one of them says what the "
        f"columns mean: heed prepare --set {setting} --run {_RUN}",
    ]


def _documents(files: Sequence[FileFound]) -> str:
    """How documents are learnt."""
    named = [_typed(file) for file in files if "raw-text" in file.shapes]
    setting = shlex.quote("data.replay=" + json.dumps(named, ensure_ascii=False))
    return f"documents are mixed in beside rows: heed train ... --set {setting}"


def _rounded_up(share: float) -> float:
    """To two places of a per cent."""
    return min(0.9999, -(-share * 10_000 // 1) / 10_000)
