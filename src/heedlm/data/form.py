"""A row as a person writes it in an editor: sections of text, one per turn, read back and refused where nothing is said."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from heedlm.data.human import Corrected, check_row
from heedlm.errors import HeedError, Problem

CORRECTED = "corrected reply"
_ROLES = ("system", "user", "assistant")
_SECTION = re.compile(r"--- *([^-\n][^\n]*?) *--- *")
_ESCAPED = re.compile(r"\\+" + _SECTION.pattern)
_HEAD = """\
# Write the row into the sections below; these lines are not read.
# Leave "system" empty where there is none. For more turns add sections: --- user ---, --- assistant ---.
"""
_HEAD_CORRECTED = f"""\
# Put the reply of the model into "{CORRECTED}", and what it should have been into "assistant".
"""


class Filled(NamedTuple):
    """What stands in a form. row: its messages.   corrected: the reply of a model that it corrects, or None."""

    row: dict[str, Any]
    corrected: str | None

    def correction(self, model: str | None) -> Corrected | None:
        """The reply that is corrected, of the model of that name. Raises HeedError for a model without a reply."""
        if self.corrected is None and model is not None:
            mend = f"put its reply into a section --- {CORRECTED} ---, or leave --model out"
            raise HeedError("A model is named, and no reply of it is corrected.", "--model", mend)
        return None if self.corrected is None else Corrected(self.corrected, model)


def empty_form(*, correction: bool) -> str:
    """A form to be filled in.   correction: with a section for the reply that is corrected."""
    sections = [*_ROLES[:2], *((CORRECTED,) if correction else ()), "assistant"]
    head = _HEAD + (_HEAD_CORRECTED if correction else "")
    return head + "".join(f"\n--- {name} ---\n\n" for name in sections)


def to_form(row: Mapping[str, Any], corrected: str | None) -> str:
    """A row of plain turns as a form. Raises HeedError for one that a form cannot hold, such as calls of tools."""
    parts = [_HEAD]
    turns: Sequence[Mapping[str, Any]] = row["messages"]
    beyond = [name for name in row if name != "messages"]
    beyond += [name for turn in turns for name in turn if name not in ("role", "content")]
    if beyond or any(turn["role"] not in _ROLES for turn in turns):
        what = f"The row holds more than plain turns ({', '.join(sorted(set(beyond)) or ['tools'])}); a form cannot show that."
        raise HeedError(what, "heed data edit", "withdraw the row, and write another")
    if corrected is not None:
        parts.append(_HEAD_CORRECTED)
    last = max(number for number, turn in enumerate(turns) if turn["role"] == "assistant")
    for number, turn in enumerate(turns):
        if corrected is not None and number == last:
            parts.append(f"\n--- {CORRECTED} ---\n{_escaped(corrected)}\n")
        parts.append(f"\n--- {turn['role']} ---\n{_escaped(turn['content'])}\n")
    return "".join(parts)


def from_form(text: str, where: str) -> Filled:
    """What stands in a form; empty lines round a section are no part of it. Raises HeedError with every problem at once.

    where: the name of the file, for what is said.
    """
    sections, problems = _sections(text, where)
    if not problems and not any(said for _, said, _ in sections):
        raise HeedError("Nothing was written, so there is no row.", where, "fill in user and assistant")
    messages: list[dict[str, str]] = []
    labels: list[int] = []
    corrected: str | None = None
    for name, said, line in sections:
        if name == CORRECTED:
            if corrected is not None:
                problems.append(Problem(f"A second section {name!r}.", f"{where}:{line}", "one row corrects one reply"))
            corrected = said or corrected
        elif said or name != "system":
            messages.append({"role": name, "content": said})
            labels.append(line)
    if problems:
        raise HeedError.of(problems)
    row = {"messages": messages}
    _check(row, corrected, where, labels)
    return Filled(row, corrected)


def _check(row: Mapping[str, Any], corrected: str | None, where: str, lines: Sequence[int]) -> None:
    """`check_row`, in the words of a form: sections and lines instead of fields."""
    try:
        check_row(row, corrected, where)
    except HeedError as error:
        problem = error.problems[0]
        found = re.search(r"messages\[(\d+)\]", problem.what)
        line = lines[int(found[1])] if found else lines[-1] if lines else 1
        what = re.sub(r"messages\[(\d+)\](?:\.content)?", lambda m: f"section {int(m[1]) + 1}", problem.what)
        raise HeedError(what.replace("field '", "'"), f"{where}:{line}", problem.mend) from None


def _sections(text: str, where: str) -> tuple[list[tuple[str, str, int]], list[Problem]]:
    """Name, text and line of each section, and what stands where it cannot be read."""
    sections: list[tuple[str, list[str], int]] = []
    problems: list[Problem] = []
    names = (*_ROLES, CORRECTED)
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff")), start=1):
        mark = _SECTION.fullmatch(line)
        name = mark[1].lower() if mark else ""
        if name in names:
            sections.append((name, [], number))
            continue
        near = get_close_matches(name, names, n=1, cutoff=0.7) if mark else []
        if near:
            mend = f"did you mean '--- {near[0]} ---'? If the line is text, put a backslash before it"
            problems.append(Problem(f"There is no section {name!r}.", f"{where}:{number}", mend))
        elif sections:
            sections[-1][1].append(line[1:] if _ESCAPED.fullmatch(line) else line)
        elif line.strip() and not line.startswith("#"):
            mend = "put it below a line '--- user ---'"
            problems.append(Problem("Text stands before the first section.", f"{where}:{number}", mend))
            break
    return [(name, _trimmed(lines), number) for name, lines, number in sections], problems


def _trimmed(lines: list[str]) -> str:
    """The text of a section without the empty lines round it."""
    while lines and not lines[0].strip():
        lines = lines[1:]
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Text in which no line looks like a section."""
    return "\n".join(
        "\\" + line if _SECTION.fullmatch(line) or _ESCAPED.fullmatch(line) else line for line in text.split("\n")
    )
