"""The numbers of a report in plain words."""

from __future__ import annotations

from heedlm.eval.arms import BASE, BASE_FAIR, INSTRUCT, WRONG_FORMAT
from heedlm.eval.results import EvalReport, TaskResult

ARM_NAMES = {
    BASE: "base, bare",
    BASE_FAIR: "base, fair",
    INSTRUCT: "instruct",
    WRONG_FORMAT: "instruct, wrong format",
}
ARM_MEANINGS = {
    BASE: "before tuning, given the instruction as plain text",
    BASE_FAIR: "before tuning, behind solved examples, in its best plain frame",
    INSTRUCT: "after tuning, asked in its own chat format",
    WRONG_FORMAT: "after tuning, asked in a chat format it was not tuned on",
}
GRADE_MEANINGS = {
    "hard": "control tokens, which nobody can type, part the turns",
    "soft": "ordinary text parts the turns, so a user who types it can imitate one",
}
KIND_NAMES = {
    "facts": "Facts",
    "data_analysis": "Data analysis",
    "summarisation": "Summarisation",
    "email": "Email drafting",
    "creative_writing": "Creative writing",
    "guide": "Guide writing",
    "format": "Answer formats",
    "translation": "Translation",
    "chat": "Chat",
    "system": "System texts",
}

# A rise in bits per byte from which on the headline says so; what the built-in world's gate allows.
MUCH_FORGOTTEN = 0.10
# A p-value under which a difference is called one; on a handful of items an interval alone says more than it knows.
SURE = 0.05


def arm_name(arm: str) -> str:
    """The arm as people read it."""
    return ARM_NAMES.get(arm, arm.replace("_", " "))


def grade(name: str) -> str:
    """Whether a wire format is hard or soft, and what that means."""
    return f"{name}: {GRADE_MEANINGS[name]}"


def marks_ungated(report: EvalReport) -> bool:
    """Whether some tasks have to reach the gate and others not: only then is there anything to mark."""
    return len({task.gated for task in report.tasks}) == 2


def legend(report: EvalReport) -> list[tuple[str, str]]:
    """The words of the table, each with its meaning."""
    found = [(arm_name(arm), ARM_MEANINGS[arm]) for arm in report.arms if arm in ARM_MEANINGS]
    if report.tasks:
        found.append(("gain", "instruct minus base, bare, in points, with its 95 % interval"))
        found.append(("can show", "the smallest true gain, in points, that so many items show four times out of five"))
        found.append(
            ("p", f"how often luck alone makes such a difference; from {SURE} on, Holm's over all tasks: unsure")
        )
    if marks_ungated(report):
        found.append(("not gated", "shown, but no figure that a tuned model has to reach"))
    return found


def kind_name(kind: str) -> str:
    """The kind of task as people read it."""
    return KIND_NAMES.get(kind, kind.replace("_", " ").capitalize())


def task_title(name: str) -> str:
    """The name of a task as people read it."""
    return name.replace("_", " ").replace("-", " ")


def headline(report: EvalReport) -> str:
    """One sentence that somebody who has never tuned a model understands, after what it must not be read without, and
    before what was lost where that is much."""
    return " ".join(filter(None, [*report.caveats, _headline(report), forgot(report)]))


def forgot(report: EvalReport) -> str:
    """What the headline has to say of forgetting; "" where it is little, or was not measured."""
    bits = report.bits_per_byte
    rise = 0.0 if bits is None else bits.after / bits.before - 1
    if not round(rise, 6) > MUCH_FORGOTTEN:  # what is no number is above nothing; the gate refuses it
        return ""
    return f"FORGETTING: plain text now costs the model {100 * rise:.0f} % more bits per byte than before tuning."


def _headline(report: EvalReport) -> str:
    counted = [task for task in report.tasks if task.metric == "accuracy"]
    if counted:
        n = sum(task.n for task in counted)
        before, after = (sum(task.arms[arm].hits for task in counted) for arm in (BASE, INSTRUCT))
        asked = "question" if all(task.kind == "facts" for task in counted) else "instruction"
        verb = "answered" if asked == "question" else "followed"
        plural = "" if n == 1 else "s"
        # One sentence with two pairs of numbers: what a visitor who reads nothing else takes home.
        return f"Before tuning the model {verb} {before:,} of {n:,} {asked}{plural}; after tuning {after:,} of {n:,}."
    if not report.tasks:
        return "Nothing was compared: there were no items to ask."
    n = sum(task.n for task in report.tasks)
    before_f1, after_f1 = (sum(t.arms[arm].score * t.n for t in report.tasks) / n for arm in (BASE, INSTRUCT))
    return (
        f"Before tuning the model's answers agreed with the reference by {percent(before_f1)} of their words; "
        f"after tuning by {percent(after_f1)} (on {n:,} item{'' if n == 1 else 's'})."
    )


def second_line(report: EvalReport) -> str:
    """What the headline alone would hide: the fair base and the tasks without a gain. Empty when there is nothing to
    add."""
    counted = [task for task in report.tasks if task.metric == "accuracy" and BASE_FAIR in task.arms]
    parts = []
    if counted:
        fair = [task.arms[BASE_FAIR] for task in counted]
        hits, n = sum(result.hits for result in fair), sum(result.n for result in fair)
        parts.append(f"With solved examples in front, the untuned model reached {hits:,} of {n:,}.")
    overlap = [task for task in report.tasks if task.metric != "accuracy" and BASE_FAIR in task.arms]
    if overlap and not counted:
        n = sum(task.arms[BASE_FAIR].n for task in overlap)
        share = sum(task.arms[BASE_FAIR].score * task.arms[BASE_FAIR].n for task in overlap) / max(1, n)
        parts.append(f"With solved examples in front, the untuned model's answers agreed by {percent(share)}.")
    unsure = [task_title(task.name) for task in report.tasks if sure(task) == 0]
    worse = [task_title(task.name) for task in report.tasks if sure(task) < 0]
    if worse:
        parts.append(f"Tuning made it worse at {_listed(worse)}.")
    if unsure:
        parts.append(f"No sure difference on {_listed(unsure)}.")
    return " ".join(parts)


def sure(task: TaskResult) -> int:
    """1 where a task is better for sure, -1 where worse, else 0: interval and p-value, over all tasks, must agree."""
    if task.p_holm >= SURE or task.low <= 0 <= task.high:
        return 0
    return 1 if task.low > 0 else -1


def _listed(names: list[str], most: int = 4) -> str:
    shown = names if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} more tasks"]
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + " and " + shown[-1]


def percent(share: float) -> str:
    """A share as people read it: "0 %" and "100 %" only where it is exactly that."""
    value = 100 * share
    if 0 < value < 1 or 99 < value < 100:
        return f"{min(max(value, 0.1), 99.9):.1f} %"
    return f"{value:.0f} %"


def change(share: float) -> str:
    """A relative change, signed, in percent."""
    return f"{100 * share:+.1f} %".replace("-", "−")


def points(difference: float) -> str:
    """A difference of shares in percentage points, signed."""
    shown = f"{100 * difference:+.0f}"
    return "+0" if shown == "-0" else shown.replace("-", "−")


def p_value(p: float) -> str:
    """A p-value, never as 0."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def duration(seconds: float) -> str:
    """Seconds as people read them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"


def memory(num_bytes: int) -> str:
    """Bytes as people read them."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"
