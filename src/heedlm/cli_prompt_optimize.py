"""The command `heed prompt optimize`: a better instruction, searched on the model itself and proved on a sealed test."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from heedlm.errors import HeedError, nearest
from heedlm.screen import Screen

if TYPE_CHECKING:
    from heedlm.instructions.optimize.moves import Stage
    from heedlm.instructions.optimize.run import Done

OUT = "optimized"

File = Annotated[str, typer.Argument(metavar="FILE", help="A .prompty file, or a name from `heed prompt list`.")]
Model = Annotated[str, typer.Option("--model", help="A run, a folder, a hub id, `atlas` or http://HOST/v1#MODEL.")]
Data = Annotated[
    list[Path],
    typer.Option("--data", help="Cases: JSON lines or YAML, or rows of heed; split into train, dev and sealed test."),
]
Test = Annotated[
    list[Path] | None, typer.Option("--test", help="The sealed test, where it is a file of its own; may not overlap.")
]
BudgetCalls = Annotated[int, typer.Option("--budget", help="Answers asked for at most, the sealed test's among them.")]
Minutes = Annotated[float | None, typer.Option("--minutes", help="Of searching at most; the sealed test comes on top.")]
Money = Annotated[
    float | None, typer.Option("--money", help="To be spent at most, the sealed test's share among it; needs --price.")
]
PriceOf = Annotated[
    str | None, typer.Option("--price", help="Of a million tokens, sent and written, such as 0.15,0.60; for --money.")
]
Stages = Annotated[
    str, typer.Option("--stages", help="Which of mix, format, blocks, shots, edits, reflect; in this order.")
]
ReflectorName = Annotated[
    str, typer.Option("--reflector", help="A strong model that proposes other words: adds the stage reflect.")
]
ReflectorPrice = Annotated[str | None, typer.Option("--reflector-price", help="The same as --price, of the reflector.")]
Epsilon = Annotated[
    float, typer.Option("--epsilon", help="Loss that dev must rule out after each stage.", min=0, max=1)
]
MaxTokens = Annotated[int, typer.Option("--max-tokens", help="Tokens of an answer at most.", min=1)]
Seed = Annotated[int, typer.Option("--seed", help="Of the split and of what is drawn.")]
Out = Annotated[Path | None, typer.Option("--out", help=f"Where the lock file is kept; else {OUT}/NAME-MODEL.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say only the result.")]


def optimize(
    file: File,
    model: Model,
    data: Data,
    test: Test = None,
    budget: BudgetCalls = 2000,
    minutes: Minutes = None,
    money: Money = None,
    price: PriceOf = None,
    stages: Stages = "mix,format,blocks,shots,edits",
    reflector: ReflectorName = "",
    reflector_price: ReflectorPrice = None,
    epsilon: Epsilon = 0.01,
    max_tokens: MaxTokens = 64,
    seed: Seed = 0,
    out: Out = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Search a better instruction on the model itself; keep the old one unless a sealed test says that the new is better.

    Writes lock.json (all scores of all candidates) and best.prompty. Ctrl-C or a kill loses nothing: the same command
    goes on. The sealed test is opened once.

    Example: heed prompt optimize ticket-triage --model atlas --data cases.jsonl --budget 2000
    """
    from heedlm.instructions.cases import common_checks, read_cases
    from heedlm.instructions.format import load
    from heedlm.instructions.optimize.ledger import Budget
    from heedlm.instructions.optimize.money import read_price
    from heedlm.instructions.optimize.run import Job
    from heedlm.instructions.optimize.run import optimize as searched
    from heedlm.messages import Sampling

    screen = Screen(as_json, quiet)
    bought, chosen = Budget(budget, minutes, money), _stages(stages, bool(reflector))
    instruction = load(file)
    checks, _ = common_checks([instruction])
    cases = read_cases(data, [instruction], checks)
    sealed = read_cases(test, [instruction], checks) if test else None
    folder = out or Path(OUT) / f"{instruction.name}-{_plain(model)}"
    decoding = Sampling(max_tokens=max_tokens)
    job = Job(
        instruction,
        model,
        cases,
        folder,
        bought,
        sealed,
        chosen,
        epsilon,
        seed,
        decoding,
        reflector=reflector,
        price=None if price is None else read_price(price, "--price"),
        reflector_price=None if reflector_price is None else read_price(reflector_price, "--reflector-price"),
        looked=_looked(test or data),
    )
    with screen.progress() as bars:
        task = bars.add_task("searching", total=budget, note="")

        def stage(name: str, what: str) -> None:
            bars.update(task, description=name)
            screen.say(f"{name:<9} {what}")

        done = searched(job, on_paid=lambda calls, of: bars.update(task, completed=calls, total=of), on_stage=stage)
    lock = json.loads(done.lock.read_text("utf8"))
    told = {name: lock[name] for name in ("verdict", "gate", "best", "headroom", "steps", "budget", "ended")}
    screen.result({**told, "lock": str(done.lock)}, _page(done))


def _looked(files: list[Path]) -> Path | None:
    """Where openings of the test are on record whatever --out says: beside the cases, where that may be written."""
    place = files[0].with_name(f"{files[0].name}.opened")
    if not files[0].is_file():  # a pipe has no place beside it
        return None
    return place if os.access(place if place.exists() else place.parent, os.W_OK) else None


def _stages(text: str, reflected: bool = False) -> tuple[Stage, ...]:
    """The stages that are named, in their own order. reflected: a reflector is named, so its stage is wanted too."""
    from heedlm.instructions.optimize.moves import STAGES

    known: tuple[Stage, ...] = (*STAGES, "reflect")
    names = [one.strip() for one in text.split(",") if one.strip()]
    unknown = next((one for one in names if one not in known), None)
    if unknown is not None or not names:
        raise HeedError(f"there is no stage {unknown or text!r}", "--stages", nearest(unknown or text, known))
    return tuple(one for one in known if one in names or (one == "reflect" and reflected))


def _plain(model: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in model).strip("-.") or "model"


def _page(done: Done) -> Text:
    """The verdict first, then what each stage did."""
    text, difference, gated = Text(), done.gated.difference, done.gated
    if done.verdict == "better":
        text.append(f"Better: {done.best.name}\n", style="green")
    elif done.verdict == "no headroom":
        why = done.found.headroom.why if done.found.headroom is not None else ""
        text.append(f"No headroom: {why}. The instruction stays as it is.\n", style="yellow")
    else:
        text.append("Kept: nothing was surely better than the instruction that you have.\n", style="yellow")
    if difference is not None:
        text.append(
            f"sealed test, {difference.n} cases: {gated.seed:.1%} -> {gated.chosen:.1%}, "
            f"{difference.mean:+.1%} [{difference.low:+.1%}, {difference.high:+.1%}], p = {difference.p:.3g}\n"
        )
        if done.verdict != "better":
            text.append(f"so many cases surely show a difference only from {difference.smallest:.1%} on\n")
    elif done.verdict != "no headroom":
        text.append("Nothing was left to prove: the sealed test stays sealed.\n")
    for step in done.found.steps:
        if not step.calls:
            continue
        gain = "" if step.dev is None else f"  {step.dev.mean:+.1%} on dev"
        how = " by likelihood" if step.measure == "likelihood" else ""
        text.append(
            f"  {step.stage:<7} {step.moves:>3} moves {step.calls:>5,} calls  {step.verdict}{gain}{how}\n", style="dim"
        )
    if done.found.ended and done.verdict != "no headroom":
        text.append(f"  the budget ended the search: {done.found.ended}\n", style="dim")
    spent = f", {done.money:.4g} spent" if done.money else ""
    text.append(f"{done.calls:,} calls{spent}. {done.lock}", style="dim")
    if done.verdict == "better":
        file = done.lock.with_name("best.prompty")
        text.append(f"\nheed prompt compile {shlex.quote(str(file))}")
    return text
