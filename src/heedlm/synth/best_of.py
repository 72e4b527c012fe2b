"""The best of several answers to a prompt: rejection sampling by the checks or the scorer of its row.

Draws stop for a prompt as soon as enough of its answers have the full score, so an easy prompt costs one call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from heedlm.data.duplicates import squeeze
from heedlm.errors import HeedError, Problem
from heedlm.eval.checks import example_problems, score_checks
from heedlm.eval.match import score_words
from heedlm.eval.scorers.registry import judged, make_scorer, read_scorer
from heedlm.messages import Example, Message, Reply, Score, Task
from heedlm.synth import made
from heedlm.synth.answer import asking
from heedlm.synth.desk import BUDGET, Call
from heedlm.synth.inputs import Prompt
from heedlm.synth.made import Drop, Made
from heedlm.synth.work import Work

NONE_PASSED, NO_JUDGE = "no answer passed", "nothing to judge by"
GENERATES_NOTHING = "likelihood"  # the one scorer that looks at no answer
_SHOWN = 20
_Judge = Callable[[Example, str], Score]


@dataclass(frozen=True, slots=True)
class _Draw:
    """One answer to a prompt. number: from 0.   key: of its call."""

    number: int
    key: str
    reply: Reply
    score: Score


@dataclass(slots=True)
class _Case:
    """A prompt, what judges its answers, and its draws so far. problem: why the last draw gave none."""

    prompt: Prompt
    scorer: _Judge
    draws: list[_Draw] = field(default_factory=list)
    problem: tuple[str, str] | None = None


def best_of(work: Work, prompts: Sequence[Prompt]) -> Made:
    """Rows whose answer passes, the best first; prompts of which none does are dropped with their best answer.

    A row is judged by its `meta.scorer`, else the scorer of the options, else its `meta.checks`, else by the words that an
    answer shares with its own. Raises HeedError with all that is wrong with scorers and checks, before anything is asked.
    """
    if work.options.scorer is not None:
        make_scorer(work.options.scorer, "--scorer")
    found = Made()
    cases: list[_Case] = []
    problems: list[Problem] = []
    for prompt in prompts:
        scorer, wrong = _scorer(prompt, work.options.scorer)
        problems += wrong
        if scorer is not None:
            cases.append(_Case(prompt, scorer))
        elif not wrong:
            why = "the row has neither meta.checks, nor a scorer, nor an answer to compare with"
            found.drops.append(Drop(NO_JUDGE, why, prompt.example.source, {"id": prompt.example.id}))
    if problems:
        more = len(problems) - _SHOWN
        rest = [Problem(f"and {more:,} more such rows", "", "mend these first")] if more > 0 else []
        raise HeedError.of([*problems[:_SHOWN], *rest])
    reached = [_draw(work, number, cases) for number in range(work.options.draws)]
    for case in cases:
        passing = _passing(case, work.options.at_least)[: work.options.keep]
        for place, draw in enumerate(passing):
            found.rows.append(_row(work, case, draw, place, len(passing)))
        if not passing:
            found.drops.append(_dropped(case))
    found.facts = {
        "prompts": len(cases),
        "draws": sum(len(case.draws) for case in cases),
        "passed_by_draw": [round(passed / max(1, len(cases)), 4) for passed in reached],
    }
    return found


def _scorer(prompt: Prompt, default: str | None) -> tuple[_Judge | None, list[Problem]]:
    """What judges the answers to a prompt, or what is wrong with it; neither where the row gives nothing to judge by."""
    spec = prompt.example.meta.get("scorer", default)
    where = f"{prompt.example.source} (id {prompt.example.id})"
    if spec is not None:
        scorer, problems = read_scorer(spec, where)
        if scorer is None:
            return None, problems
        if scorer.kind.name == GENERATES_NOTHING:
            return None, [Problem(f"scorer {GENERATES_NOTHING!r} judges no answer", where, "another: exact, numeric")]
        return scorer, scorer.item_problems(_whole(prompt))
    if "checks" in prompt.example.meta:
        return score_checks, example_problems(prompt.example)
    return (score_words, []) if prompt.reference is not None else (None, [])


def _whole(prompt: Prompt) -> Example:
    """The row with its own answer, an empty one where it has none."""
    reference = prompt.reference or Message("assistant", "")
    return replace(prompt.example, messages=(*prompt.example.messages, reference))


def _draw(work: Work, number: int, cases: Sequence[_Case]) -> int:
    """One more answer for each prompt that needs one; how many prompts have an answer that passes from then on."""
    options = work.options
    sampling = options.sampling(work.mode, number)
    open_cases = [case for case in cases if len(_passing(case, 1.0)) < options.keep]
    calls = [Call(asking(case.prompt, options.guide), sampling) for case in open_cases]
    what = f"draw {number + 1} of up to {options.draws}"
    for case, told in zip(open_cases, work.ask(what, calls), strict=True):
        if told.reply is None:
            case.problem = (told.problem, told.why)
        else:
            case.draws.append(_Draw(number, told.key, told.reply, _score(case, told.reply)))
    return sum(bool(_passing(case, options.at_least)) for case in cases)


def _score(case: _Case, reply: Reply) -> Score:
    wrong = made.unfit(reply)
    if wrong is not None:
        return Score(0.0, reply.text, ": ".join(wrong))
    return judged(Task("best-of", "best-of", (), case.scorer), _whole(case.prompt), reply)


def _passing(case: _Case, at_least: float) -> list[_Draw]:
    """Draws that pass, each answer once, the best first and of equal ones the earliest."""
    passing: dict[str, _Draw] = {}
    for draw in sorted(case.draws, key=lambda one: (-one.score.value, one.number)):
        if draw.score.value >= at_least and draw.score.value > 0:
            passing.setdefault(f"{squeeze(draw.reply.text)} {draw.reply.tool_calls}", draw)
    return list(passing.values())


def _row(work: Work, case: _Case, draw: _Draw, place: int, of: int) -> Example:
    example = case.prompt.example
    sampling = work.options.sampling(work.mode, draw.number)
    asked = asking(case.prompt, work.options.guide).messages
    judged = {"score": round(draw.score.value, 4), "why": draw.score.why, "draw": draw.number + 1}
    synth = made.record(work.origin, draw.key, asked, sampling, **judged, draws=len(case.draws))
    name = example.id if of == 1 else f"{example.id}-{place + 1}"
    return made.row(work.origin, example, made.answer_of(draw.reply), synth, id=name)


def _dropped(case: _Case) -> Drop:
    example = case.prompt.example
    what = {"id": example.id, "prompt": case.prompt.asked, "draws": len(case.draws)}
    if case.problem is not None and (not case.draws or case.problem[0] == BUDGET):
        return Drop(*case.problem, example.source, what)
    best = max(case.draws, key=lambda draw: (draw.score.value, -draw.number))
    told = {"best": best.reply.text, "score": round(best.score.value, 4), "key": best.key}
    why = f"the best of {len(case.draws)}: {best.score.why}"
    return Drop(NONE_PASSED, why, example.source, {**what, **told})
