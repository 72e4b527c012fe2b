"""What baking came to: the model and the baked one, with the text and without it, on what was held out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, cast

from heedlm.eval.arms import instruct
from heedlm.eval.evaluate import Arm, group_of, run_arm
from heedlm.eval.stage import known_as
from heedlm.eval.stats import Difference, paired_difference
from heedlm.generate.chat import LocalChat
from heedlm.instructions.bake.recovery import Recovery, recovery_of
from heedlm.instructions.bench import Bench, Candidate, empty_of
from heedlm.instructions.blocks import Instruction
from heedlm.instructions.cases import Case
from heedlm.instructions.frame import OWN, Frame
from heedlm.instructions.replies import Store
from heedlm.messages import Sampling, Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DOSES = (0.5, 1.5)  # scales of the adapter that are asked beside 0, the plain model, and 1, the baked one

Hear = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Scores:
    """What one model does. alone: on each held-out request without the text.   told: with it; None where it was not asked.

    others: on each row of the other tasks, in their order.   errors: requests without an answer, each scored 0.
    """

    alone: tuple[float, ...]
    told: tuple[float, ...] | None
    others: tuple[float, ...]
    errors: int


@dataclass(frozen=True, slots=True)
class Dose:
    """scale: of the adapter.   alone: mean score without the text.   others: on the other tasks; None where there are none."""

    scale: float
    alone: float
    others: float | None


@dataclass(frozen=True, slots=True)
class Measured:
    """plain, told, baked, both: mean scores on the held-out requests: of the model without the text and with it, of the baked
    model without it and with it.

    gain: told against plain.   recovery: None where the text gains nothing.   again: both against baked, what giving the text to
    the baked model does.   above: both against told.   others: the baked model against the plain one on other tasks, and
    by_task its mean for each; None where none were given.   tokens: of a request with the text, and without.   errors: items
    of any arm without an answer.
    """

    items: int
    plain: float
    told: float
    baked: float
    both: float
    gain: Difference
    recovery: Recovery | None
    again: Difference
    above: Difference
    others: Difference | None
    by_task: Mapping[str, tuple[float, float, int]]
    tokens: tuple[float, float]
    doses: tuple[Dose, ...]
    errors: int

    @property
    def saved(self) -> float:
        """Tokens that a request needs no more."""
        return self.tokens[0] - self.tokens[1]


def scores_of(
    chat: LocalChat,
    instruction: Instruction,
    held: Sequence[Case],
    tasks: Sequence[Task],
    folder: Path,
    max_tokens: int,
    *,
    with_text: bool = True,
    name: str,
    dose: float = 1.0,
    hear: Hear = lambda what, done, of: None,
) -> Scores:
    """Ask one model everything, greedily. folder: where its answers are kept, and not asked again.

    name: for whoever hears.   dose: the scale of its adapter, which its weights do not tell.
    """
    sampling = Sampling(max_tokens=max_tokens)
    identity = known_as(chat) + (f" x {dose:g}" if dose != 1 else "")
    frame = frame_behind(chat)
    bench = Bench(
        chat,
        held,
        identity=identity,
        store=Store(folder / "answers.jsonl"),
        sampling=sampling,
        on_progress=lambda done, of: hear(name, done, of),
    )
    wanted = [Candidate(empty_of(instruction), frame=frame)]
    wanted += [Candidate(instruction, frame=frame)] if with_text else []
    rows = bench.answers(wanted)
    arm = Arm(f"{name}, other rows", chat, instruct, identity)
    items = run_arm(tasks, arm, sampling, log=folder / "others.jsonl", on_progress=hear) if tasks else []
    scores = [tuple(one.score for one in row) for row in rows]
    errors = sum(bool(one.error) for row in rows for one in row) + sum(bool(one.error) for one in items)
    return Scores(scores[0], scores[1] if with_text else None, tuple(one.score for one in items), errors)


def frame_behind(chat: LocalChat) -> Frame:
    """The frame in which a model is asked: its own chat template."""
    return Frame(OWN, chat.template, chat.tokenizer, own=True, model=chat.name, context=chat.context or 0)


@contextmanager
def at_scale(base: PreTrainedModel, adapter: Path, scale: float) -> Iterator[PreTrainedModel]:
    """A model with an adapter on it whose update is multiplied by `scale`; the model is as it was afterwards."""
    from peft import PeftModel
    from peft.helpers import rescale_adapter_scale

    adapted = PeftModel.from_pretrained(base, str(adapter)).eval()
    try:
        with rescale_adapter_scale(adapted, scale):
            yield cast("PreTrainedModel", adapted)
    finally:
        adapted.unload()


def measured(
    plain: Scores,
    baked: Scores,
    doses: Mapping[float, Scores],
    held: Sequence[Case],
    tasks: Sequence[Task],
    tokens: tuple[float, float],
    *,
    seed: int = 0,
) -> Measured:
    """All figures of one bake, from the scores of the models that were asked."""
    assert plain.told is not None, "the plain model is asked with the text"
    assert baked.told is not None, "the baked model is asked with the text"
    groups = [case.group if case.group is not None else f"id {case.id}" for case in held]
    how = {"groups": groups, "seed": seed}
    rows = [(task.name, example) for task in tasks for example in task.examples]
    others = None
    if rows:
        families = [group_of(example) for _, example in rows]
        others = paired_difference(plain.others, baked.others, groups=families, seed=seed)
    both = {0.0: plain, **doses, 1.0: baked}
    told = [Dose(scale, fmean(one.alone), fmean(one.others) if rows else None) for scale, one in sorted(both.items())]
    by_task: dict[str, tuple[float, float, int]] = {}
    for task in tasks:
        at = [number for number, (name, _) in enumerate(rows) if name == task.name]
        by_task[task.name] = (fmean(plain.others[i] for i in at), fmean(baked.others[i] for i in at), len(at))
    return Measured(
        items=len(held),
        plain=fmean(plain.alone),
        told=fmean(plain.told),
        baked=fmean(baked.alone),
        both=fmean(baked.told),
        gain=paired_difference(plain.alone, plain.told, **how),  # type: ignore[arg-type]
        recovery=recovery_of(plain.alone, plain.told, baked.alone, **how),  # type: ignore[arg-type]
        again=paired_difference(baked.alone, baked.told, **how),  # type: ignore[arg-type]
        above=paired_difference(plain.told, baked.told, **how),  # type: ignore[arg-type]
        others=others,
        by_task=by_task,
        tokens=tokens,
        doses=tuple(told),
        errors=plain.errors + baked.errors + sum(one.errors for one in doses.values()),
    )


def prompt_tokens(chat: LocalChat, instruction: Instruction, held: Sequence[Case]) -> tuple[float, float]:
    """Mean tokens of what a model is sent for a request: with the text, and without it."""
    bench, frame = Bench(chat, held), frame_behind(chat)
    one, other = (Candidate(instruction, frame=frame), Candidate(empty_of(instruction), frame=frame))
    return bench.tokens(one), bench.tokens(other)
