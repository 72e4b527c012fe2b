"""Errors that say what is wrong, where, and how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. where: "file:line", a config key, a folder.   mend: what to type or change."""

    what: str
    where: str = ""
    mend: str = ""

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  at   {self.where}")
        if self.mend:
            lines.append(f"  mend {self.mend}")
        return "\n".join(lines)


class HeedError(Exception):
    """A mistake in what the user gave us. Carries every problem found in the pass, not only the first."""

    def __init__(self, what: str, where: str = "", mend: str = "") -> None:
        self.problems: tuple[Problem, ...] = (Problem(what, where, mend),)
        super().__init__(what)

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> HeedError:
        """One error that carries several problems; the first becomes its short message."""
        assert problems, "an error needs a problem"
        error = cls(problems[0].what)
        error.problems = tuple(problems)
        return error

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint such as ``did you mean 'epochs'?``, or the list of what is known when nothing is near."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known: " + ", ".join(names)
