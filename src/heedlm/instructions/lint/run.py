"""Run the rules over an instruction, mend what can be mended, and tell it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from heedlm.errors import HeedError, nearest
from heedlm.instructions import library
from heedlm.instructions.format import Loaded, parse_as_far
from heedlm.instructions.frame import Frame
from heedlm.instructions.lint.registry import RULES
from heedlm.instructions.lint.rule import SEVERITIES, Finding, Subject

NEVER_OFF = ("HD001", "HD100", "HD105", "HD401")  # what a reason cannot mend: the file cannot be compiled


class Report(NamedTuple):
    """Findings of one file, in its order.   ignored: what was switched off, with the reason.   fixed: lines changed."""

    file: str
    findings: tuple[Finding, ...]
    ignored: tuple[tuple[Finding, str], ...]
    fixed: int = 0

    @property
    def errors(self) -> int:
        return sum(one.severity == "error" for one in self.findings)


def lint_file(name: str | Path, frame: Frame | None = None, *, only: Iterable[str] = (), fix: bool = False) -> Report:
    """Lint a file, or an instruction of the library by name. fix: write the mechanical mends into the file first.

    Raises HeedError where there is no text to read, or a rule in `only` does not exist.
    """
    text, file = library.source(name)
    fixed = 0
    if fix:
        mended, fixed = mend(text, file, frame)
        if fixed:
            _replace(Path(file), mended)
            text = mended
    return lint_text(text, file, frame, only=only)._replace(fixed=fixed)


def lint_text(
    text: str, file: str = "instruction.prompty", frame: Frame | None = None, *, only: Iterable[str] = ()
) -> Report:
    """Lint a text as it would stand in `file`."""
    loaded = parse_as_far(text, file, Path(file) if Path(file).is_file() else None)
    return lint(loaded, text, frame, only=only)


def lint(loaded: Loaded, source: str, frame: Frame | None = None, *, only: Iterable[str] = ()) -> Report:
    """The findings of every rule, or of those in `only`, in the order of the file."""
    wanted = tuple(only)
    unknown = [one for one in wanted if one not in RULES]
    if unknown:
        raise HeedError(f"there is no rule {unknown[0]!r}", "--rule", nearest(unknown[0], RULES))
    subject = Subject(loaded.instruction, loaded.faults, source.replace("\r\n", "\n"), frozenset(RULES), frame)
    reasons = {(one.rule, one.block): one.reason for one in loaded.instruction.ignores}
    found: list[Finding] = []
    ignored: list[tuple[Finding, str]] = []
    for rule in RULES.values():
        if (wanted and rule.id not in wanted) or (rule.needs and frame is None):
            continue
        for hit in rule.find(subject):
            finding = Finding(
                rule.id, rule.severity, hit.where, hit.what, rule.why, hit.mend or rule.mend, rule.source, hit.fix
            )
            reason = reasons.get((rule.id, hit.block)) or reasons.get((rule.id, ""))
            if reason and rule.id not in NEVER_OFF:
                ignored.append((finding, reason))
            else:
                found.append(finding)
    found.sort(key=lambda one: (_line(one.where), SEVERITIES.index(one.severity), one.rule))
    return Report(loaded.instruction.file, tuple(dict.fromkeys(found)), tuple(ignored))


def mend(text: str, file: str, frame: Frame | None = None) -> tuple[str, int]:
    """A text with its mechanical mends, and how many lines they changed. What they leave behind reads as before."""
    changed: set[int] = set()
    for _ in range(10):  # a line may need several, one after the other
        lines = text.split("\n")
        touched = False
        seen: set[int] = set()
        for one in lint_text(text, file, frame).findings:
            fix = one.fix
            if fix is None or fix.line in seen or not 0 < fix.line <= len(lines):
                continue
            held = lines[fix.line - 1]
            if held.rstrip() != fix.old.rstrip():
                continue
            seen.add(fix.line)
            changed.add(fix.line)
            lines[fix.line - 1] = fix.new + ("\r" if held.endswith("\r") else "")
            touched = True
        if not touched:
            break
        text = "\n".join(lines)
    return text, len(changed)


def told(report: Report) -> dict[str, Any]:
    """The report as JSON holds it."""
    keys = ("rule", "severity", "where", "what", "why", "mend", "source")
    return {
        "file": report.file,
        "findings": [
            {key: getattr(one, key) for key in keys} | {"name": RULES[one.rule].name, "fixable": one.fix is not None}
            for one in report.findings
        ],
        "ignored": [
            {"rule": one.rule, "where": one.where, "what": one.what, "reason": why} for one, why in report.ignored
        ],
        "errors": report.errors,
        "fixed": report.fixed,
    }


def count(reports: Sequence[Report]) -> dict[str, int]:
    """How many findings of each severity."""
    return {name: sum(one.severity == name for report in reports for one in report.findings) for name in SEVERITIES}


def _line(where: str) -> int:
    line = where.rpartition(":")[2]
    return int(line) if line.isdigit() else 0


def _replace(path: Path, text: str) -> None:
    """Write the whole file or none of it, with the rights that it had; what a link names is written, not the link."""
    path = path.resolve()
    waiting = path.with_name(path.name + ".new")
    waiting.write_text(text, encoding="utf-8", newline="")
    shutil.copymode(path, waiting)
    waiting.replace(path)
