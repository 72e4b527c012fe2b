"""Whether the tokens about to be trained are the tokens that were meant, for every row.

The gate before training. It takes nothing from the segments: what must be learned is read off the example itself, what
stands around an answer off a rendering of known words, and prompts are made by the function that inference uses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple

from heedlm.errors import HeedError, Problem
from heedlm.messages import Encoded, Example, Message, Request
from heedlm.templates.chat import ChatTemplate, plain, stop_ids
from heedlm.templates.controls import SEAM, sanitize_with
from heedlm.templates.probe import habits
from heedlm.templates.render import render_request, template_controls
from heedlm.tokens.encode import Prompt, encode_prompts, shortened
from heedlm.tokens.explain import escaped, explain
from heedlm.tokens.garbage import searched_once

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHUNK = 512  # rows per call of the tokenizer
MEND_BUG = "This should not happen with ids from tokens.encode; if they are, please report the row and the template."


@dataclass(frozen=True, slots=True)
class Proof:
    """What was counted, and every row that is not as it must be.

    sequences: more than rows where a template rewrites history.   tokens, learned_tokens: over all sequences.
    stopped: rows of which every answer ends in a stop id.
    sanitized: control tokens typed in messages, kept as text.   trimmed: answers that lost white space at their ends.
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


def joined(proofs: Iterable[Proof]) -> Proof:
    """One proof of rows that were proved in parts."""
    found = list(proofs)
    counts = [field.name for field in fields(Proof) if field.name != "failures"]
    failures = tuple(failure for one in found for failure in one.failures)
    return Proof(**{name: sum(getattr(one, name) for one in found) for name in counts}, failures=failures)


class Run(NamedTuple):
    """A learned run of tokens, `encoded.ids[start:end]`, and the turn that it must be."""

    encoded: Encoded
    start: int
    end: int
    example: Example
    turn: int

    @property
    def ids(self) -> tuple[int, ...]:
        return self.encoded.ids[self.start : self.end]

    @property
    def message(self) -> Message:
        return self.example.messages[self.turn]

    @property
    def where(self) -> str:
        return f"{self.example.source} (id {self.example.id}, turn {self.turn + 1})"

    @property
    def request(self) -> Request:
        one = self.example
        return Request(one.messages[: self.turn], tools=one.tools, template_kwargs=one.template_kwargs)


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
        with searched_once():
            check.rows(examples[start : start + CHUNK], encoded[start : start + CHUNK])
    return Proof(
        rows=len(examples),
        sequences=sum(map(len, encoded)),
        tokens=sum(len(one.ids) for group in encoded for one in group),
        learned_tokens=sum(len(one.weights) - one.weights.count(0.0) for group in encoded for one in group),
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
        self.controls = template_controls(template, tokenizer)
        # A character that the vocabulary lacks reads as the unknown token; nobody typed that one.
        self.control_ids = frozenset(self.controls.ids.values()) - {tokenizer.unk_token_id}
        self.stops = frozenset(stop_ids(template, tokenizer))
        self.stopped = self.sanitized = self.trimmed = self.led = 0
        self.failures: list[Problem] = []

    def rows(self, examples: Sequence[Example], encoded: Sequence[Sequence[Encoded]]) -> None:
        """Check some rows, with one call to the tokenizer and one to its decoder."""
        runs: list[Run] = []
        for example, group in zip(examples, encoded, strict=True):
            self.sanitized += sum(sanitize_with(self.controls, text).num_typed for text in _texts(example))
            for one in group:
                self.failures.extend(self._bos(example, one))
            found = self._runs(example, group)
            self.stopped += bool(found) and all(run.ids[-1] in self.stops for run in found)
            runs.extend(found)
        prompts = encode_prompts(self.tokenizer, self.template, [run.request for run in runs])
        for run, prompt, text in zip(runs, prompts, _decode(self.tokenizer, [run.ids for run in runs]), strict=True):
            self.failures.extend(self._of_ids(run, prompt))
            self.failures.extend(self._of_text(run, text))
            self.failures.extend(self._of_prompt(run, prompt))

    def _runs(self, example: Example, group: Sequence[Encoded]) -> list[Run]:
        """The learned runs of a row with the turns that they must be; a failure and no runs where the numbers differ."""
        wanted = [
            index
            for index, message in enumerate(example.messages)
            if message.role == "assistant" and (message.weight is None or message.weight > 0) and index > 0
        ]
        spans = [(one, *span) for one in group for span in _spans(one, self.stops)]
        if wanted and len(spans) == len(wanted):
            return [Run(*span, example, index) for span, index in zip(spans, wanted, strict=True)]
        what = f"Learned runs and answers differ in number: {len(spans)} runs for {len(wanted)} answers."
        mend = MEND_BUG if wanted else "Give the row an assistant turn to learn, or drop it."
        self.failures.append(Problem(what, example.source, mend))
        return []

    def _bos(self, example: Example, one: Encoded) -> Iterator[Problem]:
        """A BOS token may stand first, or open a turn behind a stop id; nowhere else, and never twice."""
        bos, name = self.tokenizer.bos_token_id, self.tokenizer.bos_token
        mend = "Remove the BOS from the template or the text."
        if bos is None or bos not in one.ids:
            return
        if one.ids[:2] == (bos, bos):
            yield Problem(f"The sequence starts with two BOS tokens ({name}).", example.source, mend)
        elif bos not in self.stops:
            for at in range(1, len(one.ids)):
                if one.ids[at] == bos and one.ids[at - 1] not in self.stops:
                    what = f"A BOS token ({name}) stands inside the sequence, at token {at}."
                    yield Problem(what, example.source, mend)
                    return

    def _of_ids(self, run: Run, prompt: Prompt) -> Iterator[Problem]:
        """Prompt as a server sends it, learning from its end on, with one weight, up to a stop id."""
        ids, size = run.encoded.ids, len(prompt.ids)
        if ids[:size] != prompt.ids:
            pairs = enumerate(zip(ids, prompt.ids, strict=False))
            at = next((place for place, (one, other) in pairs if one != other), min(len(ids), size))
            yield Problem(f"The prompt is not the one that a server sends, from token {at} on.", run.where, MEND_BUG)
        hidden = bool(run.message.reasoning) and not self.learn_reasoning
        if run.start < size or (run.start > size and not hidden):
            what = f"The answer starts at token {size}, but learning starts at token {run.start}."
            yield Problem(what, run.where, MEND_BUG)
        if run.ids[-1] not in self.stops:
            yield Problem("The last learned token is not a stop id: the model would never stop.", run.where, MEND_BUG)
        weight = 1.0 if run.message.weight is None else run.message.weight
        if set(run.encoded.weights[run.start : run.end]) != {weight}:
            yield Problem(f"The answer is not learned with its weight {weight:g} throughout.", run.where, MEND_BUG)

    def _of_text(self, run: Run, text: str) -> Iterator[Problem]:
        """The decoded run is the answer with its end; decoded in context before it is said not to be."""
        around = habits(self.template, self.tokenizer, run.example.template_kwargs)
        eos = str(self.tokenizer.eos_token)
        told = explain(text, run.message, around, eos, self.learn_reasoning) or explain(
            _in_context(self.tokenizer, run), run.message, around, eos, self.learn_reasoning
        )
        if told is None:
            what = (
                f"The learned tokens read {_short(text)}, but the answer is {_short(run.message.content)} and its end."
            )
            yield Problem(what, run.where, f"If characters lack, the tokenizer cannot spell them. {MEND_BUG}")
        else:
            self.trimmed += told.trimmed
            self.led += bool(told.lead.strip())

    def _of_prompt(self, run: Run, prompt: Prompt) -> Iterator[Problem]:
        """What was asked is in the prompt, and no control token in it was typed."""
        for kind, lost in _unrendered(run.request, prompt.text):
            what = f"The template {self.template.name!r} does not render a {kind}: {_short(lost)}"
            mend = "Choose another template with templates.chat, or move the text into a turn that it renders."
            yield Problem(what, run.where, mend)
        text = prompt.text
        if any(SEAM in sanitize_with(self.controls, typed).text for typed in _texts(run.example)):
            text = render_request(self.template, self.tokenizer, run.request)
        if sum(map(self.control_ids.__contains__, prompt.ids)) > len(self.controls.pattern.findall(text)):
            yield Problem("A control token that somebody typed became one.", run.where, MEND_BUG)


def _texts(example: Example) -> list[str]:
    return [text for message in example.messages for text in (message.content, message.reasoning) if text]


def _unrendered(request: Request, prompt_text: str) -> Iterator[tuple[str, str]]:
    """What a request holds and its rendering lacks. Earlier answers may go: templates take thinking from them."""
    for message in request.messages:
        text = plain(message.content).strip()
        # A tool's result may be written as JSON inside JSON.
        forms = (text, escaped(text)) if message.role == "tool" else (text,)
        if message.role != "assistant" and not any(form in prompt_text for form in forms):
            yield f"{message.role} text", text
    for tool in request.tools:
        name = tool.get("function", tool).get("name")
        if isinstance(name, str) and plain(name) not in prompt_text:
            yield "tool", name


def _spans(one: Encoded, stops: frozenset[int]) -> Iterator[tuple[int, int]]:
    """Learned runs as (start, end), parted behind each stop id too: in some formats an answer follows another at once."""
    start = end = 0
    for at in [place for place, weight in enumerate(one.weights) if weight > 0]:
        if at > end:
            if end > start:
                yield start, end
            start = at
        end = at + 1
        if one.ids[at] in stops:
            yield start, end
            start = end
    if end > start:
        yield start, end


def _decode(tokenizer: PreTrainedTokenizerBase, sequences: Sequence[Sequence[int]]) -> list[str]:
    lists = [list(ids) for ids in sequences]
    if not lists:  # the library makes one empty text of nothing
        return []
    return [*tokenizer.batch_decode(lists, skip_special_tokens=False, clean_up_tokenization_spaces=False)]


def _in_context(tokenizer: PreTrainedTokenizerBase, run: Run) -> str:
    """The run as it reads behind its prompt: some tokenizers drop the blank before the first word of a text."""
    before, whole = _decode(tokenizer, [run.encoded.ids[: run.start], run.encoded.ids[: run.end]])
    return whole[len(before) :] if whole.startswith(before) else whole


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:40] + " ... " + text[-15:])
