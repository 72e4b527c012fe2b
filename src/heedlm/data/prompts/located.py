"""YAML with the line of everything in it, read without running anything that the file asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from heedlm.errors import HeedError, Problem

Path = tuple[str | int, ...]

_MOST_NODES = 50_000  # of one file, aliases counted each time: a few lines of aliases can stand for billions
_DEEPEST = 30
_MEND = (
    "mind the indentation, and write text with a colon, or with a question mark inside braces or brackets, in quotes"
)
_PLAIN = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Located:
    """value: of the file, in Python's plain types.   lines: path -> line of the first character, from 1.

    tags: path -> tag of what bore one that YAML does not know; its value is read as if it bore none.
    """

    value: Any
    lines: Mapping[Path, int]
    tags: Mapping[Path, str]
    file: str

    def at(self, *path: str | int, line: int = 1) -> str:
        """``file:line`` of a path, or of what holds it.   line: of a text there, from 1."""
        while path and path not in self.lines:
            path, line = path[:-1], 1
        return f"{self.file}:{self.lines.get(path, 1) + max(line, 1) - 1}"


def read_yaml(text: str, file: str) -> Located:
    """Raises HeedError: broken YAML, a key twice, more nesting or aliases than a person writes."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        what = f"broken YAML: {error.problem or error.context or 'cannot be read'}"
        raise HeedError(what, f"{file}:{line}", _MEND) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = f"broken YAML: {str(error).splitlines()[0]}"
        raise HeedError(what, file, "save it as text in UTF-8") from None
    builder = _Builder(file)
    value = builder.build(node, ()) if node is not None else None
    if builder.problems:
        raise HeedError.of(builder.problems)
    return Located(value, builder.lines, builder.tags, file)


class _Builder:
    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Path, int] = {}
        self.tags: dict[Path, str] = {}
        self.problems: list[Problem] = []
        self._nodes = 0

    def build(self, node: yaml.Node, path: Path) -> Any:
        self._nodes += 1
        start = node.start_mark.line + 1
        if self._nodes > _MOST_NODES or len(path) > _DEEPEST:
            mend = "write it without aliases that stand for aliases"
            raise HeedError("the file is nested too deeply, or too large", f"{self.file}:{start}", mend)
        self.lines[path] = start
        if not node.tag.startswith(_PLAIN) or node.tag.startswith(f"{_PLAIN}python/"):
            self.tags[path] = node.tag
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(inner, (*path, index)) for index, inner in enumerate(node.value)]
        if getattr(node, "style", None) in ("|", ">"):  # the text begins below its mark
            self.lines[path] += 1
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, inner in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
            if key in found:
                where = f"{self.file}:{key_node.start_mark.line + 1}"
                self.problems.append(Problem(f"the key {key!r} stands here for the second time", where, "keep one"))
            found[key] = self.build(inner, (*path, key))
            place = (*path, key)
            if not isinstance(inner, yaml.ScalarNode) or inner.style not in ("|", ">"):
                self.lines[place] = min(self.lines[place], key_node.start_mark.line + 1)
        return found


def _scalar(node: yaml.Node) -> Any:
    """Text stays text: `yes`, `no` and dates too, which older YAML takes for something else."""
    text, tag = str(node.value), node.tag.removeprefix(_PLAIN)
    if tag == "null":
        return None
    if tag == "bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if tag in ("int", "float"):
        for kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                continue
    return text
