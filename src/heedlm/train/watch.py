"""A model in the making at every evaluation: its answers to the panel, its score, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from heedlm.runs import Run, append_jsonl
from heedlm.train.earlier import begun
from heedlm.train.forward import attention_set_to
from heedlm.train.loop import Position, Validation
from heedlm.train.ranks import Ranks
from heedlm.train.stage import Observer, OnEvaluate, Verdict

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class PanelAnswer(NamedTuple):
    """What the model in the making answered to one fixed prompt of a split, beside the row's own answer."""

    split: str
    id: str
    prompt: str
    reply: str
    target: str


# The text side of training, handed in from above: a model in, its answers to the fixed panel of prompts out.
Panel = Callable[["PreTrainedModel"], Sequence[PanelAnswer]]


class Judged(NamedTuple):
    """words: what was found, for people.   verdict: what follows from it."""

    words: str
    verdict: Verdict


class Exam(Protocol):
    """How good the answers of a model in the making are, handed in from above (eval.during)."""

    @property
    def chooses(self) -> bool:
        """Whether the best score, and not the lowest loss, says which weights are kept."""
        ...

    def begin(self, *, anew: bool) -> str:
        """Make its own files ready; what it will do, in words. anew: nothing of an earlier attempt counts."""
        ...

    def left_out(self, step: int, seconds: float) -> str:
        """Why it is not held at this step, after so many seconds of training; "" where it is."""
        ...

    def ask(self, model: PreTrainedModel, step: int, *, keep: bool) -> dict[str, Any]:
        """Figures of the weights as they are. keep: the items are kept, and one that was asked is not asked again."""
        ...

    def judge(self, step: int, figures: dict[str, Any]) -> Judged:
        """What follows, beside what was found before this step. It is on the disk when this returns."""
        ...


class Watch(NamedTuple):
    """What watches a training; None: nothing of the kind."""

    panel: Panel | None = None
    exam: Exam | None = None


NOTHING = Watch()


def watching(watch: Watch, run: Run, model: PreTrainedModel, observer: Observer, ranks: Ranks) -> OnEvaluate:
    """What is said and asked at every evaluation. Questions meet the model's own attention, as a server's would.

    Of several `ranks` the first one decides what is asked and judges it, so that all of them go the same way.
    """
    plain_attention = str(model.config._attn_implementation)
    panel, exam = watch
    if exam is not None:
        ready = exam.begin
        observer.say(ranks.on_first(lambda: ready(anew=not begun(run))))

    def evaluated(position: Position, result: Validation | None, seconds: float) -> Verdict:
        step = position.step
        if result:
            observer.say(f"step {step:,}: validation loss {result.loss:.4f}, token accuracy {result.accuracy:.1%}")
        if panel is not None:
            with attention_set_to(model, plain_attention):
                answers = ranks.with_weights(lambda: panel(model))
            for answer in answers if ranks.first else ():
                append_jsonl(run.panel, {"step": step, **answer._asdict()})
            observer.panel(step, answers)
        return Verdict() if exam is None else scored(exam, step, seconds)

    def scored(exam: Exam, step: int, seconds: float) -> Verdict:
        why = ranks.on_first(lambda: exam.left_out(step, seconds))
        if why:
            observer.say(f"step {step:,}: not scored: {why}")
            return Verdict(chooses=exam.chooses)
        with attention_set_to(model, plain_attention):
            # Where weights are cut all processes ask together, the same number of times.
            figures = ranks.with_weights(lambda: exam.ask(model, step, keep=ranks.root is None))
        judged = ranks.on_first(lambda: exam.judge(step, figures))
        observer.say(judged.words)
        return judged.verdict

    return evaluated
