"""One search on a real model: cases split, model asked, gate passed or not, and a lock file that holds all of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Literal

from heedlm.errors import HeedError
from heedlm.eval.contenders import contenders_of, is_endpoint
from heedlm.eval.evaluate import Arm
from heedlm.eval.pairs import Contender
from heedlm.instructions.bench import Bench, Candidate
from heedlm.instructions.blocks import Instruction
from heedlm.instructions.cases import Case
from heedlm.instructions.frame import COMPLETION, OWN, Frame, frame_for
from heedlm.instructions.layout import kept
from heedlm.instructions.optimize.gate import Gated, Sealed, digest_of, gate, refuse_reopened
from heedlm.instructions.optimize.ledger import Budget, Evaluate, Journal, Ledger, fingerprint
from heedlm.instructions.optimize.money import Metered, Price, Purse, Till
from heedlm.instructions.optimize.moves import STAGES, Stage, shots_of
from heedlm.instructions.optimize.reflect import need_gepa, reflect
from heedlm.instructions.optimize.reflector import reflector_of
from heedlm.instructions.optimize.search import Found, Plan, search
from heedlm.instructions.optimize.splits import Split, split
from heedlm.instructions.replies import Store
from heedlm.instructions.write import write
from heedlm.messages import Sampling
from heedlm.runs import environment, read_jsonl, write_json, write_text

VERSION = 1  # of the lock file
LOCK, BEST, SEALED, JOURNAL, ANSWERS = "lock.json", "best.prompty", "sealed.jsonl", "journal.jsonl", "answers.jsonl"
SPENT = "spent.jsonl"
_SIZED = 16  # cases over which the length of a prompt is averaged
_VISIT = 10_000  # between the seeds of two visits to the stage reflect
_ENDS = 8  # longest and shortest cases that a change has to compile with

Verdict = Literal["better", "kept", "no headroom"]


@dataclass(frozen=True, slots=True)
class Job:
    """What to optimise, on what. model: as `heed prompt test` takes it.   sealed: the test cases, where they are a file of
    their own.   out: the folder of the lock file and of all that a resumed search needs.   reflector: the model of the
    stage reflect, "" for none.   price, reflector_price: of the two models' tokens; None is not counted.   looked: where
    openings of sealed cases are told of searches in all folders; None for this folder alone."""

    instruction: Instruction
    model: str
    cases: Sequence[Case]
    out: Path
    budget: Budget
    sealed: Sequence[Case] | None = None
    stages: tuple[Stage, ...] = STAGES
    epsilon: float = 0.01
    seed: int = 0
    sampling: Sampling = field(default_factory=Sampling)
    reflector: str = ""
    price: Price | None = None
    reflector_price: Price | None = None
    looked: Path | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """verdict: "better" where the gate was passed; "kept" where the seed stays.   best: the winner, or the seed."""

    verdict: Verdict
    best: Candidate
    found: Found
    gated: Gated
    calls: int
    lock: Path
    money: float = 0.0


def optimize(
    job: Job,
    *,
    on_paid: Callable[[int, int], None] | None = None,
    on_stage: Callable[[str, str], None] | None = None,
) -> Done:
    """Search, open the sealed test once, write lock.json and best.prompty. The same call again goes on after a kill.

    Raises HeedError for cases too few, a test that overlaps, a budget that does not reach, a journal of another search,
    a sealed test that was opened for another pair, a stage or a budget of money that lacks what it needs;
    endpoint.Interrupted where an endpoint is down.
    """
    _sensible(job)
    cases, parts = split(job.cases, job.sealed, seed=job.seed)
    (contender,) = contenders_of([job.model])
    seed = Candidate(job.instruction, frame=_frame(contender), label=job.instruction.name)
    _checked(seed, cases)
    if 2 * len(parts.test) >= job.budget.calls:
        Ledger(_unasked, job.budget, reserve=2 * len(parts.test))  # refuses, before a model is loaded
    purse = Purse(job.budget.money, job.out / SPENT if job.price or job.reflector_price else None)
    arm = _paid_from(purse, contender, job.price)
    bench = Bench(arm.chat, cases, identity=arm.identity, store=Store(job.out / ANSWERS), sampling=job.sampling)
    head = {"version": VERSION, "instruction": fingerprint(seed), "model": bench.model, "cases": digest_of(cases)}
    head |= {"stages": job.stages, "epsilon": job.epsilon, "seed": job.seed, "sampling": asdict(job.sampling)}
    head |= {"split": [len(part) for part in (parts.pool, parts.race, parts.dev, parts.test)]}
    head |= {"reflector": job.reflector} if job.reflector else {}
    journal = Journal(job.out / JOURNAL, head)
    sealed = Sealed([cases[item] for item in parts.test], bench.model, _wanted(job), job.looked)
    refuse_reopened(job.out / SEALED, sealed)
    till = Till(bench, job.price or Price(0, 0), purse, parts.test)
    ledger = Ledger(
        _evaluator(bench),
        job.budget,
        reserve=2 * len(parts.test),
        journal=journal,
        on_paid=on_paid,
        likely=_likely(bench, contender, parts),
        costs=till,
        closed=any(one["what"] == "opened" and one["test"] == sealed.test for one in read_jsonl(job.out / SEALED)),
    )
    found = search(ledger, seed, parts, _plan(job, bench, parts, ledger, purse), on_stage)
    groups = [cases[item].group or item for item in parts.test]
    gated = gate(ledger, seed, found.chosen, parts.test, job.out / SEALED, sealed.test, groups=groups, sealed=sealed)
    verdict: Verdict = "better" if gated.passed else "no headroom" if found.ended == "no headroom" else "kept"
    best = found.chosen if gated.passed else seed
    write_text(job.out / BEST, write(kept(best.instruction, best.layout)))
    lock = job.out / LOCK
    write_json(lock, _lock(job, bench, ledger, cases, parts, found, gated, verdict, best))
    return Done(verdict, best, found, gated, ledger.calls, lock, ledger.money)


def _sensible(job: Job) -> None:
    if "reflect" in job.stages and not job.reflector:
        what = "the stage reflect asks a strong model for other words, and none is named"
        raise HeedError(what, "--stages", "--reflector http://HOST/v1#MODEL, or leave reflect out")
    if job.reflector:
        contenders_of([job.reflector])  # refuses a name without a model before anything is paid
        need_gepa()
    asked = {"--price": (job.model, job.price)}
    asked |= {"--reflector-price": (job.reflector, job.reflector_price)} if job.reflector else {}
    if job.budget.money is None:
        return
    for option, (name, price) in asked.items():
        if is_endpoint(name) and price is None:
            what = f"what {name} costs is not known, and money is to be counted"
            raise HeedError(what, "--money", f"{option} 0.15,0.60   (of a million tokens, sent and written)")
    if all(price is None for _, price in asked.values()):
        raise HeedError("models of this machine cost nothing", "--money", "--budget and --minutes bound a search here")


def _wanted(job: Job) -> dict[str, Any]:
    """What decides where a search ends, beside its cases and its model: another search chooses another pair."""
    told = {"instruction": fingerprint(Candidate(job.instruction)), "seed": job.seed, "stages": list(job.stages)}
    return told | {"budget": asdict(job.budget), "reflector": job.reflector, "epsilon": job.epsilon}


def _paid_from(purse: Purse, contender: Contender, price: Price | None) -> Arm:
    """The model, each call of which is paid out of the purse where it is an endpoint that has a price."""
    arm = contender.open()
    if price is None or not is_endpoint(contender.name):
        return arm
    url, _, model = contender.name.partition("#")
    return replace(arm, chat=Metered(url, model or "default", purse, price))


def _frame(contender: Contender) -> Frame | None:
    if is_endpoint(contender.name):
        return None
    return frame_for(contender.name, COMPLETION if contender.plain else OWN)


def _unasked(candidates: Sequence[Candidate], items: Sequence[int]) -> list[list[float]]:
    raise AssertionError("nothing is asked before a model is loaded")


class _Nobody:
    name = "nobody"


def _checked(seed: Candidate, cases: Sequence[Case]) -> None:
    """Raises HeedError, with every problem, where the seed does not compile with some case."""
    Bench(_Nobody(), cases).compiled([seed], range(len(cases)))  # type: ignore[arg-type]


def _evaluator(bench: Bench) -> Evaluate:
    """Scores of a bench; an item without an answer is an error, never a wrong answer."""

    def evaluate(candidates: Sequence[Candidate], items: Sequence[int]) -> list[list[float]]:
        rows = bench.answers(candidates, items)
        failed = next((one for row in rows for one in row if one.error), None)
        if failed is not None:
            mend = "run the same command again: what was answered is kept"
            raise HeedError(f"no answer to the case {failed.item!r}: {failed.error}", bench.model, mend)
        return [[one.score for one in row] for row in rows]

    return evaluate


def _likely(bench: Bench, contender: Contender, parts: Split) -> Evaluate | None:
    """How likely the model finds a token of the right answers, in 0..1; None where it does not tell, or some case of train
    or dev has no right answer."""
    if is_endpoint(contender.name) or not all(bench.cases[item].target for item in (*parts.race, *parts.dev)):
        return None

    def likely(candidates: Sequence[Candidate], items: Sequence[int]) -> list[list[float]]:
        return [[math.exp(one) for one in row] for row in bench.likelihoods(candidates, items)]

    return likely


def _plan(job: Job, bench: Bench, parts: Split, ledger: Ledger, purse: Purse) -> Plan:
    pool = shots_of([(bench.cases[item].values, bench.cases[item].target) for item in parts.pool], job.instruction)
    labels = [bench.cases[item].target for item in (*parts.pool, *parts.race) if bench.cases[item].target]

    telling = telling_cases(bench.cases)
    longest = sorted(telling, key=lambda item: -sum(len(str(one)) for one in bench.cases[item].values.values()))[:_ENDS]

    def usable(candidate: Candidate) -> bool:
        try:
            bench.compiled([candidate], telling)
        except HeedError:
            return False
        context = candidate.frame.context if candidate.frame is not None else 0
        return not context or all(bench.tokens(candidate, [item]) < context for item in longest)

    def size(candidate: Candidate) -> float:
        return bench.tokens(candidate, parts.dev[:_SIZED])

    @cache
    def arm() -> Arm:
        (contender,) = contenders_of([job.reflector])
        return _paid_from(purse, contender, job.reflector_price)

    visits = count()

    def reflected(seat: Candidate, items: Sequence[int], calls: int) -> Candidate | None:
        seed = job.seed + _VISIT * next(
            visits
        )  # a second visit shall not reflect on the same answers in the same words
        return reflect(ledger, seat, items, calls, reflector_of(arm(), bench, ledger, usable, seed=seed), seed=seed)

    asked = reflected if job.reflector else None
    return Plan(job.stages, job.epsilon, tuple(pool), tuple(labels), job.seed, usable, size, asked)


def telling_cases(cases: Sequence[Case]) -> list[int]:
    """The cases on which a change that cannot be compiled shows: the longest, the shortest, and one of each set of inputs
    that are given and that are empty. All cases for each change would take longer than a small model's answers."""
    sizes = [sum(len(str(value)) for value in case.values.values()) for case in cases]
    forms: dict[object, int] = {}
    for index, case in enumerate(cases):
        forms.setdefault(tuple(sorted((name, bool(value)) for name, value in case.values.items())), index)
    order = sorted(range(len(cases)), key=lambda index: sizes[index])
    return sorted({*forms.values(), *order[:_ENDS], *order[-_ENDS:]})


def _lock(
    job: Job,
    bench: Bench,
    ledger: Ledger,
    cases: Sequence[Case],
    parts: Split,
    found: Found,
    gated: Gated,
    verdict: Verdict,
    best: Candidate,
) -> dict[str, Any]:
    facts = environment()
    ids = [one.id for one in cases]
    return {
        "version": VERSION,
        "command": facts["command"],
        "instruction": job.instruction.name,
        "model": bench.model,
        "format": best.frame.format if best.frame is not None else "messages",
        "verdict": verdict,
        "gate": asdict(gated),
        "best": {"name": best.name, "fingerprint": fingerprint(best), "layout": asdict(best.layout), "file": BEST},
        "headroom": None if found.headroom is None else asdict(found.headroom),
        "steps": [asdict(one) for one in found.steps],
        "ended": found.ended,
        "budget": {**asdict(job.budget), "spent": ledger.calls, "spent_money": round(ledger.money, 6)},
        "split": {name: [ids[item] for item in getattr(parts, name)] for name in ("pool", "race", "dev", "test")},
        "candidates": [
            {
                "name": one.name,
                "fingerprint": key,
                "layout": asdict(one.layout),
                "source": write(kept(one.instruction, one.layout)),
            }
            | {"scores": {ids[item]: score for item, score in sorted(ledger.known(one).items())}}
            | {"likelihoods": {ids[item]: each for item, each in sorted(ledger.known(one, "likelihood").items())}}
            for key, one in ledger.candidates.items()
        ],
    }
