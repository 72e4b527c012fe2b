"""What tuning cost: how well plain text is still predicted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from heedlm.eval.results import Forgetting
from heedlm.eval.stats import Interval
from heedlm.messages import Chat, Request


def bits_per_byte(chat: Chat, texts: Sequence[str], *, batch: int = 32) -> float:
    """Bits that the model needs per UTF-8 byte of these texts, each read from its beginning; lower is better.

    Comparable across tokenizers, unlike the loss per token. Every text fits the model's context (see `pieces`).
    """
    return _per_byte(_bits(chat, texts, batch), texts)


def _bits(chat: Chat, texts: Sequence[str], batch: int = 32) -> list[float]:
    """Bits of each text, in order."""
    assert any(texts), "bits per byte need text"
    found = [0.0] * len(texts)
    order = sorted((index for index, text in enumerate(texts) if text), key=lambda index: -len(texts[index]))
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        scored = chat.score([Request(text="")] * len(part), [texts[index] for index in part])
        for index, logprobs in zip(part, scored, strict=True):
            found[index] = -math.fsum(logprobs) / math.log(2)
    return found


def _per_byte(bits: Sequence[float], texts: Sequence[str]) -> float:
    return math.fsum(bits) / sum(len(text.encode()) for text in texts)


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


class Measured(NamedTuple):
    """What was forgotten. rise: 95 % interval of the relative rise in bits per byte of the known text; None
    where that is one text only."""

    bits: Forgetting
    rise: Interval | None


def forgetting(before: Chat, after: Chat, known: Sequence[str], other: Sequence[str], *, seed: int = 0) -> Measured:
    """Both models on both texts. known: held-out text of the kind pretrained on.   other: text of another kind."""
    old, new = _bits(before, known), _bits(after, known)
    bits = Forgetting(
        before=_per_byte(old, known),
        after=_per_byte(new, known),
        other_before=bits_per_byte(before, other),
        other_after=bits_per_byte(after, other),
    )
    return Measured(bits, _rise(old, new, seed))


def _rise(old: Sequence[float], new: Sequence[float], seed: int, resamples: int = 2000) -> Interval | None:
    """A bootstrap over texts of how much the sum of `new` is above that of `old`; one text tells nothing."""
    import numpy as np

    if len(old) < 2:
        return None
    weights = np.random.default_rng(seed).multinomial(len(old), [1 / len(old)] * len(old), size=resamples)
    rises = (weights @ np.asarray(new)) / (weights @ np.asarray(old)) - 1
    low, high = np.quantile(rises, [0.025, 0.975])
    return Interval(float(low), float(high))
