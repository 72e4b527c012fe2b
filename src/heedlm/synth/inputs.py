"""What a synthesis starts from: prompts, with or without an answer of their own, and documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from heedlm.data.card import reason_of
from heedlm.data.fields import RefusedError, text_at
from heedlm.data.row import Row
from heedlm.data.schema import to_examples
from heedlm.data.shapes import TEXT, shape_of
from heedlm.data.sources import read_rows
from heedlm.data.turns import ALIASES
from heedlm.errors import HeedError, Problem
from heedlm.messages import Example, Message
from heedlm.synth.made import Drop

_SHOWN = 20
_ASKED_BY = ("user", "tool")  # roles of a last turn that is still to be answered
_ANSWERS = {
    "instruction": "output",
    "prompt": "completion",
    "question": "answer",
    "inputs": "targets",
    "input": "output",
}
_LISTS = ("messages", "conversations", "conversation")
_NOTHING = "?"  # stands for the answer that is not there yet, while the row is read


class Prompt(NamedTuple):
    """What is to be answered. example: the row, its turns up to the last question.   reference: the row's own answer."""

    example: Example
    reference: Message | None

    @property
    def asked(self) -> str:
        """The opening question."""
        return next((turn.content for turn in self.example.messages if turn.role == "user"), "")


class Document(NamedTuple):
    """A text, and where it begins. meta: what else its row held."""

    text: str
    where: str
    meta: dict[str, Any]


def read_prompts(paths: Sequence[Path]) -> tuple[list[Prompt], list[Drop]]:
    """The prompts of rows of any shape that `heed prepare` reads, whether they are answered or not, and rows that are none.

    Raises HeedError where a file cannot be read, or holds no prompt.
    """
    prompts: list[Prompt] = []
    problems: list[Problem] = []
    for row in _rows(paths, problems):
        for one in _prompts(row):
            if isinstance(one, Problem):
                problems.append(one)
            else:
                prompts.append(one)
    _refuse_none(bool(prompts), "prompt", problems, paths)
    return prompts, _drops(problems)


def read_texts(paths: Sequence[Path]) -> tuple[list[Document], list[Drop]]:
    """Documents: the field `text` of every row, of text files too. Raises HeedError as `read_prompts`."""
    documents: list[Document] = []
    problems: list[Problem] = []
    for row in _rows(paths, problems):
        try:
            if "text" not in row.value:
                found = ", ".join(list(row.value)[:8]) or "no fields"
                raise RefusedError(
                    "missing field", f"field 'text' is missing; found {found}", "name the document 'text'"
                )
            text = text_at(row.value["text"], "text").strip()
            if not text:
                raise RefusedError("empty document", "field 'text' is empty, expected a document", "remove the row")
        except RefusedError as refused:
            problems.append(refused.problem(row.where))
        else:
            rest = {name: value for name, value in row.value.items() if name in ("licence", "license", "title", "url")}
            documents.append(Document(text, row.where, rest))
    _refuse_none(bool(documents), "document", problems, paths)
    return documents, _drops(problems)


def _rows(paths: Sequence[Path], problems: list[Problem]) -> Sequence[Row]:
    rows = []
    for path in paths:
        for row in read_rows(path):
            if isinstance(row, Problem):
                problems.append(row)
            else:
                rows.append(row)
    return rows


def _prompts(row: Row) -> list[Prompt | Problem]:
    found = to_examples(row)
    if any(isinstance(one, Example) for one in found):
        return [one if isinstance(one, Problem) else _cut(one, answered=True) for one in found]
    completed = _completed(row.value)
    if completed is not None:
        again = to_examples(Row(completed, row.where))
        return [one if isinstance(one, Problem) else _cut(one, answered=False) for one in again]
    if shape_of(row.value) == TEXT:
        what = "document: field 'text' holds a text, and nothing is asked in it"
        mend = 'heed synth backtranslate starts from documents; a prompt is written {"prompt": "..."}'
        return [Problem(what, row.where, mend)]
    return [one for one in found if isinstance(one, Problem)]


def _completed(value: dict[str, Any]) -> dict[str, Any] | None:
    """A row that lacks nothing but its answer, with something in its place; None where that is not what it lacks."""
    for name in _LISTS:
        turns = value.get(name)
        if isinstance(turns, list) and turns and isinstance(turns[-1], dict):
            speaks = "role" if "role" in turns[-1] else "from"
            if ALIASES.get(str(turns[-1].get(speaks, "")).lower()) not in _ASKED_BY:
                return None
            said = (
                {"role": "assistant", "content": _NOTHING} if speaks == "role" else {"from": "gpt", "value": _NOTHING}
            )
            return {**value, name: [*turns, said]}
    for asks, answers in _ANSWERS.items():
        if asks in value and not str(value.get(answers) or "").strip():
            return {**value, answers: _NOTHING}
    return None


def _cut(example: Example, *, answered: bool) -> Prompt:
    last = max(index for index, message in enumerate(example.messages) if message.role == "assistant")
    asked = tuple(replace(turn, weight=0) if turn.role == "assistant" else turn for turn in example.messages[:last])
    return Prompt(replace(example, messages=asked, rejected=()), example.messages[last] if answered else None)


def _drops(problems: Sequence[Problem]) -> list[Drop]:
    return [Drop(reason_of(problem), problem.what, problem.where) for problem in problems]


def _refuse_none(found: bool, what: str, problems: Sequence[Problem], paths: Sequence[Path]) -> None:
    if not found:
        where = ", ".join(map(str, paths))
        raise HeedError.of([Problem(f"There is no {what} to start from.", where), *problems[:_SHOWN]])
