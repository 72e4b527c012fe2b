"""The report of a run as one page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from heedlm.eval import plots, words
from heedlm.eval.arms import BASE, BASE_FAIR, INSTRUCT, INSTRUCT_AGAIN, WRONG_FORMAT
from heedlm.eval.around import Around
from heedlm.eval.behaviour import BEHAVIOURS
from heedlm.eval.conduct import Conduct, conduct, reference_lengths
from heedlm.eval.curves import Curve
from heedlm.eval.gate import verdicts
from heedlm.eval.html_around import data, training
from heedlm.eval.html_cases import MOST_CASES, Sides, chosen_cases, side_by_side
from heedlm.eval.html_parts import Section, folded, legend, name, page, span_points, swatch, table, text, tiles
from heedlm.eval.html_sections import badge, forgetting, formats, judged, of_weights, replies, reproduce, spent, verdict
from heedlm.eval.plots import Series
from heedlm.eval.results import EvalReport, TaskResult

_STYLES = {
    BASE: ("arm-base", "ring", False),
    BASE_FAIR: ("arm-base_fair", "square", True),
    INSTRUCT: ("arm-instruct", "disc", False),
    WRONG_FORMAT: ("arm-wrong_format", "triangle", True),
}
_WAYS = {"base": (BASE, BASE_FAIR), "instruct": (INSTRUCT, WRONG_FORMAT, INSTRUCT_AGAIN)}


def to_html(report: EvalReport, curves: Sequence[Curve] = ()) -> str:
    """The whole page. curves: of the training, from `curves.curves_from`."""
    around = report.around or Around()
    series = {arm: _series(arm, number) for number, arm in enumerate(report.arms)}
    found = conduct(report.cases)
    order = [BASE, INSTRUCT, *(arm for arm in series if arm not in (BASE, INSTRUCT))]
    sides = Sides(
        {arm: series[arm] for arm in order if arm in series}, 2, [(BASE, INSTRUCT)], _WAYS, "eval/items.jsonl"
    )
    unasked = [arm for arm in found if arm not in report.stop_rate]
    sections = [
        verdict(report.decision),
        _gains(report.tasks),
        _arms(report, series),
        _behaviour(report.tasks),
        formats(report.suites, {arm: one for arm, one in series.items() if arm in (BASE, INSTRUCT)}),
        judged(report.judged),
        side_by_side(report.cases, sides),
        _cost(report, found, around, series),
        replies(found, reference_lengths(report.cases), series, unasked),
        training(curves, around),
        data(around.data),
        _numbers(report),
        _gate(report),
        reproduce(report.about, _commands(report, around), _hashes(report, around), apart=bool(report.judged)),
    ]
    return page(words.headline(report), _header(report), sections)


def _series(arm: str, number: int) -> Series:
    style, shape, small = _STYLES.get(arm, (f"arm-{number % 8}", "diamond", True))
    return Series(words.arm_name(arm), style, shape, small)


def _header(report: EvalReport) -> str:
    second = words.second_line(report)
    style = ' class="caveat"' if report.caveats or words.forgot(report) else ""
    run = f" · {name(report.about['run'])}" if report.about.get("run") else ""
    date = f" · {name(report.about['date'][:10])}" if report.about.get("date") else ""
    return (
        f'<header><p class="eyebrow">heed: base against instruct{run}{date}{badge(report.decision)}</p>'
        f"<h1{style}><bdi>{text(words.headline(report))}</bdi></h1>"
        f"{f'<p class=second>{text(second)}</p>' if second else ''}{_tiles(report)}</header>"
    )


def _tiles(report: EvalReport) -> str:
    shown = []
    stop = report.stop_rate
    shown.append((words.percent(stop[INSTRUCT]), f"of replies end by themselves (base {words.percent(stop[BASE])})"))
    sure = sum(words.sure(task) > 0 for task in report.tasks)
    told = "tasks are better for sure (interval above zero, p over all tasks under 0.05)"
    shown.append((f"{sure} of {len(report.tasks)}", told))
    if report.unknown is not None:
        refused = words.percent(report.unknown.false_refusal)
        told = f"of invented names met with “I do not know”; {refused} of real ones refused"
        shown.append((words.percent(report.unknown.recall), told))
    if report.bits_per_byte is not None:
        rise = report.bits_per_byte.after / report.bits_per_byte.before - 1
        shown.append((words.change(rise), "bits per byte on known text: what tuning made it forget"))
    return tiles(shown)


def _gains(tasks: Sequence[TaskResult]) -> Section | None:
    if not tasks:
        return None
    lead = (
        "Instruct minus base on the same items. The line is the 95 % interval: where it stays clear of zero, "
        "luck hardly explains the difference. A task’s name leads to its examples."
    )
    body = plots.forest(plots.of_tasks(tasks), "percentage points gained by tuning") + legend(plots.sure_keys())
    return Section("gains", "gains", "What tuning gained", body, lead)


def _arms(report: EvalReport, series: Mapping[str, Series]) -> Section | None:
    if not report.tasks:
        return None
    told = legend(
        (
            (plots.key(one), f"<b>{name(one.name)}</b> {text(words.ARM_MEANINGS.get(arm, ''))}")
            for arm, one in series.items()
        ),
        tall=True,
    )
    means = []
    for arm, one in series.items():
        scores = [task.arms[arm].score for task in report.tasks if arm in task.arms]
        means.append((one, sum(scores) / len(scores)))
    rows = [
        (words.task_title(task.name), task.name, [task.arms[arm].score if arm in task.arms else None for arm in series])
        for task in report.tasks
    ]
    body = told + plots.bars(means) + "<h3>Task by task</h3>" + plots.dots(list(series.values()), rows)
    lead = "Mean score over all tasks, each task counted once."
    return Section("arms", "arms", "Same items, several ways to ask", body, lead)


def _behaviour(tasks: Sequence[TaskResult]) -> Section | None:
    if not tasks:
        return None
    told = legend((swatch(f"did-{number}"), text(did)) for number, did in enumerate(BEHAVIOURS))
    lead = "A base model continues text. This is what it wrote after the bare instruction."
    return Section("base", "base model", "What the base model does instead", told + plots.behaviour_bars(tasks), lead)


def _cost(
    report: EvalReport, found: Mapping[str, Conduct], around: Around, series: Mapping[str, Series]
) -> Section | None:
    """What tuning made the model forget, and what run and evaluation took."""
    seconds = report.seconds
    stages = (
        ("prepare", seconds.prepare),
        ("train", seconds.train),
        ("evaluate", seconds.eval),
        ("all", seconds.total),
    )
    rows = [[stage, words.duration(took)] for stage, took in stages if took]
    if around.tokens:
        rows.append(["tokens trained on", f"{around.tokens:,}"])
    if report.peak_memory_bytes:
        rows.append(["memory at most", words.memory(report.peak_memory_bytes)])
    body = forgetting(report.bits_per_byte)
    if rows or found:
        body += "<h3>Time and tokens</h3>" + (table((), rows, "Time of the run", "short") if rows else "")
    body += spent(found, series) if found else ""
    return Section("cost", "cost", "What it cost", body) if body else None


def _numbers(report: EvalReport) -> Section:
    arms = list(report.arms)
    head = ["task", "n", *(name(words.arm_name(arm)) for arm in arms), "gain", "95 % interval", "p", "can show"]
    rows: list[list[str]] = []
    marked = words.marks_ungated(report)
    kind = ""
    for task in report.tasks:
        if task.kind != kind:
            kind = task.kind
            rows.append([f'<th class="kind" colspan="{len(head)}">{name(words.kind_name(kind))}</th>'])
        gated = " <small>not gated</small>" if marked and not task.gated else ""
        groups = "" if task.clusters == task.n else f' title="in {task.clusters} groups"'
        rows.append(
            [
                f"{name(words.task_title(task.name))}{gated}",
                f"<td{groups}>{task.n:,}</td>",
                *(_score(task, arm) for arm in arms),
                f"<b>{words.points(task.difference)}</b>",
                span_points(task.low, task.high),
                text(words.p_value(task.p)),
                words.points(task.smallest_difference).lstrip("+"),
            ]
        )
    lead = (
        "Gain and interval in percentage points. The last column is the smallest true gain that so many items "
        "would show four times out of five. "
        + " ".join(f"{text(n)}: {text(told)}." for n, told in words.legend(report) if n.startswith(("p", "not")))
    )
    return Section("numbers", "numbers", "All the numbers", table(head, rows, "All the numbers"), lead)


def _score(task: TaskResult, arm: str) -> str:
    result = task.arms.get(arm)
    if result is None:
        return "<td>–</td>"
    hint = ""
    if result.interval is not None:
        low, high = result.interval
        hint = f' title="95 % interval {words.percent(low)} to {words.percent(high)}"'
    return f"<td{hint}>{words.percent(result.score)}</td>"


def _gate(report: EvalReport) -> Section | None:
    found = verdicts(report)
    if not found:
        return None
    rows = [
        [
            f'<td class="{"right" if one.passed else "wrong"}">{"✓" if one.passed else "✗"}</td>',
            f'<th scope="row">{name(one.what)}</th>',
            text(one.found),
            text(one.asked),
        ]
        for one in found
    ]
    missed = [row for one, row in zip(found, rows, strict=True) if not one.passed]
    lead = f"{sum(one.passed for one in found)} of {len(found)} figures reached."
    lead += " They are those of the built-in world; for other data they are a yardstick."
    head = ("", "figure", "found", "asked")
    body = table(head, missed, "What is not reached", "gate") if missed else ""
    body += folded("every figure", table(head, rows, "The gate", "gate"))
    return Section("gate", "gate", "The gate", body, lead)


def _commands(report: EvalReport, around: Around) -> list[str]:
    last = report.about.get("command", "")
    stages = [command for stage, command in around.commands.items() if stage != "eval"]
    return [one for one in (*stages, last) if one]


def _hashes(report: EvalReport, around: Around) -> dict[str, str]:
    return {**of_weights(report.models.values()), **around.hashes}


__all__ = ["MOST_CASES", "chosen_cases", "to_html"]
