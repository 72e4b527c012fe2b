"""The moves of the stages: small changes to a candidate, each of which a machine can make. Frozen blocks stay as they are."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Concatenate, Literal, ParamSpec

from heedlm.instructions.bench import Candidate
from heedlm.instructions.blocks import NOTATIONS, Block, Instruction, Shot
from heedlm.instructions.kinds import KINDS
from heedlm.instructions.layout import REPEATS
from heedlm.instructions.optimize.forms import forms
from heedlm.instructions.values import wording
from heedlm.templates.sandbox import FillError

P = ParamSpec("P")
Stage = Literal["mix", "format", "blocks", "shots", "edits", "reflect"]
STAGES: tuple[Stage, ...] = ("mix", "format", "blocks", "shots", "edits")  # those that need no other model
_LABELS = 12  # distinct right answers up to which a task counts as a choice among labels
_LABEL = 40  # characters of the longest label
_SIZES = (2, 4, 1, 8)  # of sets of demonstrations; where not all can be tried, the first of them are
_SETS = 3  # sets of each size
_FORM = "output_format"


@dataclass(frozen=True, slots=True)
class Move:
    """slot: of two moves in one slot only one can be made.   make: the changed candidate; None where it does not apply."""

    slot: str
    name: str
    make: Callable[[Candidate], Candidate | None]

    def on(self, candidate: Candidate) -> Candidate | None:
        """The changed candidate with the move in its name, or None where nothing changes."""
        made = self.make(candidate)
        return None if made is None or made == candidate else replace(made, label=f"{candidate.name} + {self.name}")


def moves_of(
    stage: Stage, candidate: Candidate, pool: Sequence[Shot] = (), labels: Sequence[str] = (), *, seed: int = 0
) -> list[Move]:
    """All moves of a stage from a candidate.

    pool: demonstrations that may be shown.   labels: the right answers of the train cases, from which a missing output
    format is made where they are few.   seed: of the draws among the pool.
    """
    if stage == "mix":
        every = (*_format(candidate), *_blocks(candidate.instruction, labels), *_edits(candidate.instruction))
        return [move for move in every if not move.slot.startswith("order:")]
    if stage == "format":
        return list(_format(candidate))
    if stage == "blocks":
        return list(_blocks(candidate.instruction, labels))
    if stage == "shots":
        return list(_shots(candidate.instruction, pool, random.Random(seed)))
    return list(_edits(candidate.instruction)) if stage == "edits" else []


def _format(candidate: Candidate) -> Iterator[Move]:
    own = candidate.layout.notation or candidate.instruction.notation
    for notation in NOTATIONS:
        if notation != own:
            yield _switch("notation", f"notation {notation}", notation=notation)
    yield _switch("placement", "in the system message", placement="system", data_first=False)
    yield _switch("placement", "in the user message", placement="user", data_first=False)
    yield _switch("placement", "behind the data", placement="user", data_first=True)
    for repeat in REPEATS:
        yield _switch("repeat", f"repeat {repeat}", repeat=repeat)


def _switch(slot: str, name: str, **to: Any) -> Move:
    def make(one: Candidate) -> Candidate | None:
        own = one.layout.of(one.instruction)
        made = replace(own, **to)
        return None if made == own else replace(one, layout=made)

    return Move(slot, name, make)


def _changed(
    change: Callable[Concatenate[Instruction, P], Instruction | None], *args: P.args, **named: P.kwargs
) -> Callable[[Candidate], Candidate | None]:
    def make(candidate: Candidate) -> Candidate | None:
        made = change(candidate.instruction, *args, **named)
        return None if made is None else replace(candidate, instruction=made)

    return make


def _blocks(instruction: Instruction, labels: Sequence[str]) -> Iterator[Move]:
    for block in added(instruction, labels):
        yield Move(f"add:{block.kind}", f"add {block.id}", _changed(_with, block))
    free = [block for block in instruction.blocks if not block.locked]
    for block in free:
        id_ = block.id
        for name, text in block.variants.items():
            if text != block.text:
                yield Move(f"block:{id_}", f"{id_} {name}", _changed(_variant, id_, name))
        if _may_go(block):
            yield Move(f"block:{id_}", f"without {id_}", _changed(_gone, id_))
    for first, second in pairwise(instruction.blocks):
        if not first.locked and not second.locked and (first.turn, first.role) == (second.turn, second.role):
            make = _changed(_swapped, first.id, second.id)
            yield Move(f"order:{first.id}", f"{second.id} before {first.id}", make)


def added(instruction: Instruction, labels: Sequence[str]) -> list[Block]:
    """Output formats that the instruction lacks: from its outputs, from right answers that are few and short, and from what
    all right answers have in common."""
    if instruction.of_kind(_FORM):
        return []
    about = KINDS[_FORM]
    found: list[Block] = []
    if instruction.outputs:
        fields = ", ".join(f'"{one.name}": "..."' for one in instruction.outputs)
        text = f"Reply with one JSON object and nothing else: {{{fields}}}"
        found.append(Block("output_format", _FORM, text, about.title))
    known = sorted(set(labels))
    few = 1 < len(known) <= _LABELS and max(map(len, known)) <= _LABEL and len(labels) >= 3 * len(known)
    if few and not any("{" in one or "\n" in one for one in known):
        text = f"Reply with one of these and nothing else: {', '.join(known)}"
        found.append(Block("output_format", _FORM, text, about.title))
    shared = forms(labels)
    if shared and not few:
        found.append(Block("output_format", _FORM, " ".join(shared), about.title))
    return found


def _with(instruction: Instruction, block: Block) -> Instruction | None:
    return None if block.id in instruction.ids or instruction.of_kind(block.kind) else instruction.with_block(block)


def _variant(instruction: Instruction, id_: str, name: str) -> Instruction | None:
    if id_ not in instruction.ids:
        return None
    return (
        instruction.with_variant(id_, name)
        if instruction.block(id_).variants[name].strip()
        else _gone(instruction, id_)
    )


def _gone(instruction: Instruction, id_: str) -> Instruction | None:
    return instruction.without(id_) if id_ in instruction.ids else None


def _may_go(block: Block) -> bool:
    """Whether an optimiser may leave a block out: never the task, nor one that holds a value or the demonstrations."""
    if block.kind in ("task", "data") or block.slot:
        return False
    try:
        return not wording(block.text).names
    except FillError:
        return False


def _swapped(instruction: Instruction, first: str, second: str) -> Instruction | None:
    ids = instruction.ids
    if first not in ids or second not in ids or ids.index(second) != ids.index(first) + 1:
        return None
    if instruction.block(first).turn != instruction.block(second).turn:
        return None
    return instruction.ordered([second, first])


def _shots(instruction: Instruction, pool: Sequence[Shot], draw: random.Random) -> Iterator[Move]:
    slots = [block for block in instruction.blocks if block.slot]
    if any(block.frozen for block in slots):
        return
    most = next((block.most for block in slots if block.most), max(_SIZES))
    for number in range(_SETS):
        for size in _SIZES:
            if size <= min(most, len(pool)):
                chosen = balanced(pool, size, draw)
                name = f"{size} shots, set {number + 1}" if size > 1 else f"1 shot, set {number + 1}"
                yield Move("shots", name, _shown(chosen, turns=False))
                yield Move("shots", f"{name}, as turns", _shown(chosen, turns=True))
    if instruction.shots:
        yield Move("shots", "no shots", _shown((), turns=False))
        yield _switch("turns", "shots as turns", turns=True)
        yield _switch("turns", "shots as text", turns=False)


def _shown(shots: Sequence[Shot], turns: bool) -> Callable[[Candidate], Candidate]:
    def make(candidate: Candidate) -> Candidate:
        instruction = candidate.instruction.with_shots(shots)
        return replace(candidate, instruction=instruction, layout=replace(candidate.layout, turns=turns))

    return make


def balanced(pool: Sequence[Shot], size: int, draw: random.Random) -> tuple[Shot, ...]:
    """`size` shots in random order whose outputs are as mixed as the pool allows: one of each output before a second."""
    by_output: dict[str, list[Shot]] = {}
    for shot in draw.sample(list(pool), len(pool)):
        by_output.setdefault(shot.output, []).append(shot)
    chosen: list[Shot] = []
    while len(chosen) < size:
        for shots in by_output.values():
            if shots and len(chosen) < size:
                chosen.append(shots.pop())
    draw.shuffle(chosen)
    return tuple(chosen)


def units(text: str) -> tuple[list[str], str]:
    """The parts of a block that edits move, and what joins them: its lines, or the sentences of a single line."""
    lines = text.split("\n")
    if len(lines) > 1:
        return lines, "\n"
    return re.split(r"(?<=[.!?])\s+", text), " "


def _edits(instruction: Instruction) -> Iterator[Move]:
    for block in instruction.blocks:
        parts, _ = units(block.text)
        if block.locked or block.about.freedom != "edit" or len(parts) < 2 or "{%" in block.text:
            continue
        for number, part in enumerate(parts):
            slot, id_ = f"edit:{block.id}:{number}", block.id
            if part.strip() and "{{" not in part:
                yield Move(slot, f"{id_} less {_short(part)}", _changed(_less, id_, part))
        for first, second in pairwise(parts):
            if first.strip() and second.strip():
                slot, id_ = f"swap:{block.id}:{first}", block.id
                make = _changed(_turned, id_, first, second)
                yield Move(slot, f"{id_} {_short(second)} first", make)


def _short(text: str) -> str:
    words = text.split()
    return repr(" ".join(words[:4]) + (" ..." if len(words) > 4 else ""))


def _less(instruction: Instruction, id_: str, part: str) -> Instruction | None:
    if id_ not in instruction.ids:
        return None
    parts, between = units(instruction.block(id_).text)
    if part not in parts or sum(bool(one.strip()) for one in parts) < 2:
        return None
    parts.remove(part)
    return instruction.with_text(id_, between.join(parts))


def _turned(instruction: Instruction, id_: str, first: str, second: str) -> Instruction | None:
    if id_ not in instruction.ids:
        return None
    parts, between = units(instruction.block(id_).text)
    for at in range(len(parts) - 1):
        if parts[at : at + 2] == [first, second]:
            parts[at : at + 2] = [second, first]
            return instruction.with_text(id_, between.join(parts))
    return None


def shots_of(cases: Sequence[tuple[Mapping[str, Any], str]], instruction: Instruction) -> list[Shot]:
    """Demonstrations out of cases with a right answer: the values of the instruction's own inputs, and the answer."""
    names = {one.name for one in instruction.inputs}
    return [
        Shot({name: value for name, value in values.items() if name in names}, target)
        for values, target in cases
        if target.strip()
    ]
