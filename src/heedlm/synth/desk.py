"""Asking a model many things at once, within a budget, and never twice what was answered."""

from __future__ import annotations

import json
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from heedlm.errors import HeedError, Problem
from heedlm.generate.remote import Called
from heedlm.messages import Chat, Reply, Request, Sampling
from heedlm.synth.budget import Budget, exceeded, most_tokens
from heedlm.synth.journal import Journal, Spent, Tokens, call_as_json, key_of

if TYPE_CHECKING:
    from heedlm.tokens.encode import Prompt

BUDGET = "not asked"  # why a call has no answer, where the budget was spent
REFUSED, LOST, SPOILT = "refused by the model", "no answer", "unusable answer"
_REFUSALS = 20  # calls in vain one after the other: then it is not the call


@runtime_checkable
class Metered(Protocol):
    """A chat that says of each call what it cost: one behind an endpoint."""

    def call(self, request: Request, sampling: Sampling) -> Called: ...


@runtime_checkable
class Counting(Protocol):
    """A chat that shows what it sees of a request: a model on this machine."""

    def render(self, request: Request) -> Prompt: ...


class Call(NamedTuple):
    """One thing to ask. once: if it fails, it is not asked again in a later run, since what follows depends on it."""

    request: Request
    sampling: Sampling
    once: bool = False


class Answer(NamedTuple):
    """What came of a call. reply: None where there is none.   why: then, in words; `problem` is the reason to count it under."""

    key: str
    reply: Reply | None
    problem: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Manner:
    """How to ask. concurrency: calls of an endpoint under way at once.   batch: calls handed to any other chat at once.

    tries: how often a call is sent at most.   pause: seconds before the second time, doubled each time.   longest: seconds
    of a pause.   patience: a longer wait than this, asked for by the endpoint, ends the run.
    """

    concurrency: int = 8
    batch: int = 16
    tries: int = 6
    pause: float = 1.0
    longest: float = 60.0
    patience: float = 600.0


@dataclass(slots=True)
class _Work:
    """What the threads of one `ask` share. left: calls nobody has taken.   halt: no more are to be sent."""

    left: deque[tuple[str, Call]]
    done: queue.SimpleQueue[Answer | None] = field(default_factory=queue.SimpleQueue)
    halt: bool = False
    error: BaseException | None = None


Hear = Callable[[int, int, Spent], None]


class Desk:
    """One chat, its journal and its budget.

    stopped: the limit of the budget that was reached, in words; from then on only the journal answers.   reused: calls
    that the journal answered.   retried: attempts that had to be made again.   who: what tells the model from others of its
    name, for the keys of the journal; seed: of the pauses.
    """

    def __init__(
        self,
        chat: Chat,
        journal: Journal,
        budget: Budget,
        manner: Manner,
        *,
        say: Callable[[str], None],
        seed: int = 0,
        who: str = "",
    ) -> None:
        self._chat, self._journal, self._budget, self._manner = chat, journal, budget, manner
        self._say = say
        self._who = who or chat.name
        self._chance = random.Random(seed)
        self._turn = threading.Condition()
        self._held: dict[int, Tokens] = {}
        self._not_before = 0.0
        self._answered = False
        self._refusals = 0
        self.stopped: str | None = None
        self.reused = self.retried = 0

    @property
    def spent(self) -> Spent:
        return self._journal.spent

    def ask(self, calls: Sequence[Call], hear: Hear = lambda done, of, spent: None) -> list[Answer]:
        """One answer per call, in order; equal calls are one.

        hear(done, of, spent): after each answer.   Ctrl-C lets the calls that are under way come back, since they are
        paid for; the second one does not.   Raises HeedError for what concerns every call, then too when the others are
        back, and KeyboardInterrupt.
        """
        found: dict[str, Answer] = {}
        wanted: dict[str, Call] = {}
        keys = [key_of(self._who, call.request, call.sampling) for call in calls]
        for key, call in zip(keys, calls, strict=True):
            if key in found or key in wanted:
                continue
            reply = self._journal.reply(key)
            if reply is not None:
                found[key] = _answer(key, reply)
                self.reused += 1
            elif self._journal.failed(key):
                found[key] = Answer(key, None, LOST, "it had none in an earlier run")
            else:
                wanted[key] = call
        of = len(found) + len(wanted)
        hear(len(found), of, self.spent)

        def take(answer: Answer) -> None:
            found[answer.key] = answer
            if answer.reply is None and answer.problem in (REFUSED, LOST) and wanted[answer.key].once:
                self._journal.give_up(answer.key, answer.why)
                self._journal.settle()
            hear(len(found), of, self.spent)

        if wanted and self.stopped is None:
            asking = self._by_threads if isinstance(self._chat, Metered) else self._in_batches
            asking(list(wanted.items()), take)
        nothing = Answer("", None, BUDGET, f"the budget of {self.stopped} was reached")
        return [found.get(key) or nothing._replace(key=key) for key in keys]

    # An endpoint: one call per thread ---------------------------------------------------------------------------------

    def _by_threads(self, asks: list[tuple[str, Call]], take: Callable[[Answer], None]) -> None:
        work = _Work(deque(asks))
        running = min(self._manner.concurrency, len(asks))
        interrupted = False
        try:
            for _ in range(running):
                # Daemons: the second Ctrl-C does not wait for them.
                threading.Thread(target=self._work, args=(work,), daemon=True).start()
            while running:
                try:
                    answer = work.done.get()
                    if answer is None:
                        running -= 1
                    else:
                        take(answer)
                except KeyboardInterrupt:
                    if interrupted:
                        raise
                    interrupted = True
                    self._halt(work)
                    line = f"Waiting for {len(self._held)} answer(s) under way; Ctrl-C again does not wait for them."
                    self._say(line)
        finally:
            self._halt(work)
        if interrupted:
            raise KeyboardInterrupt
        if work.error is not None:
            raise work.error

    def _work(self, work: _Work) -> None:
        """What one thread does: one call after the other, until none is left or no more are to be sent."""
        try:
            while True:
                with self._turn:
                    if work.halt or self.stopped is not None or not work.left:
                        return
                    key, call = work.left.popleft()
                answer = self._paid(key, call, work)
                if answer is not None:
                    work.done.put(answer)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            work.error = work.error or error
            self._halt(work)
        finally:
            work.done.put(None)

    def _paid(self, key: str, call: Call, work: _Work) -> Answer | None:
        """Send one call as often as it takes; None where it was not to be sent, or not again."""
        assert isinstance(self._chat, Metered)
        most = most_tokens(call.request, call.sampling)
        for number in range(1, self._manner.tries + 1):
            attempt = self._reserve(key, most, work)
            if attempt is None:
                return None
            try:
                self._journal.settle()
                called = self._chat.call(call.request, call.sampling)
                self._write(key, attempt, call, called, most)
            finally:
                with self._turn:
                    self._held.pop(attempt)
                    self._turn.notify_all()
            if called.cost == "paid":
                self._answered, self._refusals = True, 0
                return self._kept(key)
            if not self._goes_on(called):
                return Answer(key, None, REFUSED, called.reply.text)
            if number < self._manner.tries and not self._wait(number, called.after, work):
                return None
        if called.refused is not None:
            raise called.refused
        self._in_vain(f"{_REFUSALS} calls had no answer", called, "see what is wrong with the endpoint")
        return Answer(key, None, LOST, f"{called.reply.text} ({self._manner.tries} times)")

    def _reserve(self, key: str, most: Tokens, work: _Work) -> int | None:
        """The number of an attempt that fits into the budget; waits for others to come back where it does not yet."""
        with self._turn:
            while not work.halt and self.stopped is None:
                wait = self._not_before - time.monotonic()
                if wait > 0:
                    self._turn.wait(wait)
                    continue
                limit = exceeded(self._budget, self._journal.spent, list(self._held.values()), most)
                if limit is None:
                    attempt = self._journal.sent(key, most)
                    self._held[attempt] = most
                    return attempt
                if not self._held:
                    self.stopped = limit
                    self._turn.notify_all()
                else:
                    self._turn.wait()
        return None

    def _write(self, key: str, attempt: int, call: Call, called: Called, most: Tokens) -> None:
        if called.cost == "paid":
            tokens = most if called.tokens is None else Tokens(*called.tokens)
            asked = call_as_json(call.request, call.sampling)
            self._journal.got(key, attempt, _sound(called.reply), tokens, called.tokens is not None, asked)
        elif called.cost == "unsure":
            self._journal.unsure(key, attempt, called.reply.text)
        else:
            self._journal.free(key, attempt, called.reply.text)
        self._journal.settle()

    def _goes_on(self, called: Called) -> bool:
        """Whether a call that failed may be sent again. Raises HeedError where no call would succeed."""
        with self._turn:
            hopeless = not called.again or (called.cost == "free" and not self._answered)  # nobody is there
            if called.refused is not None and hopeless:
                raise called.refused
            if called.again:
                self.retried += 1
                return True
        self._in_vain(
            f"The model refused {_REFUSALS} calls", called, "change what is asked for, for example --max-tokens"
        )
        return False

    def _in_vain(self, what: str, called: Called, mend: str) -> None:
        """Count a call that brought nothing. Raises HeedError where so many did one after the other that it is not the call."""
        with self._turn:
            self._refusals += 1
            if self._refusals >= _REFUSALS:
                raise HeedError(f"{what} one after the other: {called.reply.text}", self._chat.name, mend)

    def _wait(self, number: int, after: float | None, work: _Work) -> bool:
        """Wait before the next attempt, all threads together where the endpoint asks for it; False where nothing follows."""
        if after is not None and after > self._manner.patience:
            what = f"The endpoint asks to wait for {after:,.0f} s."
            raise HeedError(what, self._chat.name, "run the same command again later: it goes on where this one ended")
        with self._turn:
            if after is not None:
                self._not_before = max(self._not_before, time.monotonic() + after)
                return not work.halt
            pause = min(self._manner.longest, self._manner.pause * 2 ** (number - 1)) * self._chance.uniform(0.5, 1.0)
            return not self._turn.wait_for(lambda: work.halt, pause)

    def _halt(self, work: _Work) -> None:
        with self._turn:
            work.halt = True
            self._turn.notify_all()

    # Any other chat: batches, which it decodes together ---------------------------------------------------------------

    def _in_batches(self, asks: list[tuple[str, Call]], take: Callable[[Answer], None]) -> None:
        alike: dict[Sampling, list[tuple[str, Call]]] = {}
        for key, call in asks:
            alike.setdefault(call.sampling, []).append((key, call))
        for sampling, members in alike.items():
            for start in range(0, len(members), self._manner.batch):
                batch = members[start : start + self._manner.batch]
                for answer in self._batch(batch, sampling):
                    take(answer)
                if self.stopped is not None:
                    return

    def _batch(self, batch: Sequence[tuple[str, Call]], sampling: Sampling) -> list[Answer]:
        sent: list[tuple[str, Call, int, Tokens]] = []
        for key, call in batch:
            most = most_tokens(call.request, call.sampling)
            held = [tokens for *_, tokens in sent]
            self.stopped = exceeded(self._budget, self._journal.spent, held, most)
            if self.stopped is not None:
                break
            sent.append((key, call, self._journal.sent(key, most), most))
        if not sent:
            return []
        self._journal.settle()
        try:
            replies = self._chat.reply([call.request for _, call, _, _ in sent], sampling)
        except BaseException as error:
            for key, _, attempt, _ in sent:
                self._journal.unsure(key, attempt, type(error).__name__)
            self._journal.settle()
            raise
        answers = []
        for (key, call, attempt, most), reply in zip(sent, replies, strict=True):
            if reply.stop_reason == "error":
                self._journal.free(key, attempt, reply.text)
                answers.append(Answer(key, None, REFUSED, reply.text))
                continue
            tokens, told = self._counted(call.request, reply, most)
            self._journal.got(key, attempt, _sound(reply), tokens, told, call_as_json(call.request, call.sampling))
            answers.append(self._kept(key))
        self._journal.settle()
        return answers

    def _counted(self, request: Request, reply: Reply, most: Tokens) -> tuple[Tokens, bool]:
        """The tokens of a call, and whether they were counted; what was not stands there with the most it can be."""
        seen = self._chat.render(request).ids if isinstance(self._chat, Counting) else ()
        return Tokens(len(seen) or most.prompt, len(reply.ids) or most.completion), bool(seen and reply.ids)

    def _kept(self, key: str) -> Answer:
        """An answer as the journal has it, so that a later run goes on from the same."""
        reply = self._journal.reply(key)
        assert reply is not None, "it was just written"
        return _answer(key, reply)


def _answer(key: str, reply: Reply) -> Answer:
    """A reply that was paid for; one that cannot be used is final as well."""
    return Answer(key, None, SPOILT, reply.text) if reply.stop_reason == "error" else Answer(key, reply)


def _sound(reply: Reply) -> Reply:
    """The reply, or an unusable one where it calls a tool with numbers that JSON does not have."""
    try:
        json.dumps([call.arguments for call in reply.tool_calls], allow_nan=False)
    except ValueError as error:
        return Reply(f"The arguments of a call are no JSON: {error}", stop_reason="error")
    return reply


def resumable(error: HeedError) -> HeedError:
    """The same error, which says that what was paid for is kept."""
    kept = "what was answered is kept: the same command goes on, and asks nothing twice"
    return HeedError.of([Problem(p.what, p.where, f"{p.mend}; {kept}" if p.mend else kept) for p in error.problems])
