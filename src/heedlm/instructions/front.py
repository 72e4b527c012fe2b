"""The front matter of a Prompty file: inputs, outputs, and the section that only heed reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast, get_args

from heedlm.data.prompts.located import Located
from heedlm.errors import Problem, nearest
from heedlm.instructions.blocks import (
    DELIMITS,
    INPUT_KINDS,
    MISSING,
    NOTATIONS,
    TRUSTS,
    Delimit,
    Ignore,
    Input,
    Notation,
    Output,
    Placement,
    Repeat,
    Shot,
    Trust,
)
from heedlm.instructions.body import Fault

SCHEMA = 1
BUDGETS = ("tokens", "characters")
HEED_KEYS = (
    *(
        "schema",
        "use",
        "trust",
        "delimit",
        "examples",
        "check",
        "budget",
        "tests",
        "variants",
        "notation",
        "layout",
        "ignore",
    ),
)
# A value of a Python type, and the kind that it is.
_KIND_OF = ((bool, "boolean"), (int, "integer"), (float, "float"), (str, "string"), (list, "array"), (dict, "object"))
# How an instruction may be laid out: `heed.layout` and what each of its keys takes.
LAYOUT: Mapping[str, tuple[Any, ...]] = {
    "placement": get_args(Placement),
    "repeat": get_args(Repeat),
    "turns": (True, False),
    "data_first": (True, False),
}
_NAME = re.compile(r"[A-Za-z_]\w*")


class Front:
    """What stands in front, read once. faults: everything that is wrong in it."""

    def __init__(self, located: Located) -> None:
        self.located = located
        self.faults: list[Fault] = []
        self.top: Mapping[str, Any] = {}
        if located.value is None:
            pass
        elif isinstance(located.value, dict):
            self.top = located.value
        else:
            self.wrong("the front matter is not made of keys", "name: my-instruction")
        self.heed = self._mapping(self.top.get("heed"), "heed")
        for key in self.heed:
            if key not in HEED_KEYS:
                self.wrong(f"heed has no key {key!r}", nearest(key, HEED_KEYS), "heed", key)
        if self.heed.get("schema", SCHEMA) != SCHEMA:
            self.wrong(f"schema is {self.heed['schema']!r}; this heed reads {SCHEMA}", "schema: 1", "heed", "schema")
        format_ = self._mapping(self._mapping(self.top.get("template"), "template").get("format"), "template")
        kind = format_.get("kind", "jinja2") if format_ else "jinja2"
        if kind != "jinja2":
            self.wrong(f"templates are written in {kind!r} here", "template: {format: {kind: jinja2}}", "template")

    def wrong(self, what: str, mend: str, *path: str | int, rule: str = "HD100") -> None:
        self.faults.append(Fault(rule, Problem(what, self.located.at(*path), mend)))

    def line(self, *path: str | int) -> int:
        return int(self.located.at(*path).rpartition(":")[2])

    def _mapping(self, value: Any, *path: str | int) -> Mapping[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.wrong(f"{path[-1]} is {_short(value)}, expected keys with values", f"{path[-1]}: {{...}}", *path)
            return {}
        return value

    def text(self, value: Any, *path: str | int) -> str:
        if value is None:
            return ""
        if isinstance(value, (dict, list)):
            self.wrong(f"{path[-1]} is {_short(value)}, expected text", "put it in quotes", *path)
            return ""
        return str(value)

    def one_of(self, value: Any, known: Iterable[str], *path: str | int) -> bool:
        if not isinstance(value, str) or value not in (known := tuple(known)):
            self.wrong(f"{'.'.join(map(str, path))} is {_short(value)}", nearest(str(value), known), *path)
            return False
        return True

    def inputs(self) -> tuple[Input, ...]:
        """Inputs with their trust and their marks. A list, or keys with values, as in both editions of the format."""
        trust = self._mapping(self.heed.get("trust"), "heed", "trust")
        delimit = self._mapping(self.heed.get("delimit"), "heed", "delimit")
        made = []
        for name, spec, path in self._properties("inputs"):
            trusted = trust.get(name)
            if trusted is not None and not self.one_of(trusted, TRUSTS, "heed", "trust", name):
                trusted = None
            marked = delimit.get(name, "none")
            if not self.one_of(marked, DELIMITS, "heed", "delimit", name):
                marked = "none"
            made.append(
                Input(
                    name=name,
                    kind=self._kind(spec, path),
                    required=spec.get("required", "default" not in spec) is True,
                    default=spec.get("default", MISSING),
                    example=spec.get("example", spec.get("sample", MISSING)),
                    about=self.text(spec.get("description"), *path, "description"),
                    enum=self._enum(spec, path),
                    trust=cast("Trust | None", trusted),
                    delimit=cast(Delimit, marked),
                    line=self.line(*path),
                )
            )
        names = [one.name for one in made]
        for key, given in (("trust", trust), ("delimit", delimit)):
            for name in given:
                if name not in names:
                    self.wrong(f"{key} names no input: {name!r}", _nearest(name, names), "heed", key, name)
        return tuple(made)

    def outputs(self) -> tuple[Output, ...]:
        return tuple(
            Output(
                name=name,
                kind=self._kind(spec, path),
                required=spec.get("required") is True,
                about=self.text(spec.get("description"), *path, "description"),
                enum=self._enum(spec, path),
                line=self.line(*path),
            )
            for name, spec, path in self._properties("outputs")
        )

    def _properties(self, key: str) -> Iterable[tuple[str, Mapping[str, Any], tuple[str | int, ...]]]:
        found = self.top.get(key)
        seen: set[str] = set()
        pairs: list[tuple[Any, Any, tuple[str | int, ...]]] = []
        if isinstance(found, dict):
            pairs = [(name, spec, (key, name)) for name, spec in found.items()]
        elif isinstance(found, list):
            for index, spec in enumerate(found):
                if not isinstance(spec, dict) or "name" not in spec:
                    self.wrong(f"one of the {key} has no name", f"{key}: [{{name: text, kind: string}}]", key, index)
                    continue
                pairs.append((spec["name"], spec, (key, index)))
        elif found is not None:
            self.wrong(f"{key} is {_short(found)}", f"{key}: [{{name: text, kind: string}}]", key)
        for name, spec, path in pairs:
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                self.wrong(f"one of the {key} is called {name!r}", "letters, digits and _, such as ticket", *path)
                continue
            if name in seen:
                self.wrong(f"{name!r} stands among the {key} for the second time", "keep one", *path)
                continue
            seen.add(name)
            yield name, spec if isinstance(spec, dict) else {"example": spec, "kind": _kind_named(spec)}, path

    def _kind(self, spec: Mapping[str, Any], path: tuple[str | int, ...]) -> str:
        found = spec.get("kind", spec.get("type"))
        if found is None:
            given = spec.get("default", spec.get("example"))
            return _kind_named(given)
        return str(found) if self.one_of(found, INPUT_KINDS, *path, "kind") else "string"

    def _enum(self, spec: Mapping[str, Any], path: tuple[str | int, ...]) -> tuple[Any, ...]:
        found = spec.get("enum", spec.get("enumValues"))
        if found is None:
            return ()
        if not isinstance(found, list) or not found:
            self.wrong(f"enum is {_short(found)}", "enum: [one, two]", *path, "enum")
            return ()
        return tuple(found)

    def notation(self) -> Notation:
        found = self.heed.get("notation", "markdown")
        return cast(Notation, found) if self.one_of(found, NOTATIONS, "heed", "notation") else "markdown"

    def layout(self) -> dict[str, Any]:
        """How the instruction is laid out where its file says so, by the names of the instruction's fields."""
        given = self._mapping(self.heed.get("layout"), "heed", "layout")
        found: dict[str, Any] = {}
        for key, value in given.items():
            at = ("heed", "layout", key)
            if key not in LAYOUT:
                self.wrong(f"layout has no key {key!r}", nearest(str(key), list(LAYOUT)), *at)
            elif isinstance(value, type(LAYOUT[key][0])) and value in LAYOUT[key]:
                found[key] = value
            else:
                known = " or ".join(str(one).lower() for one in LAYOUT[key])
                self.wrong(f"layout.{key} is {_short(value)}", f"{key}: {known}", *at)
        return found

    def budget(self, what: str = "tokens") -> int:
        """The most tokens of a compiled text, or characters of a system text; 0 for no limit. A bare number counts tokens."""
        found = self.heed.get("budget")
        if isinstance(found, dict):
            for key in found if what == "tokens" else ():
                if key not in BUDGETS:
                    self.wrong(f"budget has no key {key!r}", nearest(str(key), BUDGETS), "heed", "budget", key)
            found = found.get(what)
        elif what != "tokens":
            return 0
        if found is None:
            return 0
        if not isinstance(found, int) or isinstance(found, bool) or found < 1:
            self.wrong(f"the budget is {_short(found)}", f"budget: {{{what}: 700}}", "heed", "budget")
            return 0
        return found

    def uses(self) -> tuple[tuple[str, int], ...]:
        found = self.heed.get("use")
        found = [] if found is None else found if isinstance(found, list) else [found]
        made = []
        for index, one in enumerate(found):
            if not isinstance(one, str) or not one:
                self.wrong(f"use names {_short(one)}", "use: [terse.prompty#tone]", "heed", "use", index)
                continue
            made.append((one, self.line("heed", "use", index)))
        return tuple(made)

    def variants(self) -> Mapping[str, Mapping[str, str]]:
        """Block -> name of a variant -> its text. A list of texts gets the names 1, 2, 3."""
        made: dict[str, Mapping[str, str]] = {}
        for block, found in self._mapping(self.heed.get("variants"), "heed", "variants").items():
            if isinstance(found, list):
                found = {str(number): text for number, text in enumerate(found, start=1)}
            named = self._mapping(found, "heed", "variants", block)
            made[block] = {
                name: self.text(text, "heed", "variants", block, name).strip() for name, text in named.items()
            }
        return made

    def ignores(self) -> tuple[Ignore, ...]:
        made = []
        for rule, reason in self._mapping(self.heed.get("ignore"), "heed", "ignore").items():
            if not reason or not isinstance(reason, str):
                mend = f'ignore: {{{rule}: "why it is right here"}}'
                self.wrong("a rule is switched off without a reason", mend, "heed", "ignore", rule, rule="HD001")
                continue
            made.append(Ignore(rule, reason, "", self.line("heed", "ignore", rule)))
        return tuple(made)

    def checks(self) -> tuple[Mapping[str, Any], ...]:
        """Checks as written; what is wrong with one is told with its line."""
        from heedlm.instructions.answers import check_faults

        found = self.heed.get("check")
        found = [] if found is None else found if isinstance(found, list) else [found]
        names = [name for name, _, _ in self._properties("outputs")]
        made = []
        for index, one in enumerate(found):
            faults = check_faults(one, names)
            for what, mend in faults:
                self.wrong(what, mend, "heed", "check", index)
            if not faults:
                made.append(one)
        return tuple(made)

    def shots(self, inputs: tuple[Input, ...], outputs: tuple[Output, ...]) -> tuple[Shot, ...]:
        """Demonstrations that stand in the file itself."""
        found = self.heed.get("examples")
        if found is None or isinstance(found, dict):
            return ()
        if not isinstance(found, list):
            self.wrong(f"examples is {_short(found)}", "examples: [{ticket: ..., queue: ...}]", "heed", "examples")
            return ()
        made = []
        for index, row in enumerate(found):
            path = ("heed", "examples", index)
            try:
                made.append(shot_of(row, inputs, outputs, self.located.at(*path)))
            except ValueError as error:
                self.wrong(str(error), "give every input, and the answer under output or its fields", *path)
        return tuple(made)


def shot_of(row: Any, inputs: Iterable[Input], outputs: Iterable[Output], source: str) -> Shot:
    """A demonstration from a row of inputs and outputs. Raises ValueError where one is missing or strange."""
    if not isinstance(row, Mapping):
        raise ValueError(f"an example is {_short(row)}, expected keys with values")
    taken = [one.name for one in inputs]
    fields = [one.name for one in outputs]
    known = {*taken, *fields, "output"}
    strange = next((key for key in row if key not in known), None)
    if strange is not None:
        raise ValueError(f"an example has {strange!r}, which is no input and no output ({_nearest(strange, known)})")
    answer = {name: row[name] for name in fields if name in row}
    if "output" in row and "output" not in fields:
        given = row["output"]
        output = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    elif not answer:
        raise ValueError("an example has no answer")
    elif len(fields) == 1 and isinstance(answer[fields[0]], str):
        output = answer[fields[0]]
    else:
        output = json.dumps(answer, ensure_ascii=False)
    return Shot({name: row[name] for name in taken if name in row}, output, source)


def _kind_named(value: Any) -> str:
    return next((name for kind, name in _KIND_OF if isinstance(value, kind)), "string")


def _nearest(name: Any, names: Iterable[str]) -> str:
    return nearest(str(name), names)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


assert set(get_args(Notation)) == set(NOTATIONS)
