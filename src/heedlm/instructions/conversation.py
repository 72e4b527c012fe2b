"""An instruction behind a conversation: each turn that a person types is put where the instruction wants its input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from heedlm.errors import HeedError
from heedlm.instructions.blocks import MISSING, Input, Instruction
from heedlm.instructions.compile import fill, planned
from heedlm.instructions.frame import Frame
from heedlm.instructions.layout import Layout
from heedlm.messages import Message


def typed_input(instruction: Instruction, values: Mapping[str, Any] | None = None) -> Input:
    """The input that a person types: the one that is still without a value. Raises HeedError where it is not one."""
    given = values or {}
    open_ = [one for one in instruction.inputs if one.required and one.default is MISSING and one.name not in given]
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
    name = typed_input(instruction, given).name
    cues = [block.id for block in instruction.of_kind("cue")]
    plan = planned(_without(instruction, tuple(cues)), layout, frame if frame is None or frame.own else None)
    made: list[Message] = []
    opened = False
    own = [message for message in messages if message.role == "system"]
    for message in messages:
        if message.role == "system":
            continue
        if message.role != "user":
            made.append(message)
            continue
        compiled = list(fill(plan, {**given, name: message.content}).messages)
        made += compiled if not opened else compiled[-1:]
        opened = True
    return _with_system(made, own)


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
