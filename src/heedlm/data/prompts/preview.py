"""What templates make, to be looked at before anything is prepared: of their own examples, or of the rows of a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from heedlm.data.card import reason_of
from heedlm.data.fields import RefusedError
from heedlm.data.prompts.apply import Prompting, prompt_rows, prompted, row_name
from heedlm.data.prompts.template import Template
from heedlm.data.sources import Row
from heedlm.errors import Problem
from heedlm.messages import Example
from heedlm.templates.sandbox import FillError

_PROBLEMS = 5  # shown of a file, one of each reason first


class Shown(NamedTuple):
    """A conversation to look at. title: the wording, or the row that it was made of."""

    title: str
    example: Example


class Tried(NamedTuple):
    """What a file gave. rows: read.   made: conversations.   by_wording: how many of each.   refused: rows by reason.

    problems: some of them, of each reason one at least.   shown: the first conversations.
    """

    rows: int
    made: int
    by_wording: dict[str, int]
    refused: dict[str, int]
    problems: tuple[Problem, ...]
    shown: tuple[Shown, ...]


def wordings_of(template: Template, seed: int = 0) -> list[Shown]:
    """Every wording, filled with the first of the template's examples that it takes."""
    shown = []
    values = [str(row.get(template.choices.right)) for row in template.examples] if template.choices else []
    how = Prompting((template,), seed=seed, notation="mix", gathered={template.name: tuple(dict.fromkeys(values))})
    for wording in template.wordings:
        for index, values_of in enumerate(template.examples):
            row = Row(dict(values_of), template.at("examples", index))
            try:
                made = prompted(row, row_name(row.value), template, wording, how)
            except (RefusedError, FillError):  # the linter tells it
                continue
            shown.append(Shown(f"wording {wording.name}", made.example))
            break
    return shown


def tried(rows: Iterable[Row | Problem], how: Prompting, limit: int) -> Tried:
    """What the rows of a file become.   limit: conversations that are shown."""
    read = 0
    wordings: Counter[str] = Counter()
    refused: dict[str, list[Problem]] = {}
    shown: list[Shown] = []
    for row in rows:
        read += 1
        for one in [row] if isinstance(row, Problem) else prompt_rows(row, how):
            if isinstance(one, Problem):
                refused.setdefault(reason_of(one), []).append(one)
                continue
            wordings["{template} {wording}".format_map(one.example.meta["prompt"])] += 1
            if len(shown) < limit:
                shown.append(Shown(f"{one.example.source}   {_wording(one.example)}", one.example))
    return Tried(
        read,
        wordings.total(),
        dict(sorted(wordings.items())),
        {reason: len(problems) for reason, problems in refused.items()},
        tuple(_some(list(refused.values()))),
        tuple(shown),
    )


def _wording(example: Example) -> str:
    told = example.meta["prompt"]
    details = ", ".join(f"{key} {told[key]}" for key in ("options", "notation") if key in told)
    return (
        f"{told['template']} {told['wording']}" if not details else f"{told['template']} {told['wording']} ({details})"
    )


def _some(by_reason: Sequence[Sequence[Problem]]) -> list[Problem]:
    """One of each reason, then more while there is room."""
    first = [problems[0] for problems in by_reason]
    more = [problem for problems in by_reason for problem in problems[1:]]
    return first + more[: max(0, _PROBLEMS - len(first))]
