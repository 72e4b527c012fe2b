"""Replies of a matrix judged by their assertions, here or in a process of its own: a pattern may never come to an end.

The process reads instructions and cases anew, and loads nothing that decodes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from heedlm.errors import HeedError
from heedlm.instructions.asserts import judge
from heedlm.instructions.blocks import Instruction
from heedlm.instructions.cases import Case, common_checks, read_cases
from heedlm.instructions.format import Loaded, parse_as_far
from heedlm.instructions.library import ENDING
from heedlm.messages import Reply

PATIENCE = 30.0  # seconds, of which starting a process takes some where it is slow
_CHILD = """\
import json, sys
from heedlm.serve.playground_scores import judged_apart
print(json.dumps(judged_apart(json.load(sys.stdin))))
"""


class Scored(NamedTuple):
    """A reply to a case, by its number."""

    case: int
    reply: Reply


def read_in(folder: Path, source: str, name: str) -> Loaded:
    """What a text says as a file of a folder. Files that it uses lie in the folder, or in the library."""
    path = folder / f"{name}{ENDING}"
    return parse_as_far(source, str(path), path, within=folder)


def whole_in(folder: Path, source: str, name: str) -> Instruction:
    """The instruction of a text. Raises HeedError with every problem."""
    loaded = read_in(folder, source, name)
    if loaded.faults:
        raise HeedError.of([fault.problem for fault in loaded.faults])
    return loaded.instruction


def cases_of_text(text: str, instructions: Sequence[Instruction]) -> tuple[list[Case], list[str]]:
    """The cases of a text, as JSON lines or YAML, and what is to be said of them. Raises HeedError; places are lines of the
    text."""
    shared, notes = common_checks(instructions)
    rows = text.lstrip().startswith("{")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("cases.jsonl" if rows else "cases.yaml")
        path.write_text(text if text.strip() else "[]\n", encoding="utf-8")
        try:
            found = read_cases([path], instructions, shared)
        except HeedError as error:
            lines = [replace(one, where=one.where.replace(f"{folder}/", "")) for one in error.problems]
            raise HeedError.of(lines) from None
    return [replace(one, source=one.source.replace(f"{folder}/", "")) for one in found], notes


def scores(
    folder: Path, sources: Sequence[tuple[str, str]], text: str, cases: Sequence[Case], replies: Sequence[Scored]
) -> list[tuple[float, str]]:
    """Score and reason of each reply.   sources, text: names and texts of the instructions, and the cases, as `cases` were read
    from them. Raises HeedError where a pattern does not come to an end."""
    if not any(one.type.endswith("regex") for case in cases for one in case.asserts):
        return _scores(cases, replies)
    told = {
        "folder": str(folder),
        "instructions": [list(one) for one in sources],
        "cases": text,
        "replies": [[one.case, one.reply.text, one.reply.stop_reason] for one in replies],
    }
    command = [sys.executable, "-c", _CHILD]
    try:
        done = subprocess.run(
            command, input=json.dumps(told).encode(), capture_output=True, timeout=PATIENCE, check=True
        )
    except subprocess.TimeoutExpired:
        what = f"A pattern has not come to an end after {PATIENCE:g} seconds."
        raise HeedError(what, "cases", "write it without a repeat inside a repeat, such as (a+)+") from None
    return [(float(value), str(why)) for value, why in json.loads(done.stdout)]


def judged_apart(given: Mapping[str, Any]) -> list[tuple[float, str]]:
    """What the process for itself does, of things that were found sound before."""
    folder = Path(given["folder"])
    instructions = [whole_in(folder, source, name).renamed(name) for name, source in given["instructions"]]
    cases, _ = cases_of_text(given["cases"], instructions)
    return _scores(cases, [Scored(case, Reply(text, stop_reason=end)) for case, text, end in given["replies"]])


def _scores(cases: Sequence[Case], replies: Sequence[Scored]) -> list[tuple[float, str]]:
    found = [judge(cases[one.case].asserts, one.reply, cases[one.case].threshold) for one in replies]
    return [(one.value, one.why) for one in found]
