"""What a bake came to, as figures for programs, as a page in Markdown, and in words for a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from heedlm.eval.stats import Difference
from heedlm.instructions.bake.job import Job, Learned
from heedlm.instructions.bake.measure import Measured
from heedlm.runs import Run, environment, write_json, write_text

VERSION = 1


@dataclass(frozen=True, slots=True)
class Baked:
    """A bake that is done. model: the folder of the baked model.   files: its report."""

    model: Path
    learned: Learned
    measured: Measured
    files: tuple[Path, ...]

    @property
    def hurts(self) -> bool:
        """Whether giving the text to the baked model as well is surely worse than leaving it out."""
        return self.measured.again.high < 0


def told(job: Job, learned: Learned, found: Measured, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The figures, as they stand in report.json. facts: of the training."""
    recovery = asdict(found.recovery) if found.recovery is not None else None
    scores = {name: getattr(found, name) for name in ("plain", "told", "baked", "both")}
    differences = {name: asdict(getattr(found, name)) for name in ("gain", "again", "above")}
    return {
        "version": VERSION,
        "command": environment()["command"],
        "instruction": job.instruction.name,
        "model": job.model,
        "method": job.method,
        "items": found.items,
        "recovery": recovery,
        "scores": scores,
        **differences,
        "others": None if found.others is None else asdict(found.others),
        "others_by_task": {name: list(one) for name, one in found.by_task.items()},
        "tokens": {"with": found.tokens[0], "without": found.tokens[1], "saved": found.saved},
        "doses": [asdict(one) for one in found.doses],
        "errors": found.errors,
        "learned": {name: getattr(learned, name) for name in ("asked", "kept", "told", "plain", "wanted")},
        "dropped": dict(learned.dropped),
        "training": dict(facts),
    }


def write_report(
    run: Run, folder: Path, job: Job, learned: Learned, found: Measured, facts: Mapping[str, Any]
) -> tuple[Path, ...]:
    """report.json and report.md in `folder`, and the headline in run.json."""
    figures = told(job, learned, found, facts)
    files = (folder / "report.json", folder / "report.md")
    write_json(files[0], figures)
    write_text(files[1], page(job, learned, found, run))
    run.note(bake={name: figures[name] for name in ("instruction", "model", "method", "recovery", "others", "tokens")})
    return files


def page(job: Job, learned: Learned, found: Measured, run: Run) -> str:
    """The report for people, in Markdown."""
    lines = [
        f"**{headline(found)}**",
        "",
        f"`{job.instruction.name}` in {job.model}, by {job.method}. {learned.words()}.",
    ]
    lines += ["", f"| {found.items:,} held-out requests | without the text | with the text |", "|---|--:|--:|"]
    lines += [f"| {job.model} | {found.plain:.1%} | {found.told:.1%} |"]
    lines += [f"| {run.root} | {found.baked:.1%} | {found.both:.1%} |", ""]
    lines += [f"- The text gains {points(found.gain)}."]
    lines += [f"- Given to the baked model as well, it changes {points(found.again)}."]
    lines += [f"- Baked and given, against given alone: {points(found.above)}."]
    lines += [f"- A request has {found.tokens[0]:,.1f} tokens with the text and {found.tokens[1]:,.1f} without it: "]
    lines[-1] += f"{found.saved:,.1f} are saved."
    lines += [f"- Answers that failed: {found.errors:,}, each counted as wrong."] if found.errors else []
    lines += ["", *_others(found), "| dose | held-out requests, without the text | other rows |", "|--:|--:|--:|"]
    for one in found.doses:
        rest = "" if one.others is None else f"{one.others:.1%}"
        lines.append(f"| {one.scale:g} | {one.alone:.1%} | {rest} |")
    lines += ["", "The dose is the scale of the adapter: 0 is the model as it was, 1 what was trained.", ""]
    return "\n".join(lines)


def _others(found: Measured) -> list[str]:
    if found.others is None:
        return [
            "No other rows were given (`--replay`): what baking does to the rest was neither taught nor measured.",
            "",
        ]
    lines = [f"Other rows, {found.others.n:,} of them: {points(found.others)}.", ""]
    lines += ["| task | rows | before | baked |", "|---|--:|--:|--:|"]
    lines += [f"| {name} | {n:,} | {before:.1%} | {after:.1%} |" for name, (before, after, n) in found.by_task.items()]
    return [*lines, ""]


def headline(found: Measured) -> str:
    """The result in one sentence."""
    if found.recovery is None:
        return (
            f"The text gains nothing on these requests ({found.plain:.1%} without, {found.told:.1%} with it): "
            "there is nothing to recover."
        )
    one = found.recovery
    said = f"Baked, {one.value:.0%} of what the text gains is there without it [{one.low:.0%}, {one.high:.0%}]"
    rest = "" if found.others is None else f"; other rows {_signed(found.others)} points"
    return f"{said}{rest}; {found.saved:,.0f} tokens less for each request."


def points(one: Difference) -> str:
    """A difference in points, with its interval and p-value."""
    return f"{_signed(one)} points [{100 * one.low:+.1f}, {100 * one.high:+.1f}], p = {one.p:.2g}"


def _signed(one: Difference) -> str:
    return f"{100 * one.mean:+.1f}"


def read_report(run: Run) -> dict[str, Any]:
    """What `write_report` wrote; empty where there is none."""
    path = run.root / "bake" / "report.json"
    return dict(json.loads(path.read_text("utf8"))) if path.is_file() else {}
