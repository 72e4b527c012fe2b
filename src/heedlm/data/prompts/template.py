"""A prompt template: what it needs of a row, and the wordings that make a conversation of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from heedlm.data.prompts.located import Path

Blocks = tuple[tuple[str, tuple[str, ...]], ...]
"""Named parts of a text in their order, each a text or several items; a text without parts bears the name ""."""

# Names that a template may use beside its columns.
GIVEN = frozenset({"choices", "options", "choice", "mark", "marked"})
SECRET = frozenset({"choice", "mark", "marked"})  # those that tell the right one
STYLES = ("A.", "A)", "(A)", "(a)", "a)", "1.", "1)", "-", "*")
CHECKS = ("equals", "iequals", "icontains", "json-equals", "none")


@dataclass(frozen=True, slots=True)
class Column:
    """A field that a template reads.   also: other names, or paths such as `answers.text.0`, under which files have it.

    optional: a row without it is usable, and reads "" there.   raw: what the file holds is handed on, empty or not.
    structure: it is a list or an object, and text that spells one in JSON, as in the cell of a table, is read as it.
    """

    name: str
    about: str = ""
    also: tuple[str, ...] = ()
    optional: bool = False
    raw: bool = False
    structure: bool = False


@dataclass(frozen=True, slots=True)
class Choices:
    """What can be answered.   right: expression of the right one: its text, its letter, its number from 0, or a value.

    names: the choices in order; empty where they come from the row or from the data.   values: what files write -> name.
    each: expression of a row's own choices.   text: Jinja text that makes them, parted by `|||`; what is right is then said
    by the template itself.
    gathered: they are the values that the data holds.   shuffled: whether the order is drawn for each row.
    """

    right: str = ""
    names: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    each: str = ""
    text: str = ""
    gathered: bool = False
    shuffled: bool = True


@dataclass(frozen=True, slots=True)
class Wording:
    """One way to put the task.

    ask, answer: Jinja texts.   system: blocks of a system text.   turns: an expression that gives the texts of a whole
    conversation, user first.   parted: ask and answer are one text, told apart at `|||` once it is filled.
    inverted: the input is asked for, given the answer.   path: where it stands in the file.
    """

    name: str
    ask: Blocks
    answer: str
    system: Blocks = ()
    turns: str = ""
    parted: bool = False
    inverted: bool = False
    path: Path = ()


@dataclass(frozen=True, slots=True)
class Template:
    """family: the kind of task.   group: columns by which rows stay on one side of a split; empty: what is asked about.

    styles: how options may be marked.   check: how an answer is judged in evaluation.   copied: the answer may stand in
    the input word for word.   when: expression that says whether a row is meant.   examples: rows to show and to try.
    fits: public data sets whose columns are known.   file, lines: where it comes from.
    """

    name: str
    family: str
    columns: tuple[Column, ...]
    wordings: tuple[Wording, ...]
    about: str = ""
    choices: Choices | None = None
    group: tuple[str, ...] = ()
    styles: tuple[str, ...] = STYLES
    check: str = "none"
    copied: bool = False
    when: str = ""
    examples: tuple[Mapping[str, Any], ...] = ()
    fits: tuple[str, ...] = ()
    file: str = ""
    lines: Mapping[Path, int] = field(default_factory=dict)

    def at(self, *path: str | int, line: int = 1) -> str:
        """``file:line`` of what stands at a path, or of what holds it."""
        while path and path not in self.lines:
            path, line = path[:-1], 1
        return f"{self.file}:{self.lines.get(path, 1) + max(line, 1) - 1}"

    def asking(self, *, inverted: bool) -> tuple[Wording, ...]:
        """The wordings that ask for the answer, or those that ask for the input."""
        return tuple(wording for wording in self.wordings if wording.inverted == inverted)


def texts_of(blocks: Blocks) -> Sequence[str]:
    """Every text of the blocks."""
    return [text for _, items in blocks for text in items]
