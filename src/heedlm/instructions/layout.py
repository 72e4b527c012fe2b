"""How an instruction is laid out: notation, place, order of data and instruction, shots. Not its words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from heedlm.instructions.blocks import Instruction, Notation, Placement, Repeat

Query = Literal["last", "first"]
PLACEMENTS: tuple[Placement, ...] = ("system", "user")
REPEATS: tuple[Repeat, ...] = ("marked", "none", "all")


@dataclass(frozen=True, slots=True)
class Layout:
    """Switches that change no word. None is what the instruction's own file says.

    notation: of a completion labels, where it is None.   placement: "user" puts the system blocks at the
    head of the first user message.   repeat: what is said once more behind the data: blocks marked ``repeat=end``,
    nothing, or all of the instruction.   shots: how many; None as many as the block takes.   turns: shots as turns of
    the conversation instead of text.   data_first: with placement "user", the data stands before the instruction.
    """

    notation: Notation | None = None
    placement: Placement | None = None
    repeat: Repeat | None = None
    shots: int | None = None
    turns: bool | None = None
    data_first: bool | None = None

    def of(self, instruction: Instruction) -> Layout:
        """The same with the instruction's own way in the place of each None but notation and shots."""
        return Layout(
            self.notation,
            self.placement or instruction.placement,
            self.repeat or instruction.repeat,
            self.shots,
            instruction.turns if self.turns is None else self.turns,
            instruction.data_first if self.data_first is None else self.data_first,
        )


def kept(instruction: Instruction, layout: Layout) -> Instruction:
    """The instruction that is laid out so by itself, as a file holds it."""
    own = layout.of(instruction)
    return replace(
        instruction,
        notation=own.notation or instruction.notation,
        placement=own.placement or "system",
        repeat=own.repeat or "marked",
        turns=bool(own.turns),
        data_first=bool(own.data_first),
    )
