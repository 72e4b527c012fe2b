"""The templates there are: those that come with heed, by name, and those of a person, by file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from heedlm.data.prompts.promptsource import is_promptsource, parse_promptsource
from heedlm.data.prompts.read import parse_template, read_text
from heedlm.data.prompts.template import Template
from heedlm.errors import HeedError, Problem, nearest

ENDINGS = (".yaml", ".yml")


class Found(NamedTuple):
    """templates: those of a name or file.   refused: those of a file that cannot be used, with the reason."""

    templates: tuple[Template, ...]
    refused: tuple[Problem, ...] = ()


@cache
def names() -> tuple[str, ...]:
    """The names of the templates that come with heed, in order."""
    folder = resources.files("heedlm.data.prompts").joinpath("library")
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")))


@cache
def shipped(name: str) -> Template:
    """A template that comes with heed."""
    return parse_template(source_of(name), f"{name}.yaml")


def source_of(name: str) -> str:
    """The text of a template that comes with heed: to read, and to change a copy of."""
    entry = resources.files("heedlm.data.prompts").joinpath(f"library/{name}.yaml")
    return entry.read_text(encoding="utf-8")


def find(name: str) -> Found:
    """The templates behind a name of the library, a file, or `FILE#NAME` for one of several in a file. Raises HeedError."""
    if name in names():
        return Found((shipped(name),))
    path, _, part = name.partition("#")
    if not Path(path).is_file():
        if path.endswith(ENDINGS) or "/" in path:
            raise HeedError("no such file of templates", path, "give the path of a YAML file that exists")
        mend = f"{nearest(name, names())}   (all of them: heed templates list; or the path of a YAML file)"
        raise HeedError(f"there is no prompt template {name!r}", "prompts", mend)
    text = read_text(Path(path))
    found = Found(*parse_promptsource(text, path)) if is_promptsource(text) else Found((parse_template(text, path),))
    if part:
        known = [template.name for template in found.templates]
        if part not in known:
            raise HeedError(f"the file holds no usable template {part!r}", path, nearest(part, known))
        found = Found(tuple(template for template in found.templates if template.name == part))
    if not found.templates:
        raise HeedError.of(found.refused or [Problem("the file holds no template", path, "see: heed templates list")])
    return found


def find_all(wanted: Sequence[str]) -> tuple[Template, ...]:
    """The templates of several names and files, each once. Raises HeedError with every one that is not there."""
    problems: list[Problem] = []
    made: dict[str, Template] = {}
    for name in wanted:
        try:
            for template in find(name).templates:
                if made.setdefault(template.name, template).file != template.file:
                    what = f"two templates are called {template.name!r}"
                    problems.append(Problem(what, template.file, "give one of them another name"))
        except HeedError as error:
            problems += error.problems
    if problems:
        raise HeedError.of(problems)
    return tuple(made.values())


def families() -> Mapping[str, tuple[Template, ...]]:
    """The templates that come with heed by their kind of task."""
    found: dict[str, list[Template]] = {}
    for name in names():
        template = shipped(name)
        found.setdefault(template.family, []).append(template)
    return {family: tuple(templates) for family, templates in sorted(found.items())}
