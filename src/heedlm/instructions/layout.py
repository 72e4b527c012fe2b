"""How an instruction is laid out: notation, place, order of data and instruction, shots. Not its words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from heedlm.instructions.blocks import Notation

Placement = Literal["system", "user"]
Repeat = Literal["marked", "none", "all"]
Query = Literal["last", "first"]
PLACEMENTS: tuple[Placement, ...] = ("system", "user")
REPEATS: tuple[Repeat, ...] = ("marked", "none", "all")


@dataclass(frozen=True, slots=True)
class Layout:
    """Switches that change no word.

    notation: None is the instruction's own (labels for a completion).   placement: "user" puts the system blocks at the
    head of the first user message.   repeat: what is said once more behind the data: blocks marked ``repeat=end``,
    nothing, or all of the instruction.   shots: how many; None as many as the block takes.   turns: shots as turns of
    the conversation instead of text.   data_first: with placement "user", the data stands before the instruction.
    """

    notation: Notation | None = None
    placement: Placement = "system"
    repeat: Repeat = "marked"
    shots: int | None = None
    turns: bool = False
    data_first: bool = False
