"""The names in a recipe's data: as they are given, and whether there is something behind each before a row is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heedlm.data.hub import is_hub
from heedlm.data.sources import data_files
from heedlm.errors import HeedError, Problem

if TYPE_CHECKING:
    from heedlm.config import DataConfig


def refuse_missing(data: DataConfig, *, here: bool = False) -> None:
    """Raise HeedError with every source, split, evaluation and document that is not there: one pass tells them all.

    here: only those on this machine; what is on the hub would have to be fetched to be known.
    """
    problems: list[Problem] = []
    for name in dict.fromkeys(_names(data)):
        if here and is_hub(Path(name)):
            continue
        try:
            data_files(Path(name))
        except HeedError as error:
            problems += error.problems
    if problems:
        raise HeedError.of(problems)


def source_entries(paths: Sequence[str | Path], mapping: Mapping[str, str]) -> list[Any]:
    """Sources as a recipe holds them.   mapping: our field name -> the name in all these files. Raises HeedError."""
    if mapping and not paths:
        mend = "--data FILE --map question=ASK; in a recipe: data: {sources: [{path: FILE, mapping: {question: ASK}}]}"
        raise HeedError("A mapping says nothing without the data that it is for.", "--map", mend)
    return [{"path": str(path), "mapping": dict(mapping)} for path in paths] if mapping else list(paths)


def _names(data: DataConfig) -> Iterator[str]:
    yield from (source.path for source in data.sources)
    yield from (held for held in (data.val, data.test) if isinstance(held, str))
    yield from (*data.decontaminate, *data.replay)
