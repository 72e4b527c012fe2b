"""What the model will see, token for token, with the learned part marked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from heedlm.messages import Encoded, Example
from heedlm.templates.chat import ChatTemplate
from heedlm.tokens.encode import encode_example

if TYPE_CHECKING:
    from rich.console import Group
    from transformers import PreTrainedTokenizerBase

OPEN, CLOSE = "[[", "]]"


class Shown(NamedTuple):
    """One sequence, decoded. pieces: stretches of text, each learned or not, in order."""

    title: str
    pieces: tuple[tuple[str, bool], ...]
    num_tokens: int
    num_learned: int


def show(
    template: ChatTemplate,
    tokenizer: PreTrainedTokenizerBase,
    examples: Iterable[Example],
    limit: int,
    *,
    learn_reasoning: bool = True,
) -> Group:
    """The first `limit` examples for a rich console: learned text in green, everything else dimmed, with counts."""
    from rich.console import Group
    from rich.text import Text

    lines: list[Text] = []
    for shown in shown_sequences(template, tokenizer, examples, limit, learn_reasoning=learn_reasoning):
        lines.append(Text(_heading(shown), style="bold"))
        body = Text()
        for text, learned in shown.pieces:
            body.append(text, style="bold green" if learned else "dim")
        lines.extend([body, Text()])
    return Group(*lines)


def show_plain(
    template: ChatTemplate,
    tokenizer: PreTrainedTokenizerBase,
    examples: Iterable[Example],
    limit: int,
    *,
    learn_reasoning: bool = True,
) -> str:
    """The same without colour: learned text stands between [[ and ]]."""
    blocks = []
    for shown in shown_sequences(template, tokenizer, examples, limit, learn_reasoning=learn_reasoning):
        body = "".join(OPEN + text + CLOSE if learned else text for text, learned in shown.pieces)
        blocks.append(f"{_heading(shown)}\n{body}\n")
    return "\n".join(blocks)


def shown_sequences(
    template: ChatTemplate,
    tokenizer: PreTrainedTokenizerBase,
    examples: Iterable[Example],
    limit: int,
    *,
    learn_reasoning: bool = True,
) -> list[Shown]:
    """The sequences of the first `limit` examples, decoded from their ids: what is trained, not what was meant."""
    shown = []
    for example, _ in zip(examples, range(limit), strict=False):
        sequences = encode_example(template, tokenizer, example, learn_reasoning=learn_reasoning)
        for number, encoded in enumerate(sequences, start=1):
            part = f", sequence {number} of {len(sequences)}" if len(sequences) > 1 else ""
            shown.append(
                Shown(
                    f"{example.id} ({example.source}){part}",
                    tuple(_pieces(tokenizer, encoded)),
                    len(encoded.ids),
                    sum(weight > 0 for weight in encoded.weights),
                )
            )
    return shown


def _pieces(tokenizer: PreTrainedTokenizerBase, encoded: Encoded) -> list[tuple[str, bool]]:
    """Stretches of equal learnedness, each decoded behind all before it, so that no blank between them is lost."""
    pieces: list[tuple[str, bool]] = []
    end, text = 0, ""
    for learned, run in groupby(encoded.weights, key=lambda weight: weight > 0):
        end += len(list(run))
        longer = _decode(tokenizer, encoded.ids[:end])
        pieces.append((longer[len(text) :], learned))
        text = longer
    return pieces


def _decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _heading(shown: Shown) -> str:
    return f"{shown.title}: {shown.num_tokens} tokens, {shown.num_learned} learned"
