"""The report of an evaluation for programs, pull requests and terminals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from heedlm.eval import words
from heedlm.eval.arms import BASE, INSTRUCT
from heedlm.eval.conduct import conduct, conduct_json
from heedlm.eval.curves import Curve
from heedlm.eval.gate import verdicts
from heedlm.eval.html import to_html
from heedlm.eval.html_parts import plain, writable
from heedlm.eval.results import Decision, EvalReport, Judgement, TaskResult
from heedlm.eval.suites.measure import sentences
from heedlm.eval.verdict import SATURATED, SATURATED_NOTE, TOO_HARD_NOTE, TOO_SMALL, TOO_SMALL_NOTE
from heedlm.messages import JSON
from heedlm.runs import write_text

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

VERSION = 1
_DIGITS = 6
_REASONS = {
    TOO_SMALL_NOTE: f"Too small to show a difference under {100 * TOO_SMALL:.0f} points",
    SATURATED_NOTE: f"Saturated, the first arm has {100 * SATURATED:.0f} % or more",
    TOO_HARD_NOTE: "Too hard, no arm gets any of it",
}
_MOST_ROWS = 30  # of a table of Markdown that stands open
_WIDE = 80  # columns that the whole table takes on a terminal
_ROOMY = 100  # columns from which p has a column of its own as well


def write_report(report: EvalReport, folder: Path, curves: Sequence[Curve] = ()) -> tuple[Path, Path, Path]:
    """report.json, report.md and report.html in a folder, each written whole or not at all. curves: of the training."""
    json_, markdown, page = (folder / f"report.{ending}" for ending in ("json", "md", "html"))
    write_text(json_, as_text(to_json(report)))
    write_text(markdown, plain(to_markdown(report)))
    write_text(page, to_html(report, curves))
    return json_, markdown, page


def as_text(value: Mapping[str, JSON]) -> str:
    """Indented JSON, readable with head."""
    return writable(json.dumps(value, indent=2, ensure_ascii=False)) + "\n"


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
        "caveats": list(report.caveats),
        "suites": [asdict(one) for one in report.suites],
        "intervals": {name: list(span) for name, span in report.spans.items()},
        "noise": None if report.noise is None else asdict(report.noise),
        "decision": None if report.decision is None else asdict(report.decision),
        "judged": [asdict(one) for one in report.judged],
        "replies": conduct_json(conduct(report.cases)),
        "weights": dict(report.models),
        "around": None if report.around is None else asdict(report.around),
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
        "p_holm": task.p_holm,
        "p_bh": task.p_bh,
        "smallest_difference": round(task.smallest_difference, _DIGITS),
        "note": task.note,
        "errors": {arm: result.errors for arm, result in task.arms.items()},
        "base_behaviour": dict(task.behaviour),
    }


def to_markdown(report: EvalReport) -> str:
    """The report for a pull request."""
    arms = list(report.arms)
    lines = [f"**{words.headline(report)}**", "", words.second_line(report), ""]
    rows = [
        "| task | n | can show | "
        + " | ".join(cell(words.arm_name(arm)) for arm in arms)
        + " | gain, points | 95 % interval | p | p, Holm |",
        "|---|--:|--:|" + "--:|" * len(arms) + "--:|:-:|--:|--:|",
    ]
    marked = words.marks_ungated(report)
    for task in report.tasks:
        scores = " | ".join(words.percent(task.arms[arm].score) for arm in arms)
        name = cell(words.task_title(task.name)) + (" (not gated)" if marked and not task.gated else "")
        rows.append(
            f"| {name} | {task.n} | {_could_show(task)} | {scores} | {words.points(task.difference)} | "
            f"{words.points(task.low)} to {words.points(task.high)} | {words.p_value(task.p)} | "
            f"{words.p_value(task.p_holm)} |"
        )
    lines += folded_table(rows)
    lines += ["", *(f"- {line}" for line in _facts(report)), ""]
    lines += [*(f"- *{name}*: {meaning}." for name, meaning in words.legend(report)), ""]
    lines += judged_lines(report.judged)
    lines += decision_lines(report.decision)
    found = verdicts(report)
    missed = [verdict for verdict in found if not verdict.passed]
    if found:
        lines.append(f"Gate: {len(found) - len(missed)} of {len(found)} figures reached.")
    lines += [f"- not reached: {verdict}" for verdict in missed]
    if report.about:
        lines += ["", "| how to reproduce | |", "|---|---|"]
        lines += [f"| {name} | {cell(value)} |" for name, value in report.about.items()]
    return "\n".join(lines) + "\n"


def judged_lines(judged: Sequence[Judgement]) -> list[str]:
    """What a judge thinks, as a list of its own: nothing of it stands among what was checked."""
    rows = [
        f"- {one.what}: {words.percent(one.share)} of {one.n:,} (95 % interval {words.percent(one.low)} to "
        f"{words.percent(one.high)}), thinks {one.judge}. {' '.join(one.notes)}".rstrip()
        for one in judged
    ]
    return ["**Judged by a model, not checked:**", "", *rows, ""] if rows else []


def decision_lines(decision: Decision | None) -> list[str]:
    """What the gate of the user says, as a list."""
    if decision is None:
        return []
    marks = {"reached": "reached", "missed": "**missed**", "unsure": "*cannot tell*"}
    rows = [
        f"- {marks[one.state]}: {one.what}: {one.found}, asked was {one.asked}" + (f" ({one.why})" if one.why else "")
        for one in decision.figures
    ]
    return [f"**Gate: {decision.call}.**", "", *rows, ""]


def _could_show(task: TaskResult) -> str:
    """The smallest true difference that the items of a task show four times out of five, in points."""
    return words.points(task.smallest_difference).lstrip("+")


def folded_table(rows: Sequence[str]) -> list[str]:
    """The lines of a table of Markdown, folded in where it is long. rows: its head, the line below it, and the rest."""
    if len(rows) - 2 <= _MOST_ROWS:
        return list(rows)
    return [f"<details><summary>{len(rows) - 2} rows</summary>", "", *rows, "", "</details>"]


def cell(value: str) -> str:
    """A text inside a table of Markdown."""
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
    errors = {arm: sum(task.arms[arm].errors for task in report.tasks if arm in task.arms) for arm in report.arms}
    if any(errors.values()):
        counted = "; ".join(f"{words.arm_name(arm)}: {count:,}" for arm, count in errors.items() if count)
        found.append(f"Items without an answer or a score, counted as wrong: {counted}.")
    if report.noise is not None:
        noise = report.noise
        found.append(
            f"The same model asked twice: {noise.changed:,} of {noise.n:,} items scored otherwise, a difference of "
            f"{100 * noise.difference:+.1f} points ({100 * noise.low:+.1f} to {100 * noise.high:+.1f})."
        )
    found += notes(report.tasks)
    found += _beside(report)
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


def _beside(report: EvalReport) -> list[str]:
    """What suites measure beside the mean: formats, consistency, fallbacks; of base, bare, and instruct."""
    found = [(one, sentences(one)) for one in report.suites if one.arm in (BASE, INSTRUCT)]
    return [f"{words.task_title(one.task)}, {words.arm_name(one.arm)}: {' '.join(said)}" for one, said in found if said]


def notes(tasks: Sequence[TaskResult]) -> list[str]:
    """One line for each reason for which tasks can show little, with the tasks."""
    by_reason: dict[str, list[str]] = {}
    for task in tasks:
        if task.note:
            by_reason.setdefault(task.note.partition(":")[0], []).append(words.task_title(task.name))
    return [f"{_REASONS[reason]}: {', '.join(names)}." for reason, names in by_reason.items()]


def to_terminal(report: EvalReport, width: int = 80) -> Group:
    """The report for a terminal of `width` columns (a rich renderable). Its first line is the headline, in plain words."""
    from rich.console import Group
    from rich.text import Text

    second = words.second_line(report)
    alarming = report.caveats or words.forgot(report)
    parts: list[Text | Table] = [Text(words.headline(report), style="bold red" if alarming else "bold")]
    if second:
        parts.append(Text(second, style="dim"))
    parts += [Text(), _table(report, width), _legend(report, width), Text()]
    parts += [Text(line) for line in _facts(report)]
    if width < _WIDE:
        parts.append(Text(f"Intervals and p-values: in report.md, or here with {_WIDE} columns.", style="dim"))
    if report.decision is None:
        missed = [verdict for verdict in verdicts(report) if not verdict.passed]
        parts += [Text(f"not reached: {verdict}", style="red") for verdict in missed]
    return Group(*parts, *decision_text(report.decision))


def decision_text(decision: Decision | None) -> list[Text]:
    """What the gate of the user says, for a terminal."""
    from rich.text import Text

    if decision is None:
        return []
    styles = {"missed": "red", "unsure": "yellow"}
    names = {"missed": "missed", "unsure": "cannot tell"}
    call = {"ship": "bold green", "do not ship": "bold red", "cannot tell": "bold yellow"}[decision.call]
    open_ = [one for one in decision.figures if one.state != "reached"]
    rows = [
        Text(f"{names[one.state]}: {one.what}: {one.found}, asked was {one.asked}", style=styles[one.state])
        + Text(f" ({one.why})" if one.why else "", style="dim")
        for one in open_
    ]
    reached = f"{len(decision.figures) - len(open_)} of {len(decision.figures)} figures reached for sure"
    return [Text(), Text(f"Gate: {decision.call} ({reached})", style=call), *rows]


def _legend(report: EvalReport, width: int) -> Table:
    """What the words of the table mean, under it."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 1))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(style="dim", overflow="fold")
    for name, meaning in words.legend(report):
        if name == "p" and width < _ROOMY:
            name, meaning = "better", f"the gain is not luck: p under {words.SURE}, Holm's over all tasks; else unsure"
        grid.add_row(f"* {name}" if name == "not gated" else _short(name), meaning)
    return grid


def _short(arm: str) -> str:
    return arm.removeprefix("instruct, ")


def _table(report: EvalReport, width: int) -> Table:
    """One row per task, with as many columns as fit."""
    from rich import box
    from rich.table import Table

    arms = list(report.arms)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("task", overflow="fold", min_width=9)
    table.add_column("n", justify="right", no_wrap=True)
    table.add_column("can\nshow", justify="right", no_wrap=True, style="dim")
    for arm in arms:
        name = _short(words.arm_name(arm)).replace(" ", "\n")
        table.add_column(name, justify="right", no_wrap=True, style="bold" if arm == INSTRUCT else "")
    table.add_column("gain", justify="right", no_wrap=True)
    if width >= _WIDE:
        table.add_column("95 %\ninterval", justify="right", no_wrap=True)
    if width >= _ROOMY:  # before it a task's name is cut in two, and the last word says what p would
        table.add_column("p", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    marked = words.marks_ungated(report)
    for task in report.tasks:
        name = words.task_title(task.name) + (" *" if marked and not task.gated else "")
        scores = [words.percent(task.arms[arm].score) for arm in arms]
        low, high = (words.points(end).lstrip("+") for end in (task.low, task.high))  # every column counts here
        span = [f"{low} to {high}"] * (width >= _WIDE) + [words.p_value(task.p).replace("< ", "<")] * (width >= _ROOMY)
        cells = [words.points(task.difference), *span, _verdict(task)]
        table.add_row(name, str(task.n), _could_show(task), *scores, *cells)
    return table


def _verdict(task: TaskResult) -> str:
    return {0: "[dim]unsure[/]", 1: "[green]better[/]", -1: "[red]worse[/]"}[words.sure(task)]
