"""A template's thinking switch, set to what the examples are.

Some templates open a think block in the generation prompt, or put an empty one before an answer, unless a kwarg says
otherwise. On examples without thinking that leaves no exact boundary, or teaches the model to write the empty block.
The switch that mends it is written into the template, so that every server of the checkpoint renders the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from heedlm.errors import HeedError
from heedlm.messages import JSON, Example
from heedlm.templates.chat import ChatTemplate, with_defaults
from heedlm.templates.probe import habits
from heedlm.templates.segments import SWITCHES, segments, taught_turns

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NUM_SHAPES = 64  # kinds of conversation looked at; the proof looks at every row afterwards


class Fit(NamedTuple):
    """How badly a switch fits: kinds of conversation it leaves unlearnable, and kinds with marks before an answer."""

    refused: int
    led: int


def settle(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]) -> ChatTemplate:
    """`template` with the switch that fits the examples written into it; unchanged where it fits, or nothing helps.

    Examples that set the switch themselves keep their own value.
    """
    kinds = _one_of_each(examples)
    best: Mapping[str, JSON] = {}
    best_fit = _fit(template, tokenizer, kinds, {})
    for switch in SWITCHES:
        if best_fit == Fit(0, 0):
            break
        fit = _fit(template, tokenizer, kinds, switch)
        if fit < best_fit:
            best, best_fit = switch, fit
    return with_defaults(template, tokenizer, best) if best else template


def _one_of_each(examples: Sequence[Example]) -> list[Example]:
    """The first example of each kind: roles, which turns think or call tools, kwargs."""
    kinds: dict[object, Example] = {}
    for example in examples:
        turns = tuple((message.role, bool(message.reasoning), bool(message.tool_calls)) for message in example.messages)
        kinds.setdefault((turns, repr(sorted(example.template_kwargs.items()))), example)
        if len(kinds) == NUM_SHAPES:
            break
    return list(kinds.values())


def _fit(
    template: ChatTemplate,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    switch: Mapping[str, JSON],
) -> Fit:
    refused = led = 0
    for example in examples:
        kwargs = {**switch, **example.template_kwargs}
        switched = Example(example.id, example.messages, example.source, tools=example.tools, template_kwargs=kwargs)
        try:
            segments(template, tokenizer, switched)
            lead = habits(template, tokenizer, kwargs).lead.strip()
            led += bool(lead) and any(not example.messages[index].reasoning for index, _ in taught_turns(example))
        except HeedError:
            refused += 1
    return Fit(refused, led)
