"""Read a promptfoo configuration: prompts, tests, providers, as far as heed has the like; the rest is told."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heedlm.data.prompts.located import Located, read_yaml
from heedlm.errors import HeedError, Problem
from heedlm.instructions.asserts import TYPES
from heedlm.instructions.blocks import Block, Input, Instruction
from heedlm.instructions.cases import Raw
from heedlm.instructions.values import wording
from heedlm.templates.sandbox import FillError

_TOP = ("prompts", "providers", "targets", "tests", "defaultTest")
_SILENT = ("description", "$schema", "tags", "outputPath", "commandLineOptions", "metadata", "options", "sharing")
_TEST = ("description", "vars", "assert", "threshold", "metadata")
_ROLES = ("system", "user", "assistant")
_PROVIDERS = {  # how promptfoo begins the name of a provider -> where it listens, unless its config says otherwise
    "openai:chat:": "",
    "openai:": "",
    "ollama:chat:": "http://127.0.0.1:11434/v1",
    "ollama:": "http://127.0.0.1:11434/v1",
    "localai:chat:": "http://127.0.0.1:8080/v1",
}
_HUB = ("huggingface:text-generation:", "huggingface:chat:")
_MOST = 10_000  # cases that lists of values may make


@dataclass
class Taken:
    """What heed takes from a configuration. notes: everything that it does not, each with its place."""

    instructions: list[Instruction] = field(default_factory=list)
    cases: list[Raw] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_promptfoo(path: Path) -> Taken:
    """The prompts as instructions, the tests as cases. Raises HeedError, with all problems, for what cannot be read."""
    located = read_yaml(_text(path), str(path))
    value = located.value
    if not isinstance(value, dict) or "prompts" not in value:
        mend = "a promptfoo configuration has prompts, providers and tests; cases alone go to --cases"
        raise HeedError("this YAML file has no prompts", located.at(), mend)
    taken, problems = Taken(), list[Problem]()
    for key in value:
        if key not in (*_TOP, *_SILENT):
            taken.notes.append(f"{located.at(key)}: heed has nothing like {key!r}; it is left out")
    _tests(located, taken, problems)
    _prompts(located, path, taken, problems)
    providers = "providers" if "providers" in value else "targets"
    for number, one in enumerate(_listed(value.get(providers))):
        _provider(one, located.at(providers, number), taken)
    if problems:
        raise HeedError.of(problems)
    return taken


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise HeedError(f"cannot be read: {error.strerror or error}", str(path), "name a file") from None
    except UnicodeDecodeError:
        raise HeedError("not UTF-8", str(path), "save the file as UTF-8") from None


def _listed(value: Any) -> Sequence[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _prompts(located: Located, path: Path, taken: Taken, problems: list[Problem]) -> None:
    samples: dict[str, Any] = {}
    for case in taken.cases:
        samples = {**case.fields["vars"], **samples}
    for number, one in enumerate(_listed(located.value["prompts"])):
        where = located.at("prompts", number)
        label = one.get("label") or one.get("id") if isinstance(one, dict) else None
        raw = one.get("raw", one.get("id")) if isinstance(one, dict) else one
        if not isinstance(raw, str) or not raw.strip():
            problems.append(Problem(f"a prompt is {one!r}", where, "a text, or file://prompt.txt"))
            continue
        name = str(label or f"prompt-{number + 1}")
        if raw.startswith("file://"):
            file = path.parent / raw.removeprefix("file://")
            if file.suffix.lower() not in (".txt", ".json", ".md", ""):
                taken.notes.append(f"{where}: a prompt from {file.suffix} is a program; it is left out")
                continue
            try:
                raw, where, name = _text(file), f"{file}:1", str(label or file.stem)
            except HeedError as error:
                problems += [Problem(found.what, f"{where} ({found.where})", found.mend) for found in error.problems]
                continue
        try:
            taken.instructions.append(_instruction(name, raw, where, samples))
        except FillError as error:
            problems.append(
                Problem(f"the prompt cannot be read: {error.what}", where, "plain {{ names }} are understood")
            )


def _instruction(name: str, raw: str, where: str, samples: Mapping[str, Any]) -> Instruction:
    """A prompt of promptfoo: one text of the user, or a JSON list of messages."""
    turns = _messages(raw) or [("user", raw.strip())]
    blocks, names = [], dict[str, None]()
    file, _, line = where.rpartition(":")
    for number, (role, text) in enumerate(turns):
        names |= dict.fromkeys(sorted(wording(text).names))
        sole = (
            role == "user" and text.strip().startswith("{{") and text.count("{{") == 1 and text.strip().endswith("}}")
        )
        kind = "data" if sole else "task"
        id_ = role if [one for one, _ in turns].count(role) == 1 else f"{role}-{number + 1}"
        blocks.append(Block(id_, kind, text, role=role, turn=number, file=file, line=int(line), text_line=int(line)))  # type: ignore[arg-type]
    inputs = [Input(one, kind=_kind(samples.get(one)), required=True, line=int(line)) for one in names]
    return Instruction(name, tuple(blocks), tuple(inputs), notation="plain", file=file)


def _messages(raw: str) -> list[tuple[str, str]]:
    if not raw.lstrip().startswith("["):
        return []
    try:
        value = json.loads(raw)
    except ValueError:
        return []
    fits = isinstance(value, list) and all(
        isinstance(one, dict) and one.get("role") in _ROLES and isinstance(one.get("content"), str) for one in value
    )
    return [(one["role"], one["content"]) for one in value] if fits else []


def _kind(sample: Any) -> str:
    return "object" if isinstance(sample, dict) else "array" if isinstance(sample, list) else "string"


def _tests(located: Located, taken: Taken, problems: list[Problem]) -> None:
    default = located.value.get("defaultTest")
    default = default if isinstance(default, dict) else {}
    tests = located.value.get("tests")
    if isinstance(tests, str):
        taken.notes.append(f"{located.at('tests')}: tests from a file are named with --cases: {tests}")
        return
    common = _asserts(default, ("defaultTest",), located, taken)
    for number, one in enumerate(_listed(tests)):
        where = located.at("tests", number)
        if not isinstance(one, dict):
            problems.append(Problem(f"a test is {one!r}", where, "vars: {...}, assert: [...]"))
            continue
        for key in one:
            if key not in _TEST:
                taken.notes.append(f"{located.at('tests', number, key)}: heed has nothing like {key!r}; it is left out")
        values = {**(default.get("vars") or {}), **(one.get("vars") or {})}
        asserts = [*_asserts(one, ("tests", number), located, taken), *common]
        if not asserts:
            taken.notes.append(f"{where}: no assertion that heed knows judges this test; it is not asked")
            continue
        fields: dict[str, Any] = {"assert": asserts}
        threshold = one.get("threshold", default.get("threshold"))
        if threshold is not None:
            fields["threshold"] = threshold
        expanded = list(itertools.islice(_products(values), _MOST))
        for place, given in enumerate(expanded):
            id_ = str(one.get("description") or f"test-{number + 1}")
            id_ += f" [{number + 1}]" if _twice(tests, one.get("description")) else ""
            id_ += f" ({place + 1})" if len(expanded) > 1 else ""
            taken.cases.append(Raw({**fields, "vars": given, "id": id_}, where))


def _twice(tests: Any, description: Any) -> bool:
    found = [one.get("description") for one in _listed(tests) if isinstance(one, dict)]
    return description is not None and found.count(description) > 1


def _products(values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """promptfoo asks a test once for every combination of values that are given as lists."""
    lists = [value if isinstance(value, list) and value else [value] for value in values.values()]
    for found in itertools.product(*lists):
        yield dict(zip(values, found, strict=True))


def _asserts(
    test: Mapping[str, Any], path: tuple[str | int, ...], located: Located, taken: Taken
) -> list[Mapping[str, Any]]:
    """The assertions that heed knows; the others are told."""
    found: list[Mapping[str, Any]] = []
    for number, one in enumerate(_listed(test.get("assert"))):
        where = located.at(*path, "assert", number)
        type_ = str(one.get("type")) if isinstance(one, dict) else str(one)
        bare = type_.removeprefix("not-")
        value = one.get("value") if isinstance(one, dict) else None
        if bare not in TYPES or not isinstance(one, dict):
            taken.notes.append(f"{where}: heed has no assertion {type_!r}; it is left out, so passing means less here")
        elif isinstance(value, str) and value.startswith(("file://", "package:")):
            taken.notes.append(f"{where}: the assertion {type_!r} takes its value from {value}; it is left out")
        else:
            odd = [key for key in one if key in ("transform", "provider", "rubricPrompt", "config", "contextTransform")]
            taken.notes += [f"{where}: heed has nothing like {key!r}; it is left out" for key in odd]
            found.append({key: inner for key, inner in one.items() if key not in odd})
    return found


def _provider(one: Any, where: str, taken: Taken) -> None:
    """A provider as a model of heed, or a note."""
    name = one.get("id") if isinstance(one, dict) else one
    config = (one.get("config") or {}) if isinstance(one, dict) else {}
    if isinstance(name, str):
        for hub in _HUB:
            if name.startswith(hub):
                taken.models.append(name.removeprefix(hub))
                return
        begin = next((begin for begin in _PROVIDERS if name.startswith(begin)), None)
        url = str(config.get("apiBaseUrl") or (_PROVIDERS[begin] if begin else ""))
        if begin is not None and url:
            taken.models.append(f"{url.rstrip('/')}#{name.removeprefix(begin)}")
            return
    taken.notes.append(f"{where}: the provider {name!r} has no address here; name it: --model http://HOST/v1#NAME")
