"""Whether a model may ship: every figure of a gate against its interval, not against its luck."""

from __future__ import annotations

import math
from collections.abc import Iterator

from heedlm.eval.arms import BASE, INSTRUCT
from heedlm.eval.gate_file import EVERY, Gate, TaskGate
from heedlm.eval.results import Call, Decision, EvalReport, Figure, State, TaskResult
from heedlm.eval.stats import Interval, tango, wilson
from heedlm.eval.words import SURE, change, percent, points

SATURATED = 0.95  # a first arm at or above has left too little to gain
TOO_SMALL = 0.35  # a task that shows nothing under so many points shows next to nothing
TOO_SMALL_NOTE, SATURATED_NOTE, TOO_HARD_NOTE = "too small", "saturated", "too hard"
_MOST = 1_000_000  # items beyond which no number is named


def decide(report: EvalReport, gate: Gate) -> Decision:
    """Ship where every figure is reached for sure, do not ship where one is missed for sure, else cannot tell.

    A figure is reached when its whole 95 % interval is on the right side, and missed when all of it is on the wrong one.
    What was asked for and not measured is unsure. All figures must hold, so that many of them make a wrong "ship" rarer.
    """
    figures = (*_tasks(report, gate), *_conduct(report, gate))
    states = {figure.state for figure in figures}
    call: Call = "do not ship" if "missed" in states else "cannot tell" if "unsure" in states else "ship"
    return Decision(call, figures)


def note(n: int, first: float, second: float, smallest: float) -> str:
    """Why a task can show little; "" where it can. first, second: scores of the two arms."""
    if smallest > TOO_SMALL:
        return f"{TOO_SMALL_NOTE}: {n} item{'' if n == 1 else 's'} show no difference under {100 * smallest:.0f} points"
    if first >= SATURATED:
        return f"{SATURATED_NOTE}: the first arm is at {percent(first)} already"
    if first == second == 0:
        return f"{TOO_HARD_NOTE}: no arm gets any of it"
    return ""


def _tasks(report: EvalReport, gate: Gate) -> Iterator[Figure]:
    for task in report.tasks:
        asked = gate.tasks.get(task.name, gate.tasks.get(EVERY))
        if asked is None:
            continue
        if asked.items is not None:
            enough = task.n >= asked.items
            yield Figure(
                f"{task.name}: items", f"at least {asked.items:,}", f"{task.n:,}", "reached" if enough else "unsure"
            )
        if asked.score is not None:
            result = task.arms[INSTRUCT]
            yield _at_least(f"{task.name}: score", asked.score, result.score, result.span, task.clusters)
        if asked.gain is not None:
            yield _gain(task, asked, report)


def _gain(task: TaskResult, asked: TaskGate, report: EvalReport) -> Figure:
    assert asked.gain is not None
    noise = report.noise.changed / report.noise.n if report.noise is not None else 0.0
    least = asked.gain + noise
    state: State = "reached" if task.low > least else "missed" if task.high < least else "unsure"
    if state == "reached" and least >= 0 and task.p >= SURE:  # five wins of five: the exact test knows better
        state = "unsure"
    floor = f" and {100 * noise:.1f} of noise" if noise else ""
    found = f"{points(task.difference)} ({points(task.low)} to {points(task.high)})"
    return Figure(
        f"{task.name}: gain, points",
        f"surely above {points(asked.gain)}{floor}",
        found,
        state,
        _lack_of_gain(task, least) if state == "unsure" else "",
    )


def _lack_of_gain(task: TaskResult, least: float) -> str:
    """What would make an unsure gain sure."""
    room = 1 - task.arms[BASE].score
    if room <= least:
        return f"saturated: the first arm is at {percent(task.arms[BASE].score)}, so no gain above {points(least)} is possible"
    best = tango(round(room * task.clusters), 0, task.clusters)
    if best.low <= least:
        return f"too small: of {task.clusters} items not even a clean sweep would show it"
    return _more(task.clusters, task.difference - task.low, task.difference - least)


def _at_least(what: str, least: float, found: float, span: Interval, n: int) -> Figure:
    """A share that has to be high; reached at its lower end."""
    state: State = "reached" if span.low >= least else "missed" if span.high < least else "unsure"
    why = ""
    if state == "unsure":
        if least >= 1:
            why = "no number of items shows for sure that none will ever fail; ask for 99 %"
        elif wilson(n, n).low < least:
            why = f"too small: not even {n} of {n} would show it; {_fewest(least):,} would"
        else:
            why = _more(n, found - span.low, found - least)
    return Figure(what, f"surely {percent(least)}", _found(found, span), state, why)


def _at_most(what: str, most: float, found: float, span: Interval, n: int) -> Figure:
    """A share that has to be low."""
    turned = _at_least(what, 1 - most, 1 - found, Interval(1 - span.high, 1 - span.low), n)
    return Figure(what, f"surely at most {percent(most)}", _found(found, span), turned.state, turned.why)


def _found(share: float, span: Interval) -> str:
    return f"{percent(share)} ({percent(span.low)} to {percent(span.high)})"


def _fewest(least: float) -> int:
    """Items of which all must be right for the lower end to reach `least`."""
    return math.ceil(least / (1 - least) * 1.959964**2)


def _more(n: int, half: float, margin: float) -> str:
    """How many items would tell, were the finding the truth; the width falls with their root."""
    if margin == 0 or half <= 0:
        return ""
    needed = n * (half / abs(margin)) ** 2
    return f"about {_round(needed):,} items would tell" if n < needed <= _MOST else ""


def _round(number: float) -> int:
    """Up, to two digits: more would pretend."""
    step = int(10 ** max(0, math.floor(math.log10(number)) - 1))
    return math.ceil(number / step) * step


def _conduct(report: EvalReport, gate: Gate) -> Iterator[Figure]:
    items = sum(task.n for task in report.tasks)
    if gate.stop_rate is not None:
        rate = report.stop_rate.get(INSTRUCT, 0.0)
        span = report.spans.get("stop_rate", Interval(0.0, 1.0))
        yield _at_least("replies that end by themselves", gate.stop_rate, rate, span, items)
    unknown = report.unknown
    if gate.honest is not None:
        what = "invented names: honest answers"
        if unknown is None:
            yield Figure(what, f"surely {percent(gate.honest)}", "not measured", "unsure", "add rows with meta.unknown")
        else:
            yield _at_least(what, gate.honest, unknown.recall, report.spans["recall"], unknown.n_invented)
    if gate.false_refusals is not None:
        what = "real names: refused"
        if unknown is None or not unknown.n_real:
            asked = f"surely at most {percent(gate.false_refusals)}"
            yield Figure(what, asked, "not measured", "unsure", "add rows of the kind facts, some with meta.unknown")
        else:
            span = report.spans["false_refusal"]
            yield _at_most(what, gate.false_refusals, unknown.false_refusal, span, unknown.n_real)
    if gate.errors is not None:
        errors = sum(task.arms[INSTRUCT].errors for task in report.tasks)
        share = errors / max(1, items)
        state: State = "reached" if share <= gate.errors else "missed"
        yield Figure("items without an answer", f"at most {percent(gate.errors)}", f"{errors:,} of {items:,}", state)
    if gate.noise_floor and report.noise is None:
        yield Figure("noise floor", "measured", "not measured", "unsure", "it has to be asked: go without --rescore")
    if gate.forgetting is not None:
        yield _forgetting(report, gate.forgetting)


def _forgetting(report: EvalReport, most: float) -> Figure:
    what, asked = "bits per byte of known text", f"surely at most {percent(most)} more"
    bits, span = report.bits_per_byte, report.spans.get("forgetting")
    if bits is None or span is None:
        return Figure(what, asked, "not measured", "unsure", "an endpoint is not measured; name the model itself")
    found = f"{change(bits.after / bits.before - 1)} ({change(span.low)} to {change(span.high)})"
    state: State = "reached" if span.high <= most else "missed" if span.low > most else "unsure"
    return Figure(what, asked, found, state)
