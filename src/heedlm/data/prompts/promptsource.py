"""Templates of promptsource, read from their YAML without running anything: what can be used, and what cannot and why."""

from __future__ import annotations

import re
from typing import Any

from heedlm.data.prompts.located import Located, read_yaml
from heedlm.data.prompts.template import STYLES, Choices, Column, Template, Wording
from heedlm.errors import HeedError, Problem
from heedlm.templates.sandbox import FillError, chance_in, names_in

_PIPES = "|||"
_OURS = frozenset({"answer_choices"})
_DATASET = re.compile(r"^dataset\s*:", re.MULTILINE)
_TEMPLATES = re.compile(r"^templates\s*:", re.MULTILINE)


def is_promptsource(text: str) -> bool:
    """Whether a file looks like one of promptsource: a data set and its templates."""
    return bool(_DATASET.search(text) and _TEMPLATES.search(text)) and "wordings:" not in text


def parse_promptsource(text: str, file: str) -> tuple[tuple[Template, ...], tuple[Problem, ...]]:
    """The templates of a file, and a problem for each that is refused. Raises HeedError where the file cannot be read."""
    located = read_yaml(text, file)
    top = located.value
    if not isinstance(top, dict) or not isinstance(top.get("templates"), dict):
        raise HeedError("the file holds no templates of promptsource", file, "templates: {ID: {jinja: ...}}")
    family = "/".join(str(top[key]) for key in ("dataset", "subset") if top.get(key))
    made: list[Template] = []
    problems: list[Problem] = []
    for key, spec in top["templates"].items():
        try:
            made.append(_template(spec, key, family, located, {template.name for template in made}))
        except FillError as error:
            where = located.at("templates", key, "jinja", line=error.line)
            problems.append(Problem(f"{error.what}", where, "mend the template there, or leave it out"))
    return tuple(made), tuple(problems)


def _template(spec: Any, key: str, family: str, located: Located, taken: set[str]) -> Template:
    """One template. Raises FillError with the reason, a word or two before its first colon, why it cannot be used."""
    jinja = spec.get("jinja") if isinstance(spec, dict) else None
    if not isinstance(jinja, str) or not jinja.strip():
        raise FillError("empty template: it holds no text")
    if _PIPES not in jinja:
        raise FillError(f"no answer: {_PIPES} does not part the text from a target")
    answers = spec.get("answer_choices")
    answers = answers if isinstance(answers, str) and answers.strip() else ""
    for text in (jinja, answers):
        _refuse_chance(text)
    try:
        named = names_in(jinja) | (names_in(answers) if answers else frozenset())
    except FillError as error:
        raise FillError(f"broken Jinja: {error.what}", error.line) from error
    if "answer_choices" in named and not answers:
        raise FillError("undefined name: answer_choices is used and not given")
    if not jinja.split(_PIPES, 1)[1].strip():
        raise FillError(f"empty target: nothing stands behind {_PIPES}")
    columns = tuple(Column(name, raw=True) for name in sorted(named - _OURS))
    wording = Wording("1", (("", (jinja,)),), "", parted=True, path=("templates", key, "jinja"))
    choices = Choices(text=answers) if answers else None
    name = _name(str(spec.get("name") or key), key, taken)
    return Template(
        name=name,
        family=family,
        columns=columns,
        wordings=(wording,),
        about=str(spec.get("reference") or ""),
        choices=choices,
        styles=STYLES,
        file=located.file,
        lines=located.lines,
    )


def _refuse_chance(text: str) -> None:
    found = chance_in(text)
    if found:
        name, line = found[0]
        raise FillError(f"nondeterminism: {name!r} gives another text each time", line)


def _name(name: str, key: str, taken: set[str]) -> str:
    """A name that can stand behind `FILE#`, unlike those before it."""
    plain = re.sub(r"\W+", "-", name.strip()).strip("-").lower() or key
    return plain if plain not in taken else f"{plain}-{key[:8]}"
