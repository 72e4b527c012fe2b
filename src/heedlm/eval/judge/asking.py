"""A judge asked about all cases at once: two orders of each pair, or each reply alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from heedlm.eval.judge.cases import Case
from heedlm.eval.judge.rubric import Rubric
from heedlm.eval.judge.wording import FIRST, SECOND, TIE, Read, ask_pair, ask_points, read_pair, read_points
from heedlm.eval.text import collapse
from heedlm.messages import Reply, Request

NOT_ASKED = "not asked"  # why there is no verdict where the budget had ended


class Told(NamedTuple):
    """What came of one request. reply: None where there is none.   problem: then, why.   key: under which it is kept."""

    reply: Reply | None
    problem: str = ""
    key: str = ""


Ask = Callable[[Sequence[Request]], list[Told]]

Outcome = Literal["first", "second", "tie"]
How = Literal["agreed", "orders disagree", "one order says tie", "same text"]


@dataclass(frozen=True, slots=True)
class PairVerdict:
    """Two replies to one item. outcome: None where a verdict is missing.   how: it came about.   problems: why verdicts are
    missing, one for each.   orders: what each order said, with the contender `first` shown first, then last.
    said, keys: the texts of the judge, and where they are kept.
    """

    case: Case
    first: str
    second: str
    outcome: Outcome | None
    how: How | None
    problems: tuple[str, ...]
    orders: tuple[str | None, str | None]
    said: tuple[str, ...]
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PointsVerdict:
    """One reply alone. points: None where there is no verdict, and `problem` says why."""

    case: Case
    name: str
    points: int | None
    problem: str
    said: str
    key: str


@dataclass(frozen=True, slots=True)
class Manner:
    """rubric: what the judge goes by.   reference: whether it sees the row's own answer."""

    rubric: Rubric
    reference: bool = False


def judge_pairs(cases: Sequence[Case], first: str, second: str, manner: Manner, ask: Ask) -> list[PairVerdict]:
    """A verdict for every case that both have replied to. The same text twice is a tie, and nobody is asked."""
    both = [case for case in cases if first in case.replies and second in case.replies]
    open_ = [case for case in both if not _same(case, first, second)]
    requests = [
        ask_pair(manner.rubric, case.question.messages, case.replies[one], case.replies[other], _right(case, manner))
        for case in open_
        for one, other in ((first, second), (second, first))
    ]
    told = ask(requests)
    found = {
        (case.task, case.id): _pair(case, first, second, told[2 * place], told[2 * place + 1])
        for place, case in enumerate(open_)
    }
    same = (None, None)
    return [
        found.get((case.task, case.id)) or PairVerdict(case, first, second, "tie", "same text", (), same, (), ())
        for case in both
    ]


def judge_points(cases: Sequence[Case], names: Sequence[str], manner: Manner, ask: Ask) -> list[PointsVerdict]:
    """A verdict for every reply."""
    shown = [(case, name) for case in cases for name in names if name in case.replies]
    requests = [
        ask_points(manner.rubric, case.question.messages, case.replies[name], _right(case, manner))
        for case, name in shown
    ]
    found = []
    for (case, name), told in zip(shown, ask(requests), strict=True):
        read = Read(None, told.problem) if told.reply is None else read_points(told.reply, manner.rubric)
        said = "" if told.reply is None else told.reply.text
        points = None if read.value is None else int(read.value)
        found.append(PointsVerdict(case, name, points, read.problem, said, told.key))
    return found


def _same(case: Case, first: str, second: str) -> bool:
    return collapse(case.replies[first]) == collapse(case.replies[second])


def _right(case: Case, manner: Manner) -> str:
    return case.question.reference if manner.reference else ""


def _pair(case: Case, first: str, second: str, one: Told, other: Told) -> PairVerdict:
    """Both orders together: a win needs both of them; whatever else they say, when both say something, is a tie."""
    reads = [Read(None, told.problem) if told.reply is None else read_pair(told.reply) for told in (one, other)]
    problems = tuple(read.problem for read in reads if read.value is None)
    orders = (reads[0].value, reads[1].value)
    said = tuple("" if told.reply is None else told.reply.text for told in (one, other))
    outcome, how = outcome_of(*orders)
    return PairVerdict(case, first, second, outcome, how, problems, orders, said, (one.key, other.key))


def outcome_of(shown_first: str | None, shown_last: str | None) -> tuple[Outcome | None, How | None]:
    """What two orders say of the contender `first`, shown first and then last.

    >>> outcome_of("1", "2") -> ("first", "agreed")      outcome_of("1", "1") -> ("tie", "orders disagree")
    """
    if shown_first is None or shown_last is None:
        return None, None
    says = {FIRST: "first", SECOND: "second", TIE: "tie"}[shown_first]
    again = {FIRST: "second", SECOND: "first", TIE: "tie"}[shown_last]
    if says == again:
        return says, "agreed"  # type: ignore[return-value] # one of the three
    return "tie", "one order says tie" if TIE in (shown_first, shown_last) else "orders disagree"
