"""The stage `prepare`: source files in, a folder of leak-free splits with its data card out."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from heedlm.data import sheet
from heedlm.data.card import SplitTally, Tally, card_json, draw
from heedlm.data.checks import AnswerWatch, Checks, find_leaks, find_repeats, read_evaluations, repeats_across
from heedlm.data.crew import crew_size, looked_at_here
from heedlm.data.decontaminate import Items
from heedlm.data.folder import HashedFile, replaced_folder
from heedlm.data.licences import Licence
from heedlm.data.notes import notes_of
from heedlm.data.prompts.apply import Prompting
from heedlm.data.prompts.setup import asked_once, with_choices
from heedlm.data.prompts.shots import Shots
from heedlm.data.reuse import earlier, file_hash, fingerprint
from heedlm.data.scale import on_ray, work_folder
from heedlm.data.shapes import check_mapping
from heedlm.data.sources import data_files, licence_of, local_files, passed_over
from heedlm.data.split import SIDES, Division, Proof, Side, divide, prove, sizes_of
from heedlm.data.spool import Input, Look, Spool, read_inputs
from heedlm.errors import HeedError, Problem, nearest

NAMES = (
    *("train.jsonl", "val.jsonl", "test.jsonl", "dropped.jsonl", "flagged.jsonl", "contamination.jsonl"),
    *("card.json", "card.md", "card.html"),
)
CONTAMINATION_VERSION = 1

Held: TypeAlias = "float | str | Path | None"
"""What a split is made of: a share of the groups, a file or folder of rows, or nothing."""

Executor: TypeAlias = Literal["local", "ray"]
"""Where rows are looked at."""

Progress: TypeAlias = Callable[[str, int], None]
"""Hears what is being done, and how many rows it is done with."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file, or a folder of files, of rows.   mapping: our field name -> the name in the file; empty: recognised.

    prompts: how rows of columns become conversations; None where they are conversations already.   licence: of rows that
    name none; None: what the data set says of itself.
    """

    path: Path
    mapping: Mapping[str, str] = field(default_factory=dict)
    prompts: Prompting | None = None
    licence: str | None = None


@dataclass(frozen=True, slots=True)
class PrepareReport:
    """What `prepare` did.

    dropped: reason -> rows.   splits: name -> rows, only splits that hold some; each is `out / f"{name}.jsonl"`.
    flagged: rule -> rows that stay and in which it found something.   near_duplicates, contaminated: rows, whether they
    stay or not.   contradictory: questions with short answers that differ in what they say.
    reused: whether `out` already held the result.   why: the reason of that, or of not.   train_rows: by file.
    mixture: what one epoch of training will take of them, in lines, where a mixture is asked for.
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
    train_rows: Mapping[str, int] = field(default_factory=dict)
    mixture: tuple[str, ...] = ()


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
    executor: Executor = "local",
    on_progress: Progress | None = None,
) -> PrepareReport:
    """Read the sources, drop broken rows and repeats, split without leaks, write `out` whole or not at all.

    val, test: a file is read with the mapping of the sources where they all have the same, and its rows are recognised
    otherwise.   max_bad: share of rows, in 0..1, that may be broken; above it the run is refused with what is wrong.
    seed: another seed, another split.   checks: what else to look for; None looks for broken rows and exact repeats alone.
    frozen: a result that is there may not be replaced by another one.   workers: processes that look at rows; None takes
    one per core where there are many.   executor: "ray" looks at rows on a cluster instead (`data.scale`); the result is
    the same, byte for byte.   Raises HeedError; `out` is then as it was.
    """
    started = time.perf_counter()
    if executor not in get_args(Executor):
        raise HeedError(f"There is no executor {executor!r}.", "--executor", nearest(executor, get_args(Executor)))
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
                look = _look(executor, inputs, workers, work_folder(out, now), on_progress or _silent)
                read_inputs(spool, max_bad, checks, evaluations.short, look, on_progress)
                card = _make(folder, spool, checks, evaluations, shares, seed, on_progress or _silent)
            folders = [
                *(source.path for source in sources),
                *(asked for asked in held.values() if isinstance(asked, Path)),
            ]
            card["notes"] += [line for path in dict.fromkeys(folders) for line in passed_over(Path(path))]
            card["fingerprint"] = now
            _write(folder / "card.json", json.dumps(card, ensure_ascii=False, indent=1) + "\n")
            _write(folder / "card.md", sheet.markdown(card))
            _write(folder / "card.html", sheet.page(card))
    return _report(out, card, reused, why, time.perf_counter() - started)


def _look(executor: Executor, inputs: Sequence[Input], workers: int | None, work: Path, say: Progress) -> Look:
    """Who looks at the rows."""
    if executor == "ray":
        return partial(on_ray, work=work, say=lambda what: say(what, 0))
    return partial(looked_at_here, size=crew_size(_local(inputs)) if workers is None else workers)


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
    kept = [index for index, side in enumerate(sides) if side is not None]
    proof = prove(spool.keys.chosen(kept), [side for side in sides if side is not None])
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
    notes = notes_of(spool, [name for name, share in shares.items() if share], found, sides)
    return card_json(spool.tally, files=files, proof=proof._asdict(), notes=notes, found=found)


def _division(spool: Spool, shares: Mapping[str, float], seed: int) -> tuple[list[int], Division]:
    """The examples that are there, and their division; what is only taught is left out of val and test."""
    while True:
        there = [index for index in range(len(spool.keys)) if index not in spool.left_out]
        keys = spool.keys.chosen(there)
        fixed = [spool.sides[index] for index in there]
        sources = [spool.number(index) for index in there]
        division = divide(keys, val=shares["val"], test=shares["test"], seed=seed, fixed=fixed, sources=sources)
        placed = zip(there, division.sides, strict=True)
        sides = {index: side for index, side in placed if index in spool.only_taught}
        held = [index for index, side in sides.items() if side != "train"]
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
    named: list[tuple[Held, Source, Side | None]] = [
        (test, Source(Path(), mapped, asked_once(prompted)), "test"),
        (val, Source(Path(), mapped, asked_once(prompted)), "val"),
        *((Path(source.path), replace(source, prompts=prompted) if same else source, None) for source in sources),
    ]
    inputs: list[Input] = []
    problems: list[Problem] = []
    seen: dict[Path, str] = {}
    for path, source, side in named:
        if not isinstance(path, (str, Path)):
            continue
        try:
            if source.prompts is None:
                check_mapping(source.mapping)
            files, licence = data_files(Path(path)), _licence(Path(path), source.licence)
        except HeedError as error:
            problems += error.problems
            continue
        for file in files:
            real, role = file.resolve(), side or "source"
            if real.parent == out.resolve():
                what = "source stands in the output folder, which is replaced as a whole"
                problems.append(Problem(what, str(file), "name another output folder"))
            elif real in seen:
                roles = "" if seen[real] == role else f", as {seen[real]} and as {role}"
                problems.append(Problem(f"file is named twice{roles}", str(file), "name it once"))
            seen[real] = role
            inputs.append(Input(file, source.mapping, side, source.prompts, licence))
    if problems:
        raise HeedError.of(problems)
    return inputs


def _licence(path: Path, given: str | None) -> Licence | None:
    """The licence of a source, as a person gave it or as it says itself. Where they differ, the person's counts, and both stand."""
    found = licence_of(path)
    if given is None:
        return found
    differs = found is not None and found.name.casefold() != given.casefold()
    return Licence(given, f"the recipe ({found.by} says {found.name})" if found and differs else "the recipe")


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
    outputs = {side: HashedFile(folder / f"{side}.jsonl") for side in SIDES if side in holding}
    shots = Shots(spool, sides)
    try:
        for index, (line, side) in enumerate(zip(spool.lines(), sides, strict=True)):
            if not spool.settle(index, line) or side is None:
                continue
            line, lengths = shots.before(index, line)
            outputs[side].write(line)
            spool.source(index).splits[side] += 1
            watch.see(spool.keys[index].prompt, line)
            draw(spool.tally.splits[side], line)
            for values, length in zip(spool.tally.splits[side].lengths, lengths, strict=True):
                values.append(length)
            if index % 10_000 == 0:
                say("writing the splits", index)
        files: dict[str, dict[str, Any]] = {side: output.finish() for side, output in outputs.items()}
    finally:
        for output in outputs.values():
            output.close()
    for side in outputs:
        spool.tally.splits[side].rows = outputs[side].rows
        there = (index for index, its in enumerate(sides) if its == side)
        spool.tally.splits[side].groups = len(sizes_of(spool.keys, there))
    return files


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
        train_rows={file: one.get("splits", {}).get("train", 0) for file, one in card["sources"].items()},
    )
