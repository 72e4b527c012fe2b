"""Prompt or tune: two models, each without and with a system text, on the same items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from heedlm.eval import words
from heedlm.eval.arms import Builder
from heedlm.eval.many import holm
from heedlm.eval.stats import Difference, paired_difference
from heedlm.messages import Example, Message, Task

WITH = " + system text"  # behind the name of a model that is asked with it


class Effect(NamedTuple):
    """One step between two cells. what: in words.   difference: second minus first.   p_holm: over the six steps."""

    what: str
    first: str
    second: str
    difference: Difference
    p_holm: float

    @property
    def sure(self) -> int:
        """1 for a sure gain, -1 for a sure loss, 0 for neither."""
        found = self.difference
        if self.p_holm >= words.SURE or found.low <= 0 <= found.high:
            return 0
        return 1 if found.mean > 0 else -1


@dataclass(frozen=True, slots=True)
class Grid:
    """scores: mean over all items of each cell.   effects: by name.   advice: one paragraph, from these numbers alone."""

    scores: Mapping[str, float]
    effects: Mapping[str, Effect]
    advice: str


def with_system(build: Builder, text: str) -> Builder:
    """The same question behind a system text; one that the item has itself follows it."""

    def built(task: Task, example: Example) -> object:
        own = example.messages[:1] if example.messages[0].role == "system" else ()
        said = "\n\n".join([text, *(turn.content for turn in own)])
        turns = (Message("system", said), *example.messages[len(own) :])
        return build(task, replace(example, messages=turns))

    return built  # type: ignore[return-value]


def with_turns(build: Builder, turns: Callable[[Sequence[Message]], Sequence[Message]]) -> Builder:
    """The same question in other turns: those of an instruction that stands round it."""

    def built(task: Task, example: Example) -> object:
        return build(task, replace(example, messages=tuple(turns(example.messages))))

    return built  # type: ignore[return-value]


def grid_of(
    base: str, tuned: str, scores: Mapping[str, Sequence[float]], groups: Sequence[str], *, seed: int = 0
) -> Grid:
    """Six steps between the four cells, tested together. scores: of the same items, by cell.   groups: of the items."""
    prompted, both = base + WITH, tuned + WITH
    steps = {
        "prompt": ("the system text on the base", base, prompted),
        "tune": ("tuning", base, tuned),
        "both": ("both together", base, both),
        "prompt_on_tuned": ("the system text on the tuned model", tuned, both),
        "tune_on_prompted": ("tuning on top of the system text", prompted, both),
        "tune_or_prompt": ("tuning in place of the system text", prompted, tuned),
    }
    found = {
        name: paired_difference(scores[first], scores[second], groups=groups, seed=seed)
        for name, (_, first, second) in steps.items()
    }
    p = holm([one.p for one in found.values()])
    effects = {name: Effect(*steps[name], found[name], adjusted) for name, adjusted in zip(found, p, strict=True)}
    means = {cell: sum(scores[cell]) / len(scores[cell]) for cell in (base, prompted, tuned, both)}
    return Grid(means, effects, advice(effects))


def advice(effects: Mapping[str, Effect]) -> str:
    """What the numbers say to do, and no more than they say."""
    prompt, tune, both = effects["prompt"], effects["tune"], effects["both"]
    more, top, swap = effects["prompt_on_tuned"], effects["tune_on_prompted"], effects["tune_or_prompt"]
    n, could = tune.difference.n, 100 * tune.difference.smallest
    harm = "".join(
        f" {one.what.capitalize()} makes it worse: {_told(one)}." for one in (prompt, tune, more) if one.sure < 0
    )
    if max(prompt.sure, tune.sure, both.sure) <= 0:
        return (
            f"Neither: on {n:,} items no way is surely better than the base as it is. So many items show a difference "
            f"from {could:.0f} points on; ask more before you spend on either.{harm}"
        )
    if top.sure > 0 and more.sure > 0:
        return (
            f"Do both: tuning adds {_told(top)} to the system text, and the system text {_told(more)} to tuning.{harm}"
        )
    if tune.sure > 0 and more.sure <= 0 and (swap.sure > 0 or prompt.sure <= 0):
        return (
            f"Tune: that alone gains {_told(tune)}. The system text adds nothing sure to the tuned model "
            f"({_told(more)}): leave it out, and save its tokens.{harm}"
        )
    if prompt.sure > 0 and top.sure <= 0 and swap.sure <= 0:
        return (
            f"Write the prompt: the system text alone gains {_told(prompt)}. Tuning adds nothing sure to it "
            f"({_told(top)}): by these numbers it is not worth its cost.{harm}"
        )
    best = max((prompt, tune, both), key=lambda one: one.difference.mean)
    return (
        f"No way is surely the best of all. The highest score has {best.second}, {_told(best)} above the base; "
        f"{n:,} items are too few to tell it from the next.{harm}"
    )


def _told(effect: Effect) -> str:
    found = effect.difference
    return f"{words.points(found.mean)} points ({words.points(found.low)} to {words.points(found.high)})"
