"""An instruction that stands behind every conversation with a model: values given once, proved before anybody talks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from heedlm.errors import HeedError, Problem
from heedlm.instructions.blocks import Block, Input, Instruction, Notation, Placement
from heedlm.instructions.compile import Compiled, compile_
from heedlm.instructions.conversation import Spoken, spoken, unfilled
from heedlm.instructions.frame import Frame
from heedlm.instructions.layout import Layout
from heedlm.instructions.values import wording
from heedlm.instructions.wire import put_on_wire
from heedlm.messages import Message
from heedlm.templates.sandbox import FillError

ADDED = "additional"  # the block that holds a system text of the conversation's own
_TITLE = "Additional instructions"
_TYPED = "message"  # the input of an instruction that has no message of the user


class Needs(NamedTuple):
    """What an instruction is still without. typed: the input that takes what a person says.   missing: all others."""

    typed: str
    missing: tuple[Input, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """An instruction ready to stand behind conversations.

    instruction: without its cue.   open: the same with a block for a system text that the conversation brings itself.
    values: of all inputs but `typed`.   notes: what a person has to know.
    """

    instruction: Instruction
    open: Instruction = field(repr=False)
    typed: str
    values: Mapping[str, Any]
    layout: Layout
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.instruction.name

    def speak(self, messages: Sequence[Message], frame: Frame | None = None) -> Spoken:
        """A conversation under the instruction, with the place of every block.

        System texts among `messages` stand together as one block of their own behind those of the instruction, guarded
        like every value: they cannot open a block, and cannot stand before one. Raises HeedError: as `compile_`, and for a
        conversation without a turn of the user, for the instruction stands round what a user says.
        """
        if not any(one.role == "user" for one in messages):
            what = f"no turn is the user's, and {self.name} stands round what a user says"
            raise HeedError(what, "messages", "add what is asked")
        own = "\n\n".join(one.content for one in messages if one.role == "system" and one.content.strip())
        turns = [one for one in messages if one.role != "system"]
        if not own:
            return spoken(self.instruction, turns, self.typed, self.values, layout=self.layout, frame=frame)
        values = {**self.values, self.open.inputs[-1].name: own}
        return spoken(self.open, turns, self.typed, values, layout=self.layout, frame=frame)

    def compiled(self, text: str, frame: Frame | None = None) -> Compiled:
        """One question under the instruction. Raises HeedError: as `compile_`."""
        return compile_(self.instruction, {**self.values, self.typed: text}, layout=self.layout, frame=frame)

    def prove(self, frame: Frame | None = None) -> Compiled:
        """One question, compiled for the model, with the proof that every block is in what the model sees, also in a second
        turn. Raises HeedError with the way out, where a template drops or refuses something."""
        asked = Message("user", "What is asked.")
        found = self.compiled(asked.content, frame)
        if frame is not None:
            turns = self.speak([asked, Message("assistant", "What is said."), asked], frame)
            put_on_wire(frame, turns.messages, turns.spans, "", None)
        return found


def needs(instruction: Instruction, values: Mapping[str, Any]) -> Needs:
    """Which input takes what a person types, and which ones are missing beside it.

    Of several that have no value it is the one that stands last in the last message of the user. An instruction without such
    a message takes what is typed as the message. Raises HeedError where nothing is left for what is typed, or only what is no
    text.
    """
    where = instruction.file or instruction.name
    open_ = unfilled(instruction, values)
    printed = _printed(instruction)
    typed = next((one for name in reversed(printed) for one in open_ if one.name == name), None)
    if typed is None and not any(block.role == "user" for block in instruction.blocks):
        return Needs("", tuple(open_))
    if typed is None and open_ and not printed:
        typed = open_[-1]
    if typed is None:
        what = "nothing is left for what is typed: every input of the user's message has a value"
        raise HeedError(what, where, "leave out --input for the one that is typed")
    if typed.kind != "string":
        what = f"the input {typed.name!r} takes what is typed, and is no text: {typed.kind}"
        raise HeedError(what, f"{where}:{typed.line}", f"kind: string, or --input {typed.name}=...")
    return Needs(typed.name, tuple(one for one in open_ if one is not typed))


def policy_of(
    instruction: Instruction,
    values: Mapping[str, Any] | None = None,
    placement: Placement | None = None,
    notation: Notation | None = None,
) -> Policy:
    """The instruction with its values, to stand behind conversations. Raises HeedError: values that are missing, an
    instruction that holds several turns of its own, or nothing for what is typed."""
    given = dict(values or {})
    found = needs(instruction, given)
    where = instruction.file or instruction.name
    if found.missing:
        raise HeedError.of(
            [
                Problem(f"the input {one.name!r} has no value", f"{where}:{one.line}", f"--input {one.name}=...")
                for one in found.missing
            ]
        )
    typed, ready = found.typed, instruction
    if not typed:
        typed = _free(_TYPED, [one.name for one in instruction.inputs])
        ready = replace(ready, inputs=(*ready.inputs, Input(typed, required=True, trust="user")))
        ready = ready.with_block(Block(_free("data", ready.ids), "data", f"{{{{ {typed} }}}}", role="user"))
    cues = [block.id for block in ready.of_kind("cue")]
    notes = ("its cue is left out: in a conversation the model begins its turn by itself",) if cues else ()
    ready = ready.without(*cues)
    return Policy(ready, _open(ready), typed, given, Layout(notation, placement), notes)


def _open(instruction: Instruction) -> Instruction:
    """With a block behind all others of the system text, for what a conversation brings itself."""
    name = _free(ADDED, [one.name for one in instruction.inputs])
    block = Block(_free(ADDED, instruction.ids), "context", f"{{{{ {name} }}}}", _TITLE)
    last = next((one.id for one in reversed(instruction.blocks) if one.role == "system"), None)
    more = instruction.with_block(block, after=last)
    return replace(more, inputs=(*more.inputs, Input(name, required=True, trust="user")))


def _printed(instruction: Instruction) -> list[str]:
    """Names of inputs in the last message of the user, in the order in which they stand there."""
    last = max((block.turn for block in instruction.blocks if block.role == "user"), default=None)
    found: list[str] = []
    for block in instruction.blocks:
        if block.turn == last:
            with suppress(FillError):  # a text that is being written, and is told elsewhere
                found += [name for slot in wording(block.text).slots for name in slot.names]
    return found


def _free(name: str, taken: Sequence[str]) -> str:
    number, found = 2, name
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    return found
