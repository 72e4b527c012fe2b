"""The command line: a thin table from verbs to functions, and the only place that prints."""

from __future__ import annotations

import json
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from heedlm.errors import HeedError

if TYPE_CHECKING:
    from heedlm.train.stage import Observer

DONE, GATE, USAGE, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="heed: from a base language model to one that follows instructions, with proof.",
)

Model = Annotated[str | None, typer.Option("--model", help="A folder, a run, a hub id, or `atlas` (ships with heed).")]
Data = Annotated[list[str] | None, typer.Option("--data", help="A JSON or JSONL file or folder; may be given again.")]
RunOption = Annotated[str, typer.Option("--run", help="The run folder; the result is RUN/model.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="One setting over the recipe, for example train.lr=2e-4.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, progress on standard error.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of everything that is drawn.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say only the result.")]
RecipeFile = Annotated[
    Path | None, typer.Argument(metavar="[RECIPE]", help="A YAML recipe; all of it may be left out.")
]

T = TypeVar("T")


class _Screen:
    """Where a command writes: results to standard output, everything else to standard error."""

    def __init__(self, as_json: bool = False, quiet: bool = False) -> None:
        self.out = Console(highlight=False)
        self.err = Console(stderr=True, highlight=False)
        self.as_json = as_json
        self.quiet = quiet

    def say(self, line: str) -> None:
        if not self.quiet:
            self.err.print(Text(line, style="dim"))

    def result(self, value: Any, shown: Any) -> None:
        """`value` as one JSON object, or `shown` for people."""
        if self.as_json:
            sys.stdout.write(json.dumps(_plain(value), ensure_ascii=False) + "\n")
        else:
            self.out.print(shown)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, TimeRemainingColumn(), console=self.err, transient=True, disable=self.quiet) as bars:
            yield bars

    @contextmanager
    def observer(self, title: str) -> Iterator[Observer]:
        """Live progress of training: loss, speed and the time that is left."""
        from heedlm.train.stage import Observer

        with self.progress() as bars:
            task = bars.add_task(title, total=None, note="")

            def step(number: int, of: int, report: Any) -> None:
                speed = report.tokens / max(report.seconds, 1e-9)
                note = f"step {number:,}/{of:,}  loss {report.loss:.3f}  {speed:,.0f} tokens/s"
                bars.update(task, completed=number, total=of, note=note)

            def panel(number: int, answers: Sequence[Any]) -> None:
                for answer in answers:
                    reply, target = (text.replace("\n", " ")[:70] for text in (answer.reply, answer.target))
                    self.say(f"  {answer.split:<5} {answer.prompt[:50]!r} -> {reply!r} (row: {target!r})")

            yield Observer(self.say, step, panel)


@app.command()
def demo(
    run: RunOption = "runs/demo",
    seed: Seed = None,
    settings: Set = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The whole story on the built-in base model, in minutes, on a laptop.

    Example: heed demo
    """
    screen = _Screen(as_json, quiet)
    screen.say("The built-in world proves that the plumbing works; it says nothing about the quality of a real model.")
    from heedlm import api
    from heedlm.eval.report import to_json, to_terminal

    with screen.observer("training") as observer, screen.progress() as bars:
        done = api.demo(run, observer, seed=seed, settings=settings or (), on_eval=_bar(bars))
    screen.result(to_json(done.report), to_terminal(done.report))
    screen.say(f"The report: {done.files[2]}\nTalk to it:  heed chat {run}")


@app.command()
def prepare(
    recipe: RecipeFile = None,
    data: Data = None,
    run: RunOption = "runs/latest",
    seed: Seed = None,
    settings: Set = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Turn files into leak-free train, validation and test splits, with a data card.

    Example: heed prepare --data rows.jsonl --run runs/first
    """
    screen = _Screen(as_json, quiet)
    from heedlm import api

    report = api.prepare(run=run, recipe=api.make_recipe(recipe, data=data, seed=seed, settings=settings or ()))
    splits = ", ".join(f"{name} {rows:,}" for name, rows in report.splits.items())
    dropped = "".join(f"\n  {rows:,} dropped: {reason}" for reason, rows in report.dropped.items())
    notes = "".join(f"\n  {note}" for note in report.notes)
    screen.result(
        report,
        Text(
            f"{report.rows_in:,} rows in, {report.kept:,} kept ({splits}), {report.duplicates:,} duplicates{dropped}{notes}\n{report.out}/card.md"
        ),
    )


@app.command()
def show(
    data: Data = None,
    model: Model = None,
    limit: Annotated[int, typer.Option("--limit", help="How many examples.")] = 3,
    settings: Set = None,
) -> None:
    """Print what the model will see, learned tokens in colour.

    Example: heed show --model atlas --data rows.jsonl
    """
    from heedlm import api

    if not data or not model:
        raise HeedError("Both a model and data are needed.", "heed show", "heed show --model FOLDER --data FILE")
    screen = _Screen()
    plain = not screen.out.is_terminal  # colours are lost in a pipe, and with them the mask
    screen.result(None, api.show(data=data, model=model, limit=limit, plain=plain, settings=settings or ()))


@app.command()
def train(
    recipe: RecipeFile = None,
    model: Model = None,
    data: Data = None,
    run: RunOption = "runs/latest",
    seed: Seed = None,
    settings: Set = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Tune a base model into an instruct model; goes on with a run that was interrupted.

    Example: heed train --model Qwen/Qwen3-0.6B-Base --data rows.jsonl --run runs/first --set model.method=lora
    """
    screen = _Screen(as_json, quiet)
    from heedlm import api

    chosen = api.make_recipe(recipe, model=model, data=data, seed=seed, settings=settings or ())
    with screen.observer("training") as observer:
        report = api.train(run=run, recipe=chosen, observer=observer)
    loss = (
        "no validation split"
        if report.best_loss is None
        else f"validation loss {report.best_loss:.4f} (step {report.best_step:,})"
    )
    screen.result(
        report,
        Text(
            f"{report.model}: {report.steps:,} steps on {report.rows:,} rows in {report.seconds:,.0f} s, {loss}.\n"
            f"Next: heed eval {run}   ·   heed chat {run}"
        ),
    )


@app.command("eval")
def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A finished run.")],
    against: Annotated[
        str | None, typer.Option("--against", help="The base to compare with (default: the run's own).")
    ] = None,
    settings: Set = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare base and instruct on the same held-out items; write report.json, report.md, report.html.

    Example: heed eval runs/first --against Qwen/Qwen3-0.6B-Base
    """
    screen = _Screen(as_json, quiet)
    from heedlm import api
    from heedlm.eval.report import to_json, to_terminal

    with screen.progress() as bars:
        done = api.evaluate(run=run, against=against, settings=settings or (), on_progress=_bar(bars))
    screen.result(to_json(done.report), to_terminal(done.report))
    screen.say(f"The report: {done.files[2]}")


@app.command()
def chat(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A run, a model folder, `atlas`, or an endpoint's URL.")
    ] = "runs/demo",
    base: Annotated[
        str | None, typer.Option("--base", help="The model behind /base (default: what the run was tuned from).")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="The model's name at an endpoint.")] = "default",
    system: Annotated[str | None, typer.Option("--system", help="A system text to begin with.")] = None,
    template: Annotated[
        str | None, typer.Option("--template", help="A chat template instead of the model's own.")
    ] = None,
    temperature: Annotated[float, typer.Option("--temperature", help="0 is greedy.", min=0.0)] = 0.0,
    max_tokens: Annotated[int, typer.Option("--max-tokens", help="Longest answer.", min=1)] = 256,
    seed: Seed = None,
) -> None:
    """Talk to a model: /system, /base, /show, /reset, /help, /quit.

    Example: heed chat runs/demo   (or: heed chat http://127.0.0.1:8000/v1 --name my-model)
    """
    from heedlm.messages import Sampling
    from heedlm.serve.terminal import terminal_chat

    sampling = Sampling(max_tokens=max_tokens, temperature=temperature, seed=seed or 0)
    if model.startswith(("http://", "https://")):
        from heedlm.generate.remote import RemoteChat

        terminal_chat(RemoteChat(model, name, os.environ.get("OPENAI_API_KEY")), sampling=sampling, system=system)
        return
    from heedlm.generate.chat import load_chat
    from heedlm.model.load import resolve
    from heedlm.model.save import read_card

    path = resolve(model)
    tuned_from = base or read_card(path).get("base")
    behind = None
    if tuned_from and (base or Path(resolve(tuned_from)).exists()):
        behind = load_chat(resolve(tuned_from), name=str(tuned_from))
    terminal_chat(load_chat(path, template, name=model), base=behind, sampling=sampling, system=system)


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
    screen = _Screen(as_json, quiet)
    from heedlm import api
    from heedlm.config import PretrainRecipe, load_recipe

    chosen = load_recipe(PretrainRecipe, recipe, settings or ())
    with screen.observer("pretraining") as observer:
        report = api.pretrain(recipe=chosen, run=run, observer=observer)
    loss = report.outcome.best_loss
    screen.result(
        report, Text(f"{report.model}: {report.num_parameters / 1e6:.2f}M parameters, validation loss {loss:.4f}")
    )


def _bar(bars: Progress) -> Callable[[str, int, int], None]:
    """One progress bar per arm, made when the arm is first heard of."""
    tasks: dict[str, Any] = {}

    def hear(arm: str, done: int, of: int) -> None:
        if arm not in tasks:
            tasks[arm] = bars.add_task(f"asking {arm}", total=of, note="")
        bars.update(tasks[arm], completed=done, total=of)

    return hear


def _plain(value: Any) -> Any:
    """Dataclasses, named tuples and paths as what JSON knows."""
    if is_dataclass(value) and not isinstance(value, type):
        return {key: _plain(inner) for key, inner in asdict(value).items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {key: _plain(inner) for key, inner in value._asdict().items()}
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every mistake of the user ends in a message and exit code 2, never in a traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    screen = _Screen()
    # Compiled bf16 products are kept per shape, a thousand of them by default: gigabytes in a long run (docs/log.md).
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
    warnings.filterwarnings(
        "ignore", category=FutureWarning, module=r"(transformers|peft)\b.*"
    )  # theirs to mend, not ours
    try:
        code = app(given, standalone_mode=False)
    except HeedError as error:
        for problem in error.problems:
            screen.err.print(Text(str(problem), style="red"))
        code = USAGE
    except (typer.Exit, SystemExit) as leaving:
        code = getattr(leaving, "exit_code", getattr(leaving, "code", 0))
    except typer.Abort:
        code = INTERRUPTED
    except KeyboardInterrupt:
        screen.err.print(Text(f"Interrupted; what was finished is kept. Go on with: heed {shlex.join(given)}"))
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last door: click's usage errors and our own clean stop pass here
        code = _last_door(error, given, screen)
    sys.exit(code if isinstance(code, int) else DONE)


def _last_door(error: Exception, given: Sequence[str], screen: _Screen) -> int:
    if type(error).__name__ == "Interrupted":
        screen.err.print(Text(f"{error}; go on with: heed {shlex.join(given)}"))
        return INTERRUPTED
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # click.UsageError without importing click
        screen.err.print(Text(str(error.format_message()), style="red"))
        return USAGE
    if isinstance(error, MemoryError):
        screen.err.print(Text("Out of memory.\n  mend --set train.micro_tokens=1024, or a smaller model", style="red"))
        return USAGE
    raise error
