"""The commands of `heed templates`: templates that make conversations of rows of columns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from heedlm.cli_data import mapping_of
from heedlm.errors import HeedError, Problem
from heedlm.screen import Screen

if TYPE_CHECKING:
    from heedlm.data.prompts.preview import Shown, Tried
    from heedlm.data.prompts.template import Template

app = typer.Typer(no_args_is_help=True, help="Prompt templates: rows of columns become conversations.")

FOUND = 1  # exit code of lint where it finds something

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A name from `heed templates list`, a file, or FILE#NAME.")]
Map = Annotated[
    list[str] | None, typer.Option("--map", help="COLUMN=NAME: what a column is called in the file, as text=review.")
]
_COLOURS = {"system": "magenta", "user": "cyan", "assistant": "green"}


@app.command("list")
def list_(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A file of templates instead, promptsource's YAML among them.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the templates that come with heed, by kind of task, or those in a file.

    Example: heed templates list
    """
    from heedlm.data.prompts import library

    if file is not None:
        found = library.find(str(file))
        families, refused = {found.templates[0].family: found.templates}, found.refused
    else:
        families, refused = dict(library.families()), ()
    screen = Screen(as_json)
    text = Text(no_wrap=True)
    for family, templates in families.items():
        text.append(f"{family}\n", style="bold")
        for template in templates:
            columns = ", ".join(column.name for column in template.columns)
            text.append(f"  {template.name:<26}", style="cyan")
            text.append(f"{len(template.wordings):>3} wordings   {columns}\n", style="dim")
            text.append(f"    {template.about}\n" if template.about else "")
    number = sum(map(len, families.values()))
    text.append(f"{number} templates, {len(families)} kinds of task" if file is None else f"{number} templates")
    text.append(f", {len(refused)} refused\n" if refused else "\n")
    for problem in refused:
        text.append(f"{problem}\n", style="red")
    told = {family: [_told(template) for template in templates] for family, templates in families.items()}
    screen.result({"families": told, "refused": [str(problem) for problem in refused]}, text)


@app.command()
def show(
    name: Name,
    source: Annotated[bool, typer.Option("--source", help="Print its YAML, to be saved and changed.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of what is drawn: order, marks, notation.")] = 0,
    as_json: Json = False,
) -> None:
    """Show a template: its columns, and every wording filled with an example.

    Example: heed templates show qa-multiple-choice
    """
    from heedlm.data.prompts import library
    from heedlm.data.prompts.preview import wordings_of

    screen = Screen(as_json)
    found = library.find(name)
    if source:
        file = found.templates[0].file
        yaml = library.source_of(name) if name in library.names() else Path(file).read_text(encoding="utf-8")
        screen.result({"source": yaml}, Text(yaml.rstrip("\n"), no_wrap=True))
        return
    shown = [(template, wordings_of(template, seed)) for template in found.templates]
    text = Text()
    for template, wordings in shown:
        text.append_text(_head(template))
        for one in wordings:
            text.append_text(_conversation(one))
        if not template.examples:
            text.append("It has no example of its own: heed templates try NAME --data FILE\n", style="dim")
    told = [{**_told(template), "shown": [_plain(one) for one in wordings]} for template, wordings in shown]
    screen.result({"templates": told}, text)


@app.command("try")
def try_(
    name: Name,
    data: Annotated[list[str], typer.Option("--data", help="Rows of columns: a file or folder; may be given again.")],
    rows: Annotated[int, typer.Option("--rows", help="How many conversations to show.", min=0)] = 3,
    names: Map = None,
    labels: Annotated[
        list[str] | None, typer.Option("--label", help="VALUE=CHOICE: what a value in the file means, as 1=positive.")
    ] = None,
    per_row: Annotated[int, typer.Option("--per-row", help="Conversations of each row.", min=1)] = 1,
    inverted: Annotated[float, typer.Option("--inverted", help="Share that asks for the input, 0 to 1.")] = 0.0,
    notation: Annotated[
        str, typer.Option("--notation", help="Of named blocks: plain, markdown, xml, labels or mix.")
    ] = "plain",
    seed: Annotated[int, typer.Option("--seed", help="Seed of what is drawn, as in a recipe.")] = 0,
    as_json: Json = False,
) -> None:
    """Fill a template with the rows of a file: the first conversations, and what would be refused in all of it.

    Example: heed templates try sentiment-review --data reviews.csv --map text=review
    """
    from itertools import chain

    from heedlm.config import Recipe
    from heedlm.data.prompts.preview import tried
    from heedlm.data.prompts.setup import prompting_of, with_gathered
    from heedlm.data.sources import data_files, read_rows
    from heedlm.recipe_file import load_recipe

    files = [file for path in data for file in data_files(Path(path))]
    source: dict[str, Any] = {"path": data[0], "prompts": [name], "mapping": mapping_of(names or []) or None}
    source |= {"prompts_per_row": per_row, "inverted": inverted, "notation": notation}
    source |= {"labels": _meanings(labels)} if labels else {}
    recipe = load_recipe(Recipe, None, (), base={"data": {"sources": [source]}})
    how = prompting_of(recipe.data.sources[0], seed)
    assert how is not None
    found = tried(chain.from_iterable(map(read_rows, files)), with_gathered(how, files), rows)
    screen = Screen(as_json)
    told = {**found._asdict(), "shown": [_plain(one) for one in found.shown]}
    told["problems"] = [str(problem) for problem in found.problems]
    screen.result(told, _account(found))
    if not found.made:
        raise typer.Exit(FOUND)


@app.command()
def lint(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Files of templates.")],
    data: Annotated[
        list[str] | None, typer.Option("--data", help="Rows to fill them with, beside their own examples.")
    ] = None,
    names: Map = None,
    as_json: Json = False,
) -> None:
    """Find what is wrong with templates, all of it at once, each thing with its line; exit code 1 where there is something.

    Example: heed templates lint my_template.yaml
    """
    from itertools import islice

    from heedlm.data.prompts.apply import Prompting
    from heedlm.data.prompts.lint import ROWS, lint_file
    from heedlm.data.sources import Row, data_files, read_rows

    every = (row for path in data or () for file in data_files(Path(path)) for row in read_rows(file))
    rows = list(islice((row for row in every if isinstance(row, Row)), ROWS))
    problems: list[Problem] = []
    number = 0
    for file in files:
        try:
            found, held = lint_file(file, rows, Prompting((), mapping=mapping_of(names or [])))
        except HeedError as error:
            found, held = list(error.problems), 0
        problems += found
        number += held
    screen = Screen(as_json)
    counted = (
        f"{number} template{'s' if number != 1 else ''}, {len(problems)} problem{'s' if len(problems) != 1 else ''}"
    )
    text = Text("".join(f"{problem}\n" for problem in problems) + counted, no_wrap=True)
    told = [{"what": problem.what, "where": problem.where, "mend": problem.mend} for problem in problems]
    screen.result({"templates": number, "problems": told}, text)
    if problems:
        raise typer.Exit(FOUND)


def _meanings(labels: list[str]) -> dict[str, str]:
    """VALUE=CHOICE words. Raises HeedError for a word without the sign."""
    wrong = next((label for label in labels if "=" not in label), None)
    if wrong is not None:
        raise HeedError(f"This does not say what a value means: {wrong!r}.", "--label", "write --label 1=positive")
    return dict(label.split("=", 1) for label in labels)


def _told(template: Template) -> dict[str, Any]:
    return {
        "name": template.name,
        "about": template.about,
        "columns": {column.name: [*column.also] for column in template.columns},
        "wordings": len(template.wordings),
        "fits": [*template.fits],
    }


def _head(template: Template) -> Text:
    text = Text()
    text.append(f"{template.name}", style="bold")
    text.append(f"   {template.family}\n")
    text.append(f"{template.about}\n" if template.about else "")
    for column in template.columns:
        text.append(f"  {column.name}", style="cyan")
        text.append(f"   {column.about}" if column.about else "")
        text.append("   may be missing" if column.optional else "", style="dim")
        text.append(f"   also called {', '.join(column.also)}\n" if column.also else "\n", style="dim")
    text.append(f"  fits {', '.join(template.fits)}\n" if template.fits else "", style="dim")
    return text


def _conversation(shown: Shown) -> Text:
    text = Text(f"\n--- {shown.title}\n", style="dim")
    for message in shown.example.messages:
        text.append(f"{message.role}: ", style=_COLOURS.get(message.role, ""))
        text.append(f"{message.content}\n", style="not dim")
    return text


def _account(found: Tried) -> Text:
    text = Text()
    for one in found.shown:
        text.append_text(_conversation(one))
    text.append(f"\n{found.rows:,} rows, {found.made:,} conversations\n")
    for wording, count in found.by_wording.items():
        text.append(f"  {count:>7,}  {wording}\n", style="dim")
    for reason, count in found.refused.items():
        text.append(f"  {count:>7,}  refused: {reason}\n", style="red")
    for problem in found.problems:
        text.append(f"{problem}\n", style="red")
    return text


def _plain(shown: Shown) -> dict[str, Any]:
    turns = [{"role": message.role, "content": message.content} for message in shown.example.messages]
    return {"title": shown.title, "messages": turns}
