"""Segments become token ids and weights in one pass, with every completion boundary exact.

The rule: the ids before a learned run are the ids that a server would make of the same prompt. So each prompt is
tokenised alone and must be a prefix of the whole; where merges across the boundary break that, the completion is
tokenised on its own and put behind the prompt's ids, which is what generation does. No token is ever partly learned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, islice
from typing import TYPE_CHECKING, NamedTuple

from heedlm.errors import HeedError, Problem
from heedlm.messages import Encoded, Example, Request, Segment
from heedlm.templates.chat import ChatTemplate, plain, segments
from heedlm.templates.controls import SEAM
from heedlm.templates.render import render_request
from heedlm.tokens.boundary import Reading, read_with_ends
from heedlm.tokens.garbage import searched_once

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHUNK = 512  # examples per call: enough to keep the tokenizer's native side busy, few enough to hold in memory


class Prompt(NamedTuple):
    """What a model is sent. text: for a person, without seams.   ids: for the model."""

    text: str
    ids: tuple[int, ...]


class Stretch(NamedTuple):
    """A part of a sequence, which no token may straddle. opens: it begins an answer; what stands before is a prompt."""

    text: str
    weight: float
    opens: bool


def ids_of(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each rendered text: no special token is inserted, and text is cut at its seams."""
    if not texts:
        return []
    found: list[list[int]] = tokenizer(
        [text.split(SEAM, 1)[0] for text in texts],
        add_special_tokens=False,
        return_attention_mask=False,
        verbose=False,  # lengths are the caller's business: nothing is cut here, and a warning would be untrue
    )["input_ids"]
    for ids, text in zip(found, texts, strict=True):
        for piece in text.split(SEAM)[1:]:
            ids.extend(continuation_ids(tokenizer, piece))
    return found


def continuation_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of `text` as it follows other text: without the blank that some tokenizers put before a first word.

    Such a blank is avoided by tokenising behind a line break, which is then taken off again.
    """
    ids: list[int] = []
    newline = _blank_breaker(tokenizer)
    for piece in text.split(SEAM):
        if not piece:
            continue
        alone: list[int] = tokenizer(piece, add_special_tokens=False, verbose=False)["input_ids"]
        if newline:
            behind: list[int] = tokenizer("\n" + piece, add_special_tokens=False, verbose=False)["input_ids"]
            alone = behind[len(newline) :] if behind[: len(newline)] == newline else alone
        ids.extend(alone)
    return ids


@lru_cache(maxsize=16)
def _blank_breaker(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of a line break where the tokenizer puts a blank before a first word; empty where texts simply join."""
    ids: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]
    if str(tokenizer.decode(ids + ids)) == "aa":
        return []
    newline: list[int] = tokenizer("\n", add_special_tokens=False)["input_ids"]
    return newline


def encode(tokenizer: PreTrainedTokenizerBase, segments: Sequence[Segment]) -> Encoded:
    """Ids and weights of one sequence; the prompt of its first answer has exactly the ids that a server makes of it.

    With several answers use `encode_example`, which splits a conversation whose later prompts are not exact as well.
    """
    stretches = stretches_of(segments)
    return _exact(tokenizer, [stretches])[0] or _apart(tokenizer, stretches)


def encode_prompt(tokenizer: PreTrainedTokenizerBase, template: ChatTemplate, request: Request) -> Prompt:
    """The inference side of the same renderer: text and ids for messages, or for plain text as it is."""
    return encode_prompts(tokenizer, template, [request])[0]


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase, template: ChatTemplate, requests: Sequence[Request]
) -> list[Prompt]:
    """`encode_prompt` for many requests with one call to the tokenizer."""
    texts = ["" if one.text is not None else render_request(template, tokenizer, one) for one in requests]
    return [
        Prompt(plain(text), tuple(ids)) if one.text is None else Prompt(one.text, tuple(text_ids(tokenizer, one.text)))
        for one, text, ids in zip(requests, texts, ids_of(tokenizer, texts), strict=True)
    ]


def text_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of plain text as in pretraining: with the BOS that this tokenizer writes, never two, and no closing eos."""
    ids: list[int] = tokenizer(text)["input_ids"]
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    if bos is not None and ids[:2] == [bos, bos]:
        ids = ids[1:]
    if eos is not None and ids[-1:] == [eos] and not text.endswith(str(tokenizer.eos_token)):
        ids = ids[:-1]
    return ids


def encode_example(
    template: ChatTemplate, tokenizer: PreTrainedTokenizerBase, example: Example, *, learn_reasoning: bool = True
) -> list[Encoded]:
    """The sequences of one example, ready to pack: one, or one per taught turn where one cannot be exact for all."""
    return next(encode_examples(template, tokenizer, [example], learn_reasoning=learn_reasoning))


def encode_examples(
    template: ChatTemplate,
    tokenizer: PreTrainedTokenizerBase,
    examples: Iterable[Example],
    *,
    learn_reasoning: bool = True,
) -> Iterator[list[Encoded]]:
    """`encode_example` for many examples, in order, with few calls to the tokenizer.

    Raises HeedError with every example that is refused, not only the first, once all have been looked at.
    """
    stream = iter(examples)
    refused: list[Problem] = []
    while chunk := list(islice(stream, CHUNK)):
        sequences = []
        for example in chunk:
            try:
                sequences.append(segments(template, tokenizer, example, learn_reasoning=learn_reasoning))
            except HeedError as error:
                refused.extend(error.problems)
        if refused:
            continue
        encoded = iter(encode_segments(tokenizer, [sequence for group in sequences for sequence in group]))
        for group in sequences:
            yield [one for _ in group for one in next(encoded)]
    if refused:
        raise HeedError.of(shortened(refused))


def encode_segments(tokenizer: PreTrainedTokenizerBase, sequences: Sequence[Sequence[Segment]]) -> list[list[Encoded]]:
    """Ids and weights of rendered sequences: one `Encoded` each, or one per answer where one cannot be exact for all."""
    with searched_once():
        return _encode_or_split(tokenizer, [stretches_of(sequence) for sequence in sequences])


def shortened(problems: Sequence[Problem], limit: int = 20) -> list[Problem]:
    """The first `limit` problems, and how many more there are."""
    more = len(problems) - limit
    return [*problems[:limit], *([Problem(f"... and {more:,} more like these.")] if more > 0 else [])]


def stretches_of(segments: Sequence[Segment]) -> list[Stretch]:
    """Segments joined where a token may straddle them: same weight, and no answer begins or ends between them.

    An answer begins where the weight rises, with a reasoning, or right behind a terminator that is learned.
    """
    stretches: list[Stretch] = []
    ended = True
    for segment in segments:
        if not segment.text:
            continue
        last = stretches[-1] if stretches else None
        opens = segment.origin == "reasoning" or (segment.weight > 0 and (ended or last is None or last.weight == 0))
        opens = opens and not (last is not None and last.opens and last.weight == 0 and segment.origin != "reasoning")
        if last is not None and segment.weight == last.weight and not opens:
            stretches[-1] = Stretch(last.text + segment.text, last.weight, last.opens)
        else:
            stretches.append(Stretch(segment.text, segment.weight, opens))
        ended = segment.origin == "terminator" and segment.weight > 0
    return stretches


def _encode_or_split(tokenizer: PreTrainedTokenizerBase, sequences: Sequence[Sequence[Stretch]]) -> list[list[Encoded]]:
    """One `Encoded` per sequence, or one per answer where the prompts inside it are not all exact."""
    return [
        [exact] if exact is not None else [_apart(tokenizer, part) for part in _one_per_answer(stretches)]
        for exact, stretches in zip(_exact(tokenizer, sequences), sequences, strict=True)
    ]


def _one_per_answer(stretches: Sequence[Stretch]) -> list[list[Stretch]]:
    """Each answer with all that stands before it as its context."""
    starts = [at for at, stretch in enumerate(stretches) if stretch.opens]
    ends = [*starts[1:], len(stretches)]
    parts = []
    for start, end in zip(starts, ends, strict=True):
        context = "".join(stretch.text for stretch in stretches[:start])
        parts.append([Stretch(context, 0.0, False), *stretches[start:end]])
    return parts


def _exact(tokenizer: PreTrainedTokenizerBase, sequences: Sequence[Sequence[Stretch]]) -> list[Encoded | None]:
    """Each sequence tokenised as a whole; None where the text up to some boundary, alone, is not a prefix of that."""
    ends = [list(accumulate(len(stretch.text) for stretch in stretches)) for stretches in sequences]
    wholes = ["".join(stretch.text for stretch in stretches) for stretches in sequences]
    read = read_with_ends(tokenizer, wholes, ends)
    others = [stretches for stretches, reading in zip(sequences, read, strict=True) if reading is None]
    one_by_one = iter(_each_beginning(tokenizer, others))
    found = (next(one_by_one) if reading is None else reading for reading in read)
    return [None if it is None else _weighed(stretches, it) for stretches, it in zip(sequences, found, strict=True)]


def _each_beginning(tokenizer: PreTrainedTokenizerBase, sequences: Sequence[Sequence[Stretch]]) -> list[Reading | None]:
    """Each sequence with all its beginnings tokenised on their own; None where one of them is not a prefix of it."""
    texts = [text for stretches in sequences for text in accumulate(stretch.text for stretch in stretches)]
    ids = iter(ids_of(tokenizer, texts))
    found: list[Reading | None] = []
    for stretches in sequences:
        readings = [next(ids) for _ in stretches]
        whole = readings[-1] if readings else []
        counts = [len(reading) for reading in readings]
        exact = counts == sorted(counts) and all(whole[: len(reading)] == reading for reading in readings)
        found.append(Reading(whole, counts) if exact else None)
    return found


def _weighed(stretches: Sequence[Stretch], reading: Reading) -> Encoded:
    weights: list[float] = []
    for stretch, count in zip(stretches, reading.counts, strict=True):
        weights.extend([stretch.weight] * (count - len(weights)))
    return Encoded(tuple(reading.ids), tuple(weights))


def _apart(tokenizer: PreTrainedTokenizerBase, stretches: Sequence[Stretch]) -> Encoded:
    """What stands before the first answer as one text, as a server reads it; behind it each stretch on its own."""
    first = next((at for at, stretch in enumerate(stretches) if stretch.opens), len(stretches))
    ids = ids_of(tokenizer, ["".join(stretch.text for stretch in stretches[:first])])[0]
    weights = [0.0] * len(ids)
    for stretch in stretches[first:]:
        more = continuation_ids(tokenizer, stretch.text)
        ids.extend(more)
        weights.extend([stretch.weight] * len(more))
    return Encoded(tuple(ids), tuple(weights))
