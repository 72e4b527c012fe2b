"""The command line: a thin table from verbs to functions."""

from __future__ import annotations

import json
import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.text import Text

from heedlm import (
    cli_chat,
    cli_data,
    cli_eval,
    cli_export,
    cli_judge,
    cli_prompt,
    cli_serve,
    cli_suites,
    cli_synth,
    cli_templates,
)
from heedlm.errors import HeedError, Problem
from heedlm.failures import lost_another, may_speak, program
from heedlm.interrupts import Interrupts
from heedlm.launch import Elsewhere, launched
from heedlm.runs import DEMO
from heedlm.screen import Screen, bar_per_arm

DONE, GATE, USAGE, INTERRUPTED = 0, 1, 2, 130
WRITTEN = ("--run", "--out")  # options that name a folder to write

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="heed: from a base language model to one that follows instructions, with proof.",
)

Model = Annotated[str | None, typer.Option("--model", help="A folder, a run, a hub id, or `atlas` (ships with heed).")]
Data = Annotated[
    list[str] | None, typer.Option("--data", help="Rows: a file, a folder, hub:OWNER/NAME or -; may be given again.")
]
Map = Annotated[
    list[str] | None, typer.Option("--map", help="OURS=THEIRS: the name of a field in all of --data, as question=ask.")
]
RunOption = Annotated[str, typer.Option("--run", help="The run folder; the result is RUN/model.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="One setting over the recipe, for example train.lr=2e-4.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, progress on standard error.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of everything that is drawn.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say only the result.")]
RecipeFile = Annotated[Path | None, typer.Argument(metavar="RECIPE", help="A YAML recipe; all of it may be left out.")]


app.add_typer(cli_data.app, name="data")
app.add_typer(cli_prompt.app, name="prompt")
app.add_typer(cli_templates.app, name="templates")
app.add_typer(cli_suites.app, name="suites")
app.add_typer(cli_synth.app, name="synth")


def _say_version(asked: bool) -> None:
    if asked:
        from heedlm import __version__

        Screen().out.print(f"heed {__version__}")
        raise typer.Exit


@app.callback()
def heed(
    version: Annotated[
        bool, typer.Option("--version", help="Say the version.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """heed: from a base language model to one that follows instructions, with proof."""


@app.command()
def demo(
    run: RunOption = DEMO,
    seed: Seed = None,
    settings: Set = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The whole story on the built-in base model, in minutes, on a laptop.

    Example: heed demo
    """
    screen = Screen(as_json, quiet)
    screen.say("The built-in world proves that the plumbing works; it says nothing about the quality of a real model.")
    from heedlm import api
    from heedlm.eval.report import to_terminal

    with screen.observer("training") as observer, screen.progress() as bars:
        done = api.demo(run, observer, seed=seed, settings=settings or (), on_eval=bar_per_arm(bars))
    screen.result(json.loads(done.files[0].read_text("utf8")), to_terminal(done.report, screen.out.width))
    screen.say(f"The report: {done.files[2]}\nTalk to it:  heed chat {run}")


@app.command()
def prepare(
    recipe: RecipeFile = None,
    data: Data = None,
    names: Map = None,
    run: RunOption = "runs/latest",
    executor: Annotated[
        str, typer.Option("--executor", help="Where rows are looked at: local, or ray, a cluster (RAY_ADDRESS).")
    ] = "local",
    seed: Seed = None,
    settings: Set = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Turn files into leak-free train, validation and test splits, with a data card.

    Example: heed prepare --data rows.jsonl --run runs/first
    """
    screen = Screen(as_json, quiet)
    from heedlm import api

    mapping = cli_data.mapping_of(names or [])
    chosen = api.make_recipe(recipe, data=data, mapping=mapping, seed=seed, settings=settings or ())
    with screen.progress() as bars:
        task = bars.add_task("preparing", total=None, note="")

        def hear(what: str, rows: int) -> None:
            bars.update(task, description=escape(what), note=f"{rows:,} rows")

        report = api.prepare(run=run, recipe=chosen, executor=executor, on_progress=hear)  # type: ignore[arg-type]  # any word; it says which
    splits = ", ".join(f"{name} {rows:,}" for name, rows in report.splits.items())
    dropped = "".join(f"\n  {rows:,} dropped: {reason}" for reason, rows in report.dropped.items())
    notes = "".join(f"\n  {note}" for note in (*report.notes, *report.mixture))
    following = cli_data.training(recipe, data, names, run, seed, settings, model=bool(chosen.model.path))
    screen.result(
        report,
        Text(
            f"{report.rows_in:,} rows in, {report.kept:,} kept ({splits}), {report.duplicates:,} duplicates{dropped}{notes}\n{report.out}/card.md"
        ),
        Text(f"Next: {following}", no_wrap=True),  # unbroken: it is there to be copied
    )


@app.command()
def show(
    data: Data = None,
    model: Model = None,
    names: Map = None,
    limit: Annotated[int, typer.Option("--limit", help="How many examples.", min=1)] = 3,
    settings: Set = None,
) -> None:
    """Print what the model will see, learned tokens in colour.

    Example: heed show --model atlas --data rows.jsonl
    """
    from heedlm import api

    if not data or not model:
        raise HeedError("Both a model and data are needed.", "heed show", "heed show --model FOLDER --data FILE")
    screen = Screen()
    plain = not screen.out.is_terminal  # colours are lost in a pipe, and with them the mask
    mapping = cli_data.mapping_of(names or [])
    shown = api.show(data=data, model=model, mapping=mapping, limit=limit, plain=plain, settings=settings or ())
    screen.result(None, shown)


@app.command()
def check(
    recipe: RecipeFile = None,
    model: Model = None,
    data: Data = None,
    names: Map = None,
    run: Annotated[str | None, typer.Option("--run", help="Keep rows and tokens there, for heed train.")] = None,
    numerics: Annotated[bool, typer.Option("--numerics", help="Compare ways to compute a step, on the model.")] = False,
    seed: Seed = None,
    settings: Set = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """See on one screen what a training would be: machine, model, data, memory, time, and what is wrong.

    Example: heed check --model atlas --data rows.jsonl
    """
    screen = Screen(as_json, quiet)
    from heedlm import api
    from heedlm.train import check_page

    mapping = cli_data.mapping_of(names or [])
    chosen = api.make_recipe(recipe, model=model, data=data, mapping=mapping, seed=seed, settings=settings or ())
    if numerics:
        found = api.check_numerics(recipe=chosen, say=screen.say)
        good = all(one.passed for one in found)
        screen.result({"ok": good, "comparisons": found}, *check_page.numbers(found))
    else:
        report = api.check(run=run, recipe=chosen, say=screen.say)
        good = report.ok
        screen.result(check_page.as_json(report), *check_page.page(report))
    if not good:
        raise typer.Exit(GATE)


@app.command()
def train(
    recipe: RecipeFile = None,
    model: Model = None,
    data: Data = None,
    names: Map = None,
    run: RunOption = "runs/latest",
    seed: Seed = None,
    settings: Set = None,
    push: Annotated[str | None, typer.Option("--push", help="Upload the model to the hub: ORG/NAME, private.")] = None,
    public: Annotated[bool, typer.Option("--public", help="With --push: everybody may read it.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Tune a base model into an instruct model; goes on with a run that was interrupted.

    Example: heed train --model Qwen/Qwen3-0.6B-Base --data rows.jsonl --run runs/first --set model.method=lora
    """
    screen = Screen(as_json, quiet)
    from heedlm import api

    mapping = cli_data.mapping_of(names or [])
    chosen = api.make_recipe(recipe, model=model, data=data, mapping=mapping, seed=seed, settings=settings or ())
    with screen.observer("training") as observer:
        report = api.train(run=run, recipe=chosen, observer=observer, push=push, public=public)
    loss = "no validation split" if report.best_loss is None else f"validation loss {report.best_loss:.4f}"
    if report.best_score is not None:
        loss = f"the best score {report.best_score:.3f}, {loss}"
    loss += f" (step {report.best_step:,})" if report.best_step else ""
    screen.result(
        report,
        Text(
            f"{report.model}: {report.steps:,} steps on {report.rows:,} rows in {report.seconds:,.0f} s, {loss}.\n"
            f"Next: heed eval {run}   ·   heed chat {run}"
        ),
    )


@app.command()
def rows(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run of heed train, finished or not.")],
    worst: Annotated[int, typer.Option("--worst", help="How many rows.", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """Show the training rows of the highest loss at the end, which were not learnt, and how their tasks did.

    Example: heed rows runs/first --worst 20
    """
    from heedlm import api
    from heedlm.eval.rows_join import as_text

    report = api.rows(run=run, worst=worst)
    Screen(as_json).result(report, Text(as_text(report)))


app.command("eval")(cli_eval.evaluate)
app.command("serve")(cli_serve.serve)
app.command("export")(cli_export.export)
app.command("judge")(cli_judge.judge)
app.command("chat")(cli_chat.chat)


@app.command()
def pretrain(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML recipe for pretraining.")],
    run: RunOption = "runs/base",
    settings: Set = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a tokenizer and a base model from scratch, on the built-in corpus or a file of documents.

    Example: heed pretrain recipes/atlas_base.yaml --run runs/atlas_base
    """
    screen = Screen(as_json, quiet)
    from heedlm import api
    from heedlm.pretrain_config import PretrainRecipe
    from heedlm.recipe_file import load_recipe

    chosen = load_recipe(PretrainRecipe, recipe, settings or ())
    with screen.observer("pretraining") as observer:
        report = api.pretrain(recipe=chosen, run=run, observer=observer)
    loss = report.outcome.best_loss
    screen.result(
        report, Text(f"{report.model}: {report.num_parameters / 1e6:.2f}M parameters, validation loss {loss:.4f}")
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every mistake of the user ends in a message and exit code 2, never in a traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    given = given[given[:1] == ["--"] :]  # some launchers leave the mark between their arguments and ours
    # Compiled bf16 products are kept per shape, a thousand of them by default: gigabytes in a long run (docs/log.md).
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
    warnings.filterwarnings(
        "ignore", category=FutureWarning, module=r"(transformers|peft)\b.*"
    )  # theirs to mend, not ours
    interrupts = Interrupts()
    try:
        _check_launch(given)
        _check_places(given)
        if "--set" in given or given[:1] in (["prepare"], ["check"], ["train"]):
            from heedlm.usage import check_settings

            check_settings(given)
        code = app(given, standalone_mode=False)
        if code == INTERRUPTED:  # what typer makes of Ctrl-C
            raise KeyboardInterrupt
    except (typer.Exit, SystemExit) as leaving:
        code = getattr(leaving, "exit_code", getattr(leaving, "code", 0))
    except (KeyboardInterrupt, typer.Abort):
        code = _interrupted(given, Screen(speaks=may_speak()))
    except Elsewhere:
        code = GATE
    except Exception as error:  # noqa: BLE001 - the last door: click's usage errors and our own clean stop pass here
        screen = Screen(speaks=may_speak())
        code = _interrupted(given, screen) if interrupts.just_now() else _last_door(error, given, screen)
    if code and launched().size > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # at once: an orderly end would wait for the other processes, which wait for this one
    sys.exit(code if isinstance(code, int) else DONE)


def _check_launch(given: Sequence[str]) -> None:
    """Raises HeedError for a verb that several processes would do several times."""
    if launched().size > 1 and given and not given[0].startswith("-") and given[0] != "train":
        what = f"heed {given[0]} is work for one process, and this is one of {launched().size}."
        raise HeedError(what, program(), f"heed {shlex.join(given)}")


def _check_places(given: Sequence[str]) -> None:
    """Raises HeedError for a folder to write whose name is empty, as an unset variable leaves it: it would be this one."""
    for word, following in zip(given, [*given[1:], None], strict=True):
        if (word in WRITTEN and following == "") or word in [f"{one}=" for one in WRITTEN]:
            option = word.rstrip("=")
            raise HeedError("The folder to write has no name.", option, f"name one: {option} runs/NAME")


def _interrupted(given: Sequence[str], screen: Screen) -> int:
    again = f"; what was finished is kept. Go on with: {program()} {shlex.join(given)}"
    nothing = given[:1] in (["chat"], ["show"]) or list(given[:2]) == ["prompt", "new"]  # nothing to go on with
    screen.err.print(Text("Interrupted" + ("." if nothing else again)), soft_wrap=True)
    return INTERRUPTED


def _last_door(error: Exception, given: Sequence[str], screen: Screen) -> int:
    if isinstance(error, HeedError):
        screen.refuse(*error.problems)
        return USAGE
    if type(error).__name__ == "Interrupted":
        screen.err.print(Text(f"{error}; go on with: {program()} {shlex.join(given)}"), soft_wrap=True)
        return INTERRUPTED
    if type(error).__name__ == "NoArgsIsHelpError":  # the help was shown, and is the answer
        return USAGE
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # click.UsageError without importing click
        from heedlm.usage import mistake

        screen.refuse(mistake(error, given))
        return USAGE
    if isinstance(error, MemoryError):
        screen.refuse(Problem("Out of memory.", mend="--set train.micro_tokens=1024, or a smaller model"))
        return USAGE
    if isinstance(error, OSError):
        from heedlm.usage import not_written

        if told := not_written(error):
            screen.refuse(told)
            return USAGE
    if launched().size == 1:
        raise error
    if lost_another(error):
        what = "Another process of this run no longer answers: it was killed, or took too much memory."
        mend = f"the launcher's report names it; go on with: {program()} {shlex.join(given)}"
        screen.refuse(Problem(what, f"process {launched().rank}", mend))
    elif screen.speaks:
        sys.excepthook(type(error), error, error.__traceback__)
    return GATE
