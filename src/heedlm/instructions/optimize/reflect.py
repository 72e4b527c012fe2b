"""The reflective stage: a strong model proposes other words for blocks, through the library gepa, behind frozen blocks."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, NamedTuple

from heedlm.errors import HeedError
from heedlm.eval.endpoint import Interrupted
from heedlm.instructions.bench import Candidate
from heedlm.instructions.blocks import Instruction
from heedlm.instructions.format import parse
from heedlm.instructions.lint.run import lint_text
from heedlm.instructions.optimize.ledger import Exhausted, Ledger, fingerprint
from heedlm.instructions.values import wording
from heedlm.instructions.write import write
from heedlm.templates.sandbox import FillError

# What a reflector is asked; gepa puts the block and the answers into it.
ASKED = """Here is one block of an instruction that is sent to a language model with every request:
```
<curr_param>
```

With the whole instruction the model was sent these requests. Each is shown with its answer and with what is wrong about it:
```
<side_info>
```

Find out what the task wants and the block does not say, or says badly. Then write the block anew. Keep what works, be short and
plain, and write only what holds for every request, never the answer to one of them. No headings. A name in double braces is a
value that is put in: keep each as it is, and add none.

Give the new block between ``` and ```."""
_BATCH = 8  # answers that one reflection sees
_VALIDATED = 48  # items on which gepa ranks its candidates, at most
_GROWTH, _ROOM = 2.0, 400  # a block may become so many times as long, or so many characters longer
_VALUE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_logger = logging.getLogger(__name__)


class Told(NamedTuple):
    """What a reflector learns of one answer. asked: the values.   wrong: why it got less than the full score."""

    asked: Mapping[str, str]
    answer: str
    wrong: str


@dataclass(frozen=True, slots=True)
class Reflector:
    """ask: a prompt and its number, answered by the strong model; what it raises ends the search.   tell: what there is to
    say of a candidate's answer to an item, after it was scored.   usable: whether a candidate compiles."""

    ask: Callable[[str, int], str]
    tell: Callable[[Candidate, int], Told]
    usable: Callable[[Candidate], bool] = lambda candidate: True


def reflect(
    ledger: Ledger, seat: Candidate, items: Sequence[int], calls: int, reflector: Reflector, *, seed: int = 0
) -> Candidate | None:
    """The best that gepa finds from a seat for so many calls; None where nothing is better on what it was ranked by.

    Only blocks whose kind may be edited, and that are not frozen, are shown and changed. What loses a value, opens a
    block, grows too long, brings a lint error or does not compile counts as wrong everywhere and costs no call.
    Raises HeedError where gepa is missing, and what `ask` raises.
    """
    need_gepa()
    if not editable(seat.instruction):
        return None
    from gepa.api import optimize

    ranked = list(items[: min(_VALIDATED, len(items), max(_BATCH, calls // 8))])
    run = _Run(ledger, seat, reflector, ledger.calls + calls, max(_BATCH, calls // _BATCH))
    texts = {id_: seat.instruction.block(id_).text for id_ in editable(seat.instruction)}
    with suppress(Exhausted):  # what was seen until then decides
        optimize(
            seed_candidate=texts,
            trainset=list(items),
            valset=ranked,
            adapter=run,
            reflection_lm=run.propose,
            reflection_prompt_template=dict.fromkeys(texts, ASKED),
            reflection_minibatch_size=min(_BATCH, len(items)),
            stop_callbacks=lambda state: run.over or state.i >= 4 * run.most,
            logger=_Silent(),
            track_best_outputs=False,
            seed=seed,
        )
    if run.failed is not None and not isinstance(run.failed, Exhausted):
        raise run.failed
    return run.best(ranked)


def need_gepa() -> None:
    """Raises HeedError where the library is missing."""
    if find_spec("gepa") is None:
        what = "the stage reflect needs the library gepa, which is not installed"
        raise HeedError(what, "--stages", "pip install 'heedlm[optimize]'")


def editable(instruction: Instruction) -> list[str]:
    """Ids of the blocks that a reflector may see and change."""
    return [
        one.id
        for one in instruction.blocks
        if not one.locked and not one.slot and one.about.freedom == "edit" and "{%" not in one.text and one.text.strip()
    ]


class _Silent:
    """gepa's log, which would stand in the middle of a screen."""

    def log(self, message: str) -> None:
        _logger.debug("%s", message)


class _Run:
    """gepa's way to the ledger. An item is its number; a candidate is a text for each block that may be edited.

    until: calls of the ledger at which the stage is over.   most: reflections, for one that cannot be used costs no call.
    """

    propose_new_texts = None  # gepa asks `reflection_lm` then

    def __init__(self, ledger: Ledger, seat: Candidate, reflector: Reflector, until: int, most: int) -> None:
        self.failed: Exception | None = None
        self.most = most
        self._ledger, self._seat, self._reflector, self._until = ledger, seat, reflector, until
        self._made: dict[str, Candidate] = {}
        self._known: dict[tuple[str, ...], tuple[Candidate | None, str]] = {}
        self._errors = _errors(write(seat.instruction))
        self._proposed = 0

    @property
    def over(self) -> bool:
        spent = min(self._until - self._ledger.calls, self._ledger.left) <= 0
        return spent or self.failed is not None or self._proposed >= self.most

    def propose(self, prompt: Any) -> str:
        """One reflection. After a failure nothing more is asked, however often gepa tries."""
        if self.failed is not None:
            raise self.failed
        self._proposed += 1
        try:
            return self._reflector.ask(str(prompt), self._proposed)
        except (HeedError, Interrupted, Exhausted) as error:
            self.failed = error
            raise

    def evaluate(self, batch: list[int], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        from gepa.core.adapter import EvaluationBatch

        made, wrong = self.candidate(candidate)
        if made is None:
            told = [Told({}, "", wrong) for _ in batch]
            return EvaluationBatch(told, [0.0] * len(batch), told if capture_traces else None, num_metric_calls=0)
        began = self._ledger.calls
        if began + len(self._ledger.missing(made, batch)) > self._until:
            raise Exhausted("the share of this stage is spent")
        (scores,) = self._ledger.scores([made], batch)
        self._made[fingerprint(made)] = made
        told = [self._reflector.tell(made, item) for item in batch] if capture_traces else []
        return EvaluationBatch(
            list(batch), scores, told if capture_traces else None, num_metric_calls=self._ledger.calls - began
        )

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> dict[str, list[dict[str, Any]]]:
        records = [
            {"Request": dict(one.asked), "Answer": one.answer, "Wrong": one.wrong or "nothing"}
            for one in eval_batch.trajectories
        ]
        return dict.fromkeys(components_to_update, records)

    def candidate(self, texts: Mapping[str, str]) -> tuple[Candidate | None, str]:
        """The seat with other texts; or None, and why not."""
        key = tuple(texts.values())
        if key not in self._known:
            self._known[key] = self._checked(texts)
        return self._known[key]

    def _checked(self, texts: Mapping[str, str]) -> tuple[Candidate | None, str]:
        ins = self._seat.instruction
        for id_, text in texts.items():
            wrong = _wrong(ins.block(id_).text, text)
            if wrong:
                return None, f"the block {id_}: {wrong}"
            if text.strip() != ins.block(id_).text.strip():
                ins = ins.with_text(id_, text.strip())
        if ins is self._seat.instruction:
            return self._seat, ""
        try:
            source = write(ins)
            kept = parse(source).blocks == ins.blocks
        except HeedError as error:
            return None, error.problems[0].what
        if not kept:
            return None, "a line of it reads as a heading or as a role: it would open another block"
        fresh = _errors(source) - self._errors
        if fresh:
            return None, "; ".join(sorted(fresh))
        made = replace(self._seat, instruction=ins, label=f"{self._seat.name} + other words")
        return (made, "") if self._reflector.usable(made) else (None, "it does not compile")

    def best(self, ranked: Sequence[int]) -> Candidate | None:
        """The candidate with the highest mean of those that were scored on all ranked items, if it beats the seat."""
        rows = {key: one for key, one in self._made.items() if not self._ledger.missing(one, ranked)}
        own = fingerprint(self._seat)
        if own not in rows:
            return None
        means = {key: sum(self._ledger.scores([one], ranked)[0]) for key, one in rows.items()}
        top = max(means, key=lambda key: means[key])
        return rows[top] if means[top] > means[own] else None


def _wrong(before: str, after: str) -> str:
    if not after.strip():
        return "there is no text"
    if len(after) > max(_GROWTH * len(before), len(before) + _ROOM):
        return f"{len(after)} characters are too many: it had {len(before)}"
    try:
        same = set(wording(after).names) == set(wording(before).names) and _values(after) == _values(before)
        if not same or "{%" in after or "{#" in after:
            return "a value in double braces was lost, changed, said again, or another came in"
    except FillError as error:
        return str(error)
    return ""


def _values(text: str) -> list[str]:
    """All that is put in, as it is written, in any order."""
    return sorted(" ".join(one.split()) for one in _VALUE.findall(text))


def _errors(source: str) -> frozenset[str]:
    return frozenset(one.what for one in lint_text(source).findings if one.severity == "error")
