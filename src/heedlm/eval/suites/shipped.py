"""The suites there are: those that come with heed, by name, and those of a person, by file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path

from heedlm.errors import HeedError, Problem, nearest
from heedlm.eval.suites.read import read_suite
from heedlm.eval.suites.suite import Suite, SuiteTask, refuse_same_names
from heedlm.eval.task import tasks_from
from heedlm.messages import Example

ENDINGS = (".yaml", ".yml")


@cache
def names() -> tuple[str, ...]:
    """The names of the suites that come with heed, in order."""
    folder = resources.files("heedlm.eval.suites")
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def check_name(name: str) -> None:
    """Raises HeedError, with the nearest name, where no suite stands behind a name; one that does may be broken."""
    if name in names() or Path(name).is_file():
        return
    if name.endswith(ENDINGS) or "/" in name:
        raise HeedError("no such suite", name, "give the path of a YAML file that exists")
    mend = f"{nearest(name, names())}   (all of them: heed suites list; or the path of a YAML file)"
    raise HeedError(f"there is no suite {name!r}", "--suite", mend)


def find(name: str) -> Suite:
    """The suite of a name of the list, or in a file. Raises HeedError with the nearest name, or all problems of the file."""
    check_name(name)
    if Path(name).is_file():
        return read_suite(Path(name))
    with resources.as_file(resources.files("heedlm.eval.suites").joinpath(f"{name}.yaml")) as path:
        return read_suite(path)


def source_of(name: str) -> str:
    """The YAML of a suite, to read, and to change a copy of."""
    suite = find(name)  # refuses a name that is unknown, with the nearest
    if name in names() and not Path(name).is_file():
        return resources.files("heedlm.eval.suites").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return Path(suite.file).read_text(encoding="utf-8")


def suite_tasks(
    wanted: Sequence[str], test: Sequence[Example], val: Sequence[Example] = (), *, where: str = "data"
) -> list[SuiteTask]:
    """The tasks of several suites together, those of a run's own rows among them.

    test, val: the rows of the run, which lie in the folder `where`. Raises HeedError with every problem of every suite, for rows that the run does not
    have, and for two tasks of one name.
    """
    problems: list[Problem] = []
    found: list[SuiteTask] = []
    places: list[tuple[str, str]] = []
    for name in dict.fromkeys(wanted):
        try:
            suite = find(name)
            own = _of_rows(suite, val if suite.rows == "val" else test, where) if suite.rows else list(suite.tasks)
        except HeedError as error:
            problems += error.problems
            continue
        found += own
        places += [(one.task.name, f"suite {name}") for one in own]
    if problems:
        raise HeedError.of(problems)
    refuse_same_names(places)
    return found


def _of_rows(suite: Suite, rows: Sequence[Example], where: str) -> list[SuiteTask]:
    if not rows:
        what = f"This run has no {suite.rows} rows to evaluate on."
        mend = (
            "ask other items: heed eval RUN --data FILE, or --suite NAME of heed suites list; or hold rows back: heed train, into a "
            f"new run, with --set data.{suite.rows}=0.1 (a tenth of the rows) or data.{suite.rows}=FILE"
        )
        raise HeedError(what, f"{where}/{suite.rows}.jsonl", mend)
    return [SuiteTask(task, num_items=len(task.examples)) for task in tasks_from(rows)]
