"""A judge that follows an evaluation: what it may spend, and its figures for the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from heedlm.errors import HeedError, Problem

if TYPE_CHECKING:
    from heedlm.eval.prices import Price
    from heedlm.eval.results import EvalReport, Judgement
    from heedlm.messages import Chat

Hear = Callable[[str, int, int], None]


class Judging(NamedTuple):
    """Who judges, by which rubric, and what that may cost at most; None as `by` for nobody.

    requests, tokens, money: of this judge in this folder, in all runs together; None is no limit.
    """

    by: str | Path | Chat | None = None
    rubric: str | Path | None = None
    requests: int | None = None
    tokens: int | None = None
    money: str | float | None = None


def endpoints_of(names: Sequence[str], by: str | Path | Chat | None) -> list[str]:
    """The endpoints among the models that are asked and the judge: what can have a price."""
    from heedlm.eval.contenders import is_endpoint

    every = [*names, *([str(by)] if isinstance(by, (str, Path)) else [])]
    return list(dict.fromkeys(name for name in every if is_endpoint(name)))


def check_judging(wanted: Judging, price: Price | None) -> None:
    """Raises HeedError for what would be found wrong only after all was asked, in one go."""
    from heedlm.eval.contenders import is_endpoint
    from heedlm.eval.judge.rubric import read_rubric
    from heedlm.model.load import resolve
    from heedlm.synth.options import options_of

    problems: list[Problem] = []
    if wanted.by is None:
        given = [name for name, value in _limits(wanted).items() if value is not None]
        given += ["rubric"] if wanted.rubric is not None else []
        for name in given:
            what = f"A {name.replace('budget_', 'budget in ')} is for a judge, and none is named."
            problems.append(Problem(what, f"--{name.replace('_', '-')}", "--judge MODEL, or leave it out"))
    else:
        if wanted.money is not None and price is None:
            what = "A budget in money needs the prices of the judge."
            problems.append(Problem(what, "--budget-money", f"--price '{wanted.by}=IN,OUT', per million tokens"))
        given_limits = {**_limits(wanted), "budget_money": None if price is None else wanted.money}
        problems += _wrong(lambda: options_of("answer", {**given_limits, **_priced(price)}))
        problems += _wrong(lambda: read_rubric(None if wanted.rubric is None else Path(wanted.rubric)))
        if isinstance(wanted.by, (str, Path)) and not is_endpoint(str(wanted.by)):
            by = wanted.by
            problems += _wrong(lambda: resolve(by))
    if problems:
        raise HeedError.of(problems)


def judged_after(
    folder: Path, reports: Sequence[EvalReport], wanted: Judging, price: Price | None, hear: Hear | None
) -> tuple[Judgement, ...]:
    """What a judge says of the replies that the reports are about."""
    from heedlm.eval.judge.report import judgements
    from heedlm.judging import judge

    assert wanted.by is not None, "the caller looks whether there is a judge"
    only = {(case.task, case.id) for report in reports for case in report.cases}
    on_progress: Hear = hear or (lambda what, done, total: None)
    how = {key: value for key, value in {**_limits(wanted), **_priced(price)}.items() if value is not None}
    return judgements(
        judge(of=folder, by=wanted.by, rubric=wanted.rubric, only=only, on_progress=on_progress, **how).report
    )


def _limits(wanted: Judging) -> dict[str, Any]:
    return {"budget_requests": wanted.requests, "budget_tokens": wanted.tokens, "budget_money": wanted.money}


def _priced(price: Price | None) -> dict[str, Any]:
    return {} if price is None else {"price_in": str(price.prompt), "price_out": str(price.completion)}


def _wrong(check: Callable[[], object]) -> Sequence[Problem]:
    try:
        check()
    except HeedError as error:
        return error.problems
    return ()


__all__ = ["Judging", "check_judging", "endpoints_of", "judged_after"]
