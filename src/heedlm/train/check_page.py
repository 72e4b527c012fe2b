"""A check on one screen: a verdict, what is wrong with its mend, then machine, model, data and plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from heedlm.train.check import CheckReport, Data, Machine, Model, Planned
from heedlm.train.memory import Need
from heedlm.train.numerics import Comparison
from heedlm.train.plan import gib, in_words

_PACKAGES = ("torch", "transformers", "peft")
_SHOWN = 6  # findings; a data set may have thousands
_COLOURS = {"error": "bold red", "warning": "yellow"}


def verdict(report: CheckReport) -> str:
    """The answer in one sentence."""
    errors = sum(finding.severity == "error" for finding in report.findings)
    warnings = len(report.findings) - errors
    if errors:
        return f"Not ready: {_count(errors, 'error')}" + (f" and {_count(warnings, 'warning')}." if warnings else ".")
    plan = report.plan
    assert plan is not None, "without an error there is a plan"
    time = "" if plan.seconds is None else f", about {_duration(plan.seconds)}"
    told = f"{plan.steps:,} steps{time}, {gib(plan.memory['peak'])} of the {gib(plan.available)} there are"
    return f"Ready: {told}." + (f" {_count(warnings, 'warning')}." if warnings else "")


def page(report: CheckReport) -> list[RenderableType]:
    """The whole screen, from the top down."""
    parts: list[RenderableType] = [Text(verdict(report), style="bold green" if report.ok else "bold red")]
    found = sorted(report.findings, key=lambda one: one.severity)  # errors come first
    for finding in found[:_SHOWN]:
        parts.append(Text(f"{finding.severity}: ", style=_COLOURS[finding.severity]).append(finding.what, "default"))
        if finding.mend:  # unbroken, for the commands in it are there to be copied
            parts.append(Text(f"  mend {finding.mend}", style="dim", no_wrap=True))
    if len(found) > _SHOWN:
        parts.append(Text(f"and {len(found) - _SHOWN:,} more (--json tells all)", style="dim"))
    table = Table(show_header=False, box=None, padding=(0, 1), pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    sections = [("machine", _machine(report.machine, report.packages))]
    sections += [("model", _model(report.model))] if report.model else []
    sections += [("data", _data(report.data))] if report.data else []
    sections += [("plan", _plan(report.plan))] if report.plan else []
    for name, lines in sections:
        for number, (label, text) in enumerate(lines):
            table.add_row(name if number == 0 else "", label, text)
    parts.append(table)
    if report.plan and report.plan.proposals:
        parts.append(_ways(report.plan))
    return parts


def numbers(comparisons: Sequence[Comparison]) -> list[RenderableType]:
    """The numerical self-tests as a table under their verdict."""
    failed = [one for one in comparisons if not one.passed]
    text = f"{len(failed)} of {len(comparisons)} comparisons failed." if failed else "Every way gives the same result."
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("compared", overflow="fold")
    for column in ("largest difference", "tolerance", ""):
        table.add_column(column, justify="right", no_wrap=True)
    for one in comparisons:
        apart = "not used" if one.difference is None else f"{one.difference:.1e}"
        mark = Text("-", style="dim") if one.difference is None else Text("ok", style="green")
        mark = mark if one.passed else Text("FAILED", style="bold red")
        table.add_row(one.name, apart, f"{one.tolerance:.0e}", mark)
    notes = [Text(f"{one.name}: {one.note}", style="dim") for one in comparisons if one.note and _says(one)]
    return [Text(text, style="bold red" if failed else "bold green"), table, *notes]


def as_json(report: CheckReport) -> dict[str, Any]:
    """The report with its verdict, for one JSON object."""
    from dataclasses import asdict

    return {"ok": report.ok, "verdict": verdict(report), **asdict(report)}


def _says(one: Comparison) -> bool:
    """A note on what passed names the place of the largest difference, which is of no interest."""
    return not one.passed or one.difference is None


def _machine(machine: Machine, packages: dict[str, str]) -> list[tuple[str, str]]:
    products = "bf16 products" if machine.bf16 else "no bf16 products"
    device = f", {machine.device} with {gib(machine.device_memory)} free" if machine.device != "cpu" else ""
    return [
        ("system", machine.system),
        ("cores", f"{machine.cores} ({machine.threads} used by torch), {products}{device}"),
        ("memory", f"{gib(machine.available)} of {gib(machine.memory)} left for this process"),
        ("packages", ", ".join(f"{name} {packages[name]}" for name in _PACKAGES if name in packages)),
    ]


def _model(model: Model) -> list[tuple[str, str]]:
    context = f", context {model.context:,}" if model.context else ""
    head = "head and embedding are one matrix" if model.tied else "head and embedding apart"
    lines = [
        (
            "architecture",
            f"{model.architecture}, {_millions(model.parameters)}, {model.layers} layers{context}; {head}",
        ),
        ("template", f"{model.template} ({model.grade}: {_GRADES[model.grade]})"),
        ("stops at", ", ".join(model.stop)),
        ("begins with", model.bos),
        ("rows", _probes(model)),
    ]
    if model.system:
        lines.append(("system text", f"{model.system!r}, put in by the template where a row has none"))
    return lines


_GRADES = {"hard": "control tokens part the turns", "soft": "plain text parts the turns, which a user can type"}


def _probes(model: Model) -> str:
    first = model.packing.partition(" (")[0]
    more = [
        name
        for name, used in (("shared prefixes", model.shares_prefixes), ("head in parts", model.head_in_parts))
        if used
    ]
    return first + (f"; {' and '.join(more)} possible" if more else "")


def _data(data: Data) -> list[tuple[str, str]]:
    splits = ", ".join(f"{name} {count:,}" for name, count in data.splits.items())
    short, usual, long = data.lengths
    share = data.learned_tokens / max(1, data.tokens)
    lines = [
        ("rows", splits + (f"; {data.dropped:,} too long and dropped" if data.dropped else "")),
        (
            "tokens",
            f"{data.tokens:,} in {data.sequences:,} sequences of {short:,} to {long:,}, half of them up to {usual:,}",
        ),
        ("learned", f"{data.learned_tokens:,} tokens, {share:.0%}"),
    ]
    lines += [("" if number else "sources", line) for number, line in enumerate(data.mixture)]
    if data.replayed_tokens:
        lines.append(("replayed", f"{data.replayed_tokens:,} tokens of plain documents"))
    return lines


def _plan(plan: Planned) -> list[tuple[str, str]]:
    cut = -(-plan.tokens_per_step // plan.micro_tokens)
    pace = "" if plan.tokens_per_second is None else f" ({plan.tokens_per_second:,.0f} tokens/s)"
    time = "not timed" if plan.seconds is None else f"{_duration(plan.seconds)}{pace}"
    micro = f"{cut} micro-batches of up to {plan.micro_tokens:,}" if cut > 1 else "one micro-batch"
    return [
        (
            "trains",
            f"{_millions(plan.trainable)} ({plan.method}), products in {plan.precision}, peak rate {plan.learning_rate:.1e}",
        ),
        ("steps", f"{plan.steps:,} of about {plan.tokens_per_step:,} tokens, each in {micro}"),
        ("time", time),
        ("memory", f"{gib(plan.memory['peak'])} at the peak of {gib(plan.available)}: {in_words(Need(**plan.memory))}"),
    ]


def _ways(plan: Planned) -> RenderableType:
    table = Table(box=None, padding=(0, 1), pad_edge=False, title="ways to compute a step", title_justify="left")
    for column, justify in (
        ("layers", "left"),
        ("micro-batch", "right"),
        ("a step", "right"),
        ("peak", "right"),
        ("", "left"),
    ):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for one in plan.proposals:
        fits = Text("fits", style="green") if one.fits else Text("does not fit", style="red")
        table.add_row(one.way, f"{one.micro_tokens:,}", f"x {one.micro_batches}", gib(one.peak), fits)
    return table


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _millions(count: int) -> str:
    return f"{count / 1e9:.2f}B parameters" if count >= 1e9 else f"{count / 1e6:.2f}M parameters"


def _duration(seconds: float) -> str:
    """ "40 seconds", "12 minutes", "3.5 hours": as exactly as a few timed steps can tell."""
    if seconds < 100:
        return f"{max(1, round(seconds))} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
