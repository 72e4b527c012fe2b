"""The one renderer: messages become the text that a model sees.

Everything that a model reads, in training, evaluation, chat and serving, is made by `render`, through the Jinja
sandbox of the tokenizer's own library, because that is what every server does with the template in a checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from heedlm.errors import HeedError
from heedlm.messages import JSON, Message, Request
from heedlm.templates.controls import Controls, controls_of, sanitize_json, sanitize_with

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Grade = Literal["hard", "soft"]


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """The wire format of one model.

    source: Jinja text, exactly what is written into the checkpoint as chat_template.jinja.
    grade: "hard" where control tokens, which no user can type, part the turns; "soft" where ordinary text does.
    markers: added tokens that it puts together from pieces, so that they cannot be read off the source.
    stop_strings: texts that open the next turn in a soft format; a server that meets one ends the answer there.
    note: what was chosen or changed on loading, to be shown; empty when the template is as it was found.
    """

    name: str
    source: str
    grade: Grade = "hard"
    markers: tuple[str, ...] = ()
    stop_strings: tuple[str, ...] = ()
    note: str = ""


def render(
    template: ChatTemplate,
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    *,
    tools: Sequence[Mapping[str, JSON]] = (),
    template_kwargs: Mapping[str, JSON] | None = None,
    add_generation_prompt: bool,
) -> str:
    """The text of `messages` on the wire, with seams in control tokens that somebody typed (see `templates.controls`).

    Turn it into ids with `tokens.encode`, never with the tokenizer's own insertion of special tokens: the template
    writes those. Raises HeedError with the template's own reason when it refuses the conversation.
    """
    from jinja2.exceptions import TemplateError

    if not messages:
        raise HeedError(
            f"The template {template.name!r} cannot render an empty conversation.", mend="Give it at least one message."
        )
    controls = template_controls(template, tokenizer)
    mend = "Change the conversation to what the template accepts, or choose another with templates.chat."
    if any(message.role == "system" for message in messages):
        mend += " If it takes no system text, put that at the head of the first user turn."
    try:
        text = tokenizer.apply_chat_template(
            [_wire_message(controls, message) for message in messages],
            tools=[sanitize_json(controls, tool) for tool in tools] or None,
            chat_template=template.source,
            add_generation_prompt=add_generation_prompt,
            tokenize=False,
            **{key: sanitize_json(controls, value) for key, value in (template_kwargs or {}).items()},
        )
    # A template is a program: besides its own refusals it can fail in Python's ways (a missing key, text plus None).
    except (TemplateError, TypeError, ValueError, KeyError, AttributeError, IndexError, ArithmeticError) as error:
        raise HeedError(
            f"The template {template.name!r} refuses this conversation: {error}",
            mend=mend,
        ) from error
    assert isinstance(text, str)
    _refuse_half_characters(text)
    return text


def _refuse_half_characters(text: str) -> None:
    """JSON can spell one half of a UTF-16 pair; no tokenizer can."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise HeedError(
            f"The text holds half a character ({text[error.start]!r}).",
            mend="Write the whole character: a pair of \\u escapes, or the character itself.",
        ) from error


def render_request(
    template: ChatTemplate, tokenizer: PreTrainedTokenizerBase, request: Request, *, answered: bool = False
) -> str:
    """`render` for a request of messages: what a server sends, or (answered) what it holds once its last turn is told."""
    return render(
        template,
        tokenizer,
        request.messages,
        tools=request.tools,
        template_kwargs=request.template_kwargs,
        add_generation_prompt=not answered,
    )


def template_controls(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> Controls:
    """The tokens that only this template may write."""
    return controls_of(tokenizer, template.source, template.markers)


def _wire_message(controls: Controls, message: Message) -> dict[str, Any]:
    """A message in the shape that templates read (that of OpenAI's API, with `reasoning_content` beside `content`)."""
    wire: dict[str, Any] = {"role": message.role, "content": sanitize_with(controls, message.content).text}
    if message.reasoning is not None:
        wire["reasoning_content"] = sanitize_with(controls, message.reasoning).text
    if message.tool_calls:
        wire["tool_calls"] = [
            {
                "type": "function",
                **({"id": sanitize_with(controls, call.id).text} if call.id is not None else {}),
                "function": {
                    "name": sanitize_with(controls, call.name).text,
                    "arguments": sanitize_json(controls, call.arguments),
                },
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        wire["tool_call_id"] = sanitize_with(controls, message.tool_call_id).text
    return wire
