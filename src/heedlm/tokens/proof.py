"""Whether the tokens about to be trained are the tokens that were meant, for every row.

The gate before training. It takes nothing from the segments: what must be learned is read off the example itself,
what stands around an answer is read off a rendering of known words, and prompts are made by the function that
inference uses.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from heedlm.errors import HeedError, Problem
from heedlm.messages import JSON, Encoded, Example, Message, Request
from heedlm.templates.chat import ChatTemplate, plain, render, stop_ids
from heedlm.templates.controls import SEAM, Controls, sanitize_with
from heedlm.templates.probe import Habits, habits
from heedlm.templates.render import template_controls
from heedlm.tokens.encode import encode_prompts, shortened

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHUNK = 512
MEND_BUG = "This should not happen with ids from tokens.encode; if they are, please report the row and the template."


@dataclass(frozen=True, slots=True)
class Proof:
    """What was counted, and every row that is not as it must be.

    sequences: of all rows; more than rows where a template rewrites history.   tokens, learned_tokens: over all
    sequences.
    stopped: rows of which every answer ends in a stop id.   sanitized: control tokens typed in messages and kept as
    text.
    trimmed: answers whose white space at the ends the template removes.
    led: answers before which the template writes marks of its own that are learned as well (an empty think block).
    """

    rows: int
    sequences: int
    tokens: int
    learned_tokens: int
    stopped: int
    sanitized: int
    trimmed: int
    led: int
    failures: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        return not self.failures

    @property
    def stop_share(self) -> float:
        """Share of rows, 0..1, of which every answer ends in a stop id; 1.0 where there are no rows."""
        return self.stopped / self.rows if self.rows else 1.0


class Span(NamedTuple):
    """A learned run of tokens: `encoded.ids[start:end]`."""

    encoded: Encoded
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A turn that must be learned. span: what was found for it, None where nothing was."""

    row: int
    index: int
    message: Message
    weight: float
    span: Span | None


def prove(
    template: ChatTemplate,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    encoded: Sequence[Sequence[Encoded]],
    *,
    learn_reasoning: bool = True,
) -> Proof:
    """Check every row: learned tokens, prompt ids, BOS, stop ids. `encoded[i]` are the sequences of `examples[i]`.

    Use `require` to turn failures into an error.
    """
    assert len(examples) == len(encoded), "one list of sequences per example"
    check = _Check(template, tokenizer, learn_reasoning)
    for start in range(0, len(examples), CHUNK):
        check.rows(examples[start : start + CHUNK], encoded[start : start + CHUNK])
    return Proof(
        rows=len(examples),
        sequences=sum(map(len, encoded)),
        tokens=sum(len(one.ids) for group in encoded for one in group),
        learned_tokens=sum(weight > 0 for group in encoded for one in group for weight in one.weights),
        stopped=check.stopped,
        sanitized=check.sanitized,
        trimmed=check.trimmed,
        led=check.led,
        failures=tuple(check.failures),
    )


def require(proof: Proof, limit: int = 20) -> None:
    """Raise HeedError with the first `limit` failures of a proof that has any."""
    if proof.failures:
        raise HeedError.of(shortened(proof.failures, limit))


class _Check:
    """The counts of a proof while it runs."""

    def __init__(self, template: ChatTemplate, tokenizer: PreTrainedTokenizerBase, learn_reasoning: bool) -> None:
        self.template, self.tokenizer, self.learn_reasoning = template, tokenizer, learn_reasoning
        self.controls: Controls = template_controls(template, tokenizer)
        # A character that the vocabulary lacks reads as the unknown token; nobody typed that one.
        self.control_ids = frozenset(self.controls.ids.values()) - {tokenizer.unk_token_id}
        self.stops = frozenset(stop_ids(template, tokenizer))
        self.stopped = self.sanitized = self.trimmed = self.led = 0
        self.failures: list[Problem] = []

    def rows(self, examples: Sequence[Example], encoded: Sequence[Sequence[Encoded]]) -> None:
        """Check some rows with one call to the renderer's batch and one to the decoder."""
        answers: list[Answer] = []
        for row, (example, group) in enumerate(zip(examples, encoded, strict=True)):
            self.sanitized += sum(sanitize_with(self.controls, text).num_typed for text in _texts(example))
            answers.extend(self._answers(row, example, group))
        found = [answer for answer in answers if answer.span is not None]
        prompts = encode_prompts(
            self.tokenizer, self.template, [_request(examples[answer.row], answer.index) for answer in found]
        )
        spans = [answer.span for answer in found if answer.span is not None]
        decoded = _decode(self.tokenizer, [span.encoded.ids[span.start : span.end] for span in spans])
        bad = {answer.row for answer in answers if answer.span is None}
        open_ended = set(bad)
        for answer, prompt, text in zip(found, prompts, decoded, strict=True):
            example = examples[answer.row]
            for problem in self._problems(example, answer, prompt.text, prompt.ids, text):
                self.failures.append(problem)
                bad.add(answer.row)
            assert answer.span is not None
            if answer.span.encoded.ids[answer.span.end - 1] not in self.stops:
                open_ended.add(answer.row)
        self.stopped += len(examples) - len(open_ended)

    def _answers(self, row: int, example: Example, group: Sequence[Encoded]) -> list[Answer]:
        """The turns to be learned, each with its run; where the numbers differ, a failure instead."""
        wanted = [
            (index, message, 1.0 if message.weight is None else message.weight)
            for index, message in enumerate(example.messages)
            if message.role == "assistant" and (message.weight is None or message.weight > 0) and index > 0
        ]
        spans = [span for one in group for span in _spans(one, self.stops)]
        for one in group:
            problem = self._bos(one)
            if problem:
                self.failures.append(Problem(problem, example.source, "Remove the BOS from the template or the text."))
        if len(spans) != len(wanted) or not wanted:
            self.failures.append(
                Problem(
                    f"Learned runs and answers differ in number: {len(spans)} runs for {len(wanted)} answers"
                    f" (template {self.template.name!r}).",
                    example.source,
                    MEND_BUG if wanted else "Give the row an assistant turn to learn, or drop it.",
                )
            )
            missed = wanted or [(0, _NOTHING, 1.0)]
            return [Answer(row, index, message, weight, None) for index, message, weight in missed]
        return [
            Answer(row, index, message, weight, span)
            for (index, message, weight), span in zip(wanted, spans, strict=True)
        ]

    def _bos(self, one: Encoded) -> str:
        """What is wrong with the BOS tokens of a sequence. One may stand first, or open a turn behind a stop id."""
        bos = self.tokenizer.bos_token_id
        if bos is None or bos not in one.ids:
            return ""
        if one.ids[:2] == (bos, bos):
            return f"The sequence starts with two BOS tokens ({self.tokenizer.bos_token})."
        if bos in self.stops:
            return ""
        for at in range(1, len(one.ids)):
            if one.ids[at] == bos and one.ids[at - 1] not in self.stops:
                return f"A BOS token ({self.tokenizer.bos_token}) stands inside the sequence, at token {at}."
        return ""

    def _problems(
        self, example: Example, answer: Answer, prompt_text: str, prompt: tuple[int, ...], text: str
    ) -> Iterator[Problem]:
        assert answer.span is not None
        span, message = answer.span, answer.message
        ids, where = span.encoded.ids, f"{example.source} (id {example.id}, turn {answer.index + 1})"
        if ids[: len(prompt)] != prompt:
            pairs = enumerate(zip(ids, prompt, strict=False))
            at = next((place for place, (one, other) in pairs if one != other), min(len(ids), len(prompt)))
            yield Problem(f"The prompt differs from the one that a server sends, from token {at} on.", where, MEND_BUG)
        thought_hidden = bool(message.reasoning) and not self.learn_reasoning
        if span.start < len(prompt) or (span.start > len(prompt) and not thought_hidden):
            yield Problem(
                f"The answer starts at token {len(prompt)}, but learning starts at token {span.start}.", where, MEND_BUG
            )
        if ids[span.end - 1] not in self.stops:
            yield Problem("The last learned token is not a stop id: the model would never stop.", where, MEND_BUG)
        if set(span.encoded.weights[span.start : span.end]) != {answer.weight}:
            yield Problem(f"The answer is not learned with its weight {answer.weight:g} throughout.", where, MEND_BUG)
        yield from self._text_problems(example, answer, text, where)
        for kind, lost in _unrendered(example, answer.index, prompt_text):
            yield Problem(
                f"The template {self.template.name!r} does not render a {kind}: {_short(lost)}",
                where,
                "Choose another template with templates.chat, or move the text into a turn that it renders.",
            )
        if self._typed_control(example, answer, prompt_text, prompt):
            yield Problem("A control token that somebody typed became one.", where, MEND_BUG)

    def _text_problems(self, example: Example, answer: Answer, text: str, where: str) -> Iterator[Problem]:
        """Compare decoded learned tokens with the answer; if they differ, decode them in context before saying so."""
        assert answer.span is not None
        around = habits(self.template, self.tokenizer, example.template_kwargs)
        for reading in (text, _in_context(self.tokenizer, answer.span)):
            told = explain(reading, answer.message, around, str(self.tokenizer.eos_token), self.learn_reasoning)
            if told is not None:
                self.trimmed += told.trimmed
                self.led += bool(told.lead.strip())
                return
        yield Problem(
            f"The learned tokens read {_short(text)}, but the answer is {_short(answer.message.content)} with its end.",
            where,
            f"If characters are missing, the tokenizer cannot spell them. {MEND_BUG}",
        )

    def _typed_control(self, example: Example, answer: Answer, prompt_text: str, prompt: tuple[int, ...]) -> bool:
        """Whether the prompt's ids hold more control tokens than its template wrote."""
        held = sum(token in self.control_ids for token in prompt)
        if any(sanitize_with(self.controls, text).text.count(SEAM) for text in _texts(example)):
            request = _request(example, answer.index)
            prompt_text = render(
                self.template,
                self.tokenizer,
                request.messages,
                tools=request.tools,
                template_kwargs=request.template_kwargs,
                add_generation_prompt=True,
            )
        return held > len(self.controls.pattern.findall(prompt_text))


_NOTHING = Message("assistant", "")


def _texts(example: Example) -> list[str]:
    return [text for message in example.messages for text in (message.content, message.reasoning) if text]


def _unrendered(example: Example, index: int, prompt_text: str) -> Iterator[tuple[str, str]]:
    """What a request for turn `index` holds and its rendering lacks. History of the assistant may go: thinking does."""
    for message in example.messages[:index]:
        text = plain(message.content).strip()
        # A tool's result may be written as JSON inside JSON.
        forms = (text, _escaped(text)) if message.role == "tool" else (text,)
        if message.role != "assistant" and not any(form in prompt_text for form in forms):
            yield f"{message.role} text", text
    for tool in example.tools:
        name = tool.get("function", tool).get("name")
        if isinstance(name, str) and plain(name) not in prompt_text:
            yield "tool", name


def _request(example: Example, index: int) -> Request:
    return Request(messages=example.messages[:index], tools=example.tools, template_kwargs=example.template_kwargs)


def _spans(one: Encoded, stops: frozenset[int]) -> list[Span]:
    """Maximal learned runs, also parted behind each stop id, since in some formats one answer follows another at
    once."""
    spans: list[Span] = []
    start: int | None = None
    for at, (token, weight) in enumerate(zip(one.ids, one.weights, strict=True)):
        if weight > 0 and start is None:
            start = at
        elif weight <= 0 and start is not None:
            spans.append(Span(one, start, at))
            start = None
        if start is not None and token in stops:
            spans.append(Span(one, start, at + 1))
            start = None
    if start is not None:
        spans.append(Span(one, start, len(one.ids)))
    return spans


def _decode(tokenizer: PreTrainedTokenizerBase, sequences: Sequence[Sequence[int]]) -> list[str]:
    if not sequences:
        return []
    return list(
        tokenizer.batch_decode(
            [list(ids) for ids in sequences], skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
    )


def _in_context(tokenizer: PreTrainedTokenizerBase, span: Span) -> str:
    """The run as it reads behind its prompt: some tokenizers drop the blank before the first word of a text."""
    before, whole = _decode(tokenizer, [span.encoded.ids[: span.start], span.encoded.ids[: span.end]])
    return whole[len(before) :] if whole.startswith(before) else whole


class Told(NamedTuple):
    """How a learned text is made up. lead: the template's own marks before the answer."""

    lead: str
    trimmed: bool


def explain(text: str, message: Message, around: Habits, eos: str, learn_reasoning: bool) -> Told | None:
    """How `text` is this message's answer with its terminator; None when it is not."""
    for form in ("", "NFC", "NFKC"):  # tokenizers normalise text by one of these, or not at all
        told = _explain(_normal(form, text), form, message, around, eos, learn_reasoning)
        if told is not None:
            return told
    return None


def _normal(form: str, text: str) -> str:
    return unicodedata.normalize(form, text) if form else text  # type: ignore[arg-type]


def _explain(text: str, form: str, message: Message, around: Habits, eos: str, learn_reasoning: bool) -> Told | None:
    content = _normal(form, plain(message.content))
    end = around.tail if around.stop else eos
    if message.tool_calls:
        return _explain_calls(text, form, message, content)
    for body in dict.fromkeys((content, content.lstrip(), content.rstrip(), content.strip())):
        if not text.endswith(body + end):
            continue
        lead = text[: len(text) - len(body + end)]
        if lead in _leads(form, message, around, learn_reasoning) or (not body and lead == around.lead.rstrip()):
            return Told("" if message.reasoning else lead, body != content)
    return None


def _leads(form: str, message: Message, around: Habits, learn_reasoning: bool) -> list[str]:
    """What may stand before the answer's text among the learned tokens."""
    if not message.reasoning:
        return [around.lead]
    if not learn_reasoning:
        return [""]
    if around.thought is None:
        return []
    thought = _normal(form, plain(message.reasoning))
    before, behind = around.thought
    return [before + one + behind for one in (thought, thought.strip(), thought.strip("\n"))]


def _explain_calls(text: str, form: str, message: Message, content: str) -> Told | None:
    """Tool calls are written in as many ways as there are templates: each name and text argument must be there."""
    at = 0
    wanted = [content.strip()]
    for call in message.tool_calls:
        wanted.append(_normal(form, plain(call.name)))
    for part in wanted:
        found = text.find(part, at)
        if found < 0:
            return None
        at = found + len(part)
    for call in message.tool_calls:
        for value in _leaves(call.arguments):
            if _normal(form, value) not in text and _normal(form, _escaped(value)) not in text:
                return None
    return Told("", False)


def _leaves(value: JSON) -> Iterator[str]:
    """Every text inside a JSON value."""
    if isinstance(value, str):
        yield plain(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(item)


def _escaped(value: str) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)[1:-1]


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:40] + " ... " + text[-15:])
