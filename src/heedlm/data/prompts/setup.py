"""From what a recipe says about a source to how its rows become conversations, every mistake told before a row is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heedlm.data.fields import RefusedError
from heedlm.data.prompts.apply import Prompting, columns_of, empty
from heedlm.data.prompts.choices import MOST_GATHERED
from heedlm.data.prompts.library import find_all
from heedlm.data.prompts.read import plain
from heedlm.data.prompts.template import Template
from heedlm.data.sources import Row, read_rows
from heedlm.errors import HeedError, Problem, nearest
from heedlm.templates.sandbox import FillError, value_of

if TYPE_CHECKING:
    from heedlm.config import SourceConfig

_OWN = ("id", "group")


def prompting_of(source: SourceConfig, seed: int) -> Prompting | None:
    """What a source's `prompts` and the settings beside it say; None where it has none. Raises HeedError."""
    _refuse_alone(source)
    if not source.prompts:
        return None
    how = Prompting(
        find_all([source.prompts] if isinstance(source.prompts, str) else source.prompts),
        seed,
        source.prompts_per_row,
        source.few_shot,
        source.inverted,
        source.notation,
        source.mapping or {},
        {plain(value): name for value, name in (source.labels or {}).items()},
    )
    problems = [*_counts(how), *_names(how), *_labels(how)]
    if problems:
        raise HeedError.of(problems)
    return how


def _refuse_alone(source: SourceConfig) -> None:
    """Settings that nothing would read, and labels that YAML has taken for something else."""
    problems = []
    for name in ("prompts_per_row", "few_shot", "inverted", "notation", "labels"):
        if not source.prompts and getattr(source, name) != type(source).model_fields[name].default:
            what = f"{name} is read only beside prompts"
            problems.append(Problem(what, f"data.sources.{name}", "name a template, prompts: NAME, or take it out"))
    if any(isinstance(value, bool) for value in source.labels or ()):
        what = "a label is true or false: YAML reads yes, no, on and off as that"
        problems.append(Problem(what, "data.sources.labels", 'write them in quotes: labels: {"yes": NAME}'))
    if problems:
        raise HeedError.of(problems)


def _counts(how: Prompting) -> Iterable[Problem]:
    forward = sum(len(template.asking(inverted=False)) for template in how.templates)
    back = sum(len(template.asking(inverted=True)) for template in how.templates)
    named = ", ".join(template.name for template in how.templates)
    if how.per_row > forward:
        what = f"prompts_per_row is {how.per_row}, and there are {forward} wordings in {named}"
        yield Problem(what, "data.sources.prompts_per_row", f"prompts_per_row: {forward}, or name more templates")
    if how.inverted and not back:
        what = f"inverted is {how.inverted:g}, and no template of {named} has an inverted wording"
        yield Problem(what, "data.sources.inverted", "inverted: 0, or add such wordings to a copy of the template")
    if how.inverted and back and how.per_row > back:
        what = f"prompts_per_row is {how.per_row}, and there are {back} inverted wordings in {named}"
        yield Problem(what, "data.sources.inverted", f"prompts_per_row: {back}, or inverted: 0")


def _names(how: Prompting) -> Iterable[Problem]:
    known = [column.name for template in how.templates for column in template.columns] + list(_OWN)
    for name in how.mapping:
        if name not in known:
            what = f"{name!r} is no column of {', '.join(template.name for template in how.templates)}"
            yield Problem(what, f"data.sources.mapping.{name}", nearest(name, known))


def _labels(how: Prompting) -> Iterable[Problem]:
    """A label that a template with choices of its own does not have."""
    listed = [template for template in how.templates if template.choices is not None and template.choices.names]
    open_ones = [template for template in how.templates if template.choices is not None and template.choices.gathered]
    if how.labels and not listed and not open_ones:
        yield Problem("labels say what nothing reads", "data.sources.labels", "these templates have no list of choices")
    for template in listed:
        assert template.choices is not None
        for value, name in how.labels.items():
            if name not in template.choices.names:
                what = f"{value!r} is to mean {name!r}, which is no choice of {template.name}"
                yield Problem(what, "data.sources.labels", nearest(name, template.choices.names))


def asked_once(how: Prompting | None) -> Prompting | None:
    """The same for a file of val or test rows: each row once, and asked for its answer."""
    return dataclasses.replace(how, per_row=1, inverted=0.0) if how is not None else None


def with_choices(used: Sequence[tuple[Prompting | None, Path]]) -> list[Prompting | None]:
    """How the rows of each file become conversations, with the choices that templates take from the data.

    Files of one source, which share theirs, are looked at together. Raises HeedError.
    """
    files: dict[str, list[Path]] = {}
    for how, file in used:
        files.setdefault(_alike(how), []).append(file)
    found = {_alike(how): with_gathered(how, files[_alike(how)]) for how, _ in used if how is not None}
    return [dataclasses.replace(how, gathered=found[_alike(how)].gathered) if how else None for how, _ in used]


def _alike(how: Prompting | None) -> str:
    """Files of one source: rows of val and test are read a little differently, but have the same choices."""
    return repr((how.templates, how.mapping, how.labels)) if how is not None else ""


def with_gathered(how: Prompting, files: Sequence[Path]) -> Prompting:
    """The same with the choices that its templates take from the data. Reads the files once where one does; raises HeedError."""
    wanting = [template for template in how.templates if template.choices is not None and template.choices.gathered]
    if not wanting:
        return how
    if how.labels:
        return dataclasses.replace(
            how, gathered={template.name: tuple(dict.fromkeys(how.labels.values())) for template in wanting}
        )
    found: dict[str, dict[str, str]] = {template.name: {} for template in wanting}
    for file in files:
        for row in read_rows(file):
            if isinstance(row, Row):
                _gather(row, wanting, how.mapping, found)
    where = ", ".join(map(str, files))
    problems = [
        problem for template in wanting for problem in _doubts(template, list(found[template.name].values()), where)
    ]
    if problems:
        raise HeedError.of(problems)
    return dataclasses.replace(how, gathered={name: tuple(sorted(values.values())) for name, values in found.items()})


def _gather(
    row: Row, templates: Sequence[Template], mapping: Mapping[str, str], found: Mapping[str, dict[str, str]]
) -> None:
    for template in templates:
        assert template.choices is not None
        try:
            value = value_of(template.choices.right, columns_of(template, row.value, mapping))
        except (RefusedError, FillError):  # told when the row is read for good
            continue
        if not empty(value) and len(found[template.name]) <= MOST_GATHERED:
            found[template.name].setdefault(plain(value), str(value).strip())


def _doubts(template: Template, values: Sequence[str], where: str) -> Iterable[Problem]:
    assert template.choices is not None
    column = template.choices.right
    if len(values) > MOST_GATHERED:
        what = f"column {column!r} holds more than {MOST_GATHERED} different values, too many to choose from"
        yield Problem(what, where, "map another column to it, or use a template that writes the answer freely")
    elif len(values) < 2:
        held = f"only {values[0]!r}" if values else "no value"
        yield Problem(
            f"column {column!r} holds {held}: there is nothing to choose", where, f"mapping: {{{column}: NAME}}"
        )
    elif all(value.lstrip("-").isdigit() for value in values):
        said = ", ".join(f"{value}: ..." for value in sorted(values)[:3])
        what = f"column {column!r} holds bare numbers, which mean nothing to a reader"
        yield Problem(what, where, f"say what they mean: labels: {{{said}}} beside prompts")
