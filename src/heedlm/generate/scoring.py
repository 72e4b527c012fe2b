"""Log-probabilities of given tokens, in padded batches, with the output head on the scored tokens only.

Shapes: B rows, T tokens, K scored tokens at the end of each row, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from heedlm.generate import cache as kv
from heedlm.generate.engine import context_limit, forward, left_padded, serving
from heedlm.generate.sampling import token_logprobs

_BATCH_TOKENS = 8192  # padded tokens in one forward pass
_LOGITS = 2**26  # numbers in one logits tensor: 256 MiB of fp32


@dataclass(frozen=True, slots=True)
class _Window:
    """Inputs whose last len(targets) states predict `targets`; they are scores place.. of sequence `owner`."""

    owner: int
    place: int
    inputs: Sequence[int]
    targets: Sequence[int]


def score_ids(
    model: PreTrainedModel, sequences: Sequence[Sequence[int]], starts: Sequence[int], *, batch_size: int = 64
) -> list[list[float]]:
    """Log-probability (nats) of tokens starts[i].. of sequences[i], each given everything before it.

    starts: at least 1 each, for the first token of a sequence has nothing before it.   A sequence longer than the
    model's context is scored in windows, every token with at least half a context before it.   In fp32 a row's scores
    are the same, up to rounding, whatever shares its batch.
    """
    limit = context_limit(model)
    windows = [
        window
        for owner, (ids, start) in enumerate(zip(sequences, starts, strict=True))
        for window in _windows(owner, ids, start, limit)
    ]
    scores = [[0.0] * max(0, len(ids) - start) for ids, start in zip(sequences, starts, strict=True)]
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    with serving(model):
        for group in _groups(windows, batch_size, vocabulary):
            for window, row in zip(group, _score_group(model, group, max(1, _LOGITS // vocabulary)), strict=True):
                scores[window.owner][window.place : window.place + len(row)] = row
    return scores


def _windows(owner: int, ids: Sequence[int], start: int, limit: int | None) -> Iterator[_Window]:
    """The stretches of `ids` that fit the context; together their targets are ids[start:], each once."""
    assert start >= 1, "the first token of a sequence has nothing before it"
    length = len(ids)
    span = length if limit is None else limit
    first = start
    while first < length:
        # Inputs begin..end - 2 predict targets first..end - 1. Where all fits it is one window; else half a context
        # of new targets each, behind at least half a context that earlier windows scored.
        end = min(length, max(first + max(1, span // 2), span + 1))
        begin = max(0, end - 1 - span)
        yield _Window(owner, first - start, ids[begin : end - 1], ids[first:end])
        first = end


def _groups(windows: list[_Window], batch_size: int, vocabulary: int) -> Iterator[list[_Window]]:
    """Windows of like length together, within the budgets of tokens and logits; a group holds at least one."""
    group: list[_Window] = []
    kept = 0
    for window in sorted(windows, key=lambda window: (len(window.inputs), len(window.targets))):
        rows, most = len(group) + 1, max(kept, len(window.targets))
        full = rows > batch_size or rows * len(window.inputs) > _BATCH_TOKENS or rows * most * vocabulary > _LOGITS
        if group and full:
            yield group
            group, most = [], len(window.targets)
        group.append(window)
        kept = most
    if group:
        yield group


def _score_group(model: PreTrainedModel, group: list[_Window], most: int) -> list[list[float]]:
    """Scores of the targets of each window; logits are made for at most `most` positions at a time where a row alone
    would make more of them than fit."""
    ids, starts = left_padded([window.inputs for window in group], model.device)
    keep = max(len(window.targets) for window in group)
    targets, _ = left_padded([window.targets for window in group], model.device)  # [B, K]
    if len(group) > 1 or keep <= most or not kv.resumable(kv.new_cache(model)):
        scored = token_logprobs(forward(model, ids, starts, keep=keep), targets)
    else:
        scored = _score_in_chunks(model, ids, targets, most)
    return [row[keep - len(window.targets) :] for window, row in zip(group, scored.tolist(), strict=True)]


def _score_in_chunks(model: PreTrainedModel, ids: torch.Tensor, targets: torch.Tensor, most: int) -> torch.Tensor:
    """Scores [1, K] of one row, run through the cache so that no more than `most` positions have logits at once."""
    cache = kv.new_cache(model)
    past, done, keep = 0, 0, targets.shape[1]
    pieces = []
    while done < keep:
        count = min(most, keep - done)
        end = ids.shape[1] - keep + done + count
        logits = forward(model, ids[:, past:end], [0], cache=cache, past=past, keep=count)
        pieces.append(token_logprobs(logits, targets[:, done : done + count]))
        past, done = end, done + count
    return torch.cat(pieces, dim=1)
