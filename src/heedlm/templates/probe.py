"""What a template does, found by rendering small conversations of known words.

Nothing here is looked up by a template's name: terminators, stop ids, what stands before an answer, injected system
texts and the strength of a format are all read off renderings, so an edited or unknown template is treated like a
famous one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from heedlm.errors import HeedError
from heedlm.messages import JSON, Message, Request, ToolCall
from heedlm.templates.controls import special_tokens
from heedlm.templates.render import ChatTemplate, Grade, render, render_request, template_controls

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Words that no template writes, that survive trimming and that hold nothing a template splits at.
ASKED, ANSWERED, ASKED_AGAIN, THOUGHT, RULED = "Qaskedq", "Qansweredq", "Qagainq", "Qthoughtq", "Qruledq"
# Reads differently in different vocabularies: letters of three scripts, figures, signs, white space.
SAMPLE = "Sphinx of black quartz, judge my vow: 1 20 300.45! Zwölf Boxkämpfer, नमस्ते दुनिया.\n\tfor i in range(10):\n"
USER, ASSISTANT = Message("user", ASKED), Message("assistant", ANSWERED)
THINKING = Message("assistant", ANSWERED, reasoning=THOUGHT)
CALL = ToolCall("qlookupq", {"word": ANSWERED}, id="canary123")  # nine characters: some templates insist
TOOL: Mapping[str, JSON] = {
    "type": "function",
    "function": {
        "name": CALL.name,
        "description": "Look up a word.",
        "parameters": {"type": "object", "properties": {"word": {"type": "string", "description": "The word."}}},
    },
}


@dataclass(frozen=True, slots=True)
class Habits:
    """What a template writes around the text of a single answer.

    lead: between generation prompt and answer text (" " in ``Assistant: hi``; an empty think block); "" where the
        prompt is not a beginning of what follows, so that no boundary is exact.
    tail: behind the answer text, up to and including `stop`; all of what follows where there is no stop.
    stop: the control token that ends an answer; "" where the template writes none.
    thought: the texts before and behind a reasoning, inside the answer; None where reasoning is not rendered.
    """

    lead: str
    tail: str
    stop: str
    thought: tuple[str, str] | None


def habits(
    template: ChatTemplate, tokenizer: PreTrainedTokenizerBase, template_kwargs: Mapping[str, JSON] | None = None
) -> Habits:
    """The habits of `template` under these kwargs. Raises HeedError when it cannot render a question and answer."""
    kwargs_json = json.dumps(dict(template_kwargs or {}), sort_keys=True)
    return _habits(template, tokenizer, kwargs_json, len(tokenizer), tokenizer.eos_token_id)


@lru_cache(maxsize=64)
def _habits(
    template: ChatTemplate, tokenizer: PreTrainedTokenizerBase, kwargs_json: str, size: int, eos: int | None
) -> Habits:
    """Keyed by vocabulary size and eos as well, since both decide which texts are control tokens."""
    kwargs = json.loads(kwargs_json)
    prompt = render(template, tokenizer, [USER], template_kwargs=kwargs, add_generation_prompt=True)
    whole = render(template, tokenizer, [USER, ASSISTANT], template_kwargs=kwargs, add_generation_prompt=False)
    at = whole.rfind(ANSWERED)
    if at < 0 or ASKED not in prompt:
        raise HeedError(
            f"The template {template.name!r} loses the text of a message.",
            mend="Choose another template with templates.chat.",
        )
    tail = whole[at + len(ANSWERED) :]
    mark = template_controls(template, tokenizer).pattern.search(tail)
    return Habits(
        lead=whole[len(prompt) : at] if whole.startswith(prompt) else "",
        tail=tail[: mark.end()] if mark else tail,
        stop=mark[0] if mark else "",
        thought=_thought(template, tokenizer, kwargs, prompt),
    )


def _thought(
    template: ChatTemplate, tokenizer: PreTrainedTokenizerBase, kwargs: Mapping[str, JSON], prompt: str
) -> tuple[str, str] | None:
    whole = rendering(template, tokenizer, [USER, THINKING], kwargs=kwargs)
    if whole is None or not whole.startswith(prompt) or THOUGHT not in whole or ANSWERED not in whole:
        return None
    before, behind = whole[len(prompt) : whole.rindex(ANSWERED)].split(THOUGHT, 1)
    return before, behind


def rendering(
    template: ChatTemplate,
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    *,
    tools: Sequence[Mapping[str, JSON]] = (),
    kwargs: Mapping[str, JSON] | None = None,
) -> str | None:
    """The rendering of a conversation, or None where the template refuses it."""
    try:
        return render(template, tokenizer, messages, tools=tools, template_kwargs=kwargs, add_generation_prompt=False)
    except HeedError:
        return None


def stop_texts(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """The control tokens that end a reply: behind an answer, behind a tool call, and the tokenizer's own eos."""
    return _stop_texts(template, tokenizer, len(tokenizer), tokenizer.eos_token_id)


@lru_cache(maxsize=32)
def _stop_texts(
    template: ChatTemplate, tokenizer: PreTrainedTokenizerBase, size: int, eos: int | None
) -> tuple[str, ...]:
    found = [habits(template, tokenizer).stop]
    calling = rendering(template, tokenizer, [USER, Message("assistant", "", tool_calls=(CALL,))], tools=[TOOL])
    if found[0] and calling is not None and ANSWERED in calling:
        marks = template_controls(template, tokenizer).pattern.findall(calling, calling.rindex(ANSWERED))
        # A closing tag may come first, flagged special or not; what ends the turn is special, and the last.
        if found[0] not in marks and marks and marks[-1] in special_tokens(tokenizer):
            found.append(marks[-1])
    found.extend(text for text in (tokenizer.eos_token,) if tokenizer.eos_token_id is not None)
    return tuple(dict.fromkeys(text for text in found if text))


def stop_ids(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Ids that end a reply, the template's own terminator first; for generation_config and for every decoder of ours.

    Raises HeedError when nothing could end a reply.
    """
    ids = template_controls(template, tokenizer).ids
    stops = tuple(dict.fromkeys(ids[text] for text in stop_texts(template, tokenizer)))
    if not stops:
        raise HeedError(
            f"Nothing ends a reply: the template {template.name!r} has no terminator and the tokenizer no eos token.",
            mend="Give the tokenizer an eos_token, or choose another template with templates.chat.",
        )
    return stops


def grade_of(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> tuple[Grade, tuple[str, ...]]:
    """ "hard" when a control token stands at every change of speaker, else "soft" with the text that opens a turn."""
    text = two_turns(template, tokenizer)
    if text is None:
        return "soft", ()
    search = template_controls(template, tokenizer).pattern.search
    to_assistant = text[text.index(ASKED) + len(ASKED) : text.index(ANSWERED)]
    to_user = text[text.index(ANSWERED) + len(ANSWERED) : text.index(ASKED_AGAIN)]
    if search(to_assistant) and search(to_user):
        return "hard", ()
    stop = habits(template, tokenizer).stop
    opening = (to_user.split(stop, 1)[-1] if stop else to_user).rstrip()
    return "soft", (opening,) if opening else ()


def two_turns(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """A conversation of question, answer, question; None where the template refuses, reorders or loses one of them."""
    text = rendering(template, tokenizer, [USER, ASSISTANT, Message("user", ASKED_AGAIN)])
    if text is None:
        return None
    places = [text.find(word) for word in (ASKED, ANSWERED, ASKED_AGAIN)]
    return text if -1 < places[0] < places[1] < places[2] else None


def written_markers(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Added tokens, not flagged special, that occur in renderings of the template though not in its source."""
    calling = Message("assistant", ANSWERED, tool_calls=(CALL,))
    texts = [
        rendering(template, tokenizer, [Message("system", RULED), USER, THINKING, Message("user", ASKED_AGAIN)]),
        rendering(template, tokenizer, [USER, THINKING]),
        rendering(template, tokenizer, [USER, ASSISTANT, Message("user", ASKED_AGAIN)]),
        rendering(template, tokenizer, [USER, calling, Message("tool", ANSWERED, tool_call_id=CALL.id)], tools=[TOOL]),
        render(template, tokenizer, [USER], add_generation_prompt=True),
    ]
    written = "\n".join(text for text in texts if text)
    added = (str(token.content) for token in tokenizer.added_tokens_decoder.values() if not token.special)
    found = (text for text in added if text in written and text not in template.source)
    return tuple(sorted(text for text in found if not text.isspace()))


def fingerprint(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> str:
    """64 hex digits that change when the template, its stop ids or the tokenizer's reading of its text change.

    A token added for padding does not change it: nothing that is rendered reads differently.
    """
    asked = Request((Message("user", SAMPLE),))
    told = Request((*asked.messages, Message("assistant", SAMPLE)))
    texts = render_request(template, tokenizer, asked), render_request(template, tokenizer, told, answered=True)
    facts = {
        "source": template.source,
        "stop": stop_ids(template, tokenizer),
        "ids": [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
