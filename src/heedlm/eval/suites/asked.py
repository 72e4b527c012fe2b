"""How an item of a suite changes what an arm asks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from heedlm.eval.asking import Ask
from heedlm.eval.scorers.choices import choices_of
from heedlm.eval.scorers.scorer import Scorer
from heedlm.eval.suites.items import ASKING
from heedlm.messages import Example, Request, Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# A reply may be this many times as long as the longest right answer of its task before it is cut.
_ROOM = 1.5


def wanted_tokens(task: Task) -> int | None:
    """The longest reply that the suite of a task asks for; None where it leaves that to the evaluation."""
    told: list[Any] = [(example.meta.get(ASKING) or {}).get("max_tokens") for example in task.examples]
    return max(told) if told and all(told) else None


def answer_limit(task: Task, tokenizer: PreTrainedTokenizerBase, most: int) -> int:
    """New tokens that an answer of this task may take: as its suite says, else more than the longest right one has."""
    if (told := wanted_tokens(task)) is not None:
        return told
    answers = [example.messages[-1].content for example in task.examples]
    if not all(answer.strip() for answer in answers):
        return most  # what is judged by checks alone may be of any length
    longest = max(len(tokenizer(answer, add_special_tokens=False)["input_ids"]) for answer in answers)
    return min(most, int(longest * _ROOM) + 8)


def as_wanted(task: Task, example: Example, ask: Ask, limit: int | None) -> Ask:
    """The ask of an arm as the item wants it: as plain text, drawn, stopped, or compared by likelihood.

    limit: new tokens at most. An item that is asked as plain text is asked alike in every arm: its last turn, and the
    texts that would end an answer in the frame of an arm do not hold for it.
    """
    how: Any = example.meta.get(ASKING) or {}
    ask = replace(ask, max_tokens=how.get("max_tokens", limit))
    if how.get("plain"):
        ask = replace(ask, request=Request(text=example.messages[-2].content), stop=())
    if how.get("stop"):
        ask = replace(ask, stop=(*ask.stop, *how["stop"]))
    if how.get("temperature"):
        ask = replace(ask, temperature=float(how["temperature"]), seed=int(how.get("seed", 0)))
    if isinstance(task.scorer, Scorer) and task.scorer.kind.name == "likelihood":
        ask = replace(ask, choices=choices_of(example), per=task.scorer.options["per"])
    return ask
