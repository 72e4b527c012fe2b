"""From the ids of a reply to the text that a person may see, while the reply is still being made.

Three things must never be shown: half a character (a character may span several tokens), the beginning of a stop text,
and the reasoning that a template keeps apart.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

_BROKEN = "\ufffd"  # what a decoder shows for bytes that are not yet a whole character
_CONTEXT_IDS = 8  # prompt tokens decoded along with a reply, so that a leading space is neither lost nor invented


class Parts(NamedTuple):
    """A reply taken apart. reasoning is None where there was none."""

    reasoning: str | None
    answer: str


@dataclass(frozen=True, slots=True)
class Reading:
    """How the text of one reply is to be read.

    stops: texts that end it and are cut off.   lead: what the template puts before an answer; taken off.
    think: opening and closing tag of reasoning, or None; an empty opening tag: the prompt has opened it already.
    """

    stops: tuple[str, ...] = ()
    lead: str = ""
    think: tuple[str, str] | None = None


class TextStream:
    """The text of one reply, token by token.

    hidden: ids that have no text for a reader (special tokens).
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, prompt_ids: Sequence[int], hidden: Container[int] = ()
    ) -> None:
        self._tokenizer = tokenizer
        self._hidden = hidden
        self._ids = [token for token in prompt_ids[-_CONTEXT_IDS:] if token not in hidden]
        self._settled = 0  # ids before it can no longer change the text
        self._read = len(self._ids)
        self._known = decoded(tokenizer, self._ids).rstrip(_BROKEN)
        self.text = ""

    def push(self, token: int) -> None:
        """Add one token; `text` grows by the characters that no later token can change."""
        if token in self._hidden:
            return
        self._ids.append(token)
        window = decoded(self._tokenizer, self._ids[self._settled :])
        solid = window.rstrip(_BROKEN)
        if not solid.startswith(self._known):
            return  # bytes of one character are still being put together: a later token, or `close`, settles it
        self.text += solid[len(self._known) :]
        self._known = solid
        if solid == window:
            self._settled, self._read = self._read, len(self._ids)
            self._known = decoded(self._tokenizer, self._ids[self._settled :])

    def extend(self, tokens: Sequence[int]) -> None:
        """Add many tokens at once, before `close`: cheaper than one by one where nobody listens in between."""
        self._ids.extend(token for token in tokens if token not in self._hidden)

    def close(self) -> None:
        """Nothing more will come: what was held back for want of a whole character is shown as it is."""
        window = decoded(self._tokenizer, self._ids[self._settled :])
        self.text += window[len(self._known) :]
        self._known = window


def decoded(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """Text of `ids`, exactly as the tokens say it, special ones included."""
    text = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    assert isinstance(text, str), "one row of ids is one text"
    return text


def stop_place(text: str, stops: Sequence[str], start: int = 0) -> int:
    """Where the earliest stop text begins in `text`, searched from `start`; -1 if there is none."""
    places = [place for stop in stops if (place := text.find(stop, start)) >= 0]
    return min(places, default=-1)


def parts(text: str, reading: Reading) -> Parts:
    """The finished `text`: cut before the first stop text, reasoning apart, without the lead."""
    place = stop_place(text, reading.stops)
    return _split(text if place < 0 else text[:place], reading)


def showable(text: str, reading: Reading) -> str:
    """The beginning of the answer that is certain while `text` may still grow: a prefix of what `parts` will give."""
    if stop_place(text, reading.stops) >= 0:
        return parts(text, reading).answer
    text = text[: len(text) - _held(text, reading.stops)]
    if reading.think is not None:
        opening, closing = reading.think
        begun = text.lstrip()
        if not begun or (opening.startswith(begun) and begun != opening):
            return ""  # it may become reasoning
        if begun.startswith(opening) and closing not in text:
            return ""
    if reading.lead.startswith(text):
        return ""
    return _split(text, reading).answer


def thinkable(text: str, reading: Reading) -> str:
    """The beginning of the reasoning that is certain while `text` may still grow: a prefix of what `parts` will give."""
    if reading.think is None:
        return ""
    opening, closing = reading.think
    begun = text.lstrip()
    if not begun.startswith(opening):
        return ""
    thought, closed, _ = begun[len(opening) :].partition(closing)
    place = stop_place(thought, reading.stops)
    if place >= 0:
        thought = thought[:place]
    elif not closed:
        thought = thought[: len(thought) - _held(thought, (*reading.stops, closing))]
    return thought.strip()


def _held(text: str, stops: Sequence[str]) -> int:
    """How many characters at the end of `text` may be the beginning of a stop text."""
    longest = max(map(len, stops), default=0)
    for size in range(min(longest - 1, len(text)), 0, -1):
        if any(stop.startswith(text[-size:]) for stop in stops):
            return size
    return 0


def _split(text: str, reading: Reading) -> Parts:
    if reading.think is not None:
        opening, closing = reading.think
        begun = text.lstrip()
        if begun.startswith(opening):
            reasoning, _, answer = begun[len(opening) :].partition(closing)
            return Parts(reasoning.strip() or None, answer.lstrip("\n"))
    return Parts(None, text.removeprefix(reading.lead))
