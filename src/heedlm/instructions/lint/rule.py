"""What a rule is: what it looks for, why, what to do, how strong the evidence is, and an example of each side."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

from heedlm.data.languages import language
from heedlm.errors import HeedError
from heedlm.eval import text as texts
from heedlm.instructions.blocks import MISSING, Block, Instruction
from heedlm.instructions.body import Fault
from heedlm.instructions.compile import Compiled, compile_
from heedlm.instructions.frame import Frame

Severity = Literal["error", "warning", "info"]
Grade = Literal["C", "X", "V", "P", "±"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
GRADES: dict[Grade, str] = {
    "C": "correctness: it can be shown without asking a model",
    "X": "a published, controlled experiment",
    "V": "guidance of those who make models",
    "P": "practice of people who write instructions",
    "±": "experiments that disagree: measure it on your model",
}


class Fix(NamedTuple):
    """A mechanical change. line: of the file, from 1.   old: what stands in it now.   new: what stands there then."""

    line: int
    old: str
    new: str


class Hit(NamedTuple):
    """One place that a rule found. where: "file:line".   block: its id; "" for the file as a whole."""

    where: str
    what: str
    block: str = ""
    mend: str = ""
    fix: Fix | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A hit with its rule: what is told."""

    rule: str
    severity: Severity
    where: str
    what: str
    why: str
    mend: str
    source: str
    fix: Fix | None = field(default=None, repr=False)


class Sentence(NamedTuple):
    """A sentence or list item of a block. line: in the block's text, from 1."""

    block: Block
    line: int
    text: str

    @property
    def where(self) -> str:
        return self.block.at(self.line)


_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_STATEMENT = re.compile(r"\{%.*?%\}", re.DOTALL)
_PRINTED = re.compile(r"\{\{.*?\}\}", re.DOTALL)


def bare(text: str) -> str:
    """A block's text as it is read: without comments and conditions, values as a plain word, lines kept."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", "", match[0])

    return _PRINTED.sub("VALUE", _STATEMENT.sub(blank, _COMMENT.sub(blank, text)))


@dataclass(eq=False)
class Subject:
    """An instruction as rules look at it.

    source: the text of its file.   known: the ids of all rules.   frame: the model that it is meant for, None where none was named.   spoken: the
    language that most of it is in, "English" where that cannot be told.
    """

    instruction: Instruction
    faults: tuple[Fault, ...]
    source: str
    known: frozenset[str]
    frame: Frame | None = None

    @cached_property
    def own(self) -> tuple[Block, ...]:
        """The blocks that stand in the file itself; what others wrote is linted where it stands."""
        return tuple(block for block in self.instruction.blocks if self.holds(block))

    def holds(self, block: Block) -> bool:
        """Whether a block stands in the file itself."""
        return block.file == self.instruction.file

    @cached_property
    def sentences(self) -> tuple[Sentence, ...]:
        """Of the author's own words: not of shots, data and cues."""
        return tuple(one for block in self.own if block.kind not in ("data", "cue", "examples") for one in _of(block))

    @cached_property
    def spoken(self) -> str:
        text = " ".join(bare(block.text) for block in self.own)
        return language(text, texts.words(text.lower())) or "English"

    @cached_property
    def english(self) -> tuple[Sentence, ...]:
        """The sentences, where word lists fit them; none where the instruction is in another language."""
        return self.sentences if self.spoken == "English" else ()

    @cached_property
    def trial(self) -> Compiled | HeedError:
        """Compiled with the examples of its inputs, for the model where one is named; or why it cannot be."""
        values = {}
        for one in self.instruction.inputs:
            if one.example is not MISSING:
                values[one.name] = one.example
            elif one.default is MISSING and one.required:
                values[one.name] = _STAND_IN.get(one.kind, "text")
        try:
            return compile_(self.instruction, values, frame=self.frame)
        except HeedError as error:
            return error

    def text_of(self, *kinds: str) -> str:
        """The words of all blocks of these kinds, or of all."""
        blocks = (block for block in self.instruction.blocks if not kinds or block.kind in kinds)
        return "\n".join(bare(block.text) for block in blocks)

    def at(self, *path: str | int) -> str:
        """``file:line`` of a place in the front matter."""
        while path and path not in self.instruction.front_lines:
            path = path[:-1]
        return f"{self.instruction.file}:{self.instruction.front_lines.get(path, 1)}"


_STAND_IN: dict[str, object] = {
    "integer": 1,
    "float": 1.0,
    "number": 1,
    "boolean": True,
    "array": ["one"],
    "object": {"key": "value"},
}


def _of(block: Block) -> Iterator[Sentence]:
    for number, line in enumerate(bare(block.text).split("\n"), start=1):
        for sentence in texts.sentences(line):
            yield Sentence(block, number, sentence)


Find = Callable[[Subject], Iterator[Hit]]


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One rule.

    name: in words.   about: what it finds.   why, mend: for people.   source: where the reason comes from.
    bad, good: a text that it finds and one that it does not; a body, or a whole file where it begins with ---.
    needs: "model" where it looks at a tokenizer and a chat template.   english: it reads with English word lists.
    """

    id: str
    name: str
    severity: Severity
    grade: Grade
    about: str
    why: str
    mend: str
    source: str
    find: Find
    bad: str
    good: str
    needs: Literal["", "model"] = ""
    english: bool = False


def line_fix(block: Block, line: int, old: str, new: str) -> Fix:
    """A fix of a line of a block's text."""
    return Fix(block.text_line + line - 1, old, new)
