"""Which stretch of rendered text the model is taught to produce.

For each taught assistant turn, two renderings of the history decide: `a` with the generation prompt, which is what a
server sends, and `b` with the answer. `a` must be a prefix of `b`; the answer is the rest of `b` up to its
terminator. Where each answered history is in turn a prefix of the whole conversation, the conversation is one
sequence; where the template rewrites history (thinking removed from earlier turns), each taught turn becomes a
sequence of its own. What cannot be verified is refused, with row, turn, reason and mend.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from heedlm.errors import HeedError, Problem
from heedlm.messages import JSON, Example, Message, Request, Segment
from heedlm.templates.controls import Controls, sanitize_with
from heedlm.templates.probe import Habits, habits, stop_texts
from heedlm.templates.render import ChatTemplate, render_request, template_controls

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# The switches by which templates turn thinking on and off, tried when a boundary does not hold.
SWITCHES: tuple[Mapping[str, JSON], ...] = (
    {"enable_thinking": False},
    {"enable_thinking": True},
    {"thinking": False},
    {"thinking": True},
)


@dataclass(frozen=True, slots=True)
class Turn:
    """A taught turn.

    text: prompt, of `prompt` characters, and answer up to its terminator.   rest: what the template writes behind that.
    closed: whether the template itself wrote the terminator.
    """

    index: int
    weight: float
    text: str
    prompt: int
    rest: str
    closed: bool


def taught_turns(example: Example) -> list[tuple[int, float]]:
    """Index and weight of each assistant turn to be learned, in order.

    An assistant turn that opens a conversation is context unless it carries a weight: no request leads up to it.
    Raises HeedError when nothing is left to learn, or when another role carries a weight above 0.
    """
    turns = []
    for index, message in enumerate(example.messages):
        if message.role != "assistant":
            if message.weight:
                raise HeedError(
                    f"Turn {index + 1} ({message.role}) has weight {message.weight:g}; only answers are learned.",
                    example.source,
                    "Remove the weight, or set it to 0.",
                )
            continue
        weight = (1.0 if index > 0 else 0.0) if message.weight is None else message.weight
        if weight > 0 and index == 0:
            raise _refusal(
                example, index, "it opens the conversation, no request leads to it", "Put a user turn first."
            )
        if weight > 0:
            turns.append((index, weight))
    if not turns:
        raise HeedError(
            "There is no token to learn: no assistant turn with a weight above 0 follows another turn.",
            example.source,
            "End the conversation with an assistant turn, or remove its weight of 0.",
        )
    return turns


def segments(
    template: ChatTemplate, tokenizer: PreTrainedTokenizerBase, example: Example, *, learn_reasoning: bool = True
) -> list[list[Segment]]:
    """The sequences of one example, each as a list of segments that together are its text.

    Learned: the answer (its reasoning, unless `learn_reasoning` is off, its text, its tool calls) and its terminator.
    Everything else has weight 0, also what the template writes behind a terminator. Texts may hold seams, see
    `templates.controls`.
    Raises HeedError, naming template, row and turn, where no exact boundary exists.
    """
    turns = [_turn(template, tokenizer, example, index, weight) for index, weight in taught_turns(example)]
    controls = template_controls(template, tokenizer)
    if all(turn.closed for turn in turns) and all(turns[-1].text.startswith(turn.text) for turn in turns):
        groups = [turns]
    else:
        groups = [[turn] for turn in turns]
    around = habits(template, tokenizer, example.template_kwargs)
    return [list(_walk(controls, example, group, around, learn_reasoning)) for group in groups]


def _turn(
    template: ChatTemplate, tokenizer: PreTrainedTokenizerBase, example: Example, index: int, weight: float
) -> Turn:
    """Render prompt and answer of one turn, and cut the answer behind its terminator."""
    message = example.messages[index]
    prompt, whole = _pair(template, tokenizer, example, index, example.template_kwargs)
    if not whole.startswith(prompt):
        raise _refusal(example, index, _parting(template, prompt, whole), _switch(template, tokenizer, example, index))
    if not prompt:
        raise _refusal(
            example, index, f"the template {template.name!r} renders its prompt to nothing", "Give the turn a question."
        )
    answer = whole[len(prompt) :]
    closers = stop_texts(template, tokenizer)
    around = habits(template, tokenizer, example.template_kwargs)
    stop = min((answer.find(text) + len(text) for text in closers if text in answer), default=0)
    rest = answer[stop:] if stop else ""
    closed = bool(stop)
    answer = answer[:stop] if closed else answer.removesuffix(around.tail) + closers[-1]
    controls = template_controls(template, tokenizer)
    lost = _lost(controls, around, message, answer)
    if lost:
        raise _refusal(
            example,
            index,
            f"the template {template.name!r} does not render its {lost}",
            f"Remove the {lost} from the row, or choose a template that renders it.",
        )
    lead = _lead(controls, around, message, answer)
    if lead is not None and lead.strip() != around.lead.strip():
        reason = f"the template {template.name!r} puts {lead!r} before the answer here, which no server would send"
        raise _refusal(example, index, reason, "Choose another template with templates.chat.")
    return Turn(index, weight, prompt + answer, len(prompt), rest, closed)


def _pair(
    template: ChatTemplate, tokenizer: PreTrainedTokenizerBase, example: Example, index: int, kwargs: Mapping[str, JSON]
) -> tuple[str, str]:
    """The text a server would send for turn `index`, and the text with the answer."""
    asked = Request(example.messages[:index], tools=example.tools, template_kwargs=kwargs)
    told = replace(asked, messages=example.messages[: index + 1])
    try:
        return render_request(template, tokenizer, asked), render_request(template, tokenizer, told, answered=True)
    except HeedError as error:
        raise HeedError.of([Problem(p.what, _place(example, index), p.mend) for p in error.problems]) from error


def _place(example: Example, index: int) -> str:
    return f"{example.source} (id {example.id}, turn {index + 1})"


def _refusal(example: Example, index: int, reason: str, mend: str) -> HeedError:
    return HeedError(f"Turn {index + 1} cannot be learned: {reason}.", _place(example, index), mend)


def _parting(template: ChatTemplate, prompt: str, whole: str) -> str:
    """How the text with the answer leaves the text that a server sends, in words."""
    at = next((i for i, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), min(len(prompt), len(whole)))
    sent, trained = prompt[max(0, at - 10) : at + 30], whole[max(0, at - 10) : at + 30]
    return f"under the template {template.name!r} a server would send {sent!r} where the answered text has {trained!r}"


def _switch(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase, example: Example, index: int) -> str:
    """The mend for a boundary that does not hold: a switch of the template's own, if one makes it hold."""
    for switch in SWITCHES:
        try:
            prompt, whole = _pair(template, tokenizer, example, index, {**example.template_kwargs, **switch})
        except HeedError:
            continue
        if whole.startswith(prompt):
            ((key, value),) = switch.items()
            return f"Use --set templates.kwargs.{key}={str(value).lower()}; it then holds wherever the model is served."
    return "Choose another template with templates.chat."


def _lost(controls: Controls, around: Habits, message: Message, answer: str) -> str:
    """The part of the message that the rendered answer lacks; "" when all is there. Trimmed ends count as there."""
    if sanitize_with(controls, message.content).text.strip() not in answer:
        return "text"
    thought = sanitize_with(controls, message.reasoning or "").text.strip()
    if message.reasoning and (around.thought is None or thought not in answer):
        return "reasoning"
    if any(sanitize_with(controls, call.name).text not in answer for call in message.tool_calls):
        return "tool call"
    return ""


def _lead(controls: Controls, around: Habits, message: Message, answer: str) -> str | None:
    """What stands before the text of a plain answer; None where reasoning, tool calls or emptiness hide it."""
    content = sanitize_with(controls, message.content).text.strip()
    body = answer.removesuffix(around.tail).rstrip()
    if message.reasoning or message.tool_calls or not content or not body.endswith(content):
        return None
    return body.removesuffix(content)


def _walk(
    controls: Controls, example: Example, turns: Sequence[Turn], around: Habits, learn_reasoning: bool
) -> Iterator[Segment]:
    """Context and answers in the order of the text; last comes what the template adds behind the last terminator."""
    at, seen = 0, 0
    text = turns[-1].text
    for turn in turns:
        message = example.messages[turn.index]
        yield from context_segments(controls, text[at : turn.prompt], example.messages[seen : turn.index])
        answer = text[turn.prompt : len(turn.text)]
        thought = _thought_end(controls, around, message, answer) if message.reasoning else 0
        if thought:
            yield Segment(answer[:thought], turn.weight if learn_reasoning else 0.0, "reasoning")
        yield from _answer(controls, answer[thought:], message, turn.weight)
        at, seen = len(turn.text), turn.index + 1
    if turns[-1].rest:
        yield Segment(turns[-1].rest, 0.0, "template")


def context_segments(controls: Controls, text: str, messages: Sequence[Message]) -> Iterator[Segment]:
    """Unlearned text, parted into the messages it quotes (for colours) and the template's own."""
    at = 0
    for message in messages:
        content = sanitize_with(controls, message.content).text.strip()
        begin = text.find(content, at) if content else -1
        if begin < 0:
            continue
        if begin > at:
            yield Segment(text[at:begin], 0.0, "template")
        yield Segment(content, 0.0, message.role)
        at = begin + len(content)
    if at < len(text):
        yield Segment(text[at:], 0.0, "template")


def _thought_end(controls: Controls, around: Habits, message: Message, answer: str) -> int:
    """Where the reasoning ends in an answer, with the marks that the template writes around it."""
    assert message.reasoning is not None
    before, behind = around.thought or ("", "")
    thought = sanitize_with(controls, message.reasoning).text.strip()
    end = answer.index(thought, len(before) if answer.startswith(before) else 0) + len(thought)
    if answer.startswith(behind, end):
        return end + len(behind)
    # The template trims less or more than usual: take its closing mark, and the white space around it.
    mark = answer.find(behind.strip(), end)
    if mark >= 0 and not answer[end:mark].strip():
        end = mark + len(behind.strip())
    return len(answer) - len(answer[end:].lstrip())


def _answer(controls: Controls, answer: str, message: Message, weight: float) -> Iterator[Segment]:
    """One answer, parted into text, tool calls and terminator, in the order in which templates write them."""
    marks = list(controls.pattern.finditer(answer))
    end = marks[-1].start() if marks and marks[-1].end() == len(answer) else len(answer)
    text_end = end
    if message.tool_calls:
        content = sanitize_with(controls, message.content).text.strip()
        text_end = answer.index(content) + len(content)
    for text, origin in (
        (answer[:text_end], "assistant"),
        (answer[text_end:end], "tool_calls"),
        (answer[end:], "terminator"),
    ):
        if text:
            yield Segment(text, weight, origin)
