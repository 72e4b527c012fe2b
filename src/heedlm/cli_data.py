"""The commands of `heed data`: looking at files before anything is made of them, and rows written by people."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from heedlm.data.fields import visible
from heedlm.errors import HeedError
from heedlm.screen import Screen

if TYPE_CHECKING:
    from heedlm.data.human import HumanRow, Written

app = typer.Typer(no_args_is_help=True, help="Look at data, and write rows of your own.")

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, progress on standard error.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say only the result.")]
Store = Annotated[Path, typer.Option("--store", help="The file that rows of people are kept in.")]
Author = Annotated[str, typer.Option("--author", envvar="HEED_AUTHOR", help="Who writes; or set HEED_AUTHOR.")]
Licence = Annotated[str | None, typer.Option("--licence", help="Under which the row may be used, as CC-BY-4.0.")]
Consent = Annotated[str | None, typer.Option("--consent", help="What the author agrees to, as 'training'.")]
FormFile = Annotated[
    str | None, typer.Option("--file", help="A filled form instead of an editor; - is standard input.")
]
ModelName = Annotated[str | None, typer.Option("--model", help="The model whose reply is corrected.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The row, as heed data list names it.")]
STORE = Path("human.jsonl")
UNUSABLE = 1  # exit code where no row can be learnt from, or a file would be refused
DAMAGED = 1  # exit code where lines of a store are not to be read
_PREVIEW = 60  # characters


@app.command()
def inspect(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Files or folders of rows.")],
    model: Annotated[
        str | None, typer.Option("--model", help="Show the examples as this model would see them.")
    ] = None,
    names: Annotated[
        list[str] | None, typer.Option("--map", help="OURS=THEIRS: the name of a field in the file, as question=ask.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", help="How many examples to show.", min=0)] = 3,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="One setting of a recipe, for example templates.chat=chatml.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the choice of examples.")] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what files hold: shapes and how sure, examples, lengths, languages, problems, and what to do next.

    Exit code 1: nothing in them can be learnt from as it is, or one of them cannot be read to its end.

    Example: heed data inspect rows.jsonl --model atlas
    """
    from heedlm import api
    from heedlm.data import inspect_page

    screen = Screen(as_json, quiet)
    with screen.progress() as bars:
        task = bars.add_task("reading", total=None, note="")
        found = api.inspect(
            data=files,
            model=model,
            mapping=mapping_of(names or []),
            limit=limit,
            seed=seed,
            settings=settings or (),
            on_progress=lambda rows: bars.update(task, note=f"{rows:,} rows"),
        )
    screen.result(inspect_page.as_json(found), *inspect_page.page(found, plain=not screen.out.is_terminal))
    useless = not found.examples and not any(trouble.reason == "document" for trouble in found.problems)
    if useless or not all(file.whole for file in found.files):
        raise typer.Exit(UNUSABLE)


@app.command()
def add(
    author: Author,
    store: Store = STORE,
    licence: Licence = None,
    consent: Consent = None,
    correct: Annotated[bool, typer.Option("--correct", help="The row corrects a reply of a model.")] = False,
    model: ModelName = None,
    file: FormFile = None,
    as_json: Json = False,
) -> None:
    """Write a row in your editor (or from a file) into a store that only grows, with author, time and licence.

    Example: heed data add --author Ann --licence CC-BY-4.0 --file row.txt
    """
    from heedlm.data import human
    from heedlm.data.editor import filled_form
    from heedlm.data.form import empty_form

    about = human.About(author, licence, consent)
    human.check_about(about)  # before a person writes for an hour
    with filled_form(empty_form(correction=correct or model is not None), file) as filled:
        written = human.add(store, filled.row, about, corrects=filled.correction(model))
    _say_written(written, store, "added", as_json)


@app.command()
def edit(
    name: Id,
    author: Author,
    store: Store = STORE,
    licence: Licence = None,
    consent: Consent = None,
    model: ModelName = None,
    file: FormFile = None,
    as_json: Json = False,
) -> None:
    """Change a row of a store; what it was stays in the file, what is read is what it is now.

    Example: heed data edit 3f9c02a1b7de --author Ann
    """
    from heedlm.data import human
    from heedlm.data.editor import filled_form
    from heedlm.data.form import to_form

    before = human.find(store, name)
    about = human.About(author, licence or before.about.licence, consent or before.about.consent)
    human.check_about(about)
    reply = before.corrects
    with filled_form(to_form(before.row, reply.text if reply else None), file) as filled:
        corrects = filled.correction(model or (reply.model if reply and filled.corrected else None))
        written = human.edit(store, name, filled.row, about, corrects=corrects)
    _say_written(written, store, "changed", as_json)


@app.command()
def withdraw(
    name: Id,
    author: Author,
    store: Store = STORE,
    why: Annotated[str, typer.Option("--why", help="The reason, kept with the withdrawal.")] = "",
    as_json: Json = False,
) -> None:
    """Take a row of a store back: from now on it is neither listed nor prepared.

    Example: heed data withdraw 3f9c02a1b7de --author Ann --why 'asked for by the author'
    """
    from heedlm.data import human

    _say_written(human.withdraw(store, name, human.About(author), why=why), store, "withdrawn", as_json)


@app.command("list")
def list_rows(
    store: Store = STORE,
    author: Annotated[str | None, typer.Option("--author", help="Only rows of this author.")] = None,
    as_json: Json = False,
) -> None:
    """List the rows of a store as they are now; a torn last line is put aside, and said. Exit code 1: damaged lines.

    Example: heed data list --store human.jsonl
    """
    from heedlm.data import events, human

    screen = Screen(as_json)
    for note in events.repair(store):
        screen.warn(note)
    rows, problems = human.read_human(store)
    screen.refuse(*problems)
    rows = [row for row in rows if author in (None, row.about.author)]
    told = [{**human.as_row(row), "added": row.added, "where": row.where, "edits": row.edits} for row in rows]
    screen.result({"store": store, "rows": told, "problems": problems}, _table(rows), Text(_sum(rows, store)))
    if problems:
        raise typer.Exit(DAMAGED)


def training(
    recipe: Path | None,
    data: Sequence[str] | None,
    names: Sequence[str] | None,
    run: str,
    seed: int | None,
    settings: Sequence[str] | None,
    *,
    model: bool,
) -> str:
    """The command that trains on rows that were prepared with these options.   model: whether the recipe names one.

    What was piped in cannot be typed again; the rows are in the run.
    """
    piped = "-" in (data or ())
    words = ["heed", "train", *([str(recipe)] if recipe else []), *([] if model else ["--model", "MODEL"])]
    words += [] if piped else [word for one in data or () for word in ("--data", one)]
    words += [] if piped else [word for one in names or () for word in ("--map", one)]
    words += ["--run", run, *([] if seed is None else ["--seed", str(seed)])]
    return shlex.join([*words, *(word for one in settings or () for word in ("--set", one))])


def mapping_of(names: list[str]) -> dict[str, str]:
    """OURS=THEIRS words as a mapping. Raises HeedError for a word without the sign."""
    pairs = [name.partition("=") for name in names]
    wrong = next((ours for ours, equals, theirs in pairs if not equals or not theirs), None)
    if wrong is not None:
        raise HeedError(f"This is not a pair of names: {wrong!r}.", "--map", "write --map question=ask")
    return {ours: theirs for ours, _, theirs in pairs}


def _say_written(written: Written, store: Path, what: str, as_json: bool) -> None:
    screen = Screen(as_json)
    for note in written.notes:
        screen.warn(note)
    screen.result(written, Text(f"{written.id} {what} ({written.where}).\nNext: heed prepare --data {store}"))


def _table(rows: list[HumanRow]) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    for column in ("id", "changed", "author"):
        table.add_column(column, no_wrap=True)
    said_of: dict[str, list[str | None]] = {
        "licence": [row.about.licence for row in rows],
        "consent": [row.about.consent for row in rows],
        "corrects": [(row.corrects.model or "a reply") if row.corrects else None for row in rows],
    }
    known = {
        name: said for name, said in said_of.items() if any(said)
    }  # a narrow screen has no place for empty columns
    for name in known:
        table.add_column(name, overflow="fold")
    table.add_column("asked", overflow="fold", ratio=1)
    for number, row in enumerate(rows):
        more = (Text(said[number] or "-") for said in known.values())
        table.add_row(row.id, row.changed[:10], Text(row.about.author), *more, Text(_asked(row.row)))
    return table


def _asked(row: Any) -> str:
    """The beginning of what was asked last."""
    said = [str(turn.get("content")) for turn in row["messages"] if turn.get("role") == "user"]
    line = visible(" ".join((said[-1] if said else "").split()))
    return line if len(line) <= _PREVIEW else line[: _PREVIEW - 1] + "…"


def _sum(rows: list[HumanRow], store: Path) -> str:
    authors = len({row.about.author for row in rows})
    return f"{store}: {len(rows):,} row(s) of {authors:,} author(s)"
