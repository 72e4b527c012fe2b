"""The stage `prepare`: source files in, a folder of leak-free splits with its data card out."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from heedlm.data import sheet
from heedlm.data.card import SplitTally, Tally, card_json
from heedlm.data.checks import AnswerWatch, Checks, find_leaks, find_repeats, read_evaluations, repeats_across
from heedlm.data.crew import crew_size
from heedlm.data.decontaminate import Items
from heedlm.data.folder import HashedFile, replaced_folder
from heedlm.data.prompts.apply import Prompting
from heedlm.data.prompts.setup import asked_once, with_choices
from heedlm.data.prompts.shots import Shots
from heedlm.data.reuse import earlier, file_hash, fingerprint
from heedlm.data.shapes import check_mapping
from heedlm.data.sources import data_files, local_files
from heedlm.data.split import SIDES, Division, Proof, Side, divide, prove
from heedlm.data.spool import Input, Spool, read_inputs
from heedlm.errors import HeedError, Problem

NAMES = (
    *("train.jsonl", "val.jsonl", "test.jsonl", "dropped.jsonl", "flagged.jsonl", "contamination.jsonl"),
    *("card.json", "card.md", "card.html"),
)
CONTAMINATION_VERSION = 1

Held: TypeAlias = "float | str | Path | None"
"""What a split is made of: a share of the groups, a file or folder of rows, or nothing."""

Progress: TypeAlias = Callable[[str, int], None]
"""Hears what is being done, and how many rows it is done with."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file, or a folder of files, of rows.   mapping: our field name -> the name in the file; empty: recognised.

    prompts: how rows of columns become conversations; None where they are conversations already.
    """

    path: Path
    mapping: Mapping[str, str] = field(default_factory=dict)
    prompts: Prompting | None = None


@dataclass(frozen=True, slots=True)
class PrepareReport:
    """What `prepare` did.

    dropped: reason -> rows.   splits: name -> rows, only splits that hold some; each is `out / f"{name}.jsonl"`.
    flagged: rule -> rows that stay and in which it found something.   near_duplicates, contaminated: rows, whether they
    stay or not.   contradictory: questions with short answers that differ in what they say.
    reused: whether `out` already held the result.   why: the reason of that, or of not.
    """

    out: Path
    rows_in: int
    kept: int
    dropped: Mapping[str, int]
    duplicates: int
    splits: Mapping[str, int]
    flagged: Mapping[str, int]
    near_duplicates: int
    contaminated: int
    contradictory: int
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
    checks: Checks | None = None,
    frozen: bool = False,
    workers: int | None = None,
    on_progress: Progress | None = None,
) -> PrepareReport:
    """Read the sources, drop broken rows and repeats, split without leaks, write `out` whole or not at all.

    val, test: a file is read with the mapping of the sources where they all have the same, and its rows are recognised
    otherwise.   max_bad: share of rows, in 0..1, that may be broken; above it the run is refused with what is wrong.
    seed: another seed, another split.   checks: what else to look for; None looks for broken rows and exact repeats alone.
    frozen: a result that is there may not be replaced by another one.   workers: processes that look at rows; None takes
    one per core where there are many.   Raises HeedError; `out` is then as it was.
    """
    started = time.perf_counter()
    if not 0 <= max_bad <= 1:
        mend = "for example 0.01: at most one row in a hundred is broken"
        raise HeedError(f"max_bad is {max_bad}, expected 0 to 1", "data.max_bad", mend)
    checks = checks or Checks()
    held = {"val": val, "test": test}
    shares = {name: float(asked) if isinstance(asked, (int, float)) else 0.0 for name, asked in held.items()}
    divide([], val=shares["val"], test=shares["test"], seed=seed)  # refuses impossible shares before anything is read
    inputs = _inputs(sources, out, val, test)
    named = {name: str(asked) if isinstance(asked, Path) else asked for name, asked in held.items()}
    settings = {**named, "max_bad": max_bad, "seed": seed, **checks.settings(), "decontaminate": _hashes(checks)}
    now = fingerprint(inputs, settings)
    card, why = earlier(out, now)
    reused = card is not None
    if frozen and not reused and out.is_dir():
        mend = "put the data back, or name another --run folder"
        raise HeedError(f"The rows have changed since this run was begun: {why}.", str(out), mend)
    if card is None:
        evaluations = read_evaluations(checks)
        with replaced_folder(out, NAMES) as folder:
            ready = with_choices([(source.prompts, source.file) for source in inputs])
            inputs = [source._replace(prompts=how) for source, how in zip(inputs, ready, strict=True)]
            with Spool(folder, inputs, Tally(), checks) as spool:
                size = crew_size(_local(inputs)) if workers is None else workers
                read_inputs(spool, max_bad, checks, evaluations.short, size, on_progress)
                card = _make(folder, spool, checks, evaluations, shares, seed, on_progress or _silent)
            card["fingerprint"] = now
            _write(folder / "card.json", json.dumps(card, ensure_ascii=False, indent=1) + "\n")
            _write(folder / "card.md", sheet.markdown(card))
            _write(folder / "card.html", sheet.page(card))
    return _report(out, card, reused, why, time.perf_counter() - started)


def _silent(what: str, rows: int) -> None:
    """Nobody listens."""


def _hashes(checks: Checks) -> dict[str, str]:
    """Content of the evaluation files. Raises HeedError with every one that cannot be read."""
    hashes: dict[str, str] = {}
    problems: list[Problem] = []
    for path in checks.decontaminate:
        try:
            hashes.update((str(file), file_hash(file)) for file in data_files(path))
        except HeedError as error:
            problems += error.problems
    if problems:
        raise HeedError.of(problems)
    return hashes


def _make(
    folder: Path,
    spool: Spool,
    checks: Checks,
    evaluations: Items,
    shares: Mapping[str, float],
    seed: int,
    say: Progress,
) -> dict[str, Any]:
    """Divide the spooled examples, write all files but the card, and return the card."""
    repeats = find_repeats(spool, checks, say)
    there, division = _division(spool, shares, seed)
    sides: list[Side | None] = [None] * len(spool.keys)
    for index, side, leak in zip(there, division.sides, division.leaks, strict=True):
        if leak is None:
            sides[index] = side
        else:
            mend = f"nothing to do, or give the rows a 'group' that does not occur in {leak}"
            what = f"also in {leak}: {leak} asks the same, or holds its group"
            spool.leave_out(index, Problem(what, spool.where(index), mend))
    say("looking for contamination", len(there))
    leaks = find_leaks(spool, checks, evaluations, sides)
    _write_lines(folder / "contamination.jsonl", leaks)
    sides = [None if index in spool.left_out else side for index, side in enumerate(sides)]
    watch = AnswerWatch(spool.keys, sides)
    files = _write_splits(folder, spool, sides, watch, say)
    kept = [(key, side) for key, side in zip(spool.keys, sides, strict=True) if side is not None]
    proof = prove([key for key, _ in kept], [side for _, side in kept])
    proof = proof._replace(near_duplicates_on_two_sides=repeats_across(spool, checks, sides))
    answers = watch.result()
    found = {
        "near_duplicates": {"action": checks.near_duplicates, **repeats._asdict()},
        "answers": {
            "questions": answers.several,
            "contradictory": answers.contradictory,
            "examples": answers.examples,
        },
        "contamination": _counted(leaks, [*map(str, checks.decontaminate), "val", "test"]),
    }
    notes = _notes(spool, [name for name, share in shares.items() if share], found, sides)
    return card_json(spool.tally, files=files, proof=proof._asdict(), notes=notes, found=found)


def _division(spool: Spool, shares: Mapping[str, float], seed: int) -> tuple[list[int], Division]:
    """The examples that are there, and their division; what is only taught is left out of val and test."""
    while True:
        there = [index for index in range(len(spool.keys)) if index not in spool.left_out]
        keys = [spool.keys[index] for index in there]
        fixed = [spool.sides[index] for index in there]
        division = divide(keys, val=shares["val"], test=shares["test"], seed=seed, fixed=fixed)
        sides = dict(zip(there, division.sides, strict=True))
        held = [index for index in spool.only_taught if sides.get(index, "train") != "train"]
        if not held:
            return there, division
        for index in held:
            what = "inverted: its row is for " + sides[index]
            spool.leave_out(index, Problem(what, spool.where(index), "nothing to do: what is inverted is taught only"))


def _counted(leaks: Sequence[Mapping[str, Any]], files: Sequence[str]) -> dict[str, Any]:
    """Contaminated rows by what they hold items of."""
    of: dict[str, dict[str, set[str]]] = {
        name: {"rows": set(), "with_answer": set(), "dropped": set()} for name in files
    }
    for leak in leaks:
        entry = of[leak["item_of"]]
        entry["rows"].add(leak["where"])
        if leak["kind"] == "prompt and answer":
            entry["with_answer"].add(leak["where"])
        if leak["row"] == "dropped":
            entry["dropped"].add(leak["where"])
    return {
        "rows": len({leak["where"] for leak in leaks}),
        "dropped": len({leak["where"] for leak in leaks if leak["row"] == "dropped"}),
        "of": {name: {what: len(rows) for what, rows in entry.items()} for name, entry in of.items()},
    }


def _inputs(sources: Sequence[Source], out: Path, val: Held, test: Held) -> list[Input]:
    """Every file to read, the best protected side first, so that a row on two sides stays where it is protected."""
    if not sources:
        raise HeedError("no data was named", "data.sources", "name a file: --data FILE")
    first = sources[0]
    same = all((source.mapping, source.prompts) == (first.mapping, first.prompts) for source in sources)
    mapped, prompted = (first.mapping, first.prompts) if same else ({}, None)
    named: list[tuple[Held, Mapping[str, str], Side | None, Prompting | None]] = [
        (test, mapped, "test", asked_once(prompted)),
        (val, mapped, "val", asked_once(prompted)),
        *((Path(source.path), source.mapping, None, prompted if same else source.prompts) for source in sources),
    ]
    inputs: list[Input] = []
    problems: list[Problem] = []
    seen: dict[Path, str] = {}
    for path, mapping, side, prompts in named:
        if not isinstance(path, (str, Path)):
            continue
        try:
            if prompts is None:
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
            inputs.append(Input(file, mapping, side, prompts))
    if problems:
        raise HeedError.of(problems)
    return inputs


def _local(inputs: Sequence[Input]) -> list[Path]:
    return [file for source in inputs for file in local_files(source.file)]


def _write_splits(
    folder: Path, spool: Spool, sides: Sequence[Side | None], watch: AnswerWatch, say: Progress
) -> dict[str, dict[str, Any]]:
    """Send every line of the spool to its side, and what was left out to dropped.jsonl; what was written, by side."""
    holding = {side for side in sides if side is not None}
    if "train" not in holding:
        mend = "add rows, use smaller shares, or name a test file that asks something else"
        raise HeedError(
            "no row is left to train on: val and test hold every group", ", ".join(spool.tally.sources), mend
        )
    spool.tally.splits = {side: SplitTally() for side in SIDES if side in holding}
    groups: dict[Side, set[int]] = {side: set() for side in SIDES}
    outputs = {side: HashedFile(folder / f"{side}.jsonl") for side in SIDES if side in holding}
    shots = Shots(spool, sides)
    try:
        for index, (line, side) in enumerate(zip(spool.lines(), sides, strict=True)):
            if not spool.settle(index, line) or side is None:
                continue
            line, lengths = shots.before(index, line)
            outputs[side].write(line)
            groups[side].add(spool.keys[index].group)
            watch.see(spool.keys[index].prompt, line)
            for values, length in zip(spool.tally.splits[side].lengths, lengths, strict=True):
                values.append(length)
            if index % 10_000 == 0:
                say("writing the splits", index)
        files: dict[str, dict[str, Any]] = {side: output.finish() for side, output in outputs.items()}
    finally:
        for output in outputs.values():
            output.close()
    for side in outputs:
        spool.tally.splits[side].rows, spool.tally.splits[side].groups = outputs[side].rows, len(groups[side])
    return files


def _notes(spool: Spool, asked: Sequence[str], found: Mapping[str, Any], sides: Sequence[Side | None]) -> list[str]:
    """What a person should know before training on this. asked: the splits that were to get a share."""
    notes = []
    groups = [key.group for index, key in enumerate(spool.keys) if _divided(spool, index, sides)]
    sizes = Counter(groups)
    for name in asked:
        if name not in spool.tally.splits:
            notes.append(
                f"{name} is empty: the {len(groups):,} examples form {len(sizes):,} group(s), too few to share; "
                "add rows, or give them a 'group' field"
            )
    largest = max(sizes.values())
    if len(groups) >= 20 and largest > len(groups) / 2:
        notes.append(
            f"one group holds {largest:,} of {len(groups):,} examples and stands on one side as a whole; "
            "examples that open with the same question are one group unless they have a 'group' field"
        )
    leaks = sum(spool.tally.dropped[f"also in {side}"] for side in ("val", "test"))
    if leaks:
        notes.append(
            f"{leaks:,} example(s) were left out because a better protected split asks the same or holds their group"
        )
    if spool.tally.renamed:
        notes.append(
            f"{spool.tally.renamed:,} example(s) had the id of another example; a part of their content was added to it"
        )
    flags = spool.tally.flagged + spool.tally.masked
    if flags:
        listed = ", ".join(f"{count:,} {rule}" for rule, count in flags.most_common())
        notes.append(f"rows that a rule found something in: {listed}; they are in flagged.jsonl, with what was found")
    if found["answers"]["contradictory"]:
        notes.append(
            f"{found['answers']['contradictory']:,} question(s) have short answers that may contradict each other: see the card"
        )
    leaked, dropped = found["contamination"]["rows"], found["contamination"]["dropped"]
    if leaked:
        notes.append(
            f"{leaked:,} row(s) hold an item of an evaluation file, or of this run's own val or test ({dropped:,} of them "
            "dropped); they are in contamination.jsonl"
        )
    return notes


def _divided(spool: Spool, index: int, sides: Sequence[Side | None]) -> bool:
    """Whether an example came as far as the division: it stands on a side, or leaked from one."""
    problem = spool.left_out.get(index)
    return sides[index] is not None or (problem is not None and problem.what.startswith("also in"))


def _write_lines(path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    lines = (json.dumps({"version": CONTAMINATION_VERSION, **entry}, ensure_ascii=False) for entry in entries)
    _write(path, "".join(f"{line}\n" for line in lines))


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
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
        flagged={rule: entry["count"] + entry["masked"] for rule, entry in card["flagged"].items()},
        near_duplicates=card["near_duplicates"]["rows"],
        contaminated=card["contamination"]["rows"],
        contradictory=card["answers"]["contradictory"],
        proof=Proof(**card["proof"]),
        notes=tuple(card["notes"]),
        reused=reused,
        why=why,
        seconds=seconds,
    )
