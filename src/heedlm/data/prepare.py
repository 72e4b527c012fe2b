"""The stage `prepare`: source files in, a folder of leak-free splits with its data card out."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from heedlm.data.card import SplitTally, Tally, card_json, card_markdown
from heedlm.data.folder import replaced_folder
from heedlm.data.reuse import earlier, fingerprint
from heedlm.data.schema import check_mapping
from heedlm.data.sources import data_files
from heedlm.data.split import SIDES, Division, Proof, Side, divide, prove
from heedlm.data.spool import Input, Spool, read_inputs
from heedlm.errors import HeedError, Problem

NAMES = ("train.jsonl", "val.jsonl", "test.jsonl", "dropped.jsonl", "card.json", "card.md")

Held: TypeAlias = "float | str | Path | None"
"""What a split is made of: a share of the groups, a file or folder of rows, or nothing."""

Progress: TypeAlias = Callable[[str, int], None]
"""Hears what is being done, and how many rows it is done with."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file, or a folder of files, of rows.   mapping: our field name -> the name in the file; empty: recognised."""

    path: Path
    mapping: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PrepareReport:
    """What `prepare` did.

    dropped: reason -> rows.   splits: name -> rows, only splits that hold some; each is `out / f"{name}.jsonl"`.
    reused: whether `out` already held the result.   why: the reason of that, or of not.
    """

    out: Path
    rows_in: int
    kept: int
    dropped: Mapping[str, int]
    duplicates: int
    splits: Mapping[str, int]
    proof: Proof
    notes: tuple[str, ...]
    reused: bool
    why: str
    seconds: float


def prepare(
    sources: Sequence[Source],
    out: Path,
    *,
    val: Held,
    test: Held,
    max_bad: float = 0.01,
    seed: int,
    on_progress: Progress | None = None,
) -> PrepareReport:
    """Read the sources, drop broken rows and exact duplicates, split without leaks, write `out` whole or not at all.

    val, test: a file is read with the mapping of the sources where they all have the same, and its rows are recognised
    otherwise.   max_bad: share of rows, in 0..1, that may be broken; above it the run is refused with what is wrong.
    seed: another seed, another split.   Raises HeedError; `out` is then as it was.
    """
    started = time.perf_counter()
    if not 0 <= max_bad <= 1:
        mend = "for example 0.01: at most one row in a hundred is broken"
        raise HeedError(f"max_bad is {max_bad}, expected 0 to 1", "data.max_bad", mend)
    held = {"val": val, "test": test}
    shares = {name: float(asked) if isinstance(asked, (int, float)) else 0.0 for name, asked in held.items()}
    divide([], val=shares["val"], test=shares["test"], seed=seed)  # refuses impossible shares before anything is read
    inputs = _inputs(sources, out, val, test)
    named = {name: str(asked) if isinstance(asked, Path) else asked for name, asked in held.items()}
    now = fingerprint(inputs, {**named, "max_bad": max_bad, "seed": seed})
    card, why = earlier(out, now)
    reused = card is not None
    if card is None:
        with replaced_folder(out, NAMES) as folder:
            tally = Tally()
            with Spool(folder, inputs, tally) as spool:
                read_inputs(spool, max_bad, on_progress)
                division = divide(spool.keys, val=shares["val"], test=shares["test"], seed=seed, fixed=spool.sides)
                files = _write_splits(folder, spool, division, on_progress)
                notes = _notes(spool, division, [name for name, share in shares.items() if share])
                proof = prove(spool.keys, division)
            card = card_json(tally, fingerprint=now, files=files, proof=proof._asdict(), notes=notes)
            _write(folder / "card.json", json.dumps(card, ensure_ascii=False, indent=1) + "\n")
            _write(folder / "card.md", card_markdown(card))
    return _report(out, card, reused, why, time.perf_counter() - started)


def _inputs(sources: Sequence[Source], out: Path, val: Held, test: Held) -> list[Input]:
    """Every file to read, the best protected side first, so that a row on two sides stays where it is protected."""
    if not sources:
        raise HeedError("no data was named", "data.sources", "name a file: --data FILE")
    same = all(source.mapping == sources[0].mapping for source in sources)
    shared = sources[0].mapping if same else {}
    named: list[tuple[Held, Mapping[str, str], Side | None]] = [(test, shared, "test"), (val, shared, "val")]
    named += [(Path(source.path), source.mapping, None) for source in sources]
    inputs: list[Input] = []
    problems: list[Problem] = []
    seen: dict[Path, str] = {}
    for path, mapping, side in named:
        if not isinstance(path, (str, Path)):
            continue
        try:
            check_mapping(mapping)
            files = data_files(Path(path))
        except HeedError as error:
            problems += error.problems
            continue
        for file in files:
            real, role = file.resolve(), side or "source"
            if real.parent == out.resolve():
                what = "source stands in the output folder, which is replaced as a whole"
                problems.append(Problem(what, str(file), "name another output folder"))
            elif real in seen:
                problems.append(
                    Problem(f"file is named twice, as {seen[real]} and as {role}", str(file), "name it once")
                )
            seen[real] = role
            inputs.append(Input(file, mapping, side))
    if problems:
        raise HeedError.of(problems)
    return inputs


class _Output:
    """A file that is being written, with its hash and counts."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._hash = hashlib.blake2b(digest_size=16)
        self.name = path.name
        self.rows = self.bytes = 0

    def write(self, line: bytes) -> None:
        self._file.write(line)
        self._hash.update(line)
        self.rows += 1
        self.bytes += len(line)

    def finish(self) -> dict[str, Any]:
        """Make sure that it is on the disk; what the card says about it."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return {"name": self.name, "rows": self.rows, "bytes": self.bytes, "blake2": self._hash.hexdigest()}

    def close(self) -> None:
        self._file.close()


def _write_splits(
    folder: Path, spool: Spool, division: Division, on_progress: Progress | None
) -> dict[str, dict[str, Any]]:
    """Send every line of the spool to its side, and leaks to dropped.jsonl; what was written, by side."""
    holding = {side for side, leak in zip(division.sides, division.leaks, strict=True) if leak is None}
    if "train" not in holding:
        mend = "add rows, use smaller shares, or name a test file that asks something else"
        raise HeedError(
            "no row is left to train on: val and test hold every group", ", ".join(spool.tally.sources), mend
        )
    spool.tally.splits = {side: SplitTally() for side in SIDES if side in holding}
    groups: dict[Side, set[int]] = {side: set() for side in SIDES}
    outputs = {side: _Output(folder / f"{side}.jsonl") for side in SIDES if side in holding}
    try:
        for index, (line, side, leak) in enumerate(zip(spool.lines(), division.sides, division.leaks, strict=True)):
            if leak is not None:
                _drop_leak(spool, index, leak)
                continue
            outputs[side].write(line)
            groups[side].add(spool.keys[index].group)
            for values, length in zip(spool.tally.splits[side].lengths, spool.lengths(index), strict=True):
                values.append(length)
            if on_progress is not None and index % 10_000 == 0:
                on_progress("writing the splits", index)
        files: dict[str, dict[str, Any]] = {side: output.finish() for side, output in outputs.items()}
    finally:
        for output in outputs.values():
            output.close()
    for side in outputs:
        spool.tally.splits[side].rows, spool.tally.splits[side].groups = outputs[side].rows, len(groups[side])
    return files


def _drop_leak(spool: Spool, index: int, leak: Side) -> None:
    mend = f"nothing to do, or give the rows a 'group' that does not occur in {leak}"
    problem = Problem(f"also in {leak}: {leak} asks the same, or holds its group", spool.where(index), mend)
    number = spool.number(index)
    spool.tally.sources[str(spool.inputs[number].file)].kept -= 1
    spool.drop(number, problem)


def _notes(spool: Spool, division: Division, asked: Sequence[str]) -> list[str]:
    """What a person should know before training on this. asked: the splits that were to get a share."""
    notes = []
    total = len(spool.keys)
    sizes = Counter(key.group for key in spool.keys)
    for name in asked:
        if name not in spool.tally.splits:
            notes.append(
                f"{name} is empty: the {total:,} examples form {len(sizes):,} group(s), too few to share; "
                "add rows, or give them a 'group' field"
            )
    largest = max(sizes.values())
    if total >= 20 and largest > total / 2:
        notes.append(
            f"one group holds {largest:,} of {total:,} examples and stands on one side as a whole; "
            "examples that open with the same question are one group unless they have a 'group' field"
        )
    leaks = sum(leak is not None for leak in division.leaks)
    if leaks:
        notes.append(
            f"{leaks:,} example(s) were left out because a better protected split asks the same or holds their group"
        )
    if spool.tally.renamed:
        notes.append(
            f"{spool.tally.renamed:,} example(s) had the id of another example; a part of their content was added to it"
        )
    return notes


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _report(out: Path, card: Mapping[str, Any], reused: bool, why: str, seconds: float) -> PrepareReport:
    return PrepareReport(
        out=out,
        rows_in=card["rows_in"],
        kept=card["kept"],
        dropped={reason: entry["count"] for reason, entry in card["dropped"].items()},
        duplicates=card["duplicates"],
        splits={name: split["rows"] for name, split in card["splits"].items()},
        proof=Proof(**card["proof"]),
        notes=tuple(card["notes"]),
        reused=reused,
        why=why,
        seconds=seconds,
    )
