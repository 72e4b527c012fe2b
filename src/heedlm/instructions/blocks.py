"""The nouns of a custom instruction: blocks, inputs, outputs, shots, and edits that leave the original as it was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from heedlm.errors import HeedError, nearest
from heedlm.instructions.kinds import KINDS, Kind, Place

Trust = Literal["data", "user", "author"]
Delimit = Literal["none", "fence", "xml", "quotes", "datamark", "auto"]
Notation = Literal["markdown", "xml", "label", "plain"]
Placement = Literal["system", "user"]
Repeat = Literal["marked", "none", "all"]
TRUSTS: tuple[Trust, ...] = ("data", "user", "author")
DELIMITS: tuple[Delimit, ...] = ("none", "fence", "xml", "quotes", "datamark", "auto")
NOTATIONS: tuple[Notation, ...] = ("markdown", "xml", "label", "plain")
INPUT_KINDS = ("string", "integer", "float", "number", "boolean", "array", "object")
MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING", "__slots__": ()})()


@dataclass(frozen=True, slots=True)
class Ignore:
    """A rule of the linter that somebody switched off, and why.   block: its id; "" for the whole file."""

    rule: str
    reason: str
    block: str = ""
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Block:
    """One part of an instruction.

    id: unique in its instruction.   text: Jinja text, without the heading.   title: the heading; "" where it has none.
    turn: which message of the file it stands in, from 0.   role: of that message.
    frozen: no optimiser may change it.   optional: it may be left out.   repeat: "end" says it once more after the data.
    slot: "examples" where shots are put in behind its text.   most: at most so many shots; 0 no limit.
    variants: other texts by name.   variant: the name of the one that `text` is; "" the file's own.
    line: of its heading in `file`.   text_line: of the first line of its text.
    """

    id: str
    kind: str
    text: str
    title: str = ""
    role: Place = "system"
    turn: int = 0
    frozen: bool = False
    optional: bool = False
    repeat: Literal["", "end"] = ""
    slot: Literal["", "examples"] = ""
    most: int = 0
    variants: Mapping[str, str] = field(default_factory=dict)
    variant: str = field(default="", compare=False)
    file: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)
    text_line: int = field(default=0, compare=False)

    @property
    def about(self) -> Kind:
        return KINDS[self.kind]

    @property
    def locked(self) -> bool:
        """Whether no optimiser may change it: said in the file, or by its kind."""
        return self.frozen or self.about.freedom == "frozen"

    def at(self, line: int = 1) -> str:
        """``file:line`` of a line of its text, from 1; 0 is its heading."""
        return f"{self.file}:{self.text_line + line - 1 if line else self.line}"


@dataclass(frozen=True, slots=True)
class Input:
    """One value that is put in. trust: who wrote it; None where the file does not say, which counts as "data"."""

    name: str
    kind: str = "string"
    required: bool = False
    default: Any = MISSING
    example: Any = MISSING
    about: str = ""
    enum: tuple[Any, ...] = ()
    trust: Trust | None = None
    delimit: Delimit = "none"
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Output:
    """One field of the answer."""

    name: str
    kind: str = "string"
    required: bool = False
    about: str = ""
    enum: tuple[Any, ...] = ()
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Shot:
    """One demonstration. values: of inputs, by name.   output: the answer, as text.   source: "file:line"."""

    values: Mapping[str, Any]
    output: str
    source: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Instruction:
    """A custom instruction, as a file holds it.

    blocks: in the order of the file, used ones among them.   uses: what `use:` names, as written.
    checks: in the vocabulary of `heed eval`.   budget: tokens at most; 0 no limit.   characters: of system text; 0 no
    limit.   tests: the file of its matrix.
    notation, placement, repeat, turns, data_first: how it is laid out unless another way is asked for (`layout.Layout`).
    meta: version, licence, tags.
    """

    name: str
    blocks: tuple[Block, ...]
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    shots: tuple[Shot, ...] = ()
    checks: tuple[Mapping[str, Any], ...] = ()
    about: str = ""
    notation: Notation = "markdown"
    placement: Placement = "system"
    repeat: Repeat = "marked"
    turns: bool = False
    data_first: bool = False
    budget: int = 0
    tests: str = ""
    characters: int = 0
    ignores: tuple[Ignore, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    uses: tuple[str, ...] = field(default=(), compare=False)
    file: str = field(default="", compare=False)
    front_lines: Mapping[tuple[str | int, ...], int] = field(default_factory=dict, compare=False, repr=False)

    def block(self, id_: str) -> Block:
        """The block of that id. Raises HeedError with the nearest."""
        found = next((block for block in self.blocks if block.id == id_), None)
        if found is None:
            raise HeedError(f"there is no block {id_!r}", self.file or self.name, nearest(id_, self.ids))
        return found

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(block.id for block in self.blocks)

    def input(self, name: str) -> Input | None:
        return next((one for one in self.inputs if one.name == name), None)

    def of_kind(self, kind: str) -> tuple[Block, ...]:
        return tuple(block for block in self.blocks if block.kind == kind)

    def without(self, *ids: str) -> Instruction:
        """The same without these blocks."""
        for id_ in ids:
            self.block(id_)
        return replace(self, blocks=_numbered(block for block in self.blocks if block.id not in ids))

    def with_block(self, block: Block, *, after: str | None = None) -> Instruction:
        """The same with a block: in the place of the one with its id, else behind `after`, else where its kind stands."""
        block = replace(block, text=tidy(block.text))
        if block.id in self.ids:
            return replace(self, blocks=tuple(block if one.id == block.id else one for one in self.blocks))
        if after is not None:
            mate = self.block(after)
            at = self.blocks.index(mate) + 1
            block = replace(block, role=mate.role, turn=mate.turn)
        else:
            block, at = _placed(self.blocks, block)
        return replace(self, blocks=_numbered((*self.blocks[:at], block, *self.blocks[at:])))

    def with_text(self, id_: str, text: str) -> Instruction:
        """The same with another text in a block."""
        return self.with_block(replace(self.block(id_), text=text))

    def with_variant(self, id_: str, name: str) -> Instruction:
        """The same with a block in one of its variants. Raises HeedError with the nearest."""
        block = self.block(id_)
        if name not in block.variants:
            mend = nearest(name, block.variants) if block.variants else f"heed.variants: {{{id_}: {{{name}: ...}}}}"
            raise HeedError(f"block {id_!r} has no variant {name!r}", block.at(0), mend)
        return self.with_block(replace(block, text=block.variants[name], variant=name))

    def with_shots(self, shots: Iterable[Shot]) -> Instruction:
        """The same with these demonstrations."""
        return replace(self, shots=tuple(shots))

    def ordered(self, ids: Sequence[str]) -> Instruction:
        """The same with the named blocks in this order, in the places that they hold among the others."""
        wanted = iter([self.block(id_) for id_ in ids])
        moved = [next(wanted) if block.id in ids else block for block in self.blocks]
        placed = [replace(new, role=old.role, turn=old.turn) for new, old in zip(moved, self.blocks, strict=True)]
        return replace(self, blocks=tuple(placed))

    def renamed(self, name: str) -> Instruction:
        return replace(self, name=name)


def tidy(text: str) -> str:
    """A block's text as a file holds it: no blanks at the ends of lines, no empty lines at both ends."""
    return "\n".join(line.rstrip() for line in text.replace("\r\n", "\n").split("\n")).strip("\n")


def _numbered(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """With messages counted from 0, without gaps."""
    blocks = tuple(blocks)
    turns = {turn: number for number, turn in enumerate(sorted({block.turn for block in blocks}))}
    return tuple(replace(block, turn=turns[block.turn]) for block in blocks)


def _placed(blocks: Sequence[Block], block: Block) -> tuple[Block, int]:
    """`block` in the message where its kind stands, and its place: behind the last block of no later kind."""
    mates = [one for one in blocks if one.role == block.role]
    if not mates:
        last = max((one.turn for one in blocks), default=-1)
        if block.role == "system":
            moved = tuple(one.turn for one in blocks)
            return replace(block, turn=min(moved, default=0) - 1), 0
        return replace(block, turn=last + 1), len(blocks)
    turn = mates[0].turn if block.role == "system" else mates[-1].turn
    here = [number for number, one in enumerate(blocks) if one.turn == turn]
    before = [number for number in here if blocks[number].about.order <= block.about.order]
    at = before[-1] + 1 if before else here[0]
    return replace(block, turn=turn), at
