"""The search: headroom first, then stage after stage, each of which hands on a winner only if dev confirms it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, product, zip_longest

from heedlm.eval.stats import Difference, paired_difference
from heedlm.instructions.bench import Candidate
from heedlm.instructions.blocks import Shot
from heedlm.instructions.optimize.headroom import ITEMS, NEAR_ZERO, Headroom, headroom
from heedlm.instructions.optimize.ledger import Exhausted, Ledger, Measure, fingerprint
from heedlm.instructions.optimize.mix import best_of_mix
from heedlm.instructions.optimize.moves import STAGES, Move, Stage, moves_of
from heedlm.instructions.optimize.race import Raced, race
from heedlm.instructions.optimize.splits import Split

_LEVEL = 0.6  # of the interval whose lower end confirms a stage: one-sided 0.2, as the claim is made at the gate alone
_FEW = 4  # single moves at which halving ends, as the best of them are put together
_LEAST = 64  # calls of a stage, beside its confirmation, below which it is not begun
_AGAIN = 256  # calls of a stage, beside its confirmation, when what is left over is spent
_CROSSED = 3  # slots whose moves are put together in every way
_CONFIRM = 50  # items of dev at least on which a stage is confirmed
_MOST = 8  # moves that one stage puts together
_MIXED = 0.4  # share of the budget that goes to all moves at once, before they are tried one stage after the other
_CYCLES = 4  # times that all stages are run at most
_WEIGHTS = (2, 1)  # shares of the budget: all stages once, and once more from where the first time led


@dataclass(frozen=True, slots=True)
class Plan:
    """What to search.

    stages: in this order.   epsilon: the loss, in 0..1, that dev must rule out before a winner is handed on.   pool:
    demonstrations.   labels: right answers of the train cases.   seed: of all that is drawn.
    usable: whether a candidate compiles; only those cost a call.   size: the length by which the shortest is chosen.
    reflect: the stage of that name: what becomes of a seat on these items for so many calls, None for nothing better.
    """

    stages: tuple[Stage, ...] = STAGES
    epsilon: float = 0.01
    pool: tuple[Shot, ...] = ()
    labels: tuple[str, ...] = ()
    seed: int = 0
    usable: Callable[[Candidate], bool] = lambda candidate: True
    size: Callable[[Candidate], float] = lambda candidate: float(_length(candidate))
    reflect: Callable[[Candidate, Sequence[int], int], Candidate | None] | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One stage. verdict: "handed on", "not confirmed", "nothing better" or "budget too small".   moves: tried.
    measure: by which it searched."""

    stage: Stage
    moves: int
    winner: str
    verdict: str
    dev: Difference | None
    calls: int
    measure: Measure = "score"


@dataclass(frozen=True, slots=True)
class Found:
    """Where the search ended. chosen: to go before the gate; the seed where nothing better was found.   dev: candidates
    by fingerprint with their mean on dev."""

    seed: Candidate
    chosen: Candidate
    headroom: Headroom | None
    steps: tuple[Step, ...]
    dev: dict[str, float] = field(default_factory=dict)
    ended: str = ""


def search(
    ledger: Ledger, seed: Candidate, split: Split, plan: Plan, on_stage: Callable[[str, str], None] | None = None
) -> Found:
    """Search within the ledger's budget. on_stage(stage, what happened) is heard as stages begin and end.

    The sealed test is not touched. A budget that ends early ends the search with what dev has confirmed so far.
    """
    say = on_stage or (lambda stage, what: None)
    confirmed, ended = [seed], ""
    steps: list[Step] = []
    room: Headroom | None = None
    say("headroom", "is there anything to gain?")
    try:
        reflected = "reflect" in plan.stages and plan.reflect is not None
        room = headroom(ledger, seed, _probes(seed, plan), split.race, split.dev, reflected=reflected)
        if room.why:
            say("headroom", room.why)
            return Found(seed, seed, room, (), ended="no headroom")
        say("headroom", f"{room.seed:.0%} of {room.items} cases; the best of {room.tried} changes {room.best:.0%}")
        if room.blind:
            ledger.measure = "likelihood"
            say("headroom", "hardly an answer is right: searching by the likelihood of the right ones")
        split = _affordable(split, ledger.left // (5 * len(plan.stages)))
        ledger.scores([seed], split.dev)
        stages = [stage for stage in plan.stages if stage != "mix"]
        if "mix" in plan.stages:
            share = int(ledger.left * (_MIXED if stages else 1))
            _stage(ledger, confirmed, "mix", 0, share, split, plan, say, steps)
        # A second time is planned where it does not starve the first.
        twice = ledger.left // (2 * max(1, len(stages))) >= 2 * len(split.dev)
        for cycle in range(_CYCLES if stages else 0):
            if cycle > twice and not _worth_more(ledger, cycle, steps[-len(stages) :], split):
                break
            for place, stage in enumerate(stages):
                share = _share(ledger, place, cycle, twice, len(stages), split)
                _stage(ledger, confirmed, stage, cycle, share, split, plan, say, steps)
    except Exhausted as error:
        ended = str(error)
        say("budget", ended)
    chosen = shortest(ledger, confirmed, split.dev, plan.size)
    means = {
        fingerprint(one): sum(scores) / len(scores)
        for one in confirmed
        if not ledger.missing(one, split.dev)
        for scores in ledger.scores([one], split.dev)
    }
    return Found(seed, chosen, room, tuple(steps), means, ended)


def _affordable(split: Split, size: int) -> Split:
    """As much of dev as the budget can confirm each stage on: a small budget would else go into confirming alone."""
    return replace(split, dev=split.dev[: max(_CONFIRM, size)])


def _share(ledger: Ledger, place: int, cycle: int, twice: bool, stages: int, split: Split) -> int:
    """Calls for the stage at this place. What the planned cycles leave over goes to one stage after the other."""
    if cycle > twice:
        return max(ledger.left // (stages - place), min(ledger.left, len(split.dev) + _AGAIN))
    later = _WEIGHTS[1] * stages if twice and not cycle else 0
    return ledger.left * _WEIGHTS[cycle] // (_WEIGHTS[cycle] * (stages - place) + later)


def _worth_more(ledger: Ledger, cycle: int, last: Sequence[Step], split: Split) -> bool:
    """Whether what is left of the budget goes into one more cycle: behind the first, and where the last led somewhere."""
    led = cycle == 1 or any(one.verdict == "handed on" for one in last)
    return led and ledger.left >= len(split.dev) + _AGAIN


def _stage(
    ledger: Ledger,
    confirmed: list[Candidate],
    stage: Stage,
    cycle: int,
    calls: int,
    split: Split,
    plan: Plan,
    say: Callable[[str, str], None],
    steps: list[Step],
) -> None:
    """One stage of a cycle, with so many calls; what it did joins `steps`, and is said."""
    _open_eyes(ledger, confirmed, split, say)
    steps.append(step := _step(ledger, confirmed, stage, cycle, split, plan, calls, say))
    say(stage, f"{step.verdict}: {step.winner}" if step.winner else step.verdict)


def _step(
    ledger: Ledger,
    confirmed: list[Candidate],
    stage: Stage,
    cycle: int,
    split: Split,
    plan: Plan,
    calls: int,
    say: Callable[[str, str], None],
) -> Step:
    """Race single moves, then what the best of them give together; confirm the winner on dev, where it joins `confirmed`."""
    began, seat = ledger.calls, confirmed[-1]
    budget = calls - len(split.dev)
    moves: list[Move] = []
    winner = None
    if stage == "reflect":
        if plan.reflect is not None and budget >= _LEAST:
            say(stage, f"asking for other words from {seat.name}")
            winner = plan.reflect(seat, split.race, budget)
    else:
        moves = _usable(moves_of(stage, seat, plan.pool, plan.labels, seed=plan.seed + cycle), seat, plan)
        if moves and budget >= _LEAST:
            say(stage, f"{len(moves)} moves from {seat.name}")
            if stage == "mix":
                winner = best_of_mix(ledger, seat, moves, split.race, budget, random.Random(plan.seed), plan.usable)
            else:
                winner = _climb(ledger, seat, moves, split.race, budget, plan)
    if winner is None:
        few = budget < _LEAST and (moves or stage == "reflect")
        verdict = "budget too small" if few else "nothing better"
        return Step(stage, len(moves), "", verdict, None, ledger.calls - began, ledger.measure)
    before, after = ledger.scores([seat, winner], split.dev)
    found = paired_difference(before, after, level=_LEVEL, seed=plan.seed)
    good = found.low >= -plan.epsilon
    if good:
        confirmed.append(winner)
    verdict = "handed on" if good else "not confirmed"
    return Step(stage, len(moves), winner.name, verdict, found, ledger.calls - began, ledger.measure)


def _open_eyes(ledger: Ledger, confirmed: Sequence[Candidate], split: Split, say: Callable[[str, str], None]) -> None:
    """Search by answers again, once the seat that likelihood has led to is right often enough."""
    if ledger.measure == "score":
        return
    ledger.measure = "score"
    try:
        (scores,) = ledger.scores([confirmed[-1]], split.race[:ITEMS])
        if sum(scores) / len(scores) > NEAR_ZERO:
            ledger.scores([confirmed[0], confirmed[-1]], split.dev)
            say("headroom", "right answers have come: searching by them")
            return
    except Exhausted:
        ledger.measure = "likelihood"  # by which all is known that the search is to end with
        raise
    ledger.measure = "likelihood"


def _climb(
    ledger: Ledger, seat: Candidate, moves: Sequence[Move], items: Sequence[int], calls: int, plan: Plan
) -> Candidate | None:
    """The best that single moves, or the best of them together, make of the seat on the race's items; None for none."""
    by_key = {fingerprint(made): move for move in moves if (made := move.on(seat)) is not None}
    rivals = [one for move in moves if (one := move.on(seat)) is not None]
    began = ledger.calls
    singles = [one for one in race(ledger, seat, rivals, items, calls * 2 // 3, _FEW) if one.gain >= 0]
    ranked = [(by_key[fingerprint(one.candidate)], one.gain) for one in singles]
    together = [one for one in _together(seat, ranked) if plan.usable(one)]
    finals = race(ledger, seat, together, items, calls - (ledger.calls - began))
    best = max(finals, key=_promise, default=None)
    return best.candidate if best is not None and best.gain > 0 else None


def _promise(raced: Raced) -> tuple[int, float]:
    """Of what ran, those that ran longest count, and of these the gain."""
    return raced.items, raced.gain


def _together(seat: Candidate, ranked: Sequence[tuple[Move, float]]) -> list[Candidate]:
    """The best move, the best two, the best three ... that help, one of each slot; then other ways to take from each of the
    best slots one of its two best moves or none, for moves that are worth little alone can be worth much together."""
    found: list[Candidate] = []
    slots: dict[str, list[tuple[Move, float]]] = {}
    at = seat
    for move, gain in ranked:
        slots.setdefault(move.slot, []).append((move, gain))
        made = None if len(slots[move.slot]) > 1 or gain <= 0 else move.on(at)
        if made is not None and len(found) < _MOST:
            found.append(at := made)
    ways = [(None, *moves[:2]) for moves in list(slots.values())[:_CROSSED]]
    mixed = [[one for one in way if one is not None] for way in product(*ways)]
    for way in sorted(mixed, key=lambda way: -sum(gain for _, gain in way))[:_MOST]:
        made = seat
        for move, _ in way:
            made = move.on(made) or made
        found.append(made)
    return found


def _usable(moves: Iterable[Move], seat: Candidate, plan: Plan) -> list[Move]:
    found: dict[str, Move] = {}
    for move in moves:
        made = move.on(seat)
        if made is not None and fingerprint(made) != fingerprint(seat) and plan.usable(made):
            found.setdefault(fingerprint(made), move)
    return list(found.values())


def _probes(seed: Candidate, plan: Plan) -> list[Candidate]:
    """Single moves, one of each stage in turn."""
    stages = [
        [
            made
            for move in _usable(moves_of(stage, seed, plan.pool, plan.labels, seed=plan.seed), seed, plan)
            if (made := move.on(seed)) is not None
        ]
        for stage in plan.stages
    ]
    return [one for one in chain.from_iterable(zip_longest(*stages)) if one is not None]


def shortest(
    ledger: Ledger, candidates: Sequence[Candidate], items: Sequence[int], size: Callable[[Candidate], float]
) -> Candidate:
    """Of the candidates that are known on all items, the shortest within one standard error of the best.

    The error is that of the paired difference to the best, so that a loss that shows on the same items is no chance.
    """
    known = [one for one in candidates if not ledger.missing(one, items)]
    if not known:
        return candidates[0]
    scores = ledger.scores(known, items)
    best = max(range(len(known)), key=lambda row: (sum(scores[row]), row))
    near = [one for one, row in zip(known, scores, strict=True) if _within(row, scores[best])]
    return min(near, key=size)


def _within(scores: Sequence[float], best: Sequence[float]) -> bool:
    gaps = [above - own for own, above in zip(scores, best, strict=True)]
    mean, count = sum(gaps) / len(gaps), len(gaps)
    spread = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / max(1, count - 1))
    return mean <= spread / math.sqrt(count) + 1e-9  # one item of a hundred is one error to the last bit


def _length(candidate: Candidate) -> int:
    """Characters of all texts and demonstrations, those said twice counted twice."""
    ins = candidate.instruction
    texts = sum(len(one.text) for one in ins.blocks if one.role != "user")
    again = texts if candidate.layout.of(ins).repeat == "all" else 0
    return texts + again + sum(len(one.output) + sum(map(len, map(str, one.values.values()))) for one in ins.shots)
