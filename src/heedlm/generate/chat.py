"""Answers from a model on this machine: the `Chat` protocol over a Hugging Face model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from heedlm.errors import HeedError
from heedlm.generate.calls import Called, CallFormat, before_calls, call_format, call_text, read_calls
from heedlm.generate.engine import Job, context_limit, job_for, run
from heedlm.generate.guided import JSONGuide, call_guide, json_guide
from heedlm.generate.scoring import score_ids
from heedlm.generate.text import Reading, TextStream, parts, showable, stop_place, thinkable
from heedlm.messages import JSON, Reply, Request, Sampling
from heedlm.model.load import load_model, pick_device, resolve, serving_dtype
from heedlm.model.vocabulary import make_room
from heedlm.templates.chat import ChatTemplate, load_template, render, stop_ids
from heedlm.templates.controls import special_tokens
from heedlm.templates.probe import habits
from heedlm.tokens.encode import Prompt, continuation_ids, encode_prompt, ids_of, text_ids
from heedlm.tokens.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_USUAL_TAGS = ("<think>", "</think>")


class LocalChat:
    """A model, its tokenizer and its chat template, ready to answer.

    name: how reports call it.   device: where the model runs; where it is by default.   batch_size: rows decoded
    together at most.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        template: ChatTemplate,
        *,
        name: str = "model",
        device: str | None = None,
        batch_size: int = 64,
    ) -> None:
        self.model = model if device is None else model.to(device)
        self.tokenizer = tokenizer
        self.template = template
        self.batch_size = batch_size
        self._name = name
        self._special = special_tokens(tokenizer)
        self.stop_ids = _all_stop_ids(model, tokenizer, template)

    @property
    def name(self) -> str:
        return self._name

    @property
    def context(self) -> int | None:
        """Tokens of prompt and reply together, or None where the model does not say."""
        return context_limit(self.model)

    def under(self, template: ChatTemplate) -> LocalChat:
        """The same model behind another chat template."""
        return LocalChat(self.model, self.tokenizer, template, name=self._name, batch_size=self.batch_size)

    def render(self, request: Request) -> Prompt:
        """What the model will see for `request`; an empty text becomes the token that opens a text, if there is one."""
        text, ids = encode_prompt(self.tokenizer, self.template, request)
        return Prompt(text, ids or _opening_ids(self.tokenizer))

    def reply(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        *,
        on_text: Callable[[int, str], None] | None = None,
    ) -> list[Reply]:
        """One reply per request, in order. What goes wrong with one request (a prompt longer than the context, messages
        that the template refuses) becomes its own reply with stop_reason "error" and the reason as text.

        on_text(index, piece): pieces of the answer as they become certain; joined they are the reply's text.
        """
        replies: dict[int, Reply] = {}
        asked: dict[int, Asked] = {}
        for index, request in enumerate(requests):
            try:
                asked[index] = self.ask(request, sampling, index, on_text=_told(on_text, index))
            except HeedError as error:
                replies[index] = Reply(text=str(error), stop_reason="error")
        run(self.model, [one.job for one in asked.values()], batch_size=self.batch_size)
        for index, one in asked.items():
            replies[index] = self.answer(one)
        return [replies[index] for index in range(len(requests))]

    def ask(
        self,
        request: Request,
        sampling: Sampling,
        index: int = 0,
        *,
        on_text: Callable[[str], None] | None = None,
        on_thought: Callable[[str], None] | None = None,
        measured: bool = True,
        ids: Sequence[int] | None = None,
        schema: Mapping[str, JSON] | None = None,
        call: Sequence[str] = (),
    ) -> Asked:
        """A request made ready for an engine; once its job is done, `answer` gives the reply.

        index: its place in the call, for its seed.   on_text(piece), on_thought(piece): hear answer and reasoning from the
        thread of the engine.
        measured: whether log-probabilities are wanted.   ids: the prompt, where it is given as ids and not to be made of
        the request's text.   schema: the answer shall be one JSON value of it.   call: it shall be a call of one of these
        tools.   Raises HeedError for what cannot be asked.
        """
        prompt = self.render(request) if ids is None else Prompt(request.text or "", tuple(ids))
        self._check_length(prompt)
        listener = self._listener(request, prompt, sampling, on_text, on_thought)
        # A stop text that is a special token never shows in the text: it is watched for among the ids.
        stops = [*self.stop_ids, *(self._special[stop] for stop in sampling.stop if stop in self._special)]
        hear = listener.hear if on_text is not None or listener.reading.stops else None
        guide = self._guide(request, listener.reading, schema, call)
        job = job_for(self.model, prompt.ids, sampling, index, stops, hear, measured=measured, guide=guide)
        return Asked(prompt, job, listener)

    def _guide(
        self, request: Request, reading: Reading, schema: Mapping[str, JSON] | None, call: Sequence[str]
    ) -> JSONGuide | None:
        """What holds an answer to a schema or to a call; None where it is free. Reasoning that the prompt has begun is free
        as well; no other is made."""
        size = self.model.get_input_embeddings().weight.shape[0]
        closing = reading.think[1] if reading.think is not None and not reading.think[0] else ""
        if schema is not None:
            return json_guide(self.tokenizer, size, self.stop_ids, schema, lead=reading.lead, closing=closing)
        if not call:
            return None
        written = call_text(self.template, self.tokenizer)
        if written is None:
            raise HeedError(
                f"The template {self.template.name!r} writes no calls as JSON, so none can be demanded.",
                "tool_choice",
                '"auto", and calls stay text',
            )
        offered = {
            str(one["name"]): one.get("parameters") or {} for one in (tool["function"] for tool in request.tools)
        }
        tools = {name: offered[name] for name in call}
        return call_guide(self.tokenizer, size, self.stop_ids, written, tools, closing=closing)

    def answer(self, asked: Asked) -> Reply:
        """The reply of a job that is done. A listener that was not asked while it ran hears the tokens now."""
        made, listener = asked.job.completion(), asked.listener
        if asked.job.hear is None:
            listener.stream.extend(made.ids[:-1] if made.ids and made.ids[-1] in asked.job.stop_ids else made.ids)
        listener.stream.close()
        reasoning, answer = parts(listener.stream.text, listener.reading)
        answer, calls = listener.without_calls(answer)
        listener.show_thought(reasoning or "")
        listener.show(answer)
        return Reply(
            text=answer,
            ids=made.ids,
            reasoning=reasoning,
            tool_calls=calls,
            logprobs=made.logprobs,
            stop_reason=made.stop_reason,
            prompt=asked.prompt.text,
            alternatives=made.alternatives,
        )

    def score(self, requests: Sequence[Request], continuations: Sequence[str]) -> list[list[float]]:
        """Log-probability (nats) of each token of continuations[i] after requests[i].

        With an empty prompt the first token is scored after the token that opens a text; where a tokenizer has none, it
        cannot be scored and the list begins with the second token. Texts longer than the context are scored in windows.
        """
        sequences, starts = [], []
        for request, continuation in zip(requests, continuations, strict=True):
            prompt = self.render(request)
            ids = [*prompt.ids, *self._continuation_ids(request, continuation)]
            sequences.append(ids)
            starts.append(max(1, len(prompt.ids)))
        return score_ids(self.model, sequences, starts, batch_size=self.batch_size)

    def _continuation_ids(self, request: Request, continuation: str) -> Sequence[int]:
        """Tokens of the continuation as they follow the prompt; on its own where the two would melt into one token."""
        if request.text is not None:
            before = text_ids(self.tokenizer, request.text)
            whole = text_ids(self.tokenizer, request.text + continuation)
        else:
            rendered = render(
                self.template,
                self.tokenizer,
                request.messages,
                tools=request.tools,
                template_kwargs=request.template_kwargs,
                add_generation_prompt=True,
            )
            continuation = habits(self.template, self.tokenizer, request.template_kwargs).lead + continuation
            before, whole = ids_of(self.tokenizer, [rendered, rendered + continuation])
        if whole[: len(before)] == before:
            return whole[len(before) :]
        return continuation_ids(self.tokenizer, continuation)

    def _check_length(self, prompt: Prompt) -> None:
        limit = self.context
        if not prompt.ids:
            raise HeedError(
                "The prompt is empty and the tokenizer has no token that opens a text.",
                mend="give at least one character",
            )
        if limit is not None and len(prompt.ids) >= limit:
            raise HeedError(
                f"The prompt is too long: {len(prompt.ids):,} tokens; the model's context holds {limit:,}, "
                "one of them for the reply at least.",
                mend="shorten the messages, or drop the oldest turns",
            )

    def _listener(
        self,
        request: Request,
        prompt: Prompt,
        sampling: Sampling,
        on_text: Callable[[str], None] | None,
        on_thought: Callable[[str], None] | None,
    ) -> _Listener:
        reading = self._reading(request, prompt, sampling)
        form = call_format(self.template, self.tokenizer) if request.tools else None
        # Special tokens have no text for a reader, but a template may mark reasoning, a call or an answer by them.
        marks = reading.lead + "".join(reading.think or ()) + (form.opening + form.closing if form else "")
        hidden = frozenset(token for text, token in self._special.items() if text not in marks)
        stream = TextStream(self.tokenizer, prompt.ids, hidden)
        names = frozenset(str(tool.get("function", tool).get("name")) for tool in request.tools)
        return _Listener(stream, reading, on_text, on_thought, None if form is None else (form, names))

    def _reading(self, request: Request, prompt: Prompt, sampling: Sampling) -> Reading:
        stops = tuple(stop for stop in sampling.stop if stop and stop not in self._special)
        if request.text is not None:
            return Reading(stops)
        found = habits(self.template, self.tokenizer, request.template_kwargs)
        if found.thought is not None:
            opening, closing = (text.strip() for text in found.thought)
            closed = not opening and prompt.text.rstrip().endswith(closing)  # an empty block stands in the prompt
            think = None if closed or not closing else (opening, closing)
        elif _USUAL_TAGS[1] in self.template.source:  # a template that drops reasoning from the history
            opened = prompt.text.rstrip().endswith(_USUAL_TAGS[0])
            think = ("" if opened else _USUAL_TAGS[0], _USUAL_TAGS[1])
        else:
            think = None
        return Reading((*stops, *self.template.stop_strings), found.lead, think)


class _Listener:
    """Hears the tokens of one reply: knows when a stop text was met, and hands on what may be shown."""

    def __init__(
        self,
        stream: TextStream,
        reading: Reading,
        on_text: Callable[[str], None] | None,
        on_thought: Callable[[str], None] | None,
        calls: tuple[CallFormat, frozenset[str]] | None,
    ) -> None:
        self.stream = stream
        self.reading = reading
        self._on_text = on_text
        self._on_thought = on_thought
        self._calls = calls
        self._shown = self._thought = 0

    def hear(self, token: int) -> bool:
        """Take one token (never a stop id); whether the reply ends here."""
        before = len(self.stream.text)
        self.stream.push(token)
        text = self.stream.text
        if len(text) == before:
            return False
        longest = max(map(len, self.reading.stops), default=0)
        if stop_place(text, self.reading.stops, max(0, before - longest)) >= 0:
            return True
        if self._on_thought is not None and not self._shown:
            self.show_thought(thinkable(text, self.reading))
        if self._on_text is not None:
            answer = showable(text, self.reading)
            self.show(answer if self._calls is None else before_calls(answer, self._calls[0]))
        return False

    def show(self, answer: str) -> None:
        """Hand on what is new in `answer`, which only ever grows."""
        if self._on_text is not None and len(answer) > self._shown:
            self._on_text(answer[self._shown :])
            self._shown = len(answer)

    def show_thought(self, thought: str) -> None:
        """The same for the reasoning."""
        if self._on_thought is not None and len(thought) > self._thought:
            self._on_thought(thought[self._thought :])
            self._thought = len(thought)

    def without_calls(self, answer: str) -> Called:
        """The finished answer, its tool calls apart."""
        return Called(answer, ()) if self._calls is None else read_calls(answer, *self._calls)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request on its way: what the model is sent, the job that makes the reply, and who hears it."""

    prompt: Prompt
    job: Job
    listener: _Listener


def _told(on_text: Callable[[int, str], None] | None, index: int) -> Callable[[str], None] | None:
    return None if on_text is None else lambda piece: on_text(index, piece)


def load_chat(
    path: str | Path,
    template: str | None = None,
    *,
    name: str | None = None,
    device: str | None = None,
    batch_size: int = 64,
) -> LocalChat:
    """A chat over a model folder, a run, `atlas` or a hub id; weights from safetensors only, in the dtype that
    `serving_dtype` chooses for the device.

    template: a built-in chat template or a Jinja file; None takes the tokenizer's own.   device: "cpu", "cuda", "mps";
    None takes the best there is.
    """
    folder = resolve(path)
    tokenizer = load_tokenizer(folder)
    place = pick_device(device or "auto")
    model = load_model(folder, device=place, dtype=serving_dtype(place))
    make_room(model, tokenizer)
    return LocalChat(
        model, tokenizer, load_template(template, tokenizer), name=name or Path(path).name, batch_size=batch_size
    )


def _all_stop_ids(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, template: ChatTemplate
) -> tuple[int, ...]:
    """Stop ids of the template, of the tokenizer and of the model's own generation settings."""
    ids = set(stop_ids(template, tokenizer))
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    configured = model.generation_config.eos_token_id if model.generation_config is not None else None
    ids.update([configured] if isinstance(configured, int) else configured or [])
    return tuple(sorted(ids))


def _opening_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The token that opens a text: BOS, or EOS for models that separate texts by it; empty where there is neither."""
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return (int(token),)
    return ()
