"""Suites from YAML and JSONL, with every problem of a file in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from heedlm.data.prompts.located import Located, read_yaml
from heedlm.data.row import Row
from heedlm.data.sources import data_files, read_rows
from heedlm.errors import HeedError, Problem, nearest
from heedlm.eval.scorers.registry import read_scorer
from heedlm.eval.suites.harness import read_harness
from heedlm.eval.suites.items import Asking, examples_of, template_problems
from heedlm.eval.suites.suite import Suite, SuiteTask
from heedlm.messages import JSON, Example, Task

_SUITE_KEYS = ("about", "tasks", "rows")
_TASK_KEYS = (
    "items", "template", "templates", "system", "target", "scorer", "baseline", "kind", "gated", "max_tokens", "stop",
    "plain", "samples", "temperature", "turns",
)  # fmt: skip
_HARNESS_KEYS = ("lm_eval", "metric", "baseline", "kind", "gated")
_SPLITS = ("test", "val")
_MOST_SAMPLES = 100


def read_suite(path: Path) -> Suite:
    """The suite in a YAML file; its items stand beside it, or in it.

    Raises HeedError with every problem of the file and of its items, each with its line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        mend = "give the path of a YAML file, or a name from: heed suites list"
        raise HeedError(f"the suite cannot be read: {error.strerror}", str(path), mend) from None
    except UnicodeDecodeError:
        raise HeedError("the suite is not text in UTF-8", str(path), "save it as UTF-8") from None
    reader = _Reader(read_yaml(text, str(path)), path)
    suite = reader.suite()
    if reader.problems:
        raise HeedError.of(list(dict.fromkeys(reader.problems)))  # two tasks may read one file
    return suite


class _Reader:
    """Collects the problems of one file while its parts are read."""

    def __init__(self, found: Located, path: Path) -> None:
        self.found, self.path = found, path
        self.problems: list[Problem] = []

    def wrong(self, what: str, mend: str, *place: str | int) -> None:
        self.problems.append(Problem(what, self.found.at(*place), mend))

    def suite(self) -> Suite:
        value = self.found.value
        name = self.path.stem
        if not isinstance(value, Mapping):
            self.wrong("a suite is a mapping with tasks", "tasks: {NAME: {items: FILE, scorer: exact}}")
            return Suite(name, "", (), str(self.path))
        self._unknown(value, _SUITE_KEYS)
        about = self._text(value, "about") or ""
        rows = self._text(value, "rows") or ""
        if rows and rows not in _SPLITS:
            self.wrong(f"rows is {rows!r}, expected test or val", "rows: test", "rows")
        tasks: Any = value.get("tasks", {})
        if rows and tasks:
            self.wrong("a suite has rows of the run or tasks of its own, not both", "leave out one of them", "tasks")
        if not isinstance(tasks, Mapping) or (not tasks and not rows):
            self.wrong("the suite has no tasks", "tasks: {NAME: {items: FILE, scorer: exact}}", "tasks")
            tasks = {}
        made = [task for one in tasks if (task := self._task(one, tasks[one])) is not None]
        return Suite(name, about, tuple(made), str(self.path), rows)

    def _task(self, name: str, spec: Any) -> SuiteTask | None:
        at = ("tasks", name)
        if not isinstance(spec, Mapping):
            self.wrong(f"task {name!r} is no mapping", "items: FILE, scorer: exact", *at)
            return None
        if "lm_eval" in spec:
            return self._harness(name, spec, at)
        self._unknown(spec, _TASK_KEYS, *at)
        if "scorer" not in spec:
            self.wrong(f"task {name!r} has no scorer", "scorer: exact   (all of them: heed suites scorers)", *at)
            scorer = None
        else:
            scorer, problems = read_scorer(spec["scorer"], self.found.at(*at, "scorer"))
            self.problems += problems
        asking = self._asking(spec, at)
        rows = self._rows(spec, at)
        examples: list[Example] = []
        broken = template_problems(asking, rows)
        for what, mend, *place in broken:
            self.wrong(what, mend, *at, *place)
        if not broken:
            for row in rows:
                made, problems = examples_of(row, asking)
                examples += made
                self.problems += problems
        if scorer is not None:
            self.problems += [problem for example in examples for problem in scorer.item_problems(example)]
        self._repeated(examples)
        baseline = self._baseline(spec, at, examples)
        kind, gated = self._text(spec, "kind", *at) or name, self._switch(spec, "gated", at)
        if scorer is None or not examples:
            return None
        return SuiteTask(Task(name, kind, tuple(examples), scorer, gated), baseline, len(rows))

    def _harness(self, name: str, spec: Mapping[str, Any], at: tuple[str, ...]) -> SuiteTask | None:
        """A task that lm-eval holds, or that stands in a file of lm-eval's kind."""
        self._unknown(spec, _HARNESS_KEYS, *at)
        theirs, metric = self._text(spec, "lm_eval", *at), self._text(spec, "metric", *at)
        if theirs is None:
            return None
        try:
            task = read_harness(name, theirs, self.found.at(*at, "lm_eval"), self.path.parent, metric)
        except HeedError as error:
            self.problems += error.problems
            return None
        kind, gated = self._text(spec, "kind", *at) or name, self._switch(spec, "gated", at)
        baseline = self._baseline(spec, at, task.examples)
        return SuiteTask(replace(task, kind=kind, gated=gated), baseline, len(task.examples))

    def _asking(self, spec: Mapping[str, Any], at: tuple[str, ...]) -> Asking:
        templates: dict[str, str] = {}
        if "template" in spec and "templates" in spec:
            self.wrong("a task has `template` or `templates`, not both", "put it among the others", *at, "template")
        given: Any = spec.get("templates", {})
        if not isinstance(given, Mapping) or not all(isinstance(one, str) and one for one in given.values()):
            self.wrong(
                "`templates` is a mapping from names to texts", 'templates: {plain: "{{ prompt }}"}', *at, "templates"
            )
        elif given:
            templates = {str(name): text for name, text in given.items()}
        else:
            templates = {"": self._text(spec, "template", *at) or "{{ prompt }}"}
        samples = self._count(spec, "samples", at) or 1
        temperature = self._number(spec, "temperature", at)
        if samples > 1 and not temperature:
            self.wrong("several samples of a greedy reply are all the same", "temperature: 0.7", *at, "samples")
        if samples > _MOST_SAMPLES:
            self.wrong(
                f"{samples} samples of each item; at most {_MOST_SAMPLES} are asked for", "samples: 5", *at, "samples"
            )
            samples = 1
        stop = spec.get("stop", [])
        stops = [stop] if isinstance(stop, str) else stop
        if not isinstance(stops, list) or not all(isinstance(one, str) and one for one in stops):
            self.wrong("`stop` is a text, or a list of texts", 'stop: ["\\n"]', *at, "stop")
            stops = []
        return Asking(
            templates=templates,
            system=self._text(spec, "system", *at) or "",
            target=self._text(spec, "target", *at) or "",
            plain=self._switch(spec, "plain", at),
            every_turn=self._switch(spec, "turns", at),
            samples=samples,
            temperature=temperature,
            stop=tuple(stops),
            max_tokens=self._count(spec, "max_tokens", at),
        )

    def _rows(self, spec: Mapping[str, Any], at: tuple[str, ...]) -> list[Row]:
        items = spec.get("items")
        if isinstance(items, list):
            odd = [number for number, item in enumerate(items) if not isinstance(item, Mapping)]
            for number in odd:
                self.wrong("an item is a mapping", '{prompt: "...", target: "..."}', *at, "items", number)
            rows = [
                Row(dict(item), self.found.at(*at, "items", number))
                for number, item in enumerate(items)
                if isinstance(item, Mapping)
            ]
        elif isinstance(items, str) and items:
            rows = self._file(items, at)
        else:
            self.wrong("the task has no items", "items: FILE.jsonl, or a list of items", *at, "items")
            return []
        if not rows and not self.problems:
            self.wrong("there are no items", "write one item on each line", *at, "items")
        return rows

    def _file(self, name: str, at: tuple[str, ...]) -> list[Row]:
        file = self.path.parent / name
        rows: list[Row] = []
        try:
            for path in data_files(file):
                for row in read_rows(path):
                    if isinstance(row, Row):
                        rows.append(row)
                    else:
                        self.problems.append(row)
        except HeedError as error:
            where = self.found.at(*at, "items")
            self.problems += [Problem(one.what, f"{one.where} ({where})", one.mend) for one in error.problems]
        return rows

    def _repeated(self, examples: Sequence[Example]) -> None:
        first: dict[str, Example] = {}
        for example in examples:
            if example.id in first and example.source != first[example.id].source:
                where = f"{example.source} and {first[example.id].source}"
                mend = "give each item its own id, or leave out the one that is there twice"
                self.problems.append(Problem(f"the item {example.id!r} is there twice", where, mend))
            first.setdefault(example.id, example)

    def _baseline(self, spec: Mapping[str, Any], at: tuple[str, ...], examples: Sequence[Example]) -> float | None:
        """The writer's own, else what guessing among choices reaches."""
        given = self._number(spec, "baseline", at)
        if given is not None and given > 1:
            self.wrong(f"baseline is {given:g}, expected a share from 0 to 1", "baseline: 0.25", *at, "baseline")
        choices = [example.meta.get("choices") for example in examples]
        if given is not None or not choices or not all(isinstance(one, list) and one for one in choices):
            return given
        return sum(1 / len(one) for one in choices if one) / len(choices)

    def _unknown(self, value: Mapping[str, Any], known: Sequence[str], *at: str) -> None:
        for key in value:
            if key not in known:
                self.wrong(f"unknown key {key!r}", nearest(key, known), *at, key)

    def _text(self, value: Mapping[str, Any], key: str, *at: str) -> str | None:
        found: JSON = value.get(key)
        if found is None or (isinstance(found, str) and found):
            return found
        self.wrong(f"{key} is {found!r}, expected a text that is not empty", f'{key}: "..."', *at, key)
        return None

    def _switch(self, value: Mapping[str, Any], key: str, at: tuple[str, ...]) -> bool:
        found = value.get(key, False)
        if not isinstance(found, bool):
            self.wrong(f"{key} is {found!r}, expected true or false", f"{key}: true", *at, key)
        return found is True

    def _number(self, value: Mapping[str, Any], key: str, at: tuple[str, ...]) -> float | None:
        found: JSON = value.get(key)
        if found is None or (isinstance(found, (int, float)) and not isinstance(found, bool) and 0 <= found < 1e9):
            return found
        self.wrong(f"{key} is {found!r}, expected a number of 0 or more", f"{key}: 0.5", *at, key)
        return None

    def _count(self, value: Mapping[str, Any], key: str, at: tuple[str, ...]) -> int | None:
        found: JSON = value.get(key)
        if found is None or (isinstance(found, int) and not isinstance(found, bool) and found > 0):
            return found
        self.wrong(f"{key} is {found!r}, expected a whole number of 1 or more", f"{key}: 1", *at, key)
        return None
