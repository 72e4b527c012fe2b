"""Reading a template file: every key checked, every problem told with its line in one pass."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from heedlm.data.fields import show
from heedlm.data.prompts.located import Located, read_yaml
from heedlm.data.prompts.located import Path as Place
from heedlm.data.prompts.template import CHECKS, STYLES, Blocks, Choices, Column, Template, Wording
from heedlm.errors import HeedError, Problem, nearest

VERSION = 1
GATHERED = "from data"
_KEYS = (
    *("version", "name", "family", "about", "columns", "choices", "answer", "check", "copied", "when", "group"),
    *("styles", "wordings", "inverted", "examples", "fits"),
)
_WORDING = ("ask", "answer", "system", "turns")
_CHOICES = ("right", "names", "each", "shuffled")
_COLUMN = ("about", "also", "optional", "structure")
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")


def read_template(path: Path) -> Template:
    """The template of a file. Raises HeedError with everything that is wrong in it."""
    return parse_template(read_text(path), str(path))


def read_text(path: Path) -> str:
    """The text of a file of templates. Raises HeedError."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise HeedError(f"cannot be read: {error.strerror or error}", str(path), "check the path") from None
    except UnicodeDecodeError as error:
        what = f"not UTF-8: byte {error.object[error.start]:#04x}"
        raise HeedError(what, str(path), "save the file as UTF-8") from None


def parse_template(text: str, file: str) -> Template:
    """The template that a text is. Raises HeedError with every problem."""
    template, problems = parse_as_far(text, file)
    if problems or template is None:
        raise HeedError.of(problems)
    return template


def parse_as_far(text: str, file: str) -> tuple[Template | None, list[Problem]]:
    """As much of a template as can be read, and every problem. Raises HeedError where it is no YAML."""
    reader = _Reader(read_yaml(text, file))
    return reader.template(), reader.problems


class _Reader:
    """Takes values from a file and remembers what is wrong with them."""

    def __init__(self, located: Located) -> None:
        self.located = located
        self.problems: list[Problem] = []
        for path, tag in located.tags.items():
            self.wrong(f"the tag {tag!r} means nothing here", "remove it", *path)

    def wrong(self, what: str, mend: str, *path: str | int) -> None:
        self.problems.append(Problem(what, self.located.at(*path), mend))

    def template(self) -> Template | None:
        top = self.located.value
        if not isinstance(top, dict):
            self.wrong("a template file holds keys such as name, columns and wordings", "see: heed templates show NAME")
            return None
        self.known(top, _KEYS)
        if top.get("version", VERSION) != VERSION:
            self.wrong(f"version is {show(top['version'])}; this heed reads {VERSION}", "version: 1", "version")
        columns = self.columns(top.get("columns"))
        choices = self.choices(top.get("choices"), top.get("columns"))
        answer = self.text(top, "answer")
        if not answer and choices is not None:
            answer = "{{ choice }}"
        wordings = [*self.wordings(top, "wordings", answer), *self.wordings(top, "inverted", "")]
        name = self.text(top, "name", needed=True)
        if name and not _NAME.fullmatch(name):
            self.wrong(f"name is {name!r}", "small letters, digits and hyphens, such as news-topic", "name")
        check = self.text(top, "check") or ("iequals" if choices is not None else "none")
        self.one_of(check, CHECKS, "check")
        styles = self.texts(top, "styles") or STYLES
        for style in styles:
            self.one_of(style, STYLES, "styles")
        group = self.texts(top, "group")
        for column in group:
            self.one_of(column, [column.name for column in columns], "group")
        if not any(not wording.inverted for wording in wordings):
            self.wrong("no wording asks for the answer", "wordings: a list of texts, at least one", "wordings")
        return Template(
            name=name,
            family=self.text(top, "family", needed=True),
            about=self.text(top, "about"),
            columns=columns,
            choices=choices,
            wordings=tuple(wordings),
            group=group,
            styles=styles,
            check=check,
            copied=self.flag(top, "copied", False),
            when=self.text(top, "when"),
            examples=self.examples(top.get("examples")),
            fits=self.texts(top, "fits"),
            file=self.located.file,
            lines=self.located.lines,
        )

    def known(self, found: Mapping[str, Any], keys: Iterable[str], *path: str | int) -> None:
        for key in found:
            if key not in keys:
                self.wrong(f"unknown key {key!r}", nearest(key, keys), *path, key)

    def one_of(self, value: str, known: Iterable[str], *path: str | int) -> None:
        if value not in known:
            self.wrong(f"{path[0]} is {value!r}", nearest(value, known), *path)

    def text(self, found: Mapping[str, Any], key: str, *path: str | int, needed: bool = False) -> str:
        value = found.get(key)
        if value is None or value == "":
            if needed:
                self.wrong(f"{key} is missing", f"{key}: ...", *path)
            return ""
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            self.wrong(f"{key} is {show(value)}, expected text", "put it in quotes", *path, key)
            return ""
        return value

    def texts(self, found: Mapping[str, Any], key: str, *path: str | int) -> tuple[str, ...]:
        value = found.get(key)
        values = [] if value is None else value if isinstance(value, list) else [value]
        wrong = [one for one in values if not isinstance(one, (str, int, float)) or isinstance(one, bool)]
        if wrong:
            self.wrong(f"{key} holds {show(wrong[0])}, expected a list of texts", f"{key}: [one, two]", *path, key)
            return ()
        return tuple(str(one) for one in values)

    def flag(self, found: Mapping[str, Any], key: str, default: bool, *path: str | int) -> bool:
        value = found.get(key, default)
        if not isinstance(value, bool):
            self.wrong(f"{key} is {show(value)}, expected true or false", f"{key}: true", *path, key)
            return default
        return value

    def columns(self, found: Any) -> tuple[Column, ...]:
        if not isinstance(found, dict) or not found:
            self.wrong("columns are missing", "columns: {text: what it holds}", "columns")
            return ()
        made = []
        for name, spec in found.items():
            place = ("columns", name)
            if not _IDENTIFIER.fullmatch(name):
                mend = "a name of letters, digits and _; how a file calls it stands in also"
                self.wrong(f"a column cannot be called {name!r}", mend, *place)
            if spec is None or isinstance(spec, str):
                made.append(Column(name, spec or ""))
            elif isinstance(spec, dict):
                self.known(spec, _COLUMN, *place)
                optional, structure = (self.flag(spec, key, False, *place) for key in ("optional", "structure"))
                about, also = self.text(spec, "about", *place), self.texts(spec, "also", *place)
                made.append(Column(name, about, also, optional, structure=structure))
            else:
                self.wrong(f"column {name!r} is {show(spec)}", "what it holds, in words", *place)
        return tuple(made)

    def choices(self, found: Any, columns: Any) -> Choices | None:
        if found is None:
            return None
        if isinstance(found, list):
            right = "label" if isinstance(columns, dict) and "label" in columns else ""
            if not right:
                mend = "choices: {right: COLUMN, names: [...]}, or call the column label"
                self.wrong("which column holds the right choice is not said", mend, "choices")
            found = {"right": right, "names": found}
        if not isinstance(found, dict):
            self.wrong(f"choices is {show(found)}", "choices: {right: label, names: [one, two]}", "choices")
            return None
        self.known(found, _CHOICES, "choices")
        right = self.text(found, "right", "choices", needed="right" not in found)
        shuffled = self.flag(found, "shuffled", True, "choices")
        named = found.get("names")
        each = self.text(found, "each", "choices")
        if (named is None) == (not each):
            mend = "names: a list, or each: an expression such as endings"
            self.wrong("choices have names, or each row has its own: one of the two", mend, "choices")
        if named == GATHERED:
            return Choices(right, gathered=True, shuffled=shuffled)
        values: dict[str, str] = {}
        if isinstance(named, dict):
            for name, spelt in named.items():
                for value in spelt if isinstance(spelt, list) else [spelt]:
                    if values.setdefault(plain(value), name) != name:
                        what = f"the value {show(value)} stands for {values[plain(value)]!r} and for {name!r}"
                        self.wrong(what, "leave it to one of them", "choices", "names", name)
            names = tuple(named)
        else:
            names = self.texts(found, "names", "choices")
        if named is not None and (len(names) < 2 or len(set(names)) < len(names)):
            self.wrong("choices are at least two, all different", "names: [positive, negative]", "choices", "names")
        return Choices(right, names, values, each, shuffled=shuffled)

    def wordings(self, top: Mapping[str, Any], key: str, answer: str) -> list[Wording]:
        found = top.get(key)
        if found is None:
            return []
        if not isinstance(found, list):
            self.wrong(f"{key} is {show(found)}, expected a list", f"{key}: a list of texts", key)
            return []
        made = []
        for index, one in enumerate(found):
            place: Place = (key, index)
            name = f"{'inverted ' if key == 'inverted' else ''}{index + 1}"
            spec = {"ask": one} if isinstance(one, str) else one
            if not isinstance(spec, dict):
                self.wrong(f"wording {name} is {show(one)}, expected text", "write the text of the task", *place)
                continue
            self.known(spec, _WORDING, *place)
            turns = self.text(spec, "turns", *place)
            own = self.text(spec, "answer", *place) or answer
            if bool(turns) == ("ask" in spec):
                self.wrong(f"wording {name} asks, or gives turns: one of the two", "ask: the text", *place)
            elif not turns and not own:
                mend = "answer: what is to be answered, here or at the top"
                self.wrong(f"empty answer: wording {name} has no answer", mend, *place)
            ask = self.blocks(spec.get("ask"), *place, "ask")
            system = self.blocks(spec.get("system"), *place, "system")
            made.append(Wording(name, ask, own, system, turns, inverted=key == "inverted", path=place))
        return made

    def blocks(self, found: Any, *path: str | int) -> Blocks:
        if found is None:
            return ()
        if isinstance(found, str):
            return (("", (found,)),)
        if not isinstance(found, dict) or not found:
            self.wrong(f"{path[-1]} is {show(found)}", "a text, or named blocks such as role, task, rules", *path)
            return ()
        made = []
        for name, items in found.items():
            if not _IDENTIFIER.fullmatch(name):
                self.wrong(f"a block cannot be called {name!r}", "letters, digits and _", *path, name)
            made.append((name, self.texts(found, name, *path)))
            if not items:
                self.wrong(f"the block {name!r} is empty", "write it, or take it out", *path, name)
        return tuple(made)

    def examples(self, found: Any) -> tuple[Mapping[str, Any], ...]:
        rows = found if isinstance(found, list) else []
        if not rows or not all(isinstance(row, dict) for row in rows):
            self.wrong("a template shows at least one example row", "examples: [{text: ..., label: ...}]", "examples")
            return ()
        return tuple(rows)


def plain(value: Any) -> str:
    """A value as it is compared: whole numbers without a point, words without case."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().casefold()
