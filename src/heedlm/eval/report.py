"""The report of an evaluation for programs, pull requests and terminals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from heedlm.eval import words
from heedlm.eval.arms import INSTRUCT
from heedlm.eval.gate import verdicts
from heedlm.eval.html import to_html
from heedlm.eval.plots import Curve
from heedlm.eval.results import EvalReport, TaskResult
from heedlm.messages import JSON
from heedlm.runs import write_json, write_text

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

VERSION = 1
_DIGITS = 6
_WIDE = 80  # columns that the whole table takes on a terminal


def write_report(report: EvalReport, folder: Path, curves: Sequence[Curve] = ()) -> tuple[Path, Path, Path]:
    """report.json, report.md and report.html in a folder, each written whole or not at all."""
    json_, markdown, page = (folder / f"report.{ending}" for ending in ("json", "md", "html"))
    write_json(json_, to_json(report))
    write_text(markdown, to_markdown(report))
    write_text(page, to_html(report, curves))
    return json_, markdown, page


def to_json(report: EvalReport) -> dict[str, JSON]:
    """The report as version 1 of report.json. `difference` is instruct minus base; parts not measured are null."""
    unknown, bits = report.unknown, report.bits_per_byte
    return {
        "version": VERSION,
        "headline": words.headline(report),
        "tasks": [_task_json(task) for task in report.tasks],
        "unknown": None if unknown is None else asdict(unknown),
        "stop_rate": {arm: round(rate, _DIGITS) for arm, rate in report.stop_rate.items()},
        "bits_per_byte": None if bits is None else asdict(bits),
        "seconds": asdict(report.seconds),
        "peak_memory_bytes": report.peak_memory_bytes,
        "gate": [verdict._asdict() for verdict in verdicts(report)],
        "about": dict(report.about),
    }


def _task_json(task: TaskResult) -> dict[str, JSON]:
    return {
        "name": task.name,
        "kind": task.kind,
        "n": task.n,
        "groups": task.clusters,
        "metric": task.metric,
        "gated": task.gated,
        **{arm: round(result.score, _DIGITS) for arm, result in task.arms.items()},
        "difference": round(task.difference, _DIGITS),
        "low": round(task.low, _DIGITS),
        "high": round(task.high, _DIGITS),
        "p": task.p,
        "test": task.test,
        "smallest_difference": round(task.smallest_difference, _DIGITS),
        "errors": {arm: result.errors for arm, result in task.arms.items()},
        "base_behaviour": dict(task.behaviour),
    }


def to_markdown(report: EvalReport) -> str:
    """The report for a pull request."""
    arms = list(report.arms)
    lines = [f"**{words.headline(report)}**", "", words.second_line(report), ""]
    lines += [
        "| task | n | " + " | ".join(words.arm_name(arm) for arm in arms) + " | gain, points | 95 % interval | p |",
        "|---|--:|" + "--:|" * len(arms) + "--:|:-:|--:|",
    ]
    marked = words.marks_ungated(report)
    for task in report.tasks:
        scores = " | ".join(words.percent(task.arms[arm].score) for arm in arms)
        name = words.task_title(task.name) + (" (not gated)" if marked and not task.gated else "")
        lines.append(
            f"| {name} | {task.n} | {scores} | {words.points(task.difference)} | {words.points(task.low)} to "
            f"{words.points(task.high)} | {words.p_value(task.p)} |"
        )
    lines += ["", *(f"- {line}" for line in _facts(report)), ""]
    lines += [*(f"- *{name}*: {meaning}." for name, meaning in words.legend(report)), ""]
    found = verdicts(report)
    missed = [verdict for verdict in found if not verdict.passed]
    if found:
        lines.append(f"Gate: {len(found) - len(missed)} of {len(found)} figures reached.")
    lines += [f"- not reached: {verdict}" for verdict in missed]
    if report.about:
        lines += ["", "| how to reproduce | |", "|---|---|"]
        lines += [f"| {name} | {_cell(value)} |" for name, value in report.about.items()]
    return "\n".join(lines) + "\n"


def _cell(value: str) -> str:
    return " ".join(value.replace("|", "\\|").split())


def _facts(report: EvalReport) -> list[str]:
    """What stands under the table: one sentence for each thing that was measured."""
    stops = "; ".join(f"{words.arm_name(arm)}: {words.percent(rate)}" for arm, rate in report.stop_rate.items())
    found = [f"Replies that end by themselves: {stops}."]
    if report.unknown is not None:
        unknown = report.unknown
        found.append(
            f'Invented names: {words.percent(unknown.recall)} of {unknown.n_invented} answered with "I do not know"; '
            f"real ones wrongly refused: {words.percent(unknown.false_refusal)} of {unknown.n_real}."
        )
    bits = report.bits_per_byte
    if bits is not None:
        texts = (("known", bits.before, bits.after), ("other", bits.other_before, bits.other_after))
        costs = (f"{name} text {a:.3f} to {b:.3f} ({words.change(b / a - 1)})" for name, a, b in texts)
        found.append(f"Forgetting, bits per byte: {', '.join(costs)}.")
    seconds = report.seconds
    if seconds.total:
        found.append(
            f"Time: prepare {words.duration(seconds.prepare)}, train {words.duration(seconds.train)}, "
            f"evaluate {words.duration(seconds.eval)}, all {words.duration(seconds.total)}; "
            f"memory at most {words.memory(report.peak_memory_bytes)}."
        )
    return found


def to_terminal(report: EvalReport, width: int = 80) -> Group:
    """The report for a terminal of `width` columns (a rich renderable). Its first line is the headline, in plain words."""
    from rich.console import Group
    from rich.text import Text

    second = words.second_line(report)
    parts: list[Text | Table] = [Text(words.headline(report), style="bold")]
    if second:
        parts.append(Text(second, style="dim"))
    narrow = width < _WIDE
    parts += [Text(), _table(report, narrow), _legend(report), Text()]
    parts += [Text(line) for line in _facts(report)]
    if narrow:
        parts.append(Text(f"Intervals and p-values: in report.md, or here with {_WIDE} columns.", style="dim"))
    missed = [verdict for verdict in verdicts(report) if not verdict.passed]
    parts += [Text(f"not reached: {verdict}", style="red") for verdict in missed]
    return Group(*parts)


def _legend(report: EvalReport) -> Table:
    """What the words of the table mean, under it."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 1))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(style="dim", overflow="fold")
    for name, meaning in words.legend(report):
        grid.add_row(f"* {name}" if name == "not gated" else _short(name), meaning)
    return grid


def _short(arm: str) -> str:
    return arm.removeprefix("instruct, ")


def _table(report: EvalReport, narrow: bool) -> Table:
    """One row per task. narrow: without interval and p-value, which would not fit."""
    from rich import box
    from rich.table import Table

    arms = list(report.arms)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("task", overflow="fold", min_width=12)
    table.add_column("n", justify="right", no_wrap=True)
    for arm in arms:
        name = _short(words.arm_name(arm)).replace(" ", "\n")
        table.add_column(name, justify="right", no_wrap=True, style="bold" if arm == INSTRUCT else "")
    table.add_column("gain", justify="right", no_wrap=True)
    if not narrow:
        table.add_column("95 %\ninterval", justify="right", no_wrap=True)
        table.add_column("p", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    marked = words.marks_ungated(report)
    for task in report.tasks:
        name = words.task_title(task.name) + (" *" if marked and not task.gated else "")
        scores = [words.percent(task.arms[arm].score) for arm in arms]
        span = [f"{words.points(task.low)} to {words.points(task.high)}", words.p_value(task.p)]
        cells = [words.points(task.difference), *([] if narrow else span), _verdict(task)]
        table.add_row(name, str(task.n), *scores, *cells)
    return table


def _verdict(task: TaskResult) -> str:
    if task.p >= words.SURE or task.low <= 0 <= task.high:  # on a handful of items an interval alone says too much
        return "[dim]unsure[/]"
    return "[green]better[/]" if task.low > 0 else "[red]worse[/]"
