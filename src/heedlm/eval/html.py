"""The report as one page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from itertools import zip_longest

from heedlm.eval import plots, words
from heedlm.eval.arms import BASE, INSTRUCT
from heedlm.eval.behaviour import BEHAVIOURS
from heedlm.eval.gate import verdicts
from heedlm.eval.results import Answer, Case, EvalReport, Outcome
from heedlm.eval.suites.measure import sentences

MOST_CASES = 300
_LONGEST = 4000  # characters of one reply on the page; the log holds all of it
_OUTCOMES: dict[Outcome, str] = {
    "win": "only instruct is right",
    "loss": "only base is right",
    "both right": "both are right",
    "neither": "neither is right",
}


def to_html(report: EvalReport, curves: Sequence[plots.Curve] = ()) -> str:
    """The whole page. curves: training curves to draw, from `plots.curves_from`."""
    page = files("heedlm.eval") / "page"
    style, script = ((page / name).read_text("utf-8") for name in ("report.css", "report.js"))
    sections = [
        _header(report),
        _decision(report),
        _tiles(report),
        _gains(report),
        _arms(report),
        _behaviour(report),
        _section("Training", plots.loss_plot(curves), "Loss on the tokens that are learned; lower is better.")
        if curves
        else "",
        _forgetting(report),
        _suites(report),
        _table(report),
        _cases(report.cases),
        _gate(report),
        _about(report),
    ]
    body = "\n".join(section for section in sections if section)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_text(words.headline(report))}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n<script>\n{script}</script>\n</body>\n</html>\n"
    )


def _text(value: str) -> str:
    """Text for the page: escaped, and without the control characters that HTML forbids."""
    return escape("".join(char if char >= " " or char in "\n\t" else "\ufffd" for char in value))


def _section(title: str, body: str, lead: str = "", name: str = "") -> str:
    lead = f'<p class="lead">{lead}</p>' if lead else ""
    attribute = f' id="{name}"' if name else ""
    return f"<section{attribute}><h2>{_text(title)}</h2>{lead}{body}</section>"


def _header(report: EvalReport) -> str:
    second = words.second_line(report)
    style = ' class="caveat"' if report.caveats else ""
    first = f'<p class="eyebrow">heed: base against instruct</p><h1{style}>{_text(words.headline(report))}</h1>'
    return f"<header>{first}{f'<p class=second>{_text(second)}</p>' if second else ''}</header>"


def _decision(report: EvalReport) -> str:
    """What the gate of the user says."""
    if report.decision is None:
        return ""
    marks = {"reached": ("right", "✓"), "missed": ("wrong", "✗"), "unsure": ("", "?")}
    rows = "".join(
        f'<tr class="{marks[one.state][0]}"><td>{marks[one.state][1]}</td><th>{_text(one.what)}</th>'
        f"<td>{_text(one.found)}</td><td>{_text(one.asked)}</td><td>{_text(one.why)}</td></tr>"
        for one in report.decision.figures
    )
    head = "<tr><th></th><th>figure</th><th>found</th><th>asked</th><th></th></tr>"
    table = f'<table class="numbers gate"><thead>{head}</thead><tbody>{rows}</tbody></table>'
    lead = "A figure is reached or missed when its whole 95 % interval is on one side of what was asked."
    return _section(f"Verdict: {report.decision.call}", f'<div class="scroll">{table}</div>', lead, "verdict")


def _tiles(report: EvalReport) -> str:
    tiles = []
    stop = report.stop_rate
    tiles.append((words.percent(stop[INSTRUCT]), f"of replies end by themselves (base {words.percent(stop[BASE])})"))
    sure = sum(words.sure(task) > 0 for task in report.tasks)
    tiles.append(
        (
            f"{sure} of {len(report.tasks)}",
            "tasks are better for sure (interval above zero, p over all tasks under 0.05)",
        )
    )
    if report.unknown is not None:
        tiles.append(
            (
                words.percent(report.unknown.recall),
                "of invented names met with “I do not know”; "
                f"{words.percent(report.unknown.false_refusal)} of real ones refused",
            )
        )
    if report.bits_per_byte is not None:
        rise = report.bits_per_byte.after / report.bits_per_byte.before - 1
        tiles.append((words.change(rise), "bits per byte on known text: what tuning made it forget"))
    inner = "".join(f'<div class="tile"><b>{_text(big)}</b><span>{_text(small)}</span></div>' for big, small in tiles)
    return f'<div class="tiles">{inner}</div>'


def _gains(report: EvalReport) -> str:
    if not report.tasks:
        return ""
    lead = (
        "Instruct minus base on the same items. The line is the 95 % interval: where it stays clear of zero, "
        "luck hardly explains the difference."
    )
    return _section("What tuning gained", plots.forest(report.tasks), lead, "gains")


def _legend(entries: Iterable[tuple[str, str]]) -> str:
    return '<ul class="legend">' + "".join(f'<li class="{css}"><i></i>{label}</li>' for css, label in entries) + "</ul>"


def _arms(report: EvalReport) -> str:
    if not report.tasks:
        return ""
    legend = _legend(
        (
            f"arm-{_text(arm)}",
            f"<b>{_text(words.arm_name(arm))}</b> {_text(words.ARM_MEANINGS.get(arm, ''))}",
        )
        for arm in report.arms
    )
    body = legend + plots.arm_bars(report) + "<h3>Task by task</h3>" + plots.arm_dots(report)
    return _section("Same items, several ways to ask", body, "Mean score over all tasks, each task counted once.")


def _behaviour(report: EvalReport) -> str:
    if not report.tasks:
        return ""
    legend = _legend((f"did-{number}", _text(name)) for number, name in enumerate(BEHAVIOURS))
    lead = "A base model continues text. This is what it wrote after the bare instruction."
    return _section("What the base model does instead", legend + plots.behaviour_bars(report.tasks), lead)


def _forgetting(report: EvalReport) -> str:
    bits = report.bits_per_byte
    if bits is None:
        return ""
    rows = [("text of the kind it was trained on", bits.before, bits.after)]
    rows.append(("text of another kind", bits.other_before, bits.other_after))
    inner = "".join(
        f"<tr><th>{name}</th><td>{before:.3f}</td><td>{after:.3f}</td><td>{words.change(after / before - 1)}</td></tr>"
        for name, before, after in rows
    )
    head = "<tr><th>bits per byte</th><th>before</th><th>after</th><th>change</th></tr>"
    lead = "How well plain text is still predicted; lower is better. Tuning for answers should cost little of it."
    return _section("What it cost", f'<table class="numbers"><thead>{head}</thead><tbody>{inner}</tbody></table>', lead)


def _suites(report: EvalReport) -> str:
    """What suites measure beside the mean, where there is more to say than a comparison with guessing."""
    shown = [
        one
        for one in report.suites
        if one.arm in (BASE, INSTRUCT) and (one.spread or one.agreement or one.corpus or one.fallbacks)
    ]
    rows = "".join(
        f"<tr><th>{_text(words.task_title(one.task))}</th><th>{_text(words.arm_name(one.arm))}</th>"
        f'<td class="said">{_text(" ".join(sentences(one)))}</td></tr>'
        for one in shown
    )
    lead = "The same items in other layouts, other words, drawn again, or later in a conversation; and how replies were read."
    return _section("Formats and consistency", f'<table class="numbers">{rows}</table>', lead) if shown else ""


def _table(report: EvalReport) -> str:
    arms = list(report.arms)
    head = "".join(f"<th>{_text(words.arm_name(arm))}</th>" for arm in arms)
    rows = []
    marked = words.marks_ungated(report)
    kind = ""
    for task in report.tasks:
        if task.kind != kind:
            kind = task.kind
            rows.append(f'<tr class="kind"><th colspan="{len(arms) + 6}">{_text(words.kind_name(kind))}</th></tr>')
        cells = []
        for arm in arms:
            result = task.arms[arm]
            hint = ""
            if result.interval is not None:
                low, high = result.interval
                hint = f' title="95 % interval {words.percent(low)} to {words.percent(high)}"'
            cells.append(f"<td{hint}>{words.percent(result.score)}</td>")
        gated = " <small>not gated</small>" if marked and not task.gated else ""
        groups = "" if task.clusters == task.n else f' title="in {task.clusters} groups"'
        rows.append(
            f"<tr><th>{_text(words.task_title(task.name))}{gated}</th><td{groups}>{task.n}</td>{''.join(cells)}"
            f"<td>{words.points(task.difference)}</td><td>{words.points(task.low)} to {words.points(task.high)}</td>"
            f"<td>{words.p_value(task.p)}</td><td>{words.points(task.smallest_difference).lstrip('+')}</td></tr>"
        )
    lead = (
        "Gain and interval in percentage points. The last column is the smallest true gain that so many items "
        "would show four times out of five. "
        + " ".join(
            f"{_text(name)}: {_text(meaning)}."
            for name, meaning in words.legend(report)
            if name.startswith(("p", "not"))
        )
    )
    body = (
        f'<div class="scroll"><table class="numbers"><thead><tr><th>task</th><th>n</th>{head}<th>gain</th>'
        f"<th>95 % interval</th><th>p</th><th>can show</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
    return _section("All the numbers", body, lead, "numbers")


def chosen_cases(cases: Sequence[Case], most: int = MOST_CASES) -> list[Case]:
    """At most so many cases, in turn from every task and outcome, so that rare ones come early and are never lost."""
    shelves: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        shelves.setdefault((case.task, case.outcome), []).append(case)
    in_turn = zip_longest(*shelves.values())
    return [case for layer in in_turn for case in layer if case is not None][:most]


def _cases(cases: Sequence[Case]) -> str:
    if not cases:
        return ""
    shown = chosen_cases(cases)
    tasks = list(dict.fromkeys(case.task for case in cases))
    outcomes = [outcome for outcome in _OUTCOMES if any(case.outcome == outcome for case in shown)]
    controls = (
        '<form class="controls" id="filters">'
        f"{_choice('task', 'all tasks', [(name, words.task_title(name)) for name in tasks])}"
        f"{_choice('outcome', 'all outcomes', [(outcome, _OUTCOMES[outcome]) for outcome in outcomes])}"
        '<input type="search" id="find" placeholder="find words" aria-label="find words">'
        f'<output id="count">{len(shown)} of {len(shown)}</output></form>'
    )
    lead = f"{len(shown):,} of {len(cases):,} items, taken evenly from every task and outcome."
    more = '<button type="button" id="more" hidden>show more</button>'
    return _section("Side by side", controls + "".join(map(_case, shown)) + more, lead, "cases")


def _choice(name: str, everything: str, options: Iterable[tuple[str, str]]) -> str:
    inner = "".join(f'<option value="{_text(value)}">{_text(label)}</option>' for value, label in options)
    return f'<select id="{name}" aria-label="{name}"><option value="">{everything}</option>{inner}</select>'


def _case(case: Case) -> str:
    turns = "".join(
        f'<div class="turn {_text(turn.role)}"><span>{_text(turn.role)}</span><p>{_text(turn.content)}</p></div>'
        for turn in case.messages
    )
    order = [BASE, INSTRUCT, *(arm for arm in case.answers if arm not in (BASE, INSTRUCT))]
    main = "".join(_answer(arm, case.answers[arm]) for arm in order[:2])
    more = "".join(_answer(arm, case.answers[arm]) for arm in order[2:])
    extra = f"<details><summary>the other ways to ask</summary><div class='pair'>{more}</div></details>" if more else ""
    return (
        f'<article data-task="{_text(case.task)}" data-outcome="{case.outcome}"><h3><span>'
        f"{_text(words.task_title(case.task))}</span><small>{_text(case.id)}</small></h3>{turns}"
        f'<div class="pair">{main}</div>{extra}</article>'
    )


def _answer(arm: str, answer: Answer) -> str:
    cut = answer.text if len(answer.text) <= _LONGEST else answer.text[:_LONGEST] + " … (cut here, the log has it all)"
    mark = "right" if answer.score >= 1 else "wrong"
    sign = "✓" if mark == "right" else "✗" if answer.score <= 0 else f"{answer.score:.2f}"
    ended = "" if answer.stop_reason == "stop" else " <small>did not end by itself</small>"
    return (
        f'<div class="answer arm-{_text(arm)} {mark}"><h4><i></i>{_text(words.arm_name(arm))}{ended}'
        f'<span class="sign" title="{_text(answer.why)}">{sign}</span></h4>'
        f"<p>{_text(cut) or '<em>nothing</em>'}</p><p class=why>{_text(answer.why)}</p></div>"
    )


def _gate(report: EvalReport) -> str:
    found = verdicts(report)
    rows = "".join(
        f'<tr class="{"right" if v.passed else "wrong"}"><td>{"✓" if v.passed else "✗"}</td><th>{_text(v.what)}</th>'
        f"<td>{_text(v.found)}</td><td>{_text(v.asked)}</td></tr>"
        for v in found
    )
    head = "<tr><th></th><th>figure</th><th>found</th><th>asked</th></tr>"
    lead = f"{sum(verdict.passed for verdict in found)} of {len(found)} figures reached."
    table = f'<table class="numbers gate"><thead>{head}</thead><tbody>{rows}</tbody></table>'
    return _section("The gate", f'<div class="scroll">{table}</div>', lead, "gate")


def _about(report: EvalReport) -> str:
    facts = dict(report.about)
    seconds = report.seconds
    if seconds.total:
        facts["time"] = (
            f"prepare {words.duration(seconds.prepare)}, train {words.duration(seconds.train)}, "
            f"evaluate {words.duration(seconds.eval)}, all {words.duration(seconds.total)}"
        )
    if report.peak_memory_bytes:
        facts["memory"] = f"at most {words.memory(report.peak_memory_bytes)}"
    rows = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in facts.items())
    method = (
        "Intervals: Tango’s where every item stands alone and is right or wrong, else a paired bootstrap over groups of "
        "items, seeded. P-values: McNemar’s exact test, else sign flips of the groups. No judge: every score comes from "
        "checks that a program can run."
    )
    return _section("How to reproduce", f"<dl>{rows}</dl>" if rows else "", method, "about")
