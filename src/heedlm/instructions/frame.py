"""The frame that a compiled instruction goes into: a chat template with its tokenizer, and what it does to system texts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from heedlm.errors import HeedError, nearest
from heedlm.messages import Message
from heedlm.templates.chat import BUILT_IN, ChatTemplate, load_template, stop_ids
from heedlm.templates.controls import plain, special_tokens
from heedlm.templates.probe import ANSWERED, ASKED, ASKED_AGAIN, RULED, USER, habits, rendering, two_turns
from heedlm.templates.render import render, template_controls
from heedlm.templates.system import default_system

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MESSAGES, OWN, COMPLETION = "messages", "chat", "completion"
# What people may ask for: a list of messages, the model's own chat template, or one of the formats built in.
FORMATS = (MESSAGES, OWN, *(name for name in BUILT_IN if name != "base"), COMPLETION)
LONGEST_MARK = 40  # characters; a longer line of a template is a sentence, not a mark


class Sides(NamedTuple):
    """How a turn is opened. marks: texts at the start of a line.   lead: between generation prompt and answer.

    joins: nothing stands between a question and its answer.
    """

    marks: tuple[str, ...]
    lead: str
    joins: bool


@dataclass(frozen=True, eq=False)
class Frame:
    """A chat template and its tokenizer, with what was found out by rendering words of our own.

    format: one of `FORMATS`.   own: whether the model is served with this template, so that messages are all it needs.
    context: tokens that the model holds; 0 unknown.
    """

    format: str
    template: ChatTemplate
    tokenizer: PreTrainedTokenizerBase
    own: bool
    model: str = ""
    context: int = 0

    @cached_property
    def system(self) -> Literal["kept", "refused", "lost"]:
        """What the template does with a system text: "refused" with a word, "lost" without one."""
        told = rendering(self.template, self.tokenizer, [Message("system", RULED), USER])
        if told is None:
            return "refused"
        return "kept" if RULED in told and ASKED in told else "lost"

    @cached_property
    def hidden_system(self) -> str:
        """The system text that the template puts in where a conversation has none; "" for none."""
        try:
            return default_system(self.template, self.tokenizer) or ""
        except HeedError:
            return ""

    @cached_property
    def sides(self) -> Sides:
        return _sides(self.template, self.tokenizer)

    @cached_property
    def control_texts(self) -> tuple[str, ...]:
        """The control tokens of tokenizer and template, longest first."""
        texts = {*special_tokens(self.tokenizer), *template_controls(self.template, self.tokenizer).ids}
        return tuple(sorted((text for text in texts if len(text) > 1), key=lambda text: (-len(text), text)))

    @cached_property
    def stop(self) -> tuple[str, ...]:
        """Texts that end a reply in this frame: its control tokens, and the words that open the next turn."""
        ids = stop_ids(self.template, self.tokenizer)
        tokens = [str(token) for token in self.tokenizer.convert_ids_to_tokens(list(ids))]
        return tuple(dict.fromkeys((*tokens, *self.template.stop_strings)))

    @cached_property
    def bos_twice(self) -> bool:
        """Whether the tokenizer's own insertion would put a second BOS before what the template writes."""
        bos = self.tokenizer.bos_token
        text = render(self.template, self.tokenizer, [USER], add_generation_prompt=True)
        if not bos or not text.startswith(str(bos)):
            return False
        ids = self.tokenizer(text)["input_ids"]
        return list(ids[:2]) == [self.tokenizer.bos_token_id] * 2


def frame_of(
    tokenizer: PreTrainedTokenizerBase, format_: str = OWN, *, model: str = "", context: int = 0, own: str | None = None
) -> Frame:
    """The frame of a format for a tokenizer. own: the template that the model is served with, where not its tokenizer's.

    Raises HeedError for an unknown format, with the nearest.
    """
    if format_ not in FORMATS or format_ == MESSAGES:
        raise HeedError(f"there is no format {format_!r}", "--format", nearest(format_, FORMATS))
    name = own if format_ == OWN else "base" if format_ == COMPLETION else format_
    template = load_template(name, tokenizer)
    return Frame(format_, template, tokenizer, own=format_ == OWN, model=model, context=context)


def frame_for(model: str | Path, format_: str = OWN) -> Frame:
    """The frame of a format for a model by name, folder or run; its weights are not loaded. Raises HeedError."""
    from heedlm.model.load import configured_context, resolve
    from heedlm.tokens.tokenizer import load_tokenizer

    if format_ not in FORMATS or format_ == MESSAGES:
        raise HeedError(f"there is no format {format_!r}", "--format", nearest(format_, FORMATS))
    path = resolve(model)
    return frame_of(load_tokenizer(path), format_, model=str(model), context=configured_context(path) or 0)


def _sides(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> Sides:
    """The marks of a soft format, read off a conversation of known words; a hard one needs none."""
    asked = render(template, tokenizer, [USER], add_generation_prompt=True)
    joins = plain(asked).endswith(ASKED)
    lead = habits(template, tokenizer).lead
    if template.grade == "hard":
        return Sides((), lead, joins)
    texts = [two_turns(template, tokenizer), rendering(template, tokenizer, [Message("system", RULED), USER]), asked]
    between = "\n".join(text for text in texts if text)
    for word in (ASKED_AGAIN, ANSWERED, ASKED, RULED):
        between = between.replace(word, "\n")
    between = template_controls(template, tokenizer).pattern.sub("\n", between)
    lines = {line.strip() for line in between.split("\n")}
    marks = (line for line in lines if 1 < len(line) <= LONGEST_MARK)
    return Sides(tuple(sorted(marks, key=lambda line: (-len(line), line))), lead, joins)
