"""What of a compile does not depend on values: messages, the order of blocks in them, shots, and what guards them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from heedlm.errors import HeedError
from heedlm.instructions.blocks import MISSING, Block, Input, Instruction, Notation, Shot
from heedlm.instructions.frame import COMPLETION, Frame
from heedlm.instructions.kinds import KINDS, Place
from heedlm.instructions.layout import Layout
from heedlm.instructions.notation import CONTROL, Guard, guard_for
from heedlm.instructions.values import Piece, Wording, mend_of, wording
from heedlm.templates.sandbox import FillError

OUTPUT = "output"  # the name under which the answer of a shot is known in spans


class Cell(NamedTuple):
    """One block in one place. again: it stands here for the second time.   shots: what is put in behind its text."""

    block: Block
    wording: Wording
    shots: tuple[Piece, ...] = ()
    again: bool = False
    label: str = ""


class Turn(NamedTuple):
    """One message to be."""

    role: Place
    cells: tuple[Cell, ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """An instruction, laid out for one format.

    turns: messages in order, without the cue.   cue: what begins the answer.   shot_turns: shots that become turns before
    the last message of the user.   as_text: it is sent as one text, so control tokens in values are broken visibly.
    written: blocks that no value changes, as they are written, once they have been; kept by what reads them.
    """

    instruction: Instruction
    layout: Layout
    notation: Notation
    frame: Frame | None
    turns: tuple[Turn, ...]
    cue: Cell | None
    shot_turns: tuple[Shot, ...]
    guard: Guard
    as_text: bool
    defaults: Mapping[str, Any]
    inputs: Mapping[str, Input]
    notes: tuple[str, ...]
    written: dict[int, Any] = field(default_factory=dict, repr=False)


def make_plan(instruction: Instruction, layout: Layout, frame: Frame | None) -> Plan:
    """Lay out an instruction. Raises HeedError: a template that drops the system text, broken text in a block."""
    layout = layout.of(instruction)
    notation = layout.notation or (
        "label" if frame is not None and frame.format == COMPLETION else instruction.notation
    )
    shots = _shots(instruction, layout)
    if shots and not layout.turns and not any(block.slot for block in instruction.blocks):
        slot = Block("examples", "examples", "", KINDS["examples"].title, slot="examples")
        if slot.id in instruction.ids:
            slot = replace(instruction.block(slot.id), slot="examples")
        instruction = instruction.with_block(slot)
    inline = () if layout.turns else tuple(_inline(shots, notation))
    if inline and frame is not None and frame.format == COMPLETION and notation != "xml":
        instruction = _begun(instruction)
    turns = _turns(instruction, inline, notation)
    cue = None
    if turns and turns[-1].role == "assistant" and turns[-1].cells[-1].block.kind == "cue":
        cue = turns[-1].cells[-1]
        rest = turns[-1].cells[:-1]
        turns = [*turns[:-1], *([Turn("assistant", rest)] if rest else [])]
    placement, notes = _placement(turns, layout, frame)
    notes += _idle(layout, placement, instruction, shots)
    turns = _repeated(_placed(turns, placement, bool(layout.data_first)), layout, instruction)
    as_text = frame is not None and (not frame.own or (cue is not None and not frame.sides.joins))
    if cue is not None and (frame is None or frame.sides.joins):
        turns = _with_cue(turns, cue)
        if frame is None:
            notes.append(
                "the cue stands at the end of the last user message: a list of messages cannot begin the answer"
            )
        cue = None
    guard = guard_for(
        notation,
        instruction.blocks,
        inputs=[one.name for one in instruction.inputs],
        labels=_labels(shots) if inline else (),
        marks=frame.sides.marks if frame is not None else (),
        control=_control(frame, as_text),
    )
    return Plan(
        instruction=instruction,
        layout=layout,
        notation=notation,
        frame=frame,
        turns=tuple(turns),
        cue=cue,
        shot_turns=shots if layout.turns else (),
        guard=guard,
        as_text=as_text,
        defaults=_defaults(instruction.inputs),
        inputs={one.name: one for one in instruction.inputs},
        notes=tuple(notes),
    )


def _control(frame: Frame | None, as_text: bool) -> re.Pattern[str] | None:
    """What is broken visibly in values: nothing where the renderer's seams keep control tokens apart.

    In a soft format marks are ordinary text, which no seam can part.
    """
    if frame is None:
        return CONTROL
    if not as_text:
        return None if frame.template.grade == "hard" else CONTROL
    own = "|".join(map(re.escape, frame.control_texts))
    return re.compile(f"{own}|{CONTROL.pattern}") if own else CONTROL


def _defaults(inputs: Sequence[Input]) -> dict[str, Any]:
    """Values for inputs that nobody gives; those that may be missing are empty."""
    empty = {"string": "", "array": [], "object": {}}
    return {
        one.name: empty.get(one.kind) if one.default is MISSING else one.default
        for one in inputs
        if one.default is not MISSING or not one.required
    }


def _shots(instruction: Instruction, layout: Layout) -> tuple[Shot, ...]:
    most = next((block.most for block in instruction.blocks if block.slot and block.most), len(instruction.shots))
    return instruction.shots[: most if layout.shots is None else layout.shots]


def _labels(shots: Sequence[Shot]) -> list[str]:
    names = list(dict.fromkeys(name for shot in shots for name in shot.values))
    return ["Output", *(["Input"] if len(names) == 1 else [name.replace("_", " ").capitalize() for name in names])]


def _inline(shots: Sequence[Shot], notation: Notation) -> list[Piece]:
    """Shots as text: each input and the answer under its name."""
    names = _labels(shots)
    known = list(dict.fromkeys(name for shot in shots for name in shot.values))
    label = dict(zip(known, names[1:] * (1 if len(known) > 1 else len(known)), strict=False))
    made: list[Piece] = []
    for number, shot in enumerate(shots):
        made.append(Piece("\n\n" if number else ""))
        fields = [(label[name], str(value), (name,)) for name, value in shot.values.items()]
        fields.append(("Output", shot.output, (OUTPUT,)))
        if notation == "xml":
            made.append(Piece("<example>\n"))
            for title, value, read in fields:
                tag = title.lower().replace(" ", "_")
                made += [Piece(f"<{tag}>"), Piece(value, read), Piece(f"</{tag}>\n")]
            made.append(Piece("</example>"))
            continue
        for at, (title, value, read) in enumerate(fields):
            made += [Piece(f"{chr(10) if at else ''}{title}: "), Piece(value, read)]
    return [piece for piece in made if piece.text]


def _begun(instruction: Instruction) -> Instruction:
    """With the label of the answers in its examples as a cue, where it has none: a base model goes on with a pattern, and
    behind a bare question it would go on with the question."""
    last = instruction.blocks[-1]
    if last.role != "user" or last.kind == "cue":
        return instruction
    id_ = next(name for name in ("cue", "answer_cue", "begun_cue") if name not in instruction.ids)
    cue = Block(id_, "cue", "Output:", role="assistant", turn=last.turn + 1)
    return replace(instruction, blocks=(*instruction.blocks, cue))


def _idle(layout: Layout, placement: str, instruction: Instruction, shots: Sequence[Shot]) -> list[str]:
    """Switches that change nothing here, in words."""
    notes = []
    if layout.data_first and placement == "system":
        notes.append("data first changes nothing while the instruction stands in a system message: --placement user")
    held = len(instruction.shots)
    if layout.shots is not None and layout.shots > held:
        notes.append(f"{layout.shots} examples are asked for; the file has {held or 'none'}")
    if layout.turns and not shots:
        notes.append("there is no example that could be a turn of the conversation")
    return notes


def _turns(instruction: Instruction, inline: tuple[Piece, ...], notation: Notation) -> list[Turn]:
    found: dict[int, list[Cell]] = {}
    roles: dict[int, Place] = {}
    for block in instruction.blocks:
        try:
            parsed = wording(block.text)
        except FillError as error:
            raise HeedError(f"block {block.id!r}: {error.what}", block.at(error.line or 1), mend_of(error)) from None
        framed = notation == "label" and inline and block.kind == "data" and not block.title
        cell = Cell(block, parsed, inline if block.slot else (), label="Input: " if framed else "")
        found.setdefault(block.turn, []).append(cell)
        roles[block.turn] = block.role
    return [Turn(roles[turn], tuple(found[turn])) for turn in sorted(found)]


def _placement(turns: Sequence[Turn], layout: Layout, frame: Frame | None) -> tuple[str, list[str]]:
    """Where the system blocks stand, and what has to be said about it."""
    has_system = any(turn.role == "system" for turn in turns)
    if frame is None:
        return layout.placement or "system", []
    if not has_system or layout.placement == "user":
        hidden = frame.hidden_system
        return layout.placement or "system", [
            f"the template adds a system text of its own: {hidden!r}"
        ] if hidden else []
    if frame.system == "refused":
        return "user", ["the template takes no system text: the instruction stands in the first user message"]
    if frame.system == "lost":
        raise HeedError(
            f"the template {frame.template.name!r} drops the system text without a word",
            frame.model or frame.format,
            "put the instruction into the user message: --placement user",
        )
    return "system", []


def _placed(turns: Sequence[Turn], placement: str, data_first: bool) -> list[Turn]:
    if placement == "system":
        return list(turns)
    system = tuple(cell for turn in turns if turn.role == "system" for cell in turn.cells)
    others = [turn for turn in turns if turn.role != "system"]
    at = next((number for number, turn in enumerate(others) if turn.role == "user"), None)
    if at is None:
        return [Turn("user", system), *others]
    cells = others[at].cells
    others[at] = Turn("user", (*cells, *system) if data_first else (*system, *cells))
    return others


def _repeated(turns: Sequence[Turn], layout: Layout, instruction: Instruction) -> list[Turn]:
    """With what is said once more behind the data, at the end of the last message of the user."""
    if layout.repeat == "none":
        return list(turns)
    every = [cell for turn in turns for cell in turn.cells]
    if layout.repeat == "all":
        again = [cell for cell in every if cell.block.role == "system"]
    else:
        again = [cell for cell in every if cell.block.repeat == "end"]
    last = max((number for number, turn in enumerate(turns) if turn.role == "user"), default=None)
    if last is None or not again:
        return list(turns)
    made = list(turns)
    made[last] = Turn("user", (*made[last].cells, *(cell._replace(again=True) for cell in again)))
    return made


def _with_cue(turns: Sequence[Turn], cue: Cell) -> list[Turn]:
    """The cue at the end of the last message of the user."""
    last = max((number for number, turn in enumerate(turns) if turn.role == "user"), default=None)
    if last is None:
        return [*turns, Turn("user", (cue,))]
    made = list(turns)
    made[last] = Turn("user", (*made[last].cells, cue))
    return made
