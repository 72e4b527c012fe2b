"""What tuning cost: how well plain text is still predicted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from heedlm.eval.results import Forgetting
from heedlm.messages import Chat, Request


def bits_per_byte(chat: Chat, texts: Sequence[str], *, batch: int = 32) -> float:
    """Bits that the model needs per UTF-8 byte of these texts, each read from its beginning; lower is better.

    Comparable across tokenizers, unlike the loss per token. Every text fits the model's context (see `pieces`).
    """
    texts = sorted((text for text in texts if text), key=len, reverse=True)
    assert texts, "bits per byte need text"
    nats = []
    for start in range(0, len(texts), batch):
        part = texts[start : start + batch]
        scored = chat.score([Request(text="")] * len(part), part)
        nats += [-math.fsum(logprobs) for logprobs in scored]
    return math.fsum(nats) / math.log(2) / sum(len(text.encode()) for text in texts)


def pieces(text: str, num_bytes: int) -> Iterator[str]:
    """The text cut into stretches of at most `num_bytes` UTF-8 bytes, at white space where there is some; nothing is
    lost."""
    assert num_bytes >= 4, "one character can take four bytes"
    while text:
        end = len(text.encode()[:num_bytes].decode(errors="ignore"))
        if end < len(text):
            space = max(text.rfind(" ", 0, end), text.rfind("\n", 0, end))
            end = space if space > 0 else end
        yield text[:end]
        text = text[end:]


def forgetting(before: Chat, after: Chat, known: Sequence[str], other: Sequence[str]) -> Forgetting:
    """Both models on both texts. known: held-out text of the kind pretrained on.   other: text of another kind."""
    return Forgetting(
        before=bits_per_byte(before, known),
        after=bits_per_byte(after, known),
        other_before=bits_per_byte(before, other),
        other_after=bits_per_byte(after, other),
    )
