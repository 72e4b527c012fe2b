"""What a judge goes by: criteria, and the points of a scale with their meanings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from heedlm.errors import HeedError, Problem, nearest

_KEYS = ("about", "criteria", "scale")
_LEVELS = range(2, 11)  # points of a scale: fewer say nothing, more are not told apart
EXAMPLE = "criteria: Is the tone friendly?   scale: {1: rude, 2: neutral, 3: friendly}"


@dataclass(frozen=True, slots=True)
class Rubric:
    """criteria: what makes an answer good.   scale: from 1 up, what each number of points means.   name: its file, or
    "heed" for the one that comes with the package.   about: one line."""

    name: str
    about: str
    criteria: str
    scale: Mapping[int, str]

    @property
    def most(self) -> int:
        return max(self.scale)


def read_rubric(path: Path | None = None) -> Rubric:
    """The rubric of a file, or the one that comes with heed.

    A file that is no YAML (`.yaml`, `.yml`) holds the criteria alone, as plain text. Raises HeedError with everything that
    is wrong in it.
    """
    source = resources.files("heedlm.eval.judge").joinpath("rubric.yaml").read_text(encoding="utf8")
    shipped = _rubric("heed", yaml.safe_load(source), "rubric.yaml", {})
    if path is None:
        return shipped
    try:
        text = path.read_text("utf8")
    except OSError as error:
        raise HeedError(
            f"There is no rubric to read here: {error.strerror}.", str(path), "name a text or YAML file"
        ) from None
    except UnicodeDecodeError:
        raise HeedError("This rubric is not a UTF-8 text.", str(path), "name a text or YAML file") from None
    if path.suffix.lower() not in (".yaml", ".yml"):
        if not text.strip():
            raise HeedError("This rubric is empty.", str(path), "say in it what makes an answer good")
        return Rubric(str(path), "", text.strip(), shipped.scale)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        reason = getattr(error, "problem", None) or "it cannot be read"
        raise HeedError(f"This rubric is not valid YAML: {reason}.", f"{path}{line}", "check indentation") from None
    return _rubric(str(path), value, str(path), shipped.scale)


def _rubric(name: str, value: Any, where: str, scale: Mapping[int, str]) -> Rubric:
    if not isinstance(value, dict):
        raise HeedError("A rubric is a mapping, or a text file.", where, f"for example: {EXAMPLE}")
    problems = [Problem(f"Unknown key {key!r}.", where, nearest(str(key), _KEYS)) for key in value if key not in _KEYS]
    criteria, about = value.get("criteria"), value.get("about", "")
    if not isinstance(criteria, str) or not criteria.strip():
        problems.append(Problem("`criteria` is missing, or no text.", where, f"for example: {EXAMPLE}"))
    if not isinstance(about, str):
        problems.append(Problem("`about` is no text.", where, "one line about the rubric"))
    levels = value.get("scale", scale)
    if isinstance(levels, Mapping):  # YAML takes the words yes and no for truths
        levels = {key: ("no", "yes")[word] if isinstance(word, bool) else word for key, word in levels.items()}
    if not _is_scale(levels):
        what = f"`scale` is {levels!r}: it gives the points from 1 up, {_LEVELS[0]} to {_LEVELS[-1]} of them, their meanings."
        problems.append(Problem(what, where, f"for example: {EXAMPLE}"))
    if problems:
        raise HeedError.of(problems)
    return Rubric(name, about.strip(), str(criteria).strip(), dict(levels))


def _is_scale(levels: Any) -> bool:
    return (
        isinstance(levels, Mapping)
        and len(levels) in _LEVELS
        and list(levels) == list(range(1, len(levels) + 1))
        and not any(isinstance(key, bool) for key in levels)
        and all(isinstance(meaning, str) and meaning.strip() for meaning in levels.values())
    )
