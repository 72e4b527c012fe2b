"""Compile an instruction to messages, and prove that every block of it is there."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from heedlm.errors import HeedError, Problem, nearest
from heedlm.instructions.blocks import INPUT_KINDS, Input, Instruction, Notation, Trust
from heedlm.instructions.frame import MESSAGES, Frame
from heedlm.instructions.layout import Layout
from heedlm.instructions.notation import Escape, around, delimited, guarded
from heedlm.instructions.plan import OUTPUT, Cell, Plan, Turn, make_plan
from heedlm.instructions.values import Endless, Piece, mend_of, pieces
from heedlm.instructions.wire import Wire, put_on_wire
from heedlm.messages import Message, Request
from heedlm.templates.sandbox import FillError

_KEPT = 64  # plans that are kept for the next compile of the same instruction
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str, int, float),
    "integer": (int,),
    "float": (int, float),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (dict,),
}
assert set(_TYPES) == set(INPUT_KINDS)


class Span(NamedTuple):
    """Where a block, or a value in it, stands. message: which one.   name: the input; "" for the block as a whole."""

    message: int
    start: int
    end: int
    block: str
    name: str = ""
    trust: Trust = "author"


@dataclass(frozen=True, slots=True)
class Compiled:
    """An instruction with its values, ready to be sent.

    format: one of `frame.FORMATS`.   messages: with the shots that are turns, without a cue that begins the answer.
    spans: of blocks and of values, in the texts of messages.   empty: blocks that hold nothing with these values.
    escapes: places where a value looked like structure.   wire: the text that the model sees, where a frame was given.
    """

    instruction: str
    format: str
    notation: Notation
    messages: tuple[Message, ...]
    spans: tuple[Span, ...]
    empty: tuple[str, ...]
    escapes: tuple[Escape, ...]
    notes: tuple[str, ...]
    wire: Wire | None = field(default=None, repr=False)
    as_text: bool = False

    @property
    def text(self) -> str:
        """What the model sees; without a frame the messages below each other."""
        return self.wire.text if self.wire is not None else "\n\n".join(one.content for one in self.messages)

    @property
    def request(self) -> Request:
        """What a `Chat` is asked: messages, or one text where the format is not the model's own."""
        if self.as_text and self.wire is not None:
            return Request(text=self.wire.text)
        return Request(self.messages)

    @property
    def survived(self) -> Mapping[str, tuple[tuple[int, int, int], ...]]:
        """Block -> (message, start, end) of each place where it stands."""
        found: dict[str, tuple[tuple[int, int, int], ...]] = {}
        for span in self.spans:
            if not span.name:
                found[span.block] = (*found.get(span.block, ()), (span.message, span.start, span.end))
        return found

    @property
    def digest(self) -> str:
        """64 hex digits of what is sent."""
        told = [self.format, [(one.role, one.content) for one in self.messages], self.text]
        return hashlib.sha256(json.dumps(told, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()


_plans: OrderedDict[tuple[int, Layout, int], Plan] = OrderedDict()


def planned(instruction: Instruction, layout: Layout | None = None, frame: Frame | None = None) -> Plan:
    """The plan of an instruction, made once: what a caller with many values keeps. Raises HeedError."""
    layout = layout or Layout()
    key = (id(instruction), layout, id(frame))
    found = _plans.get(key)
    if found is None or found.frame is not frame or _source.get(key) is not instruction:
        found = make_plan(instruction, layout, frame)
        _plans[key], _source[key] = found, instruction
        while len(_plans) > _KEPT:
            _source.pop(_plans.popitem(last=False)[0], None)
    return found


_source: dict[tuple[int, Layout, int], Instruction] = {}


def compile_(
    instruction: Instruction,
    values: Mapping[str, Any] | None = None,
    *,
    layout: Layout | None = None,
    frame: Frame | None = None,
) -> Compiled:
    """An instruction with values, as messages, and with a frame as the text that the model sees.

    Raises HeedError with every problem: values that are missing, unknown or of the wrong kind; a block that did not
    survive; a template that drops the system text.
    """
    return fill(planned(instruction, layout, frame), values or {})


def fill(plan: Plan, values: Mapping[str, Any]) -> Compiled:
    """A plan with values. What `compile_` does, without looking for the plan."""
    given = _checked(plan, values)
    build = _Build(plan, given)
    for number, turn in enumerate(plan.turns):
        if plan.shot_turns and turn.role == "user" and number == _last_user(plan):
            build.shots(turn)
        build.turn(turn)
    _prove(plan, build)
    wire = None
    if plan.frame is not None:
        cue = build.alone(plan.cue) if plan.cue is not None else None
        wire = put_on_wire(plan.frame, build.messages, build.spans, plan.cue.block.id if plan.cue else "", cue)
    return Compiled(
        instruction=plan.instruction.name,
        format=plan.frame.format if plan.frame is not None else MESSAGES,
        notation=plan.notation,
        messages=tuple(build.messages),
        spans=tuple(build.spans),
        empty=tuple(dict.fromkeys(build.empty)),
        escapes=tuple(build.escapes),
        notes=plan.notes,
        wire=wire,
        as_text=plan.as_text,
    )


def _last_user(plan: Plan) -> int:
    return max(number for number, turn in enumerate(plan.turns) if turn.role == "user")


class _Written(NamedTuple):
    """A block in its place: what stands before it, its pieces, what stands behind."""

    before: str
    body: list[Piece]
    behind: str


class _Build:
    """Messages as they grow, with the places of what stands in them."""

    def __init__(self, plan: Plan, values: Mapping[str, Any]) -> None:
        self.plan = plan
        self.values = values
        self.messages: list[Message] = []
        self.spans: list[Span] = []
        self.empty: list[str] = []
        self.escapes: list[Escape] = []

    def turn(self, turn: Turn, values: Mapping[str, Any] | None = None) -> None:
        texts: list[str] = []
        at = 0
        number = len(self.messages)
        for cell in turn.cells:
            found = self.written(cell, values)
            if found is None:
                self.empty.append(cell.block.id)
                continue
            before, body, behind = found
            if texts:
                glue = "\n" if cell.block.kind == "cue" else "\n\n"
                texts.append(glue)
                at += len(glue)
            start = at
            at += len(before)
            texts.append(before)
            for piece in body:
                texts.append(piece.text)
                if piece.names:
                    trust = self.trust(piece)
                    self.spans.append(
                        Span(number, at, at + len(piece.text), cell.block.id, " ".join(piece.names), trust)
                    )
                at += len(piece.text)
            texts.append(behind)
            at += len(behind)
            self.spans.append(Span(number, start, at, cell.block.id))
        if texts or turn.role == "user":
            self.messages.append(Message(turn.role, "".join(texts)))

    def shots(self, turn: Turn) -> None:
        """Demonstrations as turns: the last message of the user with other values, and the answer."""
        for shot in self.plan.shot_turns:
            values = {**self.values, **shot.values}
            self.turn(turn, values)
            body, escapes = guarded([Piece(shot.output, (OUTPUT,))], self.plan.guard)
            self.escapes += escapes
            self.messages.append(Message("assistant", "".join(piece.text for piece in body)))

    def alone(self, cell: Cell) -> str:
        found = self.written(cell, None)
        return "".join(piece.text for piece in found.body) if found is not None else ""

    def written(self, cell: Cell, values: Mapping[str, Any] | None) -> _Written | None:
        """A block as it is written; None where it is empty."""
        if cell.wording.template is not None:
            found = self.made(cell, values)
        else:
            kept = self.plan.written
            found = kept.get(id(cell)) or kept.setdefault(id(cell), self.made(cell, values))
        self.escapes += found[1]
        return found[0]

    def made(self, cell: Cell, values: Mapping[str, Any] | None) -> tuple[_Written | None, list[Escape]]:
        """As `written`, and where a value looked like structure."""
        block, escapes = cell.block, list[Escape]()
        try:
            body = pieces(cell.wording, self.values if values is None else values)
        except FillError as error:
            mend = mend_of(error) if isinstance(error, Endless) else "give it a value or a default"
            raise HeedError(f"block {block.id!r}: {error.what}", block.at(error.line or 1), mend) from None
        if cell.wording.template is not None:
            body = self.delimited(_trimmed(body))
        if cell.shots:
            body = [*body, *([Piece("\n\n")] if body and body[0].text else []), *cell.shots]
        if cell.wording.template is not None or cell.shots:
            body, escapes = guarded(body, self.plan.guard)
        if block.kind != "data" and not any(piece.text and not piece.text.isspace() for piece in body):
            return None, escapes
        first = body[0].text if len(body) == 1 else "".join(piece.text for piece in body)
        before, behind = around(block, self.plan.notation, first)
        return _Written(before or cell.label, body, behind), escapes

    def delimited(self, body: list[Piece]) -> list[Piece]:
        made: list[Piece] = []
        for piece in body:
            one = self.plan.inputs.get(piece.names[0]) if len(piece.names) == 1 and piece.alone else None
            if one is None or one.delimit == "none":
                made.append(piece)
            else:
                made += delimited(piece, one.delimit, self.plan.notation)
        return made

    def trust(self, piece: Piece) -> Trust:
        """The least trusted of what a piece is made of."""
        found = {one.trust or "data" for name in piece.names if (one := self.plan.inputs.get(name)) is not None}
        return "data" if "data" in found or not found else "user" if "user" in found else "author"


def _trimmed(body: list[Piece]) -> list[Piece]:
    """Without empty lines of the author's at both ends, which conditions leave behind."""
    if body and not body[0].names:
        body[0] = body[0]._replace(text=body[0].text.lstrip("\n"))
    if body and not body[-1].names:
        body[-1] = body[-1]._replace(text=body[-1].text.rstrip())
    return body


def _checked(plan: Plan, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Values with defaults. Raises HeedError with everything that is missing, unknown or of another kind."""
    inputs = plan.inputs
    if all(name in values or name in plan.defaults for name in inputs) and all(
        name in inputs and _fits(inputs[name], value) for name, value in values.items()
    ):
        return {**plan.defaults, **values}
    where = plan.instruction.file or plan.instruction.name
    problems = []
    for name, one in inputs.items():
        if name not in values and name not in plan.defaults:
            problems.append(Problem(f"the input {name!r} has no value", f"{where}:{one.line}", f"--input {name}=..."))
    for name, value in values.items():
        if name not in inputs:
            hint = nearest(name, inputs) if inputs else "the instruction has no inputs"
            problems.append(Problem(f"there is no input {name!r}", where, hint))
        elif not _fits(inputs[name], value):
            one = inputs[name]
            wanted = f"one of {', '.join(map(str, one.enum))}" if one.enum else one.kind
            problems.append(Problem(f"the input {name!r} is {_short(value)}", f"{where}:{one.line}", f"give {wanted}"))
    raise HeedError.of(problems)


def _fits(one: Input, value: Any) -> bool:
    kind = isinstance(value, _TYPES[one.kind]) and (not isinstance(value, bool) or one.kind in ("boolean", "string"))
    return kind and (not one.enum or value in one.enum)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _prove(plan: Plan, build: _Build) -> None:
    """Every block stands where the plan says, as often as it says, or holds nothing."""
    there: dict[str, int] = {}
    for span in build.spans:
        if not span.name:
            there[span.block] = there.get(span.block, 0) + 1
            assert 0 <= span.start <= span.end <= len(build.messages[span.message].content)
    empty = set(build.empty)
    lost = [
        block.id
        for block in plan.instruction.blocks
        if block.id not in there and block.id not in empty and (plan.cue is None or block.id != plan.cue.block.id)
    ]
    if lost:
        what = f"blocks that would not reach the model: {', '.join(lost)}"
        raise HeedError(
            what, plan.instruction.file or plan.instruction.name, "this is a mistake of heed: please report it"
        )
