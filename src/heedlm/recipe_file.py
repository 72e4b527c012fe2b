"""A recipe from its file and from single settings, with every mistake found in one pass, each where it was written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import yaml
from pydantic import ValidationError

from heedlm.config import Section
from heedlm.errors import HeedError, Problem
from heedlm.keys import example, hint, keys, like, parts, takes

R = TypeVar("R", bound=Section)
Settings: TypeAlias = "str | Sequence[str] | Mapping[str, Any]"
# What pydantic puts into a place to name the branch of a union: no key of ours.
_BRANCHES = frozenset(("str", "float", "int", "bool"))
_SHOWN = 60  # characters of a value that is wrong


def setting_lines(settings: Settings) -> list[str]:
    """Settings as `a.b=c` lines, from one line, several, or a mapping {"a.b": c}."""
    if isinstance(settings, str):
        return [settings]
    if isinstance(settings, Mapping):
        return [f"{key}={json.dumps(value, default=str)}" for key, value in settings.items()]
    return list(settings)


def load_recipe(
    kind: type[R], path: str | Path | None, settings: Sequence[str] = (), base: Mapping[str, Any] | None = None
) -> R:
    """A recipe from a YAML file, then `a.b=c` settings over it, then checked.

    base: values beneath the file.   Raises HeedError with every problem found, each where it was written.
    """
    problems: list[Problem] = []
    set_keys: list[str] = []
    over: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            mend = f"write KEY=VALUE in one word, for example --set {_started(kind, setting)}"
            problems.append(Problem(f"This is not a setting: {setting!r}.", "--set", mend))
            continue
        value = _scalar(text)
        over = _merged(over, _nested(parts(kind, key, is_section=isinstance(value, dict)), value))
        set_keys.append(key)
    where = "recipe" if path is None else str(path)
    values = dict(base or {})
    try:
        values = values if path is None else _merged(values, _read_yaml(Path(path)))
    except HeedError as error:
        raise HeedError.of([*problems, *error.problems]) from None
    values = _merged(values, over)
    try:
        recipe = kind.model_validate(values)
    except ValidationError as error:
        found = [_problem(kind, dict(item), where, set_keys) for item in _deepest(error.errors())]
        problems += {(problem.what.partition(": ")[0], problem.where): problem for problem in found}.values()
    if problems:
        raise HeedError.of(problems)
    return recipe


def _started(kind: type[Section], key: str) -> str:
    """An example of the key that somebody began to write, or of any."""
    found = [key] if key in keys(kind) else like(kind, key.rpartition(".")[2])
    return example(kind, found[0] if found else "train.lr")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf8")
    except FileNotFoundError:
        raise HeedError(
            "There is no recipe here.", str(path), "name a YAML file, for example recipes/qwen3_0.6b_lora.yaml"
        ) from None
    except (UnicodeDecodeError, IsADirectoryError):
        what, mend = "This recipe is not a UTF-8 text file.", "name a YAML file; rows are named with --data"
        raise HeedError(what, str(path), mend) from None
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        reason = getattr(error, "problem", None) or "it cannot be read"
        raise HeedError(
            f"This recipe is not valid YAML: {reason}.", f"{path}{line}", "check indentation and colons"
        ) from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise HeedError("A recipe is a mapping of sections.", f"{path}:1", "write for example `train: {epochs: 2}`")
    return value


def _scalar(text: str) -> Any:
    """YAML's reading, except that 2e-5 is a number (YAML 1.1 wants a dot, people do not)."""
    try:
        return float(text) if "e" in text.lower() and text[:1] in "0123456789.-+" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return text


def _nested(keys: Sequence[str], value: Any) -> dict[str, Any]:
    return {keys[0]: value if len(keys) == 1 else _nested(keys[1:], value)}


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(below)
    for key, value in above.items():
        old = out.get(key)
        out[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return out


def _deepest(items: Sequence[Any]) -> list[Any]:
    """Without those about a value of which another one says which part is wrong: each kind that a value may be complains."""
    places = [tuple(part for part in map(str, item["loc"]) if not _is_branch(part)) for item in items]
    return [
        item
        for item, place in zip(items, places, strict=True)
        if not any(len(other) > len(place) and other[: len(place)] == place for other in places)
    ]


def _is_branch(part: str) -> bool:
    """Whether a part of a place is a name of pydantic's: `str`, `function-before[...]`; a file may be called `my-rows`."""
    return part in _BRANCHES or part.startswith("constrained-") or ("-" in part and "[" in part) or part[:6] == "tuple["


def _problem(kind: type[Section], item: Mapping[str, Any], where: str, set_keys: Sequence[str]) -> Problem:
    path = [part for part in map(str, item["loc"]) if not _is_branch(part)]
    key = ".".join(path)
    given = (one for one in set_keys if f"{key}.".startswith(f"{one}.") or one.startswith(f"{key}."))
    where = next((f"--set {one}" for one in given), where)
    if item["type"] == "extra_forbidden":
        return Problem(f"Unknown key {key!r}.", where, hint(kind, path))
    mend = f"for example --set {example(kind, key)}"
    if item["type"] == "missing":
        return Problem(f"Key {key!r} is missing.", where, mend)
    shown = repr(item["input"])
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
    if item["type"] in ("value_error", "assertion_error"):  # words of our own
        return Problem(f"Key {key!r} is {shown}: {str(item['msg']).removeprefix('Value error, ')}.", where, mend)
    return Problem(f"Key {key!r} is {shown}, expected {takes(kind, path)}.", where, mend)
