"""An instruction behind a conversation: each turn that a person types is put where the instruction wants its input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from heedlm.errors import HeedError
from heedlm.instructions.blocks import MISSING, Input, Instruction
from heedlm.instructions.compile import Compiled, Span, fill, planned
from heedlm.instructions.frame import Frame
from heedlm.instructions.layout import Layout
from heedlm.instructions.plan import Plan
from heedlm.messages import Message


class Spoken(NamedTuple):
    """A conversation as a model gets it. spans: of the blocks and values in its messages."""

    messages: tuple[Message, ...]
    spans: tuple[Span, ...] = ()


def typed_input(instruction: Instruction, values: Mapping[str, Any] | None = None) -> Input:
    """The input that a person types: the one that is still without a value. Raises HeedError where it is not one."""
    given = values or {}
    open_ = unfilled(instruction, given)
    if len(open_) == 1:
        return open_[0]
    where = instruction.file or instruction.name
    if not open_:
        what = "every input has a value, so nothing is left for what is typed"
        raise HeedError(what, where, "leave out --input for the one that is typed")
    names = ", ".join(one.name for one in open_)
    raise HeedError(
        f"several inputs have no value: {names}",
        where,
        f"--input {open_[0].name}=..., for all but the one that is typed",
    )


def unfilled(instruction: Instruction, values: Mapping[str, Any]) -> list[Input]:
    """The inputs that have to be given and are not."""
    return [one for one in instruction.inputs if one.required and one.default is MISSING and one.name not in values]


def conversation(
    instruction: Instruction,
    messages: Sequence[Message],
    values: Mapping[str, Any] | None = None,
    *,
    layout: Layout | None = None,
    frame: Frame | None = None,
) -> tuple[Message, ...]:
    """`messages` as a model gets them under an instruction.

    Each message of the user becomes the instruction's own user message, with what was typed as its input; the system
    blocks stand once, at the head, and a system text of the conversation's own behind them. A cue is left out: the model
    begins its turn by itself. Equal turns give equal texts, so that what was computed for earlier turns can be kept.
    Raises HeedError: as `compile_`, and where it is not clear which input is typed.
    """
    given = dict(values or {})
    made = spoken(instruction, messages, typed_input(instruction, given).name, given, layout=layout, frame=frame)
    return _with_system(list(made.messages), [message for message in messages if message.role == "system"])


def spoken(
    instruction: Instruction,
    messages: Sequence[Message],
    typed: str,
    values: Mapping[str, Any],
    *,
    layout: Layout | None = None,
    frame: Frame | None = None,
) -> Spoken:
    """As `conversation`, with the place of every block; system texts among `messages` are left out.

    typed: the input that takes what the user says.   Raises HeedError: as `compile_`.
    """
    cues = [block.id for block in instruction.of_kind("cue")]
    bare = _without(instruction, tuple(cues))
    plan = planned(bare, layout, frame if frame is None or frame.own else None)
    made: list[Message] = []
    spans: list[Span] = []
    opened = False
    for message in messages:
        if message.role == "system":
            continue
        if message.role != "user":
            made.append(message)
            continue
        compiled = fill(plan, {**values, typed: message.content})
        first = len(compiled.messages) - 1 if opened else 0
        spans += _moved(compiled, first, len(made) - first)
        made += compiled.messages[first:]
        if not opened:
            plan = _later(plan, bare)
        opened = True
    return Spoken(tuple(made), tuple(spans))


def _later(plan: Plan, instruction: Instruction) -> Plan:
    """The plan of every turn but the first: where the instruction opens the first message of the user, it stands there
    alone."""
    if any(turn.role == "system" for turn in plan.turns) or not any(one.role == "system" for one in instruction.blocks):
        return plan
    return planned(instruction, replace(plan.layout, placement="system"), None)


def _moved(compiled: Compiled, first: int, by: int) -> list[Span]:
    """The spans of the messages from `first` on, counted from elsewhere."""
    return [span._replace(message=span.message + by) for span in compiled.spans if span.message >= first]


_kept: dict[int, tuple[Instruction, Instruction]] = {}


def _without(instruction: Instruction, ids: tuple[str, ...]) -> Instruction:
    """The same without these blocks, and the same object each time, so that its plan is found again."""
    if not ids:
        return instruction
    held = _kept.get(id(instruction))
    if held is None or held[0] is not instruction:
        _kept.clear()
        held = _kept[id(instruction)] = (instruction, instruction.without(*ids))
    return held[1]


def _with_system(messages: list[Message], own: Sequence[Message]) -> tuple[Message, ...]:
    if not own:
        return tuple(messages)
    text = "\n\n".join(message.content for message in own)
    if messages and messages[0].role == "system":
        return (Message("system", f"{messages[0].content}\n\n{text}"), *messages[1:])
    return (Message("system", text), *messages)
