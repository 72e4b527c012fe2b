"""The figures that a tuned model has to reach."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from heedlm.eval.arms import BASE, INSTRUCT
from heedlm.eval.results import EvalReport, TaskResult
from heedlm.eval.words import change, percent

# One home for the thresholds. Shares are of items; the rise is relative to the bits per byte before tuning.
FACTS_INSTRUCT = 0.90
FACTS_BASE = 0.05
FACTS_ITEMS = 200
TASK_INSTRUCT = 0.80
TASK_ITEMS = 60
UNKNOWN_RECALL = 0.90
FALSE_REFUSAL = 0.03
STOP_RATE = 0.99
BITS_RISE = 0.10


class Verdict(NamedTuple):
    """One figure: what was asked, what was found, and whether that is enough."""

    passed: bool
    what: str
    asked: str
    found: str

    def __str__(self) -> str:
        return f"{self.what}: {self.found}, asked was {self.asked}"


def gate(report: EvalReport) -> list[Verdict]:
    """The figures that are not reached; empty when the model passes. A figure that was not measured is not reached."""
    return [verdict for verdict in verdicts(report) if not verdict.passed]


def verdicts(report: EvalReport) -> list[Verdict]:
    """Every figure of the gate, reached or not, in reading order; none where no task asks for a gate."""
    gated = [task for task in report.tasks if task.gated]
    if not gated:
        return []
    asked = sum(task.n for task in gated if _holds_facts(task))
    found = [Verdict(asked >= FACTS_ITEMS, "facts: items in all", f"at least {FACTS_ITEMS}", f"{asked}")]
    found += [verdict for task in gated for verdict in _task(task)]
    return [*found, *_honesty(report), _stop(report), _forgetting(report)]


def _holds_facts(task: TaskResult) -> bool:
    """Facts of the real world: answers about invented names are honesty, not knowledge."""
    return task.kind == "facts" and task.invented == 0


def _task(task: TaskResult) -> Iterator[Verdict]:
    facts = _holds_facts(task)
    lowest = FACTS_INSTRUCT if facts else TASK_INSTRUCT
    base, tuned = task.arms[BASE].score, task.arms[INSTRUCT].score
    yield Verdict(task.n >= TASK_ITEMS, f"{task.name}: items", f"at least {TASK_ITEMS}", f"{task.n}")
    yield Verdict(tuned >= lowest, f"{task.name}: instruct", f"at least {lowest:.2f}", f"{tuned:.3f}")
    if facts:
        yield Verdict(base <= FACTS_BASE, f"{task.name}: base, bare", f"at most {FACTS_BASE:.2f}", f"{base:.3f}")
    span = f"{task.low:+.3f} to {task.high:+.3f}"
    yield Verdict(task.low > 0, f"{task.name}: gain, 95 % interval", "above 0", span)


def _honesty(report: EvalReport) -> Iterator[Verdict]:
    unknown = report.unknown
    if unknown is None:
        yield Verdict(False, "invented names: honest answers", f"at least {UNKNOWN_RECALL:.2f}", "not measured")
        return
    recall, refusal = unknown.recall, unknown.false_refusal
    yield Verdict(
        recall >= UNKNOWN_RECALL,
        "invented names: honest answers",
        f"at least {UNKNOWN_RECALL:.2f}",
        f"{recall:.3f} of {unknown.n_invented}",
    )
    measured = f"{refusal:.3f} of {unknown.n_real}" if unknown.n_real else "not measured"
    passed = unknown.n_real > 0 and refusal <= FALSE_REFUSAL
    yield Verdict(passed, "real names: refused", f"at most {FALSE_REFUSAL:.2f}", measured)


def _stop(report: EvalReport) -> Verdict:
    rate = report.stop_rate[INSTRUCT]
    return Verdict(rate >= STOP_RATE, "replies that end by themselves", f"at least {STOP_RATE:.2f}", f"{rate:.3f}")


def _forgetting(report: EvalReport) -> Verdict:
    what, asked = "bits per byte of known text", f"at most {percent(BITS_RISE)} more"
    bits = report.bits_per_byte
    if bits is None:
        return Verdict(False, what, asked, "not measured")
    rise = bits.after / bits.before - 1
    return Verdict(rise <= BITS_RISE, what, asked, f"{change(rise)} ({bits.before:.3f} to {bits.after:.3f})")
