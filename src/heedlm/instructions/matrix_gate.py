"""Whether an instruction may be used: every figure that is asked for against its interval."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from heedlm.errors import HeedError, Problem
from heedlm.eval.results import Call, Decision, Figure, State
from heedlm.eval.stats import wilson
from heedlm.eval.words import SURE, percent, points
from heedlm.instructions.matrix import Cell, Matrix

_Z = 1.959964


@dataclass(frozen=True, slots=True)
class Asked:
    """Figures that every compared cell has to reach, all in 0..1; None is not asked.

    score: of every cell.   gain: the lower end of the paired interval must be above it.   spread: best format minus worst.
    consistent: share of cases, or of paraphrased questions, with one verdict.
    """

    score: float | None = None
    gain: float | None = None
    spread: float | None = None
    consistent: float | None = None

    def __post_init__(self) -> None:
        problems = [
            Problem(f"--{name} is {value:g}", f"--{name}", f"a share from {low} to 1")
            for name, value, low in (
                ("min-score", self.score, 0),
                ("min-gain", self.gain, -1),
                ("max-spread", self.spread, 0),
                ("min-consistent", self.consistent, 0),
            )
            if value is not None and not low <= value <= 1
        ]
        if problems:
            raise HeedError.of(problems)

    @property
    def anything(self) -> bool:
        return any(one is not None for one in (self.score, self.gain, self.spread, self.consistent))


def decide(matrix: Matrix, asked: Asked) -> Decision | None:
    """Ship where every figure is reached for sure, do not ship where one is missed, else cannot tell; None: none is asked.

    A figure of a share is reached when its whole 95 % interval is on the right side, and missed when all of it is on the
    wrong one. Spread is a plain figure of these cases.
    """
    if not asked.anything:
        return None
    figures = tuple(_figures(matrix, asked))
    states = {figure.state for figure in figures}
    call: Call = "do not ship" if "missed" in states else "cannot tell" if "unsure" in states or not figures else "ship"
    return Decision(call, figures)


def _figures(matrix: Matrix, asked: Asked) -> Iterator[Figure]:
    for cell in matrix.compared:
        name = f"{cell.instruction}, {cell.model}, {cell.format}"
        if asked.score is not None:
            yield _score(name, cell, asked.score)
        if asked.gain is not None:
            yield _gain(name, cell, asked.gain)
        if asked.consistent is not None:
            shares = [one for one in (cell.consistent, cell.agreeing) if one is not None]
            state: State = "unsure" if not shares else "reached" if min(shares) >= asked.consistent else "missed"
            found = percent(min(shares)) if shares else "not measured"
            why = "" if shares else "--samples 3, or cases with paraphrase_of"
            yield Figure(f"{name}: consistent", f"at least {percent(asked.consistent)}", found, state, why)
    if asked.spread is not None:
        compared = {(cell.instruction, cell.model) for cell in matrix.compared}
        for one in matrix.spreads:
            if (one.instruction, one.model) in compared:
                state = "reached" if one.spread <= asked.spread + 1e-9 else "missed"
                what = f"{one.instruction}, {one.model}: spread over {len(one.by_format)} formats"
                yield Figure(what, f"at most {100 * asked.spread:.0f} points", f"{100 * one.spread:.0f} points", state)
        if not matrix.spreads:
            what, why = "spread over formats", "name two formats: --format chat --format chat/xml"
            yield Figure(what, f"at most {100 * asked.spread:.0f} points", "not measured", "unsure", why)


def _score(name: str, cell: Cell, least: float) -> Figure:
    state: State = "reached" if cell.low >= least else "missed" if cell.high < least else "unsure"
    why = ""
    if state == "unsure" and least >= 1:
        why = "no number of cases shows for sure that none will ever fail; ask for 0.99"
    elif state == "unsure" and wilson(cell.n, cell.n).low < least:
        fewest = math.ceil(least / (1 - least) * _Z**2)
        why = f"too small: not even {cell.n} of {cell.n} would show it; {fewest:,} would"
    found = f"{percent(cell.score)} ({percent(cell.low)} to {percent(cell.high)})"
    return Figure(f"{name}: score", f"surely {percent(least)}", found, state, why)


def _gain(name: str, cell: Cell, least: float) -> Figure:
    found = cell.difference
    assert found is not None, "a compared cell has a difference"
    state: State = "reached" if found.low > least else "missed" if found.high < least else "unsure"
    if state == "reached" and least >= 0 and found.p >= SURE:
        state = "unsure"
    why = ""
    if state == "unsure":
        why = f"{cell.n} cases show no difference under {100 * found.smallest:.0f} points for sure"
    told = f"{points(found.mean)} ({points(found.low)} to {points(found.high)})"
    return Figure(f"{name}: gain over {cell.baseline}, points", f"surely above {points(least)}", told, state, why)
