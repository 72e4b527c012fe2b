"""The command `heed eval`: a run against its base, or any models against each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from heedlm.errors import HeedError
from heedlm.screen import Screen, bar_per_arm

if TYPE_CHECKING:
    from heedlm.eval.results import Decision

NO, CANNOT_TELL = 1, 3  # exit codes of a gate

Models = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN...",
        help="A finished run; or several runs, checkpoints (RUN@step-400, @best, @last), models, http://HOST/v1#MODEL.",
    ),
]
Against = Annotated[
    str | None, typer.Option("--against", help="The model to compare with (default: what the run was tuned from).")
]
Data = Annotated[list[str] | None, typer.Option("--data", help="Rows to ask instead of the run's test rows.")]
Suites = Annotated[
    list[str] | None,
    typer.Option("--suite", help="What to ask: a name from `heed suites list`, or a YAML file; may be given again."),
]
Out = Annotated[str | None, typer.Option("--out", help="Where a comparison of several models is kept.")]
GateFile = Annotated[
    Path | None, typer.Option("--gate", help="Figures to reach. Exit code 0 ship, 1 do not, 3 cannot tell.")
]
SameRecipe = Annotated[
    bool, typer.Option("--same-recipe", help="All but the first are one recipe under several seeds.")
]
GridFile = Annotated[
    str | None, typer.Option("--grid", help="A system text: ask base and run with it as well. Prompt or tune?")
]
SystemFile = Annotated[
    str | None,
    typer.Option("--system", help="A system text, or FILE.prompty: ask every model with a chat format behind it."),
]
FewShot = Annotated[
    str | None,
    typer.Option("--few-shot", help="Rows, or a run: ask base models in their best frame, and behind solved examples."),
]
JudgedBy = Annotated[
    str | None,
    typer.Option("--judge", help="A model or http://HOST/v1#MODEL that judges the replies; see also `heed judge`."),
]
_COST = "What it may cost"
Requests = Annotated[
    int | None, typer.Option("--budget-requests", help="Requests to the judge at most.", rich_help_panel=_COST)
]
Tokens = Annotated[
    int | None, typer.Option("--budget-tokens", help="Tokens of the judge at most, in and out.", rich_help_panel=_COST)
]
Money = Annotated[
    str | None, typer.Option("--budget-money", help="Money for the judge at most, by --price.", rich_help_panel=_COST)
]
PriceOf = Annotated[
    list[str] | None,
    typer.Option(
        "--price",
        metavar="MODEL=IN,OUT",
        help="Prices of an endpoint that is asked, or judges, per million tokens; may be given again.",
        rich_help_panel=_COST,
    ),
]
RubricFile = Annotated[Path | None, typer.Option("--rubric", help="With --judge: what makes an answer good.")]
Noise = Annotated[bool, typer.Option("--noise-floor", help="Ask the last model twice: what differs is noise.")]
Rescore = Annotated[bool, typer.Option("--rescore", help="Score the kept replies by today's checks; ask nothing.")]
Verify = Annotated[bool, typer.Option("--verify", help="Only say whether the evidence of a gate still holds.")]
AllowLeak = Annotated[
    bool, typer.Option("--allow-leak", help="Count items that were trained on; the headline says so.")
]
ForceTemplate = Annotated[
    bool,
    typer.Option("--force-template", help="Go on with another chat template than was taught; the headline says so."),
]
Set = Annotated[list[str] | None, typer.Option("--set", help="One setting of eval.*, for example eval.items=50.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, progress on standard error.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say only the result.")]


def evaluate(
    models: Models,
    against: Against = None,
    data: Data = None,
    suite: Suites = None,
    out: Out = None,
    gate: GateFile = None,
    same_recipe: SameRecipe = False,
    grid: GridFile = None,
    system: SystemFile = None,
    few_shot: FewShot = None,
    noise_floor: Noise = False,
    rescore: Rescore = False,
    verify: Verify = False,
    allow_leak: AllowLeak = False,
    force_template: ForceTemplate = False,
    judge: JudgedBy = None,
    rubric: RubricFile = None,
    budget_requests: Requests = None,
    budget_tokens: Tokens = None,
    budget_money: Money = None,
    price: PriceOf = None,
    settings: Set = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare base and instruct, or any models, on the same items, with intervals; write report.html, .json and .md.

    Example: heed eval runs/first --against Qwen/Qwen3-0.6B-Base   (or: heed eval runs/old runs/new --gate gate.yaml)
    """
    screen = Screen(as_json, quiet)
    asked = [*(settings or ()), *([f"eval.suites={json.dumps(suite)}"] if suite else [])]
    if verify:
        _verify(screen, out or models[0], asked)
        return
    from heedlm import evaluating
    from heedlm.eval.checkpoints import is_checkpoint
    from heedlm.failures import program

    how: dict[str, Any] = {
        "gate": gate,
        "noise_floor": noise_floor,
        "rescore": rescore,
        "allow_leak": allow_leak,
        "force_template": force_template,
        "judge": judge,
        "rubric": rubric,
        "budget_requests": budget_requests,
        "budget_tokens": budget_tokens,
        "budget_money": budget_money,
        "prices": price or (),
        "settings": asked,
    }
    alone = len(models) == 1 and not (data or out or grid or system or few_shot or same_recipe)
    alone = alone and not is_checkpoint(models[0])
    pair = evaluating.goes_as_a_pair(against) if alone else ""
    if pair:
        screen.say(f"{pair}: asked in its own format, as one of two models ({program()} eval {against} {models[0]}).")
    with screen.progress() as bars:
        how["on_progress"] = bar_per_arm(bars)
        if alone and not pair:
            from heedlm.eval.report import to_terminal

            one = evaluating.evaluate(run=models[0], against=against, **how)
            decision, files, judged = one.report.decision, one.files, one.report.judged
            page: Any = to_terminal(one.report, screen.out.width)
        else:
            from heedlm.eval.pairs_report import pairs_terminal

            names = [*([against] if against else evaluating.own_base(models)), *models]
            how |= {"data": data or (), "out": out or evaluating.COMPARISON, "same_recipe": same_recipe, "grid": grid}
            how |= {"system": system, "few_shot": few_shot}
            many = evaluating.compare(models=names, **how)
            decision, files, page = many.report.decision, many.files, pairs_terminal(many.report)
            judged = many.report.judged
    screen.result(json.loads(files[0].read_text("utf8")), page)
    screen.say(f"The report: {files[2]}")
    if judge and not judged:
        screen.warn("The judge reached no verdict; why is in its own report, in the folder judge beside the log.")
    _leave(decision)


def _leave(decision: Decision | None) -> None:
    if decision is not None and decision.call != "ship":
        raise typer.Exit(NO if decision.call == "do not ship" else CANNOT_TELL)


def _verify(screen: Screen, folder: str, settings: list[str]) -> None:
    from heedlm.evaluating import evidence_of

    if not Path(folder).is_dir():
        raise HeedError(
            "There is no folder here.", folder, "name the run, or the --out folder, that a gate was asked for"
        )
    call, changed = evidence_of(folder, settings)
    lines = "".join(f"\n  {line}" for line in changed)
    holds = "the evidence holds" if not changed else f"but that is no longer what is here:{lines}"
    screen.result({"verdict": call, "changed": changed}, Text(f"{folder}: {call}; {holds}"))
    if changed:
        raise typer.Exit(NO)
