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
from heedlm.messages import JSON, Message, ToolCall
from heedlm.templates.controls import special_tokens
from heedlm.templates.render import ChatTemplate, Grade, render, template_controls

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Words that no template writes, that survive trimming and that hold nothing a template splits at.
ASKED, ANSWERED, ASKED_AGAIN, THOUGHT, RULED = "Qaskedq", "Qansweredq", "Qagainq", "Qthoughtq", "Qruledq"
# Reads differently in different vocabularies: letters of three scripts, figures, signs, white space.
SAMPLE = "Sphinx of black quartz, judge my vow: 1 20 300.45! Zwölf Boxkämpfer, नमस्ते दुनिया.\n\tfor i in range(10):\n"
USER, ASSISTANT = Message("user", ASKED), Message("assistant", ANSWERED)
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

    prompted: whether the text with generation prompt is a prefix of the text with the answer; without that, no
    boundary is exact.
    lead: between generation prompt and answer text (" " in ``Assistant: hi``; an empty think block).
    tail: behind the answer text, up to and including `stop`; all of what follows where there is no stop.
    stop: the control token that ends an answer; "" where the template writes none.
    thought: the texts before and behind a reasoning, inside the answer; None where reasoning is not rendered.
    """

    prompted: bool
    lead: str
    tail: str
    stop: str
    thought: tuple[str, str] | None


def habits(
    template: ChatTemplate, tokenizer: PreTrainedTokenizerBase, template_kwargs: Mapping[str, JSON] | None = None
) -> Habits:
    """The habits of `template` under these kwargs. Raises HeedError when it cannot render a question and answer."""
    return _habits(template, tokenizer, json.dumps(dict(template_kwargs or {}), sort_keys=True), len(tokenizer))


@lru_cache(maxsize=64)
def _habits(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase, kwargs_json: str, size: int) -> Habits:
    kwargs = json.loads(kwargs_json)
    prompt = render(template, tokenizer, [USER], template_kwargs=kwargs, add_generation_prompt=True)
    whole = render(template, tokenizer, [USER, ASSISTANT], template_kwargs=kwargs, add_generation_prompt=False)
    at = whole.rfind(ANSWERED)
    if at < 0 or ASKED not in prompt:
        raise HeedError(
            f"The template {template.name!r} loses the text of a message.",
            mend="Choose another template with templates.chat.",
        )
    prompted = whole.startswith(prompt) and at >= len(prompt)
    tail = whole[at + len(ANSWERED) :]
    mark = template_controls(template, tokenizer).pattern.search(tail)
    return Habits(
        prompted=prompted,
        lead=whole[len(prompt) : at] if prompted else "",
        tail=tail[: mark.end()] if mark else tail,
        stop=mark[0] if mark else "",
        thought=_thought(template, tokenizer, kwargs, prompt),
    )


def _thought(
    template: ChatTemplate, tokenizer: PreTrainedTokenizerBase, kwargs: Mapping[str, JSON], prompt: str
) -> tuple[str, str] | None:
    thinking = Message("assistant", ANSWERED, reasoning=THOUGHT)
    whole = _try(template, tokenizer, [USER, thinking], kwargs=kwargs)
    if whole is None or THOUGHT not in whole or ANSWERED not in whole:
        return None
    start = len(prompt) if whole.startswith(prompt) else len(_common_prefix(prompt, whole))
    begin, end = whole.index(THOUGHT), whole.rindex(ANSWERED)
    return whole[start:begin], whole[begin + len(THOUGHT) : end]


def _common_prefix(one: str, other: str) -> str:
    length = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        length += 1
    return one[:length]


def _try(
    template: ChatTemplate,
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    *,
    tools: Sequence[Mapping[str, JSON]] = (),
    kwargs: Mapping[str, JSON] | None = None,
    add_generation_prompt: bool = False,
) -> str | None:
    """The rendering, or None where the template refuses such a conversation."""
    try:
        return render(
            template,
            tokenizer,
            messages,
            tools=tools,
            template_kwargs=kwargs,
            add_generation_prompt=add_generation_prompt,
        )
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
    calling = _try(template, tokenizer, [USER, Message("assistant", "", tool_calls=(CALL,))], tools=[TOOL])
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


def answer_lead(
    template: ChatTemplate, tokenizer: PreTrainedTokenizerBase, template_kwargs: Mapping[str, JSON] | None = None
) -> str:
    """What a reply starts with before its text (the blank in ``Assistant: hi``): to be taken off a reply."""
    return habits(template, tokenizer, template_kwargs).lead


def grade_of(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> Grade:
    """ "hard" when a control token stands at every change of speaker, else "soft"."""
    text = _two_turns(template, tokenizer)
    if text is None:
        return "soft"
    search = template_controls(template, tokenizer).pattern.search
    to_assistant = text[text.index(ASKED) + len(ASKED) : text.index(ANSWERED)]
    to_user = text[text.index(ANSWERED) + len(ANSWERED) : text.index(ASKED_AGAIN)]
    return "hard" if search(to_assistant) and search(to_user) else "soft"


def next_turn_text(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> str:
    """What stands between the end of an answer and the next question, trailing white space removed; "" when unknown."""
    text = _two_turns(template, tokenizer)
    if text is None:
        return ""
    between = text[text.index(ANSWERED) + len(ANSWERED) : text.index(ASKED_AGAIN)]
    stop = habits(template, tokenizer).stop
    return (between.split(stop, 1)[-1] if stop else between).rstrip()


def _two_turns(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """A conversation of question, answer, question; None where the template refuses, reorders or loses one of them."""
    text = _try(template, tokenizer, [USER, ASSISTANT, Message("user", ASKED_AGAIN)])
    if text is None:
        return None
    places = [text.find(word) for word in (ASKED, ANSWERED, ASKED_AGAIN)]
    return text if -1 < places[0] < places[1] < places[2] else None


def written_markers(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Added tokens, not flagged special, that occur in renderings of the template though not in its source."""
    thinking = Message("assistant", ANSWERED, reasoning=THOUGHT)
    calling = Message("assistant", ANSWERED, tool_calls=(CALL,))
    texts = [
        _try(template, tokenizer, [Message("system", RULED), USER, thinking, Message("user", ASKED_AGAIN)]),
        _try(template, tokenizer, [USER, thinking]),
        _try(template, tokenizer, [USER, ASSISTANT, Message("user", ASKED_AGAIN)], add_generation_prompt=True),
        _try(template, tokenizer, [USER, calling, Message("tool", ANSWERED, tool_call_id=CALL.id)], tools=[TOOL]),
    ]
    written = "\n".join(text for text in texts if text)
    added = (str(token.content) for token in tokenizer.added_tokens_decoder.values() if not token.special)
    found = (text for text in added if text in written and text not in template.source)
    return tuple(sorted(text for text in found if not text.isspace()))


def default_system(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The system text that the template puts in when a conversation has none, or adds in any case; None when it adds
    none.

    Found by comparing a question alone with a question behind a known system text, and with the head of a second
    question.
    """
    alone = render(template, tokenizer, [USER], add_generation_prompt=False)
    head = alone[: alone.index(ASKED)]
    ruled = _try(template, tokenizer, [Message("system", RULED), USER])
    if ruled is not None and RULED in ruled[: ruled.find(ASKED)]:
        ruled_head = ruled[: ruled.index(ASKED)]
        before, after = ruled_head.split(RULED, 1)
        if head.startswith(before) and head.endswith(after) and len(head) > len(before) + len(after):
            text = _words_only(template, tokenizer, head[len(before) : len(head) - len(after)])
            if text:
                return text
    turns = _two_turns(template, tokenizer)
    if turns is None:
        return None
    # Marks are levelled, so that a BOS is not told from other marks by its letters.
    level = template_controls(template, tokenizer).pattern
    head = level.sub("\0", head)
    between = level.sub("\0", turns[turns.index(ANSWERED) + len(ANSWERED) : turns.index(ASKED_AGAIN)])
    shared = 0
    while shared < min(len(head), len(between)) and head[-1 - shared] == between[-1 - shared]:
        shared += 1
    return _words_only(template, tokenizer, head[: len(head) - shared]) or None


def _words_only(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """`text` without control tokens, without a role name alone on its line, and without white space around it."""
    lines = template_controls(template, tokenizer).pattern.sub("\n", text).replace("\0", "\n").split("\n")
    kept = [line for line in lines if line.strip() not in ("system", "developer", "user")]
    return "\n".join(kept).strip()


def fingerprint(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> str:
    """64 hex digits that change when the template, its stop ids or the tokenizer's reading of its text change.

    A token added for padding does not change it: nothing that is rendered reads differently.
    """
    texts = [
        render(
            template, tokenizer, [Message("user", SAMPLE), Message("assistant", SAMPLE)], add_generation_prompt=False
        ),
        render(template, tokenizer, [Message("user", SAMPLE)], add_generation_prompt=True),
    ]
    facts = {
        "source": template.source,
        "stop": stop_ids(template, tokenizer),
        "ids": [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
