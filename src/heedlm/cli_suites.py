"""The commands of `heed suites`: what a model can be evaluated on, and by what it is scored."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from heedlm.errors import HeedError, Problem, nearest
from heedlm.screen import Screen

if TYPE_CHECKING:
    from heedlm.eval.scorers.scorer import Kind
    from heedlm.eval.suites.suite import Suite, SuiteTask
    from heedlm.messages import Example

app = typer.Typer(no_args_is_help=True, help="Suites: items, what they are asked, how replies are scored.")

FOUND = 1  # exit code of check where it finds something

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
_COLOURS = {"system": "magenta", "user": "cyan", "assistant": "green"}


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the suites that come with heed.

    Example: heed suites list
    """
    from heedlm.eval.suites import shipped

    suites = [shipped.find(name) for name in shipped.names()]
    text = Text()
    for suite in suites:
        text.append(f"{suite.name:<15}", style="bold")
        text.append(f"{_size(suite)}\n", style="dim")
        text.append(f"  {suite.about}\n")
    text.append("Ask one:  heed eval RUN --suite NAME     Write one: heed suites show NAME --source\n", style="dim")
    Screen(as_json).result({"suites": [_told(suite) for suite in suites]}, text)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name from `heed suites list`, or a YAML file.")],
    items: Annotated[int, typer.Option("--items", help="Items of each task to show.", min=0)] = 2,
    source: Annotated[bool, typer.Option("--source", help="Print its YAML, to be saved and changed.")] = False,
    as_json: Json = False,
) -> None:
    """Show a suite: its tasks, how they are scored, and what the first items ask.

    Example: heed suites show constraints --items 3
    """
    from heedlm.eval.suites import shipped

    screen = Screen(as_json)
    if source:
        yaml = shipped.source_of(name)
        screen.result({"source": yaml}, Text(yaml.rstrip("\n"), no_wrap=True))
        return
    suite = shipped.find(name)
    text = Text(f"{suite.name}", style="bold")
    text.append(f"   {_size(suite)}\n{suite.about}\n", style="not bold")
    for suite_task in suite.tasks:
        text.append_text(_task(suite_task))
        for example in islice(_one_form_each(suite_task), items):
            text.append_text(_item(example))
    screen.result(_told(suite, items), text)


@app.command()
def check(
    names: Annotated[list[str], typer.Argument(metavar="SUITE", help="YAML files, or names from the list.")],
    as_json: Json = False,
) -> None:
    """Find what is wrong with suites, all of it at once, each thing with its line; exit code 1 where there is something.

    Beside mistakes of writing: items whose own answer does not score 1, and items that an empty reply passes.

    Example: heed suites check my_suite.yaml
    """
    from heedlm.eval.suites import proof, shipped

    for name in names:
        shipped.check_name(name)  # a name that was mistyped is no finding
    problems: list[Problem] = []
    number = 0
    for name in names:
        try:
            suite = shipped.find(name)
        except HeedError as error:
            problems += error.problems
            continue
        number += sum(one.num_items for one in suite.tasks)
        problems += proof.doubts(suite.tasks)
    screen = Screen(as_json)
    counted = f"{number:,} item{'s' if number != 1 else ''}, {len(problems)} problem{'s' if len(problems) != 1 else ''}"
    text = Text("".join(f"{problem}\n" for problem in problems) + counted, no_wrap=True)
    told = [{"what": one.what, "where": one.where, "mend": one.mend} for one in problems]
    screen.result({"items": number, "problems": told}, text)
    if problems:
        raise typer.Exit(FOUND)


@app.command()
def scorers(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One of them, with its options.")] = None,
    as_json: Json = False,
) -> None:
    """List the scorers, or show one with its options and an example.

    Example: heed suites scorers numeric
    """
    from heedlm.eval.scorers.registry import KINDS

    if name is not None and name not in KINDS:
        raise HeedError(f"There is no scorer {name!r}.", "heed suites scorers", nearest(name, KINDS))
    text = Text()
    if name is None:
        for kind in KINDS.values():
            text.append(f"{kind.name:<12}", style="cyan")
            text.append(f"{kind.about}\n")
        text.append("Options and an example: heed suites scorers NAME\n", style="dim")
    else:
        text.append_text(_scorer(KINDS[name]))
    chosen = KINDS.values() if name is None else [KINDS[name]]
    told = [
        {"name": kind.name, "about": kind.about, "metric": kind.metric, "options": _options(kind)} for kind in chosen
    ]
    Screen(as_json).result({"scorers": told}, text)


def _scorer(kind: Kind) -> Text:
    import json

    text = Text(f"{kind.name}", style="bold")
    text.append(f"   {kind.about}   (mean: {kind.metric})\n", style="not bold")
    for key, option in kind.options.items():
        text.append(f"  {key}", style="cyan")
        text.append(f"   {option.about}: {option.wanted}", style="not bold")
        text.append(f"   (default {json.dumps(option.default)})\n" if option.default is not None else "\n", style="dim")
    spec, item, reply = kind.example
    text.append(
        f"example\n  scorer: {json.dumps(spec)}\n  item:   {json.dumps(item, ensure_ascii=False)}\n", style="not bold"
    )
    text.append(f"  scores 1: {reply}\n", style="green")
    if kind.extra:
        text.append("  needs: pip install 'heedlm[eval]'\n", style="dim")
    return text


def _options(kind: Kind) -> dict[str, Any]:
    return {
        key: {"about": option.about, "wanted": option.wanted, "default": option.default}
        for key, option in kind.options.items()
    }


def _size(suite: Suite) -> str:
    if suite.rows:
        return f"the {suite.rows} rows of the run"
    items = sum(one.num_items for one in suite.tasks)
    asked = sum(len(one.task.examples) for one in suite.tasks)
    tasks = f"{len(suite.tasks)} task{'s' if len(suite.tasks) != 1 else ''}, {items:,} items"
    return tasks if asked == items else f"{tasks}, asked {asked:,} times"


def _task(suite_task: SuiteTask) -> Text:
    from heedlm.eval.suites.suite import AXES, VARIANT, axes
    from heedlm.eval.task import metric

    task = suite_task.task
    text = Text(f"\n{task.name}", style="bold")
    text.append(f"   {suite_task.num_items:,} items", style="not bold")
    for axis in axes(task):
        most = Counter(str(example.meta[VARIANT].get(axis)) for example in task.examples)
        text.append(f" x {len(most)} {AXES[axis]}", style="not bold")
    name = getattr(getattr(task.scorer, "kind", None), "name", "checks")
    text.append(f"   scorer {name} ({metric(task)})", style="dim not bold")
    text.append(
        f"   baseline {suite_task.baseline:.2f}\n" if suite_task.baseline is not None else "\n", style="dim not bold"
    )
    return text


def _one_form_each(suite_task: SuiteTask) -> list[Example]:
    """The first form of every item."""
    first: dict[str, Example] = {}
    for example in suite_task.task.examples:
        first.setdefault(str(example.meta.get("item", example.id)), example)
    return list(first.values())


def _item(example: Example) -> Text:
    text = Text(f"--- {example.id}\n", style="dim")
    for turn in example.messages:
        if turn.content:
            text.append(f"{turn.role}: ", style=f"{_COLOURS.get(turn.role, '')} not dim")
            text.append(f"{turn.content}\n", style="not dim")
    return text


def _told(suite: Suite, items: int = 0) -> dict[str, Any]:
    tasks = []
    for one in suite.tasks:
        told: dict[str, Any] = {"name": one.task.name, "kind": one.task.kind, "items": one.num_items}
        told |= {"asked": len(one.task.examples), "baseline": one.baseline}
        if items:
            told["shown"] = [
                {
                    "id": example.id,
                    "messages": [{"role": turn.role, "content": turn.content} for turn in example.messages],
                }
                for example in islice(_one_form_each(one), items)
            ]
        tasks.append(told)
    return {"name": suite.name, "about": suite.about, "rows": suite.rows, "tasks": tasks}
