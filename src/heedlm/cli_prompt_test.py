"""The command `heed prompt test`: instructions x models x formats x cases, with intervals and an exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from heedlm.errors import HeedError, Problem
from heedlm.screen import Screen, bar_per_arm

NO, CANNOT_TELL = 1, 3  # exit codes of a gate, as of `heed eval`
OUT = "prompt-test"

Files = Annotated[
    list[str],
    typer.Argument(metavar="FILE...", help=".prompty files, names from `heed prompt list`, or a promptfooconfig.yaml."),
]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", help="A run, a folder, a hub id, `atlas` or http://HOST/v1#MODEL; may be given again."),
]
Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format", help="chat, messages, completion, alpaca, ...; with a notation: chat/xml. Again for more."
    ),
]
Cases = Annotated[
    list[Path] | None, typer.Option("--cases", help="JSON lines or YAML: values and assertions, or rows of heed.")
]
Asserts = Annotated[
    list[str] | None,
    typer.Option("--assert", help="Of every answer as well: a type such as is-json, or a JSON object."),
]
Against = Annotated[str, typer.Option("--against", help="The baseline: empty, or the name of one of the instructions.")]
Ablate = Annotated[bool, typer.Option("--ablate", help="Ask again without each block: what is it worth?")]
Samples = Annotated[int, typer.Option("--samples", help="Draws of each answer; needs a --temperature.", min=1)]
Temperature = Annotated[float, typer.Option("--temperature", help="0 is greedy.", min=0.0)]
MaxTokens = Annotated[int, typer.Option("--max-tokens", help="Tokens of an answer at most.", min=1)]
Seed = Annotated[int, typer.Option("--seed", help="Of draws.")]
MinScore = Annotated[float | None, typer.Option("--min-score", help="Every cell must surely reach it, such as 0.8.")]
MinGain = Annotated[float | None, typer.Option("--min-gain", help="The gain must surely be above it, such as 0.")]
MaxSpread = Annotated[float | None, typer.Option("--max-spread", help="Best minus worst format at most, such as 0.1.")]
MinConsistent = Annotated[
    float | None, typer.Option("--min-consistent", help="Share of cases with one verdict over samples and paraphrases.")
]
Out = Annotated[Path, typer.Option("--out", help="Where report.html, .md, .json and the answers are kept.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say only the result.")]


def run_cases(
    files: Files,
    model: Models = None,
    format_: Formats = None,
    cases: Cases = None,
    asserts: Asserts = None,
    against: Against = "empty",
    ablate: Ablate = False,
    samples: Samples = 1,
    temperature: Temperature = 0.0,
    max_tokens: MaxTokens = 256,
    seed: Seed = 0,
    min_score: MinScore = None,
    min_gain: MinGain = None,
    max_spread: MaxSpread = None,
    min_consistent: MinConsistent = None,
    out: Out = Path(OUT),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Try instructions on cases, with models and formats, each against the bare request; write report.html, .md, .json.

    Exit code with --min-score, --min-gain, --max-spread, --min-consistent: 0 all are reached, 1 one is missed, 3 these
    cases cannot tell. Answers are kept under --out: the same command asks nothing twice, and goes on after a kill.

    Example: heed prompt test ticket-triage --model atlas --cases cases.jsonl --min-gain 0
    """
    from heedlm.instructions.matrix_files import write_report
    from heedlm.instructions.matrix_gate import Asked, decide
    from heedlm.instructions.matrix_report import Report, terminal
    from heedlm.instructions.matrix_run import Plan, run_matrix
    from heedlm.instructions.matrix_setup import set_up
    from heedlm.instructions.replies import Store
    from heedlm.messages import Sampling
    from heedlm.runs import environment

    screen = Screen(as_json, quiet)
    asked = Asked(min_score, min_gain, max_spread, min_consistent)
    found = set_up(files, cases or (), [_assertion(one) for one in asserts or ()], model or ())
    if out.exists() and not out.is_dir():  # told before anything is asked
        raise HeedError("the folder of the report is a file", f"--out {out}", f"--out {OUT}, or another folder")
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature, seed=seed)
    plan = Plan(found.instructions, found.models, found.cases, format_ or (), against, ablate, sampling, samples)
    store = Store(out / "answers.jsonl")
    if store.unread:
        screen.warn(f"{store.unread} lines of {store.path} cannot be read; what they held is asked again")
    for note in found.notes:
        screen.warn(note)
    with screen.progress() as bars:
        done = run_matrix(plan, store, notes=found.notes, on_progress=bar_per_arm(bars))
    facts = environment()
    about = {
        "command": str(facts["command"]),
        "date": str(facts.get("date", "")),
        "cases": ", ".join(map(str, cases or files)),
        "decoding": f"temperature {temperature:g}, {max_tokens} tokens at most, seed {seed}",
    }
    report = Report(done.matrix, decide(done.matrix, asked), done.calls, done.cached, about)
    written = write_report(report, out)
    screen.result(json.loads(written[0].read_text("utf8")), terminal(report, said=found.notes))
    screen.say(f"{done.calls:,} asked, {done.cached:,} kept from before. The report: {written[2]}")
    if report.decision is not None and report.decision.call != "ship":
        raise typer.Exit(NO if report.decision.call == "do not ship" else CANNOT_TELL)


def _assertion(written: str) -> Any:
    if not written.lstrip().startswith("{"):
        return written.strip()
    try:
        return json.loads(written)
    except ValueError as error:
        raise HeedError.of(
            [Problem(f"no JSON: {error}", "--assert", '{"type": "contains", "value": "Paris"}')]
        ) from None
