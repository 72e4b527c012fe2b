"""The command `heed prompt bake`: what an instruction's text brings about, put into the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from heedlm.screen import Screen

if TYPE_CHECKING:
    from rich.progress import Progress

    from heedlm.instructions.bake.measure import Hear
    from heedlm.instructions.bake.report import Baked

_TEACHER = "The teacher's answers"

File = Annotated[str, typer.Argument(metavar="FILE", help="A .prompty file, or a name from `heed prompt list`.")]
Model = Annotated[str, typer.Option("--model", help="A run, a folder, a hub id or `atlas`; it is left as it is.")]
Requests = Annotated[
    list[Path],
    typer.Option("--requests", help="What the teacher is asked: cases, or rows, whose last questions are taken."),
]
RunFolder = Annotated[str, typer.Option("--run", help="The run folder; the baked model is RUN/model.")]
Replay = Annotated[
    list[Path] | None,
    typer.Option(
        "--replay", help="Rows of other tasks: the model's plain answers to them are learned, so that they stay."
    ),
]
Share = Annotated[float, typer.Option("--replay-share", help="Of what is learned, plain answers.", min=0, max=0.9)]
Test = Annotated[
    list[Path] | None, typer.Option("--test", help="Held-out requests, with assertions of their own if you like.")
]
ReplayTest = Annotated[
    list[Path] | None, typer.Option("--replay-test", help="Held-out rows of other tasks, to see whether they stay.")
]
HeldOut = Annotated[
    float, typer.Option("--held-out", help="Share held out of a file without a test file.", min=0.01, max=0.9)
]
Method = Annotated[str, typer.Option("--method", help="kl: learn the teacher's distributions; sft: learn its words.")]
Samples = Annotated[int, typer.Option("--samples", help="Answers to each request.", min=1, rich_help_panel=_TEACHER)]
Temperature = Annotated[float, typer.Option("--temperature", help="0 is greedy.", min=0, rich_help_panel=_TEACHER)]
Top = Annotated[
    int, typer.Option("--top", help="Likeliest tokens kept of each place, with kl.", min=1, rich_help_panel=_TEACHER)
]
MaxTokens = Annotated[int, typer.Option("--max-tokens", help="Tokens of an answer at most.", min=1)]
Set = Annotated[list[str] | None, typer.Option("--set", help="One setting of the training, such as train.epochs=2.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything that is drawn.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say only the result.")]


def bake(
    file: File,
    model: Model,
    requests: Requests,
    run: RunFolder = "runs/baked",
    method: Method = "kl",
    replay: Replay = None,
    replay_share: Share = 0.7,
    test: Test = None,
    replay_test: ReplayTest = None,
    held_out: HeldOut = 0.2,
    samples: Samples = 1,
    temperature: Temperature = 0.0,
    top: Top = 64,
    max_tokens: MaxTokens = 256,
    settings: Set = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Bake an instruction into an adapter: the model does without the text what it did with it.

    The model itself, with the text before it, is the teacher; answers that fail the file's checks are not learned. RUN is
    a run like any other. Ctrl-C or a kill loses nothing: the same command goes on.

    Example: heed prompt bake librarian.prompty --model runs/demo --requests asked.jsonl --run runs/librarian
    """
    from heedlm.baking import bake as baked

    screen = Screen(as_json, quiet)
    how: dict[str, Any] = {"method": method, "samples": samples, "temperature": temperature, "top": top}
    with screen.observer("training") as observer, screen.progress() as bars:
        done = baked(
            instruction=file,
            model=model,
            requests=requests,
            run=run,
            replay=replay or (),
            test=test or (),
            replay_test=replay_test or (),
            held_out=held_out,
            seed=seed,
            settings=settings or (),
            observer=observer,
            on_progress=_bars(bars),
            replay_share=replay_share,
            max_tokens=max_tokens,
            **how,
        )
    screen.result(json.loads(done.files[0].read_text("utf8")), _page(done))
    screen.say(f"The report: {done.files[1]}\nTalk to it:  heed chat {run}")


def _bars(bars: Progress) -> Hear:
    """One progress bar for each thing that is asked, made when it is first heard of."""
    tasks: dict[str, Any] = {}

    def hear(what: str, done: int, of: int) -> None:
        key = f"{what} {of}"
        if key not in tasks:
            tasks[key] = bars.add_task(what, total=of, note="")
        bars.update(tasks[key], completed=done)

    return hear


def _page(done: Baked) -> Text:
    """The headline, what goes with it, and the doses."""
    from heedlm.instructions.bake.report import headline, points

    found, text = done.measured, Text()
    style = "yellow" if found.recovery is None or done.hurts else "green"
    text.append(headline(found) + "\n", style=style)
    text.append(
        f"held-out requests, {found.items:,}: {found.plain:.1%} before, {found.told:.1%} with the text, "
        f"{found.baked:.1%} baked, {found.both:.1%} baked and with the text\n"
    )
    if done.hurts:
        text.append(f"giving the text to the baked model harms: {points(found.again)}\n", style="yellow")
    if found.others is None:
        text.append("other rows: none given (--replay), so nothing kept them as they were\n", style="yellow")
    else:
        text.append(f"other rows, {found.others.n:,}: {points(found.others)}\n")
    doses = "  ".join(
        f"{one.scale:g}: {one.alone:.1%}" + ("" if one.others is None else f" ({one.others:.1%})")
        for one in found.doses
    )
    text.append(f"dose: {doses}", style="dim")
    return text
