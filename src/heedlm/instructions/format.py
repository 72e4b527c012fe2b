"""The file of a custom instruction: a valid Prompty file, read with every problem told in one pass."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from heedlm.data.prompts.located import Located, read_yaml
from heedlm.errors import HeedError, Problem, nearest
from heedlm.instructions import library
from heedlm.instructions.blocks import Block, Input, Instruction, Output, Shot
from heedlm.instructions.body import Fault, read_body
from heedlm.instructions.front import Front, shot_of
from heedlm.instructions.values import wording
from heedlm.templates.sandbox import FillError

_FENCE = re.compile(r"---[ \t]*")
MOST_SHOTS = 1000  # read from a file of examples; a slot takes a few of them


class Loaded(NamedTuple):
    """As much of an instruction as can be read, and everything that is wrong with it."""

    instruction: Instruction
    faults: tuple[Fault, ...]


def load(name: str | Path) -> Instruction:
    """The instruction of a file, or of the library by name. Raises HeedError with every problem."""
    loaded = load_as_far(name)
    if loaded.faults:
        raise HeedError.of([fault.problem for fault in loaded.faults])
    return loaded.instruction


def load_as_far(name: str | Path) -> Loaded:
    """As `load`, for the linter: what is wrong is handed back. Raises HeedError where there is no text to read."""
    text, file = library.source(name)
    return parse_as_far(text, file, Path(file) if Path(file).is_file() else None)


def parse(text: str, file: str = "instruction.prompty") -> Instruction:
    """The instruction that a text is. Raises HeedError with every problem."""
    loaded = parse_as_far(text, file)
    if loaded.faults:
        raise HeedError.of([fault.problem for fault in loaded.faults])
    return loaded.instruction


def parse_as_far(
    text: str, file: str, path: Path | None = None, trail: tuple[str, ...] = (), within: Path | None = None
) -> Loaded:
    """path: where the file lies, for `use:` and examples beside it.   trail: files that are being read, for circles.
    within: the folder in which files beside it have to lie; None anywhere."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    front_text, body, first, faults = _parted(text, file)
    try:
        located = read_yaml(front_text, file)
    except HeedError as error:
        faults += [Fault("HD100", problem) for problem in error.problems]
        located = Located(None, {}, {}, file)
    front = Front(located)
    blocks, ignores, body_faults = read_body(body, file, first)
    inputs, outputs = front.inputs(), front.outputs()
    shots = (*front.shots(inputs, outputs), *_shots_beside(front, inputs, outputs, path, within))
    blocks = _with_variants(front, blocks)
    blocks, inputs = _with_uses(front, blocks, inputs, path, (*trail, file), faults, within)
    meta = front.top.get("metadata")
    instruction = Instruction(
        name=front.text(front.top.get("name"), "name") or Path(file).stem,
        blocks=tuple(blocks),
        inputs=inputs,
        outputs=outputs,
        shots=shots,
        checks=front.checks(),
        about=front.text(front.top.get("description"), "description"),
        notation=front.notation(),
        **front.layout(),
        budget=front.budget(),
        characters=front.budget("characters"),
        tests=front.text(front.heed.get("tests"), "heed", "tests"),
        ignores=(*front.ignores(), *ignores),
        meta=meta if isinstance(meta, dict) else {},
        uses=tuple(name for name, _ in front.uses()),
        file=file,
        front_lines=located.lines,
    )
    faults += front.faults + body_faults + _undefined(instruction)
    order = sorted(dict.fromkeys(faults), key=lambda fault: _line(fault.problem.where, file))
    return Loaded(instruction, tuple(order))


def _parted(text: str, file: str) -> tuple[str, str, int, list[Fault]]:
    """Front matter with its lines kept, body, the number of the body's first line, what is wrong."""
    lines = text.split("\n")
    if not _FENCE.fullmatch(lines[0]):
        return "", text, 1, []
    end = next((number for number, line in enumerate(lines[1:], start=1) if _FENCE.fullmatch(line)), None)
    if end is None:
        problem = Problem("the front matter is not closed", f"{file}:1", "put --- on a line of its own behind it")
        return "", text, 1, [Fault("HD100", problem)]
    return "\n".join(["", *lines[1:end]]), "\n".join(lines[end + 1 :]), end + 2, []


def _line(where: str, file: str) -> tuple[bool, int]:
    path, _, line = where.rpartition(":")
    return path != file, int(line) if line.isdigit() else 0


def _with_variants(front: Front, blocks: Sequence[Block]) -> list[Block]:
    variants = front.variants()
    ids = [block.id for block in blocks]
    for id_ in variants:
        if id_ not in ids:
            front.wrong(f"variants name no block: {id_!r}", nearest(id_, ids), "heed", "variants", id_)
    return [replace(block, variants=variants.get(block.id, {})) for block in blocks]


def _shots_beside(
    front: Front, inputs: tuple[Input, ...], outputs: tuple[Output, ...], path: Path | None, within: Path | None
) -> tuple[Shot, ...]:
    """Demonstrations from a file that `examples: {from: FILE}` names."""
    found = front.heed.get("examples")
    if not isinstance(found, dict):
        return ()
    keys = ("from", "input", "output")
    for key in found:
        if key not in keys:
            front.wrong(f"examples has no key {key!r}", nearest(key, keys), "heed", "examples", key)
    named = front.text(found.get("from"), "heed", "examples", "from")
    if not named:
        front.wrong("examples names no file", "examples: {from: rows.jsonl}", "heed", "examples")
        return ()
    from heedlm.data.sources import Row, read_rows

    place = (path.parent if path is not None else Path()) / named
    takes = _names(found.get("input"), [one.name for one in inputs])
    gives = _names(found.get("output"), [one.name for one in outputs])
    made: list[Shot] = []
    try:
        if within is not None:
            library.check_within(place, within, named)
        for row in islice(read_rows(place), MOST_SHOTS):
            if not isinstance(row, Row):
                raise HeedError.of([row])
            value = {name: row.value[name] for name in (*takes, *gives, "output") if name in row.value}
            made.append(shot_of(value, inputs, outputs, row.where))
    except HeedError as error:
        for problem in error.problems:
            mend = f"{problem.mend}   (of {problem.where})"
            front.wrong(f"examples cannot be read: {problem.what}", mend, "heed", "examples", "from")
    except ValueError as error:
        mend = "each row holds the inputs, and the answer under output or its fields"
        front.wrong(f"examples of {named}: {error}", mend, "heed", "examples", "from")
    return tuple(made)


def _names(found: object, otherwise: list[str]) -> list[str]:
    if found is None:
        return otherwise
    return [str(one) for one in found] if isinstance(found, list) else [str(found)]


def _with_uses(
    front: Front,
    blocks: Sequence[Block],
    inputs: tuple[Input, ...],
    path: Path | None,
    trail: tuple[str, ...],
    faults: list[Fault],
    within: Path | None,
) -> tuple[list[Block], tuple[Input, ...]]:
    """With the blocks that `use:` names, each where its kind stands, and the inputs that they need.

    A block of the file's own with the same id stands in their place.
    """
    held = Instruction("", tuple(blocks), inputs)
    for name, line in front.uses():
        where = f"{trail[-1]}:{line}"
        file, _, id_ = name.partition("#")
        try:
            text, found = library.source(file, beside=path.parent if path is not None else None, within=within)
        except HeedError as error:
            faults.extend(Fault("HD100", Problem(one.what, where, one.mend)) for one in error.problems)
            continue
        if found in trail:
            circle = " -> ".join((*trail[trail.index(found) :], found))
            faults.append(Fault("HD100", Problem(f"use: goes round in a circle: {circle}", where, "take one out")))
            continue
        loaded = parse_as_far(text, found, Path(found) if Path(found).is_file() else None, trail, within)
        faults.extend(loaded.faults)
        wanted = [one for one in loaded.instruction.blocks if not id_ or one.id == id_]
        if not wanted:
            mend = nearest(id_, loaded.instruction.ids)
            faults.append(Fault("HD100", Problem(f"{file} has no block {id_!r}", where, mend)))
        for block in wanted:
            if block.id in held.ids:
                continue
            held = held.with_block(block)
            held = replace(held, inputs=_merged(held.inputs, block, loaded.instruction.inputs))
    return list(held.blocks), held.inputs


def _merged(inputs: tuple[Input, ...], block: Block, theirs: tuple[Input, ...]) -> tuple[Input, ...]:
    try:
        needed = wording(block.text).names
    except FillError:
        return inputs
    known = {one.name for one in inputs}
    return (*inputs, *(one for one in theirs if one.name in needed and one.name not in known))


def _undefined(instruction: Instruction) -> list[Fault]:
    """Names that a block prints and no input gives."""
    names = [one.name for one in instruction.inputs]
    found = []
    for block in instruction.blocks:
        for text in (block.text, *block.variants.values()):
            try:
                read = wording(text)
            except FillError:
                continue
            for name in sorted(read.names - set(names)):
                line = next((slot.line for slot in read.slots if name in slot.names), 1)
                hint = nearest(name, names) if names else ""
                mend = hint if hint.startswith("did") else f"inputs: [{{name: {name}, kind: string, required: true}}]"
                problem = Problem(f"block {block.id!r} reads {name!r}, which is no input", block.at(line), mend)
                found.append(Fault("HD401", problem))
    return found
