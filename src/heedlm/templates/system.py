"""The system text that a template puts in by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heedlm.messages import Message
from heedlm.templates.probe import ANSWERED, ASKED, ASKED_AGAIN, RULED, USER, rendering, two_turns
from heedlm.templates.render import ChatTemplate, render, template_controls

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def default_system(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The system text that the template puts in when a conversation has none, or adds in any case; None when it adds
    none.

    Found by comparing a question alone with a question behind a known system text, and with the head of a second
    question.
    """
    alone = render(template, tokenizer, [USER], add_generation_prompt=False)
    head = alone[: alone.index(ASKED)]
    ruled = rendering(template, tokenizer, [Message("system", RULED), USER])
    if ruled is not None and RULED in ruled[: ruled.find(ASKED)]:
        ruled_head = ruled[: ruled.index(ASKED)]
        before, after = ruled_head.split(RULED, 1)
        if head.startswith(before) and head.endswith(after) and len(head) > len(before) + len(after):
            text = _words_only(template, tokenizer, head[len(before) : len(head) - len(after)])
            if text:
                return text
    turns = two_turns(template, tokenizer)
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
