"""From examples to training sequences that fit, with an account of every row that does not.

A cut never falls inside an answer: a row that is too long is dropped, refused, or loses its oldest turns, each counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from heedlm.errors import HeedError, Problem
from heedlm.messages import Encoded, Example
from heedlm.templates.chat import ChatTemplate
from heedlm.tokens.encode import encode_examples
from heedlm.tokens.garbage import searched_once
from heedlm.tokens.proof import Proof, prove, require

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHOWN = 20  # problems of one kind that are worth a person's reading

Overflow = Literal["drop", "refuse", "oldest_turns"]


@dataclass(frozen=True, slots=True)
class Rows:
    """Sequences ready to pack. row_of[i]: index in `examples` of the row sequence i came from.

    dropped: rows that could not fit, as problems with their place.   shortened: rows that lost their oldest turns.
    """

    examples: tuple[Example, ...]
    sequences: tuple[Encoded, ...]
    row_of: tuple[int, ...]
    proof: Proof
    dropped: tuple[Problem, ...]
    shortened: int


def make_rows(
    template: ChatTemplate,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    max_tokens: int,
    overflow: Overflow,
    learn_reasoning: bool = True,
) -> Rows:
    """Encode, fit and prove a split. Raises HeedError when a row cannot be proved, or does not fit and may not be cut."""
    rows = fit_rows(
        template, tokenizer, examples, max_tokens=max_tokens, overflow=overflow, learn_reasoning=learn_reasoning
    )
    require_rows(rows.dropped, rows.proof, overflow)
    return rows


def require_rows(too_long: Sequence[Problem], proof: Proof, overflow: Overflow) -> None:
    """Raise HeedError for rows that may not be too long, or cannot be proved."""
    if too_long and overflow == "refuse":
        rest = len(too_long) - SHOWN
        more = [Problem(f"... and {rest:,} more rows that are too long.")] if rest > 0 else []
        raise HeedError.of([*too_long[:SHOWN], *more])
    require(proof)


@searched_once()
def fit_rows(
    template: ChatTemplate,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    max_tokens: int,
    overflow: Overflow,
    learn_reasoning: bool = True,
) -> Rows:
    """Encode, fit and check; what is wrong stands in `dropped` and in the proof (see `require_rows`)."""
    kept: list[Example] = []
    encoded: list[list[Encoded]] = []
    too_long: list[Problem] = []
    shortened = 0
    all_encoded = encode_examples(template, tokenizer, examples, learn_reasoning=learn_reasoning)
    numbers: list[int] = []
    for number, (example, sequences) in enumerate(zip(examples, all_encoded, strict=True)):
        length = max((len(s.ids) for s in sequences), default=0)
        if length > max_tokens and overflow == "oldest_turns":
            shorter = _without_oldest(template, tokenizer, example, max_tokens, learn_reasoning)
            if shorter is not None:
                example, sequences = shorter
                shortened += 1
                length = 0
        if length > max_tokens:
            what = f"Example is too long: {length:,} tokens, the limit is {max_tokens:,} (id {example.id})."
            mend = f"--set tokens.max_tokens={length} where the model's context allows, or --set tokens.overflow=drop"
            too_long.append(Problem(what, example.source, mend))
        else:
            kept.append(example)
            numbers.append(number)
            encoded.append(sequences)
    proof = prove(template, tokenizer, kept, encoded, learn_reasoning=learn_reasoning)
    flat = [(number, one) for number, group in zip(numbers, encoded, strict=True) for one in group]
    return Rows(
        tuple(kept),
        tuple(one for _, one in flat),
        tuple(number for number, _ in flat),
        proof,
        tuple(too_long),
        shortened,
    )


def _without_oldest(
    template: ChatTemplate, tokenizer: PreTrainedTokenizerBase, example: Example, max_tokens: int, learn_reasoning: bool
) -> tuple[Example, list[Encoded]] | None:
    """The example without its oldest exchanges (a leading system text stays), or None when its last alone is too long."""
    head = example.messages[:1] if example.messages[0].role == "system" else ()
    turns = example.messages[len(head) :]
    openings = [i for i, turn in enumerate(turns) if turn.role == "user" and (i == 0 or turns[i - 1].role != "user")]
    for start in openings[1:]:
        shorter = replace(example, messages=(*head, *turns[start:]))
        sequences = next(encode_examples(template, tokenizer, [shorter], learn_reasoning=learn_reasoning))
        if max(len(s.ids) for s in sequences) <= max_tokens:
            return shorter, sequences
    return None
