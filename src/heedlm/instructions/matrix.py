"""The matrix: what answers of instructions, models and formats on the same cases show, and how sure it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from heedlm.eval.many import holm
from heedlm.eval.stats import Difference, mean_interval, paired_difference
from heedlm.eval.words import SURE
from heedlm.instructions.bench import Answer
from heedlm.instructions.cases import Case


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answers of one cell. answers: case by case, all samples of a case together.   tokens: of what was sent, the mean.

    baseline: the name of the instruction that it is compared with; "" for a baseline itself.   without: the block that was
    left out, where blocks are tried.
    """

    instruction: str
    model: str
    format: str
    answers: tuple[Answer, ...]
    baseline: str = ""
    without: str = ""
    tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class Flip:
    """A case on which a cell and its baseline part. before, after: the replies; won: whether the cell is better."""

    item: str
    before: str
    after: str
    why_before: str
    why_after: str
    won: bool


@dataclass(frozen=True, slots=True)
class Cell:
    """One instruction, model and format.

    score: mean in 0..1, with low and high at 95 % (Wilson's where answers are right or wrong).   difference: to its
    baseline on the same cases, None for a baseline; p_holm: its p-value among all cells.   cut, errors: answers that did
    not end, and that there are none of.   tokens_in, tokens_out: sent and generated, means; None: not told.
    consistent: share of cases whose samples are all right or all wrong; agreeing: share of paraphrased questions whose
    wordings are.   causes: how often an assertion was the reason for a failure.
    """

    instruction: str
    model: str
    format: str
    n: int
    score: float
    low: float
    high: float
    baseline: str = ""
    difference: Difference | None = None
    p_holm: float = 1.0
    flips: tuple[Flip, ...] = ()
    cut: int = 0
    errors: int = 0
    tokens_in: float = 0.0
    tokens_out: float | None = None
    consistent: float | None = None
    agreeing: float | None = None
    causes: tuple[tuple[str, int], ...] = ()

    @property
    def sure(self) -> int:
        """1 better than its baseline for sure, -1 worse, 0 neither: interval and p-value over all cells must agree."""
        found = self.difference
        if found is None or self.p_holm >= SURE or found.low <= 0 <= found.high:
            return 0
        return 1 if found.low > 0 else -1


@dataclass(frozen=True, slots=True)
class Spread:
    """One instruction and model over several formats. by_format: mean scores."""

    instruction: str
    model: str
    by_format: Mapping[str, float]

    @property
    def mean(self) -> float:
        return sum(self.by_format.values()) / len(self.by_format)

    @property
    def worst(self) -> float:
        return min(self.by_format.values())

    @property
    def spread(self) -> float:
        """Best format minus worst."""
        return max(self.by_format.values()) - self.worst


@dataclass(frozen=True, slots=True)
class Worth:
    """What a block is worth: the score with it minus the score without it, on the same cases."""

    instruction: str
    model: str
    format: str
    block: str
    difference: Difference
    p_holm: float = 1.0
    tokens: float = 0.0

    @property
    def sure(self) -> int:
        found = self.difference
        if self.p_holm >= SURE or found.low <= 0 <= found.high:
            return 0
        return 1 if found.low > 0 else -1


@dataclass(frozen=True, slots=True)
class Matrix:
    """All of it. cells: baselines among them, in the order of the asking.   notes: what a reader has to know."""

    cells: tuple[Cell, ...]
    spreads: tuple[Spread, ...]
    worth: tuple[Worth, ...]
    samples: int
    notes: tuple[str, ...] = ()

    @property
    def compared(self) -> tuple[Cell, ...]:
        return tuple(cell for cell in self.cells if cell.difference is not None)


def matrix_of(
    outcomes: Sequence[Outcome], cases: Sequence[Case], *, samples: int = 1, seed: int = 0, notes: Sequence[str] = ()
) -> Matrix:
    """The figures of all outcomes. Every outcome holds `samples` answers to each of `cases`, in their order.

    The baseline of an outcome is the one of its name with the same model and format.   seed: of the resampling.
    """
    groups = clusters(cases)
    bases = {(one.instruction, one.model, one.format): one for one in outcomes if not one.without}
    cells: list[Cell] = []
    for one in outcomes:
        if one.without:
            continue
        cell = _cell(one, cases, groups, samples, seed)
        base = bases.get((one.baseline, one.model, one.format)) if one.baseline else None
        if base is not None and base is not one:
            found = paired_difference(means(base, samples), means(one, samples), groups=groups, seed=seed)
            cell = replace(cell, baseline=one.baseline, difference=found, flips=tuple(_flips(base, one, samples)))
        cells.append(cell)
    compared = [number for number, cell in enumerate(cells) if cell.difference is not None]
    adjusted = holm([cells[number].difference.p for number in compared])  # type: ignore[union-attr]
    for number, p in zip(compared, adjusted, strict=True):
        cells[number] = replace(cells[number], p_holm=p)
    return Matrix(
        tuple(cells), tuple(_spreads(cells)), _worth(outcomes, bases, groups, samples, seed), samples, tuple(notes)
    )


def means(outcome: Outcome, samples: int) -> list[float]:
    """One score per case: the mean of its samples."""
    scores = [one.score for one in outcome.answers]
    return [sum(scores[at : at + samples]) / samples for at in range(0, len(scores), samples)]


def clusters(cases: Sequence[Case]) -> list[str] | None:
    """The group of each case; None where every case stands alone. Paraphrases of one question are one group."""
    asked = {case.paraphrase_of for case in cases if case.paraphrase_of}
    found = [_group(case, asked) for case in cases]
    return None if len(set(found)) == len(found) else found


def _group(case: Case, asked: set[str]) -> str:
    if case.group is not None:
        return f"group {case.group}"
    if case.paraphrase_of or case.id in asked:
        return f"question {case.paraphrase_of or case.id}"
    return f"case {case.id}"


def _cell(one: Outcome, cases: Sequence[Case], groups: list[str] | None, samples: int, seed: int) -> Cell:
    scores = means(one, samples)
    low, high = mean_interval(scores, groups, seed=seed)
    told = [answer.tokens for answer in one.answers if answer.tokens is not None]
    causes: dict[str, int] = defaultdict(int)
    for answer in one.answers:
        if not answer.right:
            causes[_cause(answer)] += 1
    return Cell(
        instruction=one.instruction,
        model=one.model,
        format=one.format,
        n=len(cases),
        score=sum(scores) / len(scores),
        low=low,
        high=high,
        cut=sum(answer.stop_reason == "length" for answer in one.answers),
        errors=sum(bool(answer.error) for answer in one.answers),
        tokens_in=one.tokens,
        tokens_out=sum(told) / len(told) if told else None,
        consistent=_consistent(one, samples) if samples > 1 else None,
        agreeing=_agreeing(one, cases, samples),
        causes=tuple(sorted(causes.items(), key=lambda pair: (-pair[1], pair[0]))),
    )


def _cause(answer: Answer) -> str:
    """What failed, without the particulars: the type of the assertion."""
    return "no answer" if answer.error else answer.why.split(":")[0][:60] or "not right"


def _consistent(one: Outcome, samples: int) -> float:
    verdicts = [
        {answer.right for answer in one.answers[at : at + samples]} for at in range(0, len(one.answers), samples)
    ]
    return sum(len(found) == 1 for found in verdicts) / len(verdicts)


def _agreeing(one: Outcome, cases: Sequence[Case], samples: int) -> float | None:
    """Share of questions asked in several wordings whose answers are all right or all wrong; None where there is none."""
    asked = {case.paraphrase_of for case in cases if case.paraphrase_of}
    verdicts: dict[str, list[bool]] = defaultdict(list)
    for number, case in enumerate(cases):
        question = case.paraphrase_of or (case.id if case.id in asked else "")
        if question:
            verdicts[question] += [answer.right for answer in one.answers[number * samples : (number + 1) * samples]]
    several = [found for found in verdicts.values() if len(found) > samples]
    return sum(len(set(found)) == 1 for found in several) / len(several) if several else None


def _flips(base: Outcome, one: Outcome, samples: int) -> Iterator[Flip]:
    """The cases whose scores differ; of several samples the first that does is shown."""
    before, after = means(base, samples), means(one, samples)
    for number, (first, second) in enumerate(zip(before, after, strict=True)):
        if first == second:
            continue
        at = slice(number * samples, (number + 1) * samples)
        pairs = list(zip(base.answers[at], one.answers[at], strict=True))
        shown = max(pairs, key=lambda pair: (pair[1].score - pair[0].score) * (1 if second > first else -1))
        yield Flip(shown[0].item, shown[0].reply, shown[1].reply, shown[0].why, shown[1].why, second > first)


def _spreads(cells: Sequence[Cell]) -> Iterator[Spread]:
    found: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for cell in cells:
        found[cell.instruction, cell.model][cell.format] = cell.score
    for (instruction, model), by_format in found.items():
        if len(by_format) > 1:
            yield Spread(instruction, model, by_format)


def _worth(
    outcomes: Sequence[Outcome],
    whole: Mapping[tuple[str, str, str], Outcome],
    groups: list[str] | None,
    samples: int,
    seed: int,
) -> tuple[Worth, ...]:
    found = []
    for one in outcomes:
        if one.without:
            full = whole[one.instruction, one.model, one.format]
            difference = paired_difference(means(one, samples), means(full, samples), groups=groups, seed=seed)
            saved = full.tokens - one.tokens
            found.append(Worth(one.instruction, one.model, one.format, one.without, difference, tokens=saved))
    adjusted = holm([one.difference.p for one in found])
    return tuple(replace(one, p_holm=p) for one, p in zip(found, adjusted, strict=True))
