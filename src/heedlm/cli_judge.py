"""The command `heed judge`: a model judges replies that evaluations have kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from heedlm.errors import HeedError
from heedlm.screen import Screen

STOPPED = 1  # exit code where the budget was reached before the end, or there is no verdict at all

_BUDGET, _MANNER = "Budget", "How to ask"
Of = Annotated[
    list[str],
    typer.Argument(
        metavar="EVALUATION...", help="A run, or a folder of a comparison; several as FOLDER or FOLDER#ARM."
    ),
]
By = Annotated[
    str | None,
    typer.Option("--by", help="The judge: a folder, a run, a hub id, or http://HOST/v1#MODEL (key: OPENAI_API_KEY)."),
]
How = Annotated[
    str, typer.Option("--how", help="pairs: two replies, in both orders; points: each alone, by the scale; or both.")
]
RubricFile = Annotated[
    Path | None, typer.Option("--rubric", help="What makes an answer good: a text file, or YAML with a scale.")
]
Labels = Annotated[
    Path | None, typer.Option("--labels", help="What people said: rows with id and winner (or name and points).")
]
Sheet = Annotated[
    Path | None,
    typer.Option("--sheet", help="Ask no model: write the pairs to a CSV file, blind, for people to label."),
]
Reference = Annotated[bool, typer.Option("--reference", help="Show the judge the row's own answer as a right one.")]
Tasks = Annotated[list[str] | None, typer.Option("--task", help="Only this task; may be given again.")]
Items = Annotated[int | None, typer.Option("--items", help="Items of each task at most, drawn by chance.", min=1)]
Out = Annotated[Path | None, typer.Option("--out", help="The folder of verdicts (default: judge, beside the log).")]
MaxTokens = Annotated[int, typer.Option("--max-tokens", help="Longest verdict.", min=1, rich_help_panel=_MANNER)]
Temperature = Annotated[float, typer.Option("--temperature", help="0 is greedy.", min=0.0, rich_help_panel=_MANNER)]
Concurrency = Annotated[
    int, typer.Option("--concurrency", help="Calls of an endpoint at once.", min=1, rich_help_panel=_MANNER)
]
Batch = Annotated[
    int, typer.Option("--batch", help="Calls a model here answers together.", min=1, rich_help_panel=_MANNER)
]
Timeout = Annotated[
    float, typer.Option("--timeout", help="Seconds until an endpoint's answer counts as lost.", rich_help_panel=_MANNER)
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
    str | None, typer.Option("--price-in", help="Price of a million tokens of questions.", rich_help_panel=_BUDGET)
]
PriceOut = Annotated[
    str | None, typer.Option("--price-out", help="Price of a million tokens of verdicts.", rich_help_panel=_BUDGET)
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything that is drawn.", min=0)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, progress on standard error.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say only the result.")]


def judge(
    of: Of,
    by: By = None,
    how: How = "pairs",
    rubric: RubricFile = None,
    labels: Labels = None,
    sheet: Sheet = None,
    reference: Reference = False,
    task: Tasks = None,
    items: Items = None,
    out: Out = None,
    max_tokens: MaxTokens = 512,
    temperature: Temperature = 0.0,
    concurrency: Concurrency = 8,
    batch: Batch = 16,
    timeout: Timeout = 300.0,
    budget_requests: Requests = None,
    budget_tokens: Tokens = None,
    budget_money: Money = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Let a model judge replies that evaluations have kept; nothing is generated again, and no call is paid twice.

    Example: heed judge runs/first --by http://127.0.0.1:8000/v1#my-judge --budget-requests 500
    """
    given = locals()
    from heedlm.eval.judge.report import to_json, to_terminal
    from heedlm.judging import judge as judged

    if sheet is not None:
        _sheet(Screen(as_json, quiet), of, sheet, task or (), items, seed)
        return
    if not by:
        mend = "--by FOLDER, a hub id, or the URL of an endpoint such as http://127.0.0.1:8000/v1#my-judge"
        raise HeedError("No judge is named.", "heed judge", mend)
    screen = Screen(as_json, quiet)
    own = ("of", "by", "task", "sheet", "as_json", "quiet")
    options = {key: value for key, value in given.items() if key not in own and value is not None}
    with screen.progress() as bars:
        shown: dict[str, Any] = {}

        def hear(what: str, done: int, total: int) -> None:
            if what not in shown:
                shown[what] = bars.add_task(f"judging {what}", total=total, note="")
            bars.update(shown[what], completed=done, total=total)

        done = judged(of=of, by=by, tasks=task or (), say=screen.warn, on_progress=hear, **options)
    screen.result(to_json(done.report), to_terminal(done.report))
    screen.say(f"The judge's report: {done.files[2]}")
    if done.report.stopped is not None:
        screen.warn(
            f"Stopped: the next call could exceed the budget of {done.report.stopped}. More budget, and it goes on."
        )
    told = any(pair.all is not None for pair in done.report.pairs) or any(one.n for one in done.report.points)
    if done.report.stopped is not None or not told:
        raise typer.Exit(STOPPED)


def _sheet(screen: Screen, of: list[str], path: Path, tasks: Sequence[str], items: int | None, seed: int) -> None:
    from heedlm.judging import label_sheet

    rows = label_sheet(of=of, out=path, tasks=tasks, items=items, seed=seed)
    told = f"{rows:,} pairs in {path}: write 1, 2 or tie into the column winner.\n"
    told += f"Then: heed judge {' '.join(of)} --by MODEL --labels {path}"
    screen.result({"file": str(path), "pairs": rows}, Text(told, no_wrap=True))
