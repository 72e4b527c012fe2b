"""Candidates on cases: what a model answers to each compiled instruction, and how good it is. Nothing is asked twice."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from heedlm.errors import HeedError, Problem
from heedlm.eval.asking import Ask, answers
from heedlm.instructions.asserts import judge
from heedlm.instructions.blocks import MISSING, Block, Instruction
from heedlm.instructions.cases import Case
from heedlm.instructions.compile import Compiled, fill, planned
from heedlm.instructions.frame import Frame
from heedlm.instructions.layout import Layout
from heedlm.instructions.replies import Kept, Store, key_of
from heedlm.instructions.values import wording
from heedlm.instructions.wire import tokens_of
from heedlm.messages import Chat, Reply, Sampling, StopReason
from heedlm.templates.sandbox import FillError

EMPTY = "empty"  # the baseline: the values and nothing else
_SHOWN = 20
_BATCH = 64
_JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_SEEDS = 1_000_003  # between the seeds of two samples: a call counts up from its seed


@dataclass(frozen=True, slots=True)
class Candidate:
    """An instruction laid out in one way for one model. frame: None for messages."""

    instruction: Instruction
    layout: Layout = field(default_factory=Layout)
    frame: Frame | None = None
    label: str = ""

    @property
    def name(self) -> str:
        return self.label or self.instruction.name


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one case.

    score: 0..1.   tokens: generated, None where an endpoint does not tell.   error: why there is no answer; "" where there
    is one.   sample: which of several draws.
    """

    item: str
    score: float
    why: str
    reply: str
    stop_reason: StopReason
    tokens: int | None = None
    error: str = ""
    sample: int = 0

    @property
    def right(self) -> bool:
        return self.score >= 1.0


def empty_of(instruction: Instruction) -> Instruction:
    """The baseline of an instruction: the data it is given, in the same place, and no word of its own.

    Of a block that holds data among words the data is kept. Where no block holds data, the inputs that have to be given stand
    below each other.
    """
    data = [block for block in instruction.blocks if block.kind == "data" and _names(block)]
    if not data:
        wanted = [one.name for one in instruction.inputs if one.default is MISSING] or [
            one.name for one in instruction.inputs
        ]
        text = "\n\n".join(f"{{{{ {name} }}}}" for name in wanted)
        data = [Block("data", "data", text, role="user")]
    last = max(block.turn for block in data)
    kept = tuple(replace(block, text=_bare(block), title="", turn=0, repeat="") for block in data if block.turn == last)
    inputs = tuple(replace(one, delimit="none") for one in instruction.inputs)
    return replace(instruction, name=EMPTY, blocks=kept, shots=(), inputs=inputs, budget=0)


def _names(block: Block) -> frozenset[str]:
    try:
        return frozenset(wording(block.text).names)
    except FillError:
        return frozenset()


def _bare(block: Block) -> str:
    """A block's text where it is data alone, else its inputs below each other, in the order in which they appear."""
    if not any(char.isalnum() for char in _JINJA.sub("", block.text)):
        return block.text
    places = {name: match.start() for name in _names(block) if (match := re.search(rf"\b{name}\b", block.text))}
    return "\n\n".join(f"{{{{ {name} }}}}" for name in sorted(places, key=lambda name: places[name]))


class Bench:
    """One model and its cases.

    identity: what tells this model from another of its name, such as a checksum of its weights.   store: of replies; by
    default in memory.   samples: draws of each answer, with seeds of their own.   before(n): heard before n requests are
    made, never for what is in the store; what it raises stops the asking, and all that was answered is kept.
    on_progress(done, of): over the answers of one call.
    """

    def __init__(
        self,
        chat: Chat,
        cases: Sequence[Case],
        *,
        identity: str = "",
        store: Store | None = None,
        sampling: Sampling | None = None,
        samples: int = 1,
        before: Callable[[int], None] | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        assert samples >= 1, "an answer is drawn once at least"
        self.chat, self.cases, self.samples = chat, tuple(cases), samples
        self.model = f"{chat.name} {identity}".strip()
        self.store = store if store is not None else Store()
        self.sampling = sampling or Sampling()
        self.calls, self.cached = 0, 0
        self._before, self._on_progress = before, on_progress

    def answers(self, candidates: Sequence[Candidate], items: Sequence[int] | None = None) -> list[list[Answer]]:
        """For each candidate its answers, case by case, all samples of a case together.

        items: indices of the cases; None all.   Raises HeedError, with all problems, for what does not compile, before
        anything is asked; endpoint.Interrupted where an endpoint is down. Requests that are equal are asked once.
        """
        chosen = range(len(self.cases)) if items is None else items
        compiled = self.compiled(candidates, chosen)
        places = [
            (row, item, sample) for row in range(len(candidates)) for item in chosen for sample in range(self.samples)
        ]
        asks: dict[str, Ask] = {}
        keys = []
        for row, item, sample in places:
            ask = self._ask(compiled[row][item], sample)
            key = key_of(self.model, ask, self.sampling)
            asks.setdefault(key, ask)
            keys.append(key)
        replies = self._replies(asks)
        found: list[list[Answer]] = [[] for _ in candidates]
        for (row, item, sample), key in zip(places, keys, strict=True):
            found[row].append(self._judged(self.cases[item], replies[key], sample))
        return found

    def scores(self, candidates: Sequence[Candidate], items: Sequence[int] | None = None) -> list[list[float]]:
        """For each candidate one score in 0..1 per case, the mean of its samples."""
        return [
            [
                sum(one.score for one in row[at : at + self.samples]) / self.samples
                for at in range(0, len(row), self.samples)
            ]
            for row in self.answers(candidates, items)
        ]

    def likelihoods(self, candidates: Sequence[Candidate], items: Sequence[int] | None = None) -> list[list[float]]:
        """For each candidate and case the mean log-probability (nats) of a token of the case's target; nothing is
        generated. Raises HeedError where a case has no target, or the model does not tell."""
        chosen = range(len(self.cases)) if items is None else items
        without = [self.cases[item] for item in chosen if not self.cases[item].target]
        if without:
            problems = [
                Problem(f"the case {one.id!r} has no target", one.source, "target: the right answer") for one in without
            ]
            raise HeedError.of(problems[:_SHOWN])
        compiled = self.compiled(candidates, chosen)
        places = [(row, item) for row in range(len(candidates)) for item in chosen]
        keys, wanted = [], dict[str, tuple[Ask, str]]()
        for row, item in places:
            ask, target = self._ask(compiled[row][item], 0), self.cases[item].target
            key = key_of(self.model, ask, Sampling(), target)
            wanted.setdefault(key, (ask, target))
            keys.append(key)
        missing = [key for key in wanted if key not in self.store.likelihoods]
        self.cached += len(wanted) - len(missing)
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            self._spend(len(batch))
            told = self.chat.score([wanted[key][0].request for key in batch], [wanted[key][1] for key in batch])
            self.store.keep_likelihoods(
                {key: sum(one) / max(1, len(one)) for key, one in zip(batch, told, strict=True)}
            )
        by_key = iter(self.store.likelihoods[key] for key in keys)
        return [[next(by_key) for _ in chosen] for _ in candidates]

    def compiled(self, candidates: Sequence[Candidate], items: Sequence[int]) -> list[dict[int, Compiled]]:
        """Each candidate with the values of each case. Raises HeedError with every problem of all of them."""
        found: list[dict[int, Compiled]] = []
        problems: dict[str, Problem] = {}
        for candidate in candidates:
            made: dict[int, Compiled] = {}
            for item in items:
                try:
                    made[item] = self._compile(candidate, self.cases[item])
                except HeedError as error:
                    for one in error.problems:
                        what = f"{candidate.name}: {one.what}"
                        said = f"{one.where} (case {self.cases[item].id} of {self.cases[item].source})"
                        problems.setdefault(what, Problem(what, said, one.mend))
            found.append(made)
        if problems:
            raise HeedError.of(list(problems.values())[:_SHOWN])
        return found

    def tokens(self, candidate: Candidate, items: Sequence[int] | None = None) -> float:
        """The mean length of what is sent: in tokens, or where no tokenizer is known in quarters of characters."""
        chosen = range(len(self.cases)) if items is None else items
        sizes = []
        for one in self.compiled([candidate], chosen)[0].values():
            if candidate.frame is not None and one.wire is not None:
                sizes.append(float(len(tokens_of(candidate.frame, one.wire, one.as_text).ids)))
            else:
                sizes.append(sum(len(turn.content) for turn in one.messages) / 4)
        return sum(sizes) / max(1, len(sizes))

    def _compile(self, candidate: Candidate, case: Case) -> Compiled:
        names = {one.name for one in candidate.instruction.inputs}
        values: Mapping[str, Any] = {name: value for name, value in case.values.items() if name in names}
        return fill(planned(candidate.instruction, candidate.layout, candidate.frame), values)

    def _ask(self, compiled: Compiled, sample: int) -> Ask:
        stop = compiled.wire.stop if compiled.as_text and compiled.wire is not None else ()
        seed = self.sampling.seed + _SEEDS * sample if sample else None
        return Ask(compiled.request, tuple(stop), seed=seed)

    def _replies(self, asks: Mapping[str, Ask]) -> dict[str, Kept]:
        missing = [key for key in asks if key not in self.store.replies]
        self.cached += len(asks) - len(missing)
        done, failed = len(asks) - len(missing), dict[str, Kept]()
        self._told(done, len(asks))
        # Without a budget all goes in one call, for requests that open alike share what is computed for their opening.
        size = _BATCH if self._before is not None else max(1, len(missing))
        for start in range(0, len(missing), size):
            batch = missing[start : start + size]
            self._spend(len(batch))
            for fresh in self._asked([asks[key] for key in batch]):
                kept = {batch[index]: one for index, one in fresh}
                failed |= {key: one for key, one in kept.items() if one.reply.stop_reason == "error"}
                self.store.keep({key: one for key, one in kept.items() if key not in failed})
                done += len(kept)
                self._told(done, len(asks))
        return {key: failed[key] if key in failed else self.store.replies[key] for key in asks}

    def _asked(self, asks: Sequence[Ask]) -> Iterator[list[tuple[int, Kept]]]:
        for batch in answers(self.chat, asks, self.sampling):
            yield [
                (index, Kept(reply, tokens, batch.seconds / len(batch.indices)))
                for index, reply, tokens in zip(batch.indices, batch.replies, batch.tokens, strict=True)
            ]

    def _spend(self, calls: int) -> None:
        if self._before is not None:
            self._before(calls)
        self.calls += calls

    def _told(self, done: int, of: int) -> None:
        if self._on_progress is not None:
            self._on_progress(done, of)

    def _judged(self, case: Case, kept: Kept, sample: int) -> Answer:
        reply: Reply = kept.reply
        said = judge(case.asserts, reply, case.threshold)
        error = reply.text if reply.stop_reason == "error" else ""
        return Answer(case.id, said.value, said.why, reply.text, reply.stop_reason, kept.tokens, error, sample)
