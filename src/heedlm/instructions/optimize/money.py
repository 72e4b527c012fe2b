"""What asking costs: prices of an endpoint, a purse that every call is paid out of, and what is kept for the test."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heedlm.errors import HeedError
from heedlm.eval.asking import Ask
from heedlm.eval.contenders import RETRIES
from heedlm.eval.log import mend_tail
from heedlm.generate.remote import Called, RemoteChat
from heedlm.instructions.bench import Bench, Candidate
from heedlm.instructions.optimize.ledger import Exhausted
from heedlm.instructions.replies import key_of
from heedlm.messages import Request, Sampling
from heedlm.runs import append_jsonl, read_jsonl
from heedlm.synth.budget import most_tokens

_PER = 1_000_000
_TOLD = 16  # calls whose tokens an endpoint has to tell before they say how dense its tokens are
_MARGIN = 1.25  # above the densest that was seen
_PATIENCE = 60.0  # seconds between two attempts at most
EXAMPLE = "0.15,0.60"


@dataclass(frozen=True, slots=True)
class Price:
    """Of a million tokens, in any currency. prompt: of those sent.   answer: of those written."""

    prompt: float
    answer: float

    def of(self, prompt: float, answer: float) -> float:
        """The price of so many tokens."""
        return (self.prompt * prompt + self.answer * answer) / _PER


def read_price(text: str, where: str) -> Price:
    """A price as people write it: one number for both, or two. Raises HeedError."""
    parts = text.split(",")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or any(not math.isfinite(one) or one < 0 for one in numbers):
        what = f"{text!r} is no price of a million tokens, sent and written"
        raise HeedError(what, where, f"{where} {EXAMPLE}")
    return Price(numbers[0], numbers[-1])


class Purse:
    """What was spent in one folder, over all runs, and what may be. Safe for many threads.

    limit: None for no limit.   path: a log of every call, written before it is sent, so that a kill hides no spending.
    kept: what the search may not touch, for the sealed test.
    """

    def __init__(self, limit: float | None = None, path: Path | None = None) -> None:
        self.limit, self.kept = limit, 0.0
        self._path, self._lock = path, threading.Lock()
        self._held: dict[int, float] = {}
        self._spent, self._number, self._told, self._density = 0.0, 0, 0, 0.0
        if path is not None:
            mend_tail(path)
        open_: dict[int, float] = {}
        for line in read_jsonl(path) if path is not None else ():
            self._number = max(self._number, line["call"] + 1)
            if "most" in line:
                open_[line["call"]] = line["most"]
            else:
                open_.pop(line["call"], None)
                self._spent += line["cost"]
                self._learn(line["density"])
        self._spent += sum(open_.values())  # cut off by a kill: they may have been worked on

    @property
    def spent(self) -> float:
        """All that was paid, and all that is under way at its dearest."""
        return self._spent + sum(self._held.values())

    @property
    def density(self) -> float:
        """Tokens to a byte of what is sent, rather too many: as an endpoint has told of some calls; 1 before."""
        return min(1.0, _MARGIN * self._density) if self._told >= _TOLD else 1.0

    def afford(self, most: float) -> None:
        """Raises Exhausted where so much more would pass the limit, with what is kept."""
        if self.limit is not None and self.spent + most + self.kept > self.limit:
            kept = f", {self.kept:.4g} kept for the sealed test" if self.kept else ""
            raise Exhausted(f"the money is over: {self.spent:.4g} of {self.limit:.4g} spent{kept}")

    def take(self, most: float) -> int:
        """Hold back what a call can cost at most, and have it on record; its number. Raises Exhausted."""
        with self._lock:
            self.afford(most)
            number, self._number = self._number, self._number + 1
            self._log({"call": number, "most": most})
            self._held[number] = most
            return number

    def settle(self, number: int, cost: float, density: float | None) -> None:
        """What a call did cost. density: tokens to a byte of what was sent, where the endpoint told."""
        with self._lock:
            self._log({"call": number, "cost": cost, "density": density})
            del self._held[number]
            self._spent += cost
            self._learn(density)

    def _learn(self, density: float | None) -> None:
        if density is not None:
            self._told, self._density = self._told + 1, max(self._density, density)

    def _log(self, line: dict[str, Any]) -> None:
        if self._path is not None:
            if not self._number:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            append_jsonl(self._path, line)


class Metered(RemoteChat):
    """A model of an endpoint, each call of which is paid out of a purse: held back at its dearest before it is sent, then
    counted as the endpoint tells, or at its dearest where it does not tell or the answer was lost on the way."""

    def __init__(
        self, url: str, model: str, purse: Purse, price: Price, *, sleep: Callable[[float], None] = time.sleep
    ):
        # The client tries nothing again by itself, for each attempt may have to be paid.
        super().__init__(url, model, os.environ.get("OPENAI_API_KEY"), max_retries=0)
        self._purse, self._price, self._sleep = purse, price, sleep

    def call(self, request: Request, sampling: Sampling) -> Called:
        """One call, tried again after what may pass. Raises Exhausted where the purse does not reach."""
        most = most_tokens(request, sampling)
        dearest = self._price.of(*most)
        for attempt in range(RETRIES + 1):
            number = self._purse.take(dearest)
            try:
                called = super().call(request, sampling)
            except BaseException:
                self._purse.settle(number, dearest, None)
                raise
            told = called.tokens
            cost = self._price.of(*told) if told is not None else 0.0 if called.cost == "free" else dearest
            self._purse.settle(number, cost, told[0] / most.prompt if told is not None else None)
            if not called.again or attempt == RETRIES:
                return called
            self._sleep(min(_PATIENCE, max(called.after or 0.0, 0.5 * 2**attempt)))
        raise AssertionError("the last attempt returns")


class Till:
    """The money of one search: what it keeps for the sealed test, and whether the next questions can be paid."""

    def __init__(self, bench: Bench, price: Price, purse: Purse, sealed: Sequence[int]) -> None:
        self._bench, self._price, self._purse, self._sealed = bench, price, purse, tuple(sealed)
        self._first: Candidate | None = None
        self._dearest: Candidate | None = None

    @property
    def spent(self) -> float:
        return self._purse.spent

    def before(self, candidate: Candidate, items: Sequence[int]) -> None:
        """Keep money for the sealed test of the first candidate and of the dearest, this one among them. Raises Exhausted
        where what is not answered yet cannot be paid beside."""
        if self._purse.limit is None:
            return
        self._first = self._first or candidate
        self._dearest = self._dearest or candidate
        first, dearest, own = (self._quote(one, self._sealed) for one in (self._first, self._dearest, candidate))
        self._purse.kept = first + max(dearest, own)
        try:
            self._purse.afford(self._quote(candidate, items))
        except Exhausted:
            self._purse.kept = first + dearest
            raise
        if own > dearest:
            self._dearest = candidate

    def unseal(self) -> None:
        """From here on it is the sealed test that is paid."""
        self._purse.kept = 0.0

    def _quote(self, candidate: Candidate, items: Sequence[int]) -> float:
        """What the answers that are not known can cost."""
        sampling, total = self._bench.sampling, 0.0
        (compiled,) = self._bench.compiled([candidate], items)
        for one in compiled.values():
            if key_of(self._bench.model, Ask(one.request), sampling) not in self._bench.store.replies:
                most = most_tokens(one.request, sampling)
                total += self._price.of(most.prompt * self._purse.density, most.completion)
        return total
