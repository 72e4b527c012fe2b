"""The commands of `heed synth`: instruction rows made by a model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from heedlm.data.fields import visible
from heedlm.errors import HeedError
from heedlm.screen import Screen

if TYPE_CHECKING:
    from heedlm.synth.stage import Synthesis
    from heedlm.synth.work import Progress

app = typer.Typer(no_args_is_help=True, help="Make instruction rows with a model: of seeds, documents, prompts.")
STOPPED = 1  # exit code where the budget was reached before the end, or there is no row

_BUDGET, _MANNER = "Budget", "How to ask"
Model = Annotated[
    str | None,
    typer.Option("--model", help="A folder, a run, a hub id, `atlas`, or http://HOST/v1#MODEL (key: OPENAI_API_KEY)."),
]
Out = Annotated[Path | None, typer.Option("--out", help="The folder of the rows (default: synth/MODE).")]
MaxTokens = Annotated[int, typer.Option("--max-tokens", help="Longest answer.", min=1, rich_help_panel=_MANNER)]
Temperature = Annotated[
    float | None, typer.Option("--temperature", help="0 is greedy.", min=0.0, rich_help_panel=_MANNER)
]
TopP = Annotated[float, typer.Option("--top-p", help="Share of the likeliest tokens.", rich_help_panel=_MANNER)]
Concurrency = Annotated[
    int, typer.Option("--concurrency", help="Calls of an endpoint at once.", min=1, rich_help_panel=_MANNER)
]
Batch = Annotated[
    int, typer.Option("--batch", help="Prompts a model here decodes together.", min=1, rich_help_panel=_MANNER)
]
Timeout = Annotated[
    float, typer.Option("--timeout", help="Seconds until an endpoint's answer counts as lost.", rich_help_panel=_MANNER)
]
Guide = Annotated[
    str, typer.Option("--guide", help="A system text for the teacher, kept out of the rows.", rich_help_panel=_MANNER)
]
Requests = Annotated[
    int | None,
    typer.Option("--budget-requests", help="Requests to send at most; 0 asks nothing.", rich_help_panel=_BUDGET),
]
Tokens = Annotated[
    int | None, typer.Option("--budget-tokens", help="Tokens at most, in and out.", rich_help_panel=_BUDGET)
]
Money = Annotated[
    str | None, typer.Option("--budget-money", help="Money at most, by the prices.", rich_help_panel=_BUDGET)
]
PriceIn = Annotated[
    str | None, typer.Option("--price-in", help="Price of a million tokens of prompts.", rich_help_panel=_BUDGET)
]
PriceOut = Annotated[
    str | None, typer.Option("--price-out", help="Price of a million tokens of answers.", rich_help_panel=_BUDGET)
]
Licence = Annotated[str | None, typer.Option("--licence", help="Of the new rows, for the data card.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything that is drawn.", min=0)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, progress on standard error.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say only the result.")]
Similarity = Annotated[
    float | None, typer.Option("--similarity", help="Share of word sequences in common from which a text is not new.")
]
Rate = Annotated[
    int | None, typer.Option("--rate", help="Let the model rate each row from 1 to 5, and keep those from here on.")
]
About = Annotated[str, typer.Option("--about", help="A few words on what is wanted.")]


@app.command("self-instruct")
def self_instruct(
    seeds: Annotated[list[Path], typer.Argument(metavar="SEEDS", help="Rows whose questions are the seeds.")],
    model: Model = None,
    out: Out = None,
    rows: Annotated[int, typer.Option("--rows", help="How many rows to make.", min=1)] = 100,
    about: About = "",
    shown: Annotated[int, typer.Option("--shown", help="Seeds shown in one asking.", min=1)] = 6,
    tasks: Annotated[int, typer.Option("--tasks", help="Tasks asked for at once.", min=1)] = 8,
    similarity: Similarity = None,
    rate: Rate = None,
    guide: Guide = "",
    max_tokens: MaxTokens = 512,
    temperature: Temperature = None,
    top_p: TopP = 1.0,
    concurrency: Concurrency = 8,
    batch: Batch = 16,
    timeout: Timeout = 300.0,
    budget_requests: Requests = None,
    budget_tokens: Tokens = None,
    budget_money: Money = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    licence: Licence = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """New instructions after the pattern of a few seeds, then answers to them.

    Example: heed synth self-instruct seeds.jsonl --model http://127.0.0.1:8000/v1#my-model --rows 500
    """
    _run("self-instruct", seeds, locals())


@app.command()
def backtranslate(
    documents: Annotated[list[Path], typer.Argument(metavar="DOCUMENTS", help="Texts: .txt, .md, rows with a `text`.")],
    model: Model = None,
    out: Out = None,
    about: About = "",
    max_words: Annotated[int, typer.Option("--max-words", help="Longest document.", min=1)] = 2000,
    similarity: Similarity = None,
    rate: Rate = None,
    max_tokens: MaxTokens = 512,
    temperature: Temperature = None,
    top_p: TopP = 1.0,
    concurrency: Concurrency = 8,
    batch: Batch = 16,
    timeout: Timeout = 300.0,
    budget_requests: Requests = None,
    budget_tokens: Tokens = None,
    budget_money: Money = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    licence: Licence = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The instruction that each document answers; the document is the answer.

    Example: heed synth backtranslate texts.jsonl --model http://127.0.0.1:8000/v1#my-model
    """
    _run("backtranslate", documents, locals())


@app.command()
def answer(
    prompts: Annotated[list[Path], typer.Argument(metavar="PROMPTS", help="Rows, with or without an answer.")],
    model: Model = None,
    out: Out = None,
    rate: Rate = None,
    guide: Guide = "",
    max_tokens: MaxTokens = 512,
    temperature: Temperature = None,
    top_p: TopP = 1.0,
    concurrency: Concurrency = 8,
    batch: Batch = 16,
    timeout: Timeout = 300.0,
    budget_requests: Requests = None,
    budget_tokens: Tokens = None,
    budget_money: Money = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    licence: Licence = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Answers of a teacher to the prompts of a file.

    Example: heed synth answer prompts.jsonl --model http://127.0.0.1:8000/v1#my-model --budget-requests 1000
    """
    _run("answer", prompts, locals())


@app.command("best-of")
def best_of(
    prompts: Annotated[list[Path], typer.Argument(metavar="ROWS", help="Rows with checks, a scorer or an answer.")],
    model: Model = None,
    out: Out = None,
    draws: Annotated[int, typer.Option("--draws", help="Answers per prompt at most.", min=1)] = 8,
    keep: Annotated[int, typer.Option("--keep", help="Rows per prompt at most.", min=1)] = 1,
    at_least: Annotated[float, typer.Option("--at-least", help="The score from which an answer is kept.")] = 1.0,
    scorer: Annotated[
        str | None, typer.Option("--scorer", help="For rows that name none: exact, numeric, choice, f1 and the rest.")
    ] = None,
    guide: Guide = "",
    max_tokens: MaxTokens = 512,
    temperature: Temperature = None,
    top_p: TopP = 1.0,
    concurrency: Concurrency = 8,
    batch: Batch = 16,
    timeout: Timeout = 300.0,
    budget_requests: Requests = None,
    budget_tokens: Tokens = None,
    budget_money: Money = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    licence: Licence = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Several answers to each prompt, kept by the checks of its row (rejection sampling).

    Example: heed synth best-of rows.jsonl --model runs/demo --draws 8
    """
    _run("best-of", prompts, locals())


_OWN = ("seeds", "documents", "prompts", "model", "out", "as_json", "quiet")


def _run(mode: str, data: list[Path], given: dict[str, Any]) -> None:
    """One synthesis with the options of its command. Exit code 1 where the budget ended it, or no row was made."""
    from heedlm import api

    model = given["model"]
    if not model:
        mend = "--model FOLDER, a hub id, `atlas`, or the URL of an endpoint such as http://127.0.0.1:8000/v1#my-model"
        raise HeedError("No model is named.", f"heed synth {mode}", mend)
    screen = Screen(given["as_json"], given["quiet"])
    options = {key: value for key, value in given.items() if key not in _OWN}
    with screen.progress() as bars:
        tasks: dict[str, Any] = {}

        def hear(progress: Progress) -> None:
            if progress.what not in tasks:
                tasks[progress.what] = bars.add_task(progress.what, total=progress.of, note="")
            spent = progress.spent
            most = "up to " if spent.unsure or spent.guessed else ""
            note = f"{spent.requests:,} requests, {most}{sum(spent.tokens):,} tokens"
            bars.update(tasks[progress.what], completed=progress.done, total=progress.of, note=note)

        done = api.synthesise(
            mode,
            data=data,
            model=model,
            out=given["out"] or Path("synth") / mode,
            api_key=os.environ.get("OPENAI_API_KEY"),
            say=screen.warn,
            on_progress=hear,
            **options,
        )
    screen.result(done, _page(done))
    if done.stopped is not None:
        screen.warn(f"Stopped: the next call could exceed the budget of {done.stopped}. More budget, and it goes on.")
    if done.stopped is not None or not done.rows:
        raise typer.Exit(STOPPED)


def _page(done: Synthesis) -> Text:
    """What a person sees at the end."""
    spent = done.spent
    money = f", {spent['money']} in money" if "money" in spent else ""
    tokens = f"{spent['prompt_tokens']:,} + {spent['completion_tokens']:,} tokens"
    if (
        spent["unsure_requests"] or spent["guessed_requests"]
    ):  # what nobody counted stands there with the most it can be
        tokens, money = f"at most {tokens}", money.replace(", ", ", at most ")
    lines = [
        f"{done.rows:,} row{'' if done.rows == 1 else 's'} in {done.file}",
        f"asked {done.model}: {spent['requests']:,} requests, {tokens}{money}"
        + (f"; {done.reused:,} answers were there already" if done.reused else ""),
    ]
    if "passed_by_draw" in done.facts:
        shares = ", ".join(f"{share:.0%}" for share in done.facts["passed_by_draw"])
        lines.append(f"prompts with an answer that passes, draw by draw: {shares}")
    if "ended" in done.facts:
        lines.append(f"fewer than asked for: {done.facts['ended']}")
    for reason, count in done.dropped.items():
        lines.append(f"  {count:,} dropped: {reason} ({visible(done.examples[reason])})")
    for rule, count in done.flagged.items():
        lines.append(f"  {count:,} kept, but look: {rule}; --set data.clean.{rule}=drop leaves such rows out of a run")
    lines += [*done.notes, f"The account: {done.file.parent / 'record' / 'card.json'}"]
    lines += [f"Next: heed prepare --data {done.file}"] if done.rows else []
    return Text("\n".join(lines))
