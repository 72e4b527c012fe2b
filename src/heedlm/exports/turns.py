"""A chat template as what it writes between two turns, read off its renderings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from heedlm.errors import HeedError
from heedlm.exports.source import Source
from heedlm.messages import Message
from heedlm.templates.probe import ANSWERED, ASKED, ASKED_AGAIN, RULED
from heedlm.templates.render import render

_START, _END = "", "end"


@dataclass(frozen=True, slots=True)
class Turns:
    """between[before, after]: the text between the contents of two turns, by their roles; "" before the first turn, "end"
    where the answer begins.   trims: the template takes white space off the ends of a message.
    """

    between: Mapping[tuple[str, str], str]
    trims: bool


def turns_of(source: Source) -> Turns:
    """What the template of a model writes between turns. Raises HeedError where that is not all that it does."""
    user, answer, again = Message("user", ASKED), Message("assistant", ANSWERED), Message("user", ASKED_AGAIN)
    one = _pieces(source, [user])
    two = _pieces(source, [user, answer, again])
    between = {(_START, "user"): one[0], ("user", _END): one[1]}
    between |= {("user", "assistant"): two[1], ("assistant", "user"): two[2]}
    if two[0] != one[0] or two[3] != one[1]:
        raise HeedError(
            f"The template {source.template.name!r} writes a first or last turn otherwise where there are several: text "
            "between turns does not say all of it.",
            source.folder,
            "use --to gguf with llama.cpp's own server, which reads the template itself",
        )
    try:
        ruled = _pieces(source, [Message("system", RULED), user])
        between |= {(_START, "system"): ruled[0], ("system", "user"): ruled[1]}
    except HeedError:
        pass  # a template without system texts; the note of the export says so
    spaced = render(source.template, source.tokenizer, [Message("user", f" {ASKED} ")], add_generation_prompt=True)
    return Turns(between, trims=f" {ASKED} " not in spaced)


def _pieces(source: Source, messages: Sequence[Message]) -> list[str]:
    """The text before, between and behind the contents of a conversation."""
    text = render(source.template, source.tokenizer, messages, add_generation_prompt=True)
    pieces = []
    for message in messages:
        before, found, text = text.partition(message.content)
        if not found:
            raise HeedError(
                f"The template {source.template.name!r} leaves out or moves a {message.role} text.",
                source.folder,
                "choose --to gguf, whose server reads the template itself",
            )
        pieces.append(before)
    return [*pieces, text]
