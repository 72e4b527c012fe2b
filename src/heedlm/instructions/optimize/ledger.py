"""The ledger of a search: no score is paid for twice, nothing is paid for beyond the budget, a kill loses little."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from heedlm.errors import HeedError
from heedlm.instructions.bench import Candidate
from heedlm.runs import append_jsonl, cut_jsonl, read_jsonl

# Scores in 0..1 of candidates on items, one list for each candidate, in the order of the items.
Evaluate = Callable[[Sequence[Candidate], Sequence[int]], list[list[float]]]
Measure = Literal["score", "likelihood"]
_BATCH = 64  # scores between two lines of the journal


class Exhausted(Exception):
    """The budget does not reach for what was wanted; what is known so far decides."""


@dataclass(frozen=True, slots=True)
class Budget:
    """calls: scores to be paid for, the sealed test's among them.   minutes: of asking while searching; None no limit.
    money: for all answers, the sealed test's among them, in the currency of the prices; None no limit."""

    calls: int
    minutes: float | None = None
    money: float | None = None

    def __post_init__(self) -> None:
        if self.calls <= 0:
            raise HeedError(f"a budget of {self.calls} calls buys nothing", "--budget", "--budget 2000")
        if self.minutes is not None and not (math.isfinite(self.minutes) and self.minutes > 0):
            raise HeedError(f"a budget of {self.minutes} minutes buys nothing", "--minutes", "--minutes 30")
        if self.money is not None and not (math.isfinite(self.money) and self.money > 0):
            raise HeedError(f"a budget of {self.money} buys nothing", "--money", "--money 2.50")


class Costs(Protocol):
    """What asking costs. before: raises Exhausted where the money does not reach for a candidate on items.   unseal: from
    here on it is the sealed test that is paid.   spent: so far."""

    def before(self, candidate: Candidate, items: Sequence[int]) -> None: ...

    def unseal(self) -> None: ...

    @property
    def spent(self) -> float: ...


def fingerprint(candidate: Candidate) -> str:
    """16 hex digits of all that reaches a model: texts, order, shots, layout. Names and variants not chosen do not."""
    ins = candidate.instruction
    told = {
        "blocks": [
            [one.id, one.kind, one.text, one.title, one.role, one.turn, one.repeat, one.slot, one.most]
            for one in ins.blocks
        ],
        "shots": [[dict(one.values), one.output] for one in ins.shots],
        "inputs": [[one.name, repr(one.default), one.delimit] for one in ins.inputs],
        "notation": ins.notation,
        "layout": repr(candidate.layout.of(ins)),
        "frame": candidate.frame.format if candidate.frame is not None else "",
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=repr).encode()).hexdigest()[:16]


class Journal:
    """Scores line by line on disk, under a head that says which search they belong to.

    Raises HeedError where the file belongs to another search: other data, another model, another seed.
    """

    def __init__(self, path: Path, head: Mapping[str, Any]) -> None:
        self.path = path
        lines = read_jsonl(path)
        if not lines:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            append_jsonl(path, {"step": -1, **head})
            self.lines: list[dict[str, Any]] = []
            return
        found = {name: value for name, value in lines[0].items() if name != "step"}
        wanted = json.loads(json.dumps(dict(head)))
        if found != wanted:
            differ = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
            what = f"this journal belongs to another search: {', '.join(differ)} differ"
            raise HeedError(what, str(path), "another folder with --out, or the same command as before")
        cut_jsonl(path, len(lines))  # a last line that a kill cut short
        self.lines = lines[1:]

    def add(self, key: str, scores: Mapping[int, float], seconds: float) -> None:
        line = {"step": len(self.lines), "candidate": key, "seconds": round(seconds, 4)}
        line |= {"items": list(scores), "scores": list(scores.values())}
        append_jsonl(self.path, line)
        self.lines.append(line)


class Ledger:
    """Scores of candidates on items, each paid for once.

    evaluate: asks the model.   reserve: calls that `scores` may not touch, kept for the sealed test.   journal: where
    the scores of an earlier run are found and new ones are kept.   on_paid(calls, of): heard after
    each batch.   clock: seconds.   likely: the likelihood of the right answers, where the model tells; `measure` says
    which of the two `scores` means, and each is paid for on its own.   costs: where money is counted.
    closed: the sealed test was opened by an earlier run: the search takes its turns again, and asks nothing new.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        budget: Budget,
        *,
        reserve: int = 0,
        journal: Journal | None = None,
        on_paid: Callable[[int, int], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        likely: Evaluate | None = None,
        costs: Costs | None = None,
        closed: bool = False,
    ) -> None:
        if reserve >= budget.calls:
            what = f"{budget.calls:,} calls do not reach: the sealed test alone takes {reserve:,}"
            raise HeedError(what, "--budget", f"--budget {max(4 * reserve, 1000)}, or fewer items in the test")
        self.budget, self.reserve, self.calls, self.seconds = budget, reserve, 0, 0.0
        self.measure: Measure = "score"
        self.table: dict[str, dict[int, float]] = {}
        self.candidates: dict[str, Candidate] = {}
        self._asks: dict[Measure, Evaluate] = {"score": evaluate}
        if likely is not None:
            self._asks["likelihood"] = likely
        self._journal, self._on_paid, self._clock = journal, on_paid, clock
        self._costs, self._closed = costs, closed
        self._before: dict[str, dict[int, tuple[float, float]]] = {}  # of an earlier run: score, seconds
        for line in journal.lines if journal is not None else ():
            each = line["seconds"] / max(1, len(line["items"]))
            known = self._before.setdefault(line["candidate"], {})
            known.update({item: (score, each) for item, score in zip(line["items"], line["scores"], strict=True)})
        self._asked = sum(len(known) for known in self._before.values())

    @property
    def left(self) -> int:
        """Calls that the search may still make; 0 when its minutes are over."""
        return 0 if self._late else max(0, self.budget.calls - self.reserve - self.calls)

    @property
    def money(self) -> float:
        """What was spent, in all runs of this search together."""
        return self._costs.spent if self._costs is not None else 0.0

    @property
    def tells_likelihood(self) -> bool:
        return "likelihood" in self._asks

    @property
    def _late(self) -> bool:
        return self.budget.minutes is not None and self.seconds >= self.budget.minutes * 60

    def known(self, candidate: Candidate, measure: Measure = "score") -> Mapping[int, float]:
        """What is known of a candidate, by item."""
        return self.table.get(_key(candidate, measure), {})

    def missing(self, candidate: Candidate, items: Sequence[int]) -> list[int]:
        known = self.known(candidate, self.measure)
        return [item for item in dict.fromkeys(items) if item not in known]

    def scores(self, candidates: Sequence[Candidate], items: Sequence[int]) -> list[list[float]]:
        """One list per candidate. Raises Exhausted before anything is asked where the budget does not reach for all."""
        distinct = {fingerprint(one): one for one in candidates}
        wanted = {key: self.missing(one, items) for key, one in distinct.items()}
        count = sum(map(len, wanted.values()))
        if count > self.left:
            raise Exhausted(f"{count} calls wanted, {self.left} left")
        fresh = sum(len(self._fresh(one, wanted[key])) for key, one in distinct.items())
        if fresh and fresh + self._asked + self.reserve > self.budget.calls:
            # An earlier run with another budget asked what this one never comes to; it was paid for all the same.
            raise Exhausted(f"{fresh} calls wanted, {self._asked} of {self.budget.calls} asked in earlier runs")
        return self._paid(candidates, items, timed=True)

    def sealed_scores(self, candidates: Sequence[Candidate], items: Sequence[int]) -> list[list[float]]:
        """The same out of the reserve, which always reaches for what it was made for; never likelihoods."""
        self.measure = "score"
        if self._costs is not None:
            self._costs.unseal()
        return self._paid(candidates, items, timed=False)

    def _paid(self, candidates: Sequence[Candidate], items: Sequence[int], timed: bool) -> list[list[float]]:
        for one in candidates:
            self.candidates.setdefault(fingerprint(one), one)
            missing = self.missing(one, items)
            for start in range(0, len(missing), _BATCH):
                batch = missing[start : start + _BATCH]
                if timed and self._late:
                    raise Exhausted("the minutes are over")
                if timed and self._closed and self._fresh(one, batch):
                    raise Exhausted("the sealed test is open: the search is over")
                if timed and self._costs is not None:
                    self._costs.before(one, batch)
                self._pay(one, batch)
        return [[self.known(one, self.measure)[item] for item in items] for one in candidates]

    def _pay(self, candidate: Candidate, batch: Sequence[int]) -> None:
        """Score a batch. What an earlier run paid for is paid for here as well, though not asked: so a search that goes on
        takes the same turns as one that was never stopped."""
        key = _key(candidate, self.measure)
        asked = self._fresh(candidate, batch)
        known = {item: self._before[key][item] for item in batch if item not in asked}
        scores = {item: score for item, (score, _) in known.items()}
        took = sum(seconds for _, seconds in known.values())
        if asked:
            began = self._clock()
            (found,) = self._asks[self.measure]([candidate], asked)
            assert len(found) == len(asked), "one score for each item"
            spent = self._clock() - began
            new = {item: float(score) for item, score in zip(asked, found, strict=True)}
            if self._journal is not None:
                self._journal.add(key, new, spent)
            scores |= new
            took += spent
            self._asked += len(asked)
        self.table.setdefault(key, {}).update(scores)
        self.calls += len(batch)
        self.seconds += took
        if self._on_paid is not None:
            self._on_paid(self.calls, self.budget.calls)

    def _fresh(self, candidate: Candidate, items: Sequence[int]) -> list[int]:
        """Those of the items that no earlier run has asked."""
        before = self._before.get(_key(candidate, self.measure), {})
        return [item for item in items if item not in before]


def _key(candidate: Candidate, measure: Measure) -> str:
    return fingerprint(candidate) + ("" if measure == "score" else f" {measure}")
