"""The workshop of the playground: an instruction while it is written, linted and compiled, opened and saved."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from heedlm.errors import HeedError, Problem
from heedlm.instructions import library
from heedlm.instructions.blocks import MISSING, NOTATIONS, Block, Input, Instruction
from heedlm.instructions.compile import Compiled, compile_
from heedlm.instructions.format import Loaded
from heedlm.instructions.frame import Frame
from heedlm.instructions.given import values_of
from heedlm.instructions.kinds import KINDS
from heedlm.instructions.layout import Layout
from heedlm.instructions.lint.registry import RULES
from heedlm.instructions.lint.rule import Finding
from heedlm.instructions.lint.run import lint
from heedlm.instructions.policy import needs, policy_of
from heedlm.instructions.stretches import parts_of, tokens_by_block
from heedlm.messages import Message
from heedlm.runs import disk_errors, write_text
from heedlm.serve.playground_scores import read_in, whole_in
from heedlm.serve.playground_seats import PLAIN, Seat, seat
from heedlm.serve.playground_shapes import LookBody, OpenBody, SaveBody, SpeakBody
from heedlm.serve.refusal import wrong_fields

_MOST_FILES = 500
_STAND_IN = "…"
STARTER = """\
---
name: my-instruction
description: Say in one sentence what it is for.
inputs:
  - {name: text, kind: string, required: true, example: "The text that somebody hands in."}
template: {format: {kind: jinja2}, parser: {kind: prompty}}
heed:
  schema: 1
  trust: {text: data}
  delimit: {text: auto}
---
system:
# Role
You edit texts for a small newspaper.

# Task
Say in one sentence what the text is about.

# Output format
Reply with one sentence of at most 20 words and nothing else.

# Fallback
If the text is empty, reply "No text."

user:
{{ text }}
"""


def body_of(shape: type[BaseModel], given: Mapping[str, Any]) -> Any:
    """A request of the page in its shape. Raises HeedError with every field that is wrong."""
    try:
        return shape.model_validate(given)
    except ValidationError as error:
        found = wrong_fields([dict(one) for one in error.errors()], list(shape.model_fields))
        raise HeedError.of([Problem(one.what, one.where, one.mend) for one in found.problems]) from None


@dataclass(frozen=True, slots=True)
class Workshop:
    """folder: of instructions that people save.   seats: the models that are served, by name."""

    folder: Path = Path("prompts")
    seats: Mapping[str, Seat] = field(default_factory=dict)

    # What is written ---------------------------------------------------------------------------------------------------

    def look(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """An instruction as far as it can be read: blocks, inputs, findings of the linter, and what a model sees of it."""
        body: LookBody = body_of(LookBody, given)
        source = body.source.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        loaded = self.read(source, body.name)
        instruction = loaded.instruction
        frame, problems = None, list[Problem]()
        try:
            frame = self._frame(body)
        except HeedError as error:
            problems += error.problems
        report = lint(loaded, source, frame)
        preview = None
        typed = _typed(instruction)
        if not problems and not any(one.severity == "error" and one.rule in _UNREADABLE for one in report.findings):
            try:
                preview = self._preview(body, instruction, frame)
            except HeedError as error:
                problems += error.problems
        lines = source.split("\n")
        blocks = [_block(one, instruction, lines) for one in instruction.blocks]
        return {
            "name": instruction.name,
            "about": instruction.about,
            "notation": instruction.notation,
            "budget": instruction.budget,
            "blocks": blocks,
            "inputs": [_input(one, typed) for one in instruction.inputs],
            "findings": [_finding(one, blocks) for one in report.findings],
            "ignored": len(report.ignored),
            "preview": preview,
            "problems": [_problem(one) for one in problems],
        }

    def speak(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """A conversation under an instruction, as the page asks a model of the grid."""
        body: SpeakBody = body_of(SpeakBody, given)
        if body.messages[-1].role != "user":
            raise HeedError("The last turn is not the user's.", "messages", "end with what is asked")
        instruction = self.whole(body.source, body.name)
        frame = self._frame(body)
        typed = _typed(instruction)
        # What stands in the place of the typed one is there to be looked at, not to be asked.
        values = {name: value for name, value in _values(instruction, body.values).items() if name != typed}
        layout = Layout(notation=body.notation or None, placement=body.placement or None)
        if body.format == PLAIN:
            found = compile_(
                instruction,
                {**values, **({typed: body.messages[-1].content} if typed else {})},
                layout=layout,
                frame=frame,
            )
            return {"prompt": found.text, "stop": list(found.wire.stop if found.wire is not None else ())}
        policy = policy_of(instruction, values, layout.placement, layout.notation)
        spoken = policy.speak([Message(one.role, one.content) for one in body.messages], frame)
        return {"messages": [{"role": one.role, "content": one.content} for one in spoken.messages]}

    def read(self, source: str, name: str) -> Loaded:
        """What a text says as a file of the folder."""
        return read_in(self.folder, source, name)

    def whole(self, source: str, name: str) -> Instruction:
        """The instruction of a text. Raises HeedError with every problem."""
        return whole_in(self.folder, source, name)

    def _frame(self, body: LookBody) -> Frame | None:
        return seat(self.seats, body.model).served(body.format) if body.model else None

    def _preview(self, body: LookBody, instruction: Instruction, frame: Frame | None) -> dict[str, Any]:
        """One question under the instruction: what is given, else examples."""
        values = _shown(instruction, _values(instruction, body.values))
        layout = Layout(notation=body.notation or None, placement=body.placement or None)
        notes: tuple[str, ...] = ()
        if body.format == PLAIN and frame is not None:
            found = compile_(instruction, values, layout=layout, frame=frame)
        else:
            typed = _typed(instruction)
            given = {name: value for name, value in values.items() if name != typed}
            policy = policy_of(instruction, given, layout.placement, layout.notation)
            found, notes = policy.compiled(str(values.get(policy.typed, _STAND_IN)), frame), policy.notes
        return _seen(found, frame, notes)

    # Files -------------------------------------------------------------------------------------------------------------

    def files(self) -> dict[str, Any]:
        """What can be opened, and what an instruction can be made of."""
        kinds = [
            {key: getattr(one, key) for key in ("name", "title", "about", "place", "sample")} for one in KINDS.values()
        ]
        return {
            "folder": str(self.folder),
            "saved": [{"name": path.stem, "about": _about(path)} for path in self._saved()],
            "library": [dict(one) for one in _shipped()],
            "kinds": kinds,
            "notations": list(NOTATIONS),
            "starter": STARTER,
        }

    def open(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The text of a file of the folder, or of the library. Raises HeedError where there is none."""
        body: OpenBody = body_of(OpenBody, given)
        if body.origin == "library":
            return {"name": body.name, "source": library.source(f"heed:{body.name}")[0]}
        path = self.folder / f"{body.name}{library.ENDING}"
        return {"name": body.name, "source": library.source(path, within=self.folder)[0]}

    def save(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Write an instruction into the folder, whole or not at all. Raises HeedError where one of that name is there and may
        not be written over."""
        body: SaveBody = body_of(SaveBody, given)
        path = self.folder / f"{body.name}{library.ENDING}"
        library.check_within(path, self.folder, body.name)
        if path.exists() and not body.replace:
            raise HeedError(f"{path.name} is there already", "name", "write over it, or choose another name")
        with disk_errors(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(path, body.source.replace("\r\n", "\n").rstrip("\n") + "\n")
        return {"name": body.name, "where": str(path)}

    def _saved(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [path for path in sorted(self.folder.glob(f"*{library.ENDING}")) if path.is_file()][:_MOST_FILES]


_UNREADABLE = ("HD100", "HD105", "HD401")


@cache
def _shipped() -> tuple[dict[str, str], ...]:
    return tuple({"name": name, "about": _about(library.path_of(name))} for name in library.names())


def _about(path: Path) -> str:
    """The description in a file, read without its blocks; "" where it says none."""
    try:
        head = path.read_text(encoding="utf-8-sig")[:4_000]
    except (OSError, UnicodeDecodeError):
        return ""
    found = re.search(r"^description:[ \t]*(.+?)[ \t]*$", head, re.MULTILINE)
    return found[1].strip("\"'")[:300] if found else ""


def _values(instruction: Instruction, given: Mapping[str, str]) -> dict[str, Any]:
    """Values as they were typed; a text that begins with @ is that text, and no file. What names no input is left out: the
    file may have changed since it was typed."""
    known = {one.name for one in instruction.inputs}
    pairs = [f"{name}={'@' if text.startswith('@') else ''}{text}" for name, text in given.items() if name in known]
    return values_of(instruction, pairs)


def _typed(instruction: Instruction) -> str:
    """The input that takes what a person types; "" where there is none."""
    try:
        return needs(instruction, {}).typed
    except HeedError:
        return ""


def _shown(instruction: Instruction, values: Mapping[str, Any]) -> dict[str, Any]:
    """With the example of every input that has no value, or something in its place."""
    filled = dict(values)
    for one in instruction.inputs:
        if one.name not in filled and one.default is MISSING and (one.required or one.example is not MISSING):
            filled[one.name] = _example(one)
    return filled


def _example(one: Input) -> Any:
    stand_ins: dict[str, Any] = {
        "integer": 1,
        "float": 1.0,
        "number": 1,
        "boolean": True,
        "array": [_STAND_IN],
        "object": {},
    }
    if one.example is not MISSING:
        return one.example
    return one.enum[0] if one.enum else stand_ins.get(one.kind, _STAND_IN)


def _seen(found: Compiled, frame: Frame | None, notes: Sequence[str]) -> dict[str, Any]:
    tokens = tokens_by_block(found, frame) or {}
    return {
        "stretches": [
            {"role": part.role, "text": one.text, "block": one.block, "input": one.name}
            for part in parts_of(found)
            for one in part.stretches
        ],
        "tokens": tokens,
        "total": sum(tokens.values()) if tokens else None,
        "notes": [*found.notes, *notes, *_hidden(found)],
        "quoted": [f"{', '.join(one.names)}: {one.what} {one.text!r}" for one in found.escapes],
        "empty": list(found.empty),
        "stop": list(found.wire.stop) if found.wire is not None else [],
    }


def _hidden(found: Compiled) -> list[str]:
    hidden = found.wire.hidden_system if found.wire is not None else ""
    return [f"the template adds a system text of its own: {hidden!r}"] if hidden else []


def _block(one: Block, instruction: Instruction, lines: Sequence[str]) -> dict[str, Any]:
    own = one.file == instruction.file
    start = one.text_line - 1
    end = start + (one.text.count("\n") + 1 if one.text else 0)
    first = min(one.line - 1, start) if one.title or _headed(lines, one.line) else start
    flags = [name for name in ("frozen", "optional") if getattr(one, name)]
    flags += ["repeat"] if one.repeat else []
    flags += ["examples"] if one.slot else []
    return {
        "id": one.id,
        "kind": one.kind,
        "about": one.about.about,
        "title": one.title,
        "role": one.role,
        "text": one.text,
        "flags": flags,
        "variants": list(one.variants),
        "file": "" if own else Path(one.file).stem,
        "lines": (first, end) if own else (0, 0),
        "text_lines": (start, end) if own else (0, 0),
    }


def _headed(lines: Sequence[str], number: int) -> bool:
    """Whether a line is a block's own: attributes that stand alone."""
    return 0 < number <= len(lines) and lines[number - 1].strip().startswith("{#")


def _input(one: Input, typed: str) -> dict[str, Any]:
    example = one.example if one.example is not MISSING else one.default if one.default is not MISSING else ""
    return {
        "name": one.name,
        "kind": one.kind,
        "about": one.about,
        "required": one.required and one.default is MISSING,
        "typed": one.name == typed,
        "trust": one.trust or "",
        "example": ", ".join(map(str, example)) if isinstance(example, list | tuple) else str(example),
        "enum": [str(value) for value in one.enum],
    }


def _finding(one: Finding, blocks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    text = one.where.rpartition(":")[2]
    line = int(text) if text.isdigit() else 0
    block = next((str(held["id"]) for held in blocks if _holds(held, line)), "")
    fix = {"line": one.fix.line, "old": one.fix.old, "new": one.fix.new} if one.fix is not None else None
    keys = ("rule", "severity", "what", "why", "mend", "source")
    return {
        **{key: getattr(one, key) for key in keys},
        "name": RULES[one.rule].name,
        "line": line,
        "block": block,
        "fix": fix,
    }


def _holds(block: Mapping[str, Any], line: int) -> bool:
    """Whether a line of the file, from 1, belongs to a block."""
    first, end = block["lines"]
    return not block["file"] and first < line <= max(end, first + 1)


def _problem(one: Problem) -> dict[str, str]:
    return {"what": one.what, "where": one.where, "mend": one.mend}
