"""One search on a real model: cases split, model asked, gate passed or not, and a lock file that holds all of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from heedlm.errors import HeedError
from heedlm.eval.contenders import contenders_of, is_endpoint
from heedlm.eval.pairs import Contender
from heedlm.instructions.bench import Bench, Candidate
from heedlm.instructions.blocks import Instruction
from heedlm.instructions.cases import Case
from heedlm.instructions.frame import COMPLETION, OWN, Frame, frame_for
from heedlm.instructions.optimize.gate import Gated, digest_of, gate
from heedlm.instructions.optimize.ledger import Budget, Journal, Ledger, fingerprint
from heedlm.instructions.optimize.moves import STAGES, Stage, shots_of
from heedlm.instructions.optimize.search import Found, Plan, search
from heedlm.instructions.optimize.splits import Split, split
from heedlm.instructions.replies import Store
from heedlm.instructions.write import write
from heedlm.messages import Sampling
from heedlm.runs import environment, write_json, write_text

VERSION = 1  # of the lock file
LOCK, BEST, SEALED, JOURNAL, ANSWERS = "lock.json", "best.prompty", "sealed.jsonl", "journal.jsonl", "answers.jsonl"
_SIZED = 16  # cases over which the length of a prompt is averaged

Verdict = Literal["better", "kept", "no headroom"]


@dataclass(frozen=True, slots=True)
class Job:
    """What to optimise, on what. model: as `heed prompt test` takes it.   sealed: the test cases, where they are a file of
    their own.   out: the folder of the lock file and of all that a resumed search needs."""

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


@dataclass(frozen=True, slots=True)
class Done:
    """verdict: "better" where the gate was passed; "kept" where the seed stays.   best: the winner, or the seed."""

    verdict: Verdict
    best: Candidate
    found: Found
    gated: Gated
    calls: int
    lock: Path


def optimize(
    job: Job,
    *,
    on_paid: Callable[[int, int], None] | None = None,
    on_stage: Callable[[str, str], None] | None = None,
) -> Done:
    """Search, open the sealed test once, write lock.json and best.prompty. The same call again goes on after a kill.

    Raises HeedError for cases too few, a test that overlaps, a budget that does not reach, a journal of another search,
    a sealed test that was opened for another pair; endpoint.Interrupted where an endpoint is down.
    """
    cases, parts = split(job.cases, job.sealed, seed=job.seed)
    (contender,) = contenders_of([job.model])
    seed = Candidate(job.instruction, frame=_frame(contender), label=job.instruction.name)
    _checked(seed, cases)
    if 2 * len(parts.test) >= job.budget.calls:
        Ledger(_unasked, job.budget, reserve=2 * len(parts.test))  # refuses, before a model is loaded
    arm = contender.open()
    bench = Bench(arm.chat, cases, identity=arm.identity, store=Store(job.out / ANSWERS), sampling=job.sampling)
    head = {"version": VERSION, "instruction": fingerprint(seed), "model": bench.model, "cases": digest_of(cases)}
    head |= {"stages": job.stages, "epsilon": job.epsilon, "seed": job.seed, "sampling": asdict(job.sampling)}
    head |= {"split": [len(part) for part in (parts.pool, parts.race, parts.dev, parts.test)]}
    ledger = Ledger(
        _evaluator(bench),
        job.budget,
        reserve=2 * len(parts.test),
        journal=Journal(job.out / JOURNAL, head),
        on_paid=on_paid,
    )
    found = search(ledger, seed, parts, _plan(job, bench, parts), on_stage)
    groups = [cases[item].group or item for item in parts.test]
    test = digest_of([cases[item] for item in parts.test])
    gated = gate(ledger, seed, found.chosen, parts.test, job.out / SEALED, test, groups=groups)
    verdict: Verdict = "better" if gated.passed else "no headroom" if found.ended == "no headroom" else "kept"
    best = found.chosen if gated.passed else seed
    write_text(job.out / BEST, write(_carried(best)))
    lock = job.out / LOCK
    write_json(lock, _lock(job, bench, ledger, cases, parts, found, gated, verdict, best))
    return Done(verdict, best, found, gated, ledger.calls, lock)


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


def _evaluator(bench: Bench) -> Callable[[Sequence[Candidate], Sequence[int]], list[list[float]]]:
    """Scores of a bench; an item without an answer is an error, never a wrong answer."""

    def evaluate(candidates: Sequence[Candidate], items: Sequence[int]) -> list[list[float]]:
        rows = bench.answers(candidates, items)
        failed = next((one for row in rows for one in row if one.error), None)
        if failed is not None:
            mend = "run the same command again: what was answered is kept"
            raise HeedError(f"no answer to the case {failed.item!r}: {failed.error}", bench.model, mend)
        return [[one.score for one in row] for row in rows]

    return evaluate


def _plan(job: Job, bench: Bench, parts: Split) -> Plan:
    pool = shots_of([(bench.cases[item].values, bench.cases[item].target) for item in parts.pool], job.instruction)
    labels = [bench.cases[item].target for item in (*parts.pool, *parts.race) if bench.cases[item].target]

    def usable(candidate: Candidate) -> bool:
        try:
            bench.compiled([candidate], range(len(bench.cases)))
        except HeedError:
            return False
        return True

    def size(candidate: Candidate) -> float:
        return bench.tokens(candidate, parts.dev[:_SIZED])

    return Plan(job.stages, job.epsilon, tuple(pool), tuple(labels), job.seed, usable, size)


def _carried(candidate: Candidate) -> Instruction:
    """The instruction with the notation of its layout, which a file can hold."""
    notation = candidate.layout.notation
    return candidate.instruction if notation is None else replace(candidate.instruction, notation=notation)


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
        "budget": {"calls": job.budget.calls, "minutes": job.budget.minutes, "spent": ledger.calls},
        "split": {name: [ids[item] for item in getattr(parts, name)] for name in ("pool", "race", "dev", "test")},
        "candidates": [
            {"name": one.name, "fingerprint": key, "layout": asdict(one.layout), "source": write(_carried(one))}
            | {"scores": {ids[item]: score for item, score in sorted(ledger.table[key].items())}}
            for key, one in ledger.candidates.items()
        ],
    }
