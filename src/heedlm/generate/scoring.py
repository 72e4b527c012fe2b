"""Log-probabilities of given tokens, in padded batches, with the output head on the scored tokens only.

What many sequences begin with is computed once (solved examples before every question of a task), and so is a prompt
that several continuations follow (the choices of an item).
Shapes: B rows, T tokens, K scored tokens at the end of each row, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from transformers import PreTrainedModel

from heedlm.generate import cache as kv
from heedlm.generate.passes import Beginning, context_limit, forward, left_padded, opened, serving
from heedlm.generate.sampling import token_logprobs

_BATCH_TOKENS = 2048  # padded tokens in one forward pass; see `engine._PREFILL_TOKENS`
_CACHE_TOKENS = 2 * _BATCH_TOKENS  # columns of the cache behind which continuations are scored
_LOGITS = 2**26  # numbers in one logits tensor: 256 MiB of fp32
_ALIKE, _SEVERAL = 32, 8  # so many sequences that open with the same so many tokens go together

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Window:
    """Inputs whose last len(targets) states predict `targets`; they are scores place.. of sequence `owner`."""

    owner: int
    place: int
    inputs: Sequence[int]
    targets: Sequence[int]


@dataclass(frozen=True, slots=True)
class _Fork:
    """A prompt and the continuations that follow it, the longest first; one token each at least. owners: their sequences."""

    prompt: Sequence[int]
    owners: Sequence[int]
    continuations: Sequence[Sequence[int]]

    @property
    def longest(self) -> int:
        return len(self.continuations[0])


def score_ids(
    model: PreTrainedModel, sequences: Sequence[Sequence[int]], starts: Sequence[int], *, batch_size: int = 64
) -> list[list[float]]:
    """Log-probability (nats) of tokens starts[i].. of sequences[i], each given everything before it.

    starts: at least 1 each, for the first token of a sequence has nothing before it.   A sequence longer than the
    model's context is scored in windows, every token with at least half a context before it.   In fp32 a row's scores
    are the same, up to rounding, whatever shares its batch.
    """
    limit = context_limit(model)
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    scores = [[0.0] * max(0, len(ids) - start) for ids, start in zip(sequences, starts, strict=True)]
    forks = _forks(sequences, starts, limit, _LOGITS // vocabulary) if kv.resumable(kv.new_cache(model)) else []
    forked = {owner for fork in forks for owner in fork.owners}
    windows = [
        window
        for owner, (ids, start) in enumerate(zip(sequences, starts, strict=True))
        if owner not in forked
        for window in _windows(owner, ids, start, limit)
    ]
    known: list[Beginning] = []
    with serving(model):
        for window, row in _score_windows(model, windows, batch_size, vocabulary, known):
            scores[window.owner][window.place : window.place + len(row)] = row
        for group in _fork_groups(forks, batch_size, vocabulary, limit):
            for owner, row in _score_forks(model, group, known):
                scores[owner] = row
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


def _forks(sequences: Sequence[Sequence[int]], starts: Sequence[int], limit: int | None, most: int) -> list[_Fork]:
    """Sequences that go on from the same prompt, two at least, each within the context; `most` targets of one at most."""
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for owner, (ids, start) in enumerate(zip(sequences, starts, strict=True)):
        if start < len(ids) <= start + most and (limit is None or len(ids) - 1 <= limit):
            by_prompt.setdefault(tuple(ids[:start]), []).append(owner)
    found = []
    for prompt, owners in by_prompt.items():
        if len(owners) > 1:
            owners.sort(key=lambda owner: -len(sequences[owner]))
            found.append(_Fork(prompt, owners, [sequences[owner][len(prompt) :] for owner in owners]))
    return found


def _score_windows(
    model: PreTrainedModel, windows: Sequence[_Window], batch_size: int, vocabulary: int, known: list[Beginning]
) -> Iterator[tuple[_Window, list[float]]]:
    most = max(1, _LOGITS // vocabulary)
    for alike in _alike(windows, lambda window: window.inputs):
        for group in _groups(alike, batch_size, vocabulary):
            yield from zip(group, _score_group(model, group, most, known), strict=True)


def _alike(items: Sequence[T], opening: Callable[[T], Sequence[int]]) -> Iterator[list[T]]:
    """Items that open with the same tokens, where there are several of them; then all others together."""
    found: dict[tuple[int, ...], list[T]] = {}
    for item in items:
        found.setdefault(tuple(opening(item)[:_ALIKE]), []).append(item)
    yield from (several for several in found.values() if len(several) >= _SEVERAL)
    yield [item for few in found.values() if len(few) < _SEVERAL for item in few]


def _groups(windows: Sequence[_Window], batch_size: int, vocabulary: int) -> Iterator[list[_Window]]:
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


def _score_group(model: PreTrainedModel, group: list[_Window], most: int, known: list[Beginning]) -> list[list[float]]:
    """Scores of the targets of each window; logits are made for at most `most` positions at a time where a row alone
    would make more of them than fit."""
    rows = [window.inputs for window in group]
    ids, starts = left_padded(rows, model.device)
    keep = max(len(window.targets) for window in group)
    targets, _ = left_padded([window.targets for window in group], model.device)  # [B, K]
    if len(group) == 1 and keep > most and kv.resumable(kv.new_cache(model)):
        scored = _score_in_chunks(model, ids, targets, most)
    else:
        unscored = min(len(window.inputs) - len(window.targets) for window in group)
        cache, past = opened(model, rows, starts, known, unscored)
        logits = forward(model, ids[:, past:], starts, cache=cache if past else None, past=past, keep=keep)
        scored = token_logprobs(logits, targets)
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


def _fork_groups(forks: Sequence[_Fork], batch_size: int, vocabulary: int, limit: int | None) -> Iterator[list[_Fork]]:
    """Forks of like length together, within the budgets of tokens, of cache and of logits, and within the context with
    all their padding; a group holds at least one."""
    for alike in _alike(forks, lambda fork: fork.prompt):
        group: list[_Fork] = []
        longest = 0
        for fork in sorted(alike, key=lambda fork: (len(fork.prompt), fork.longest)):
            rows, most = len(group) + 1, max(longest, fork.longest)
            columns = len(fork.prompt) + most - 1
            full = rows > batch_size or rows * columns > _CACHE_TOKENS or rows * most * vocabulary > _LOGITS
            if group and (full or (limit is not None and columns > limit)):
                yield group
                group, most = [], fork.longest
            group.append(fork)
            longest = most
        if group:
            yield group


def _score_forks(
    model: PreTrainedModel, group: list[_Fork], known: list[Beginning]
) -> Iterator[tuple[int, list[float]]]:
    """The scores of each continuation with the sequence it belongs to.

    The prompts run once and stay in the cache; then the first continuation of every fork runs behind them, padded on the
    right where nobody looks, the cache is cropped, and the second ones take their place.
    """
    prompts = [fork.prompt for fork in group]
    ids, starts = left_padded(prompts, model.device)
    cache, past = opened(model, prompts, starts, known)
    after = forward(model, ids[:, past:], starts, cache=cache, past=past, keep=1)[:, -1]  # [B, V]
    columns = ids.shape[1]
    for place in range(max(len(fork.continuations) for fork in group)):
        rows = [fork.continuations[place] if place < len(fork.continuations) else (0,) for fork in group]
        longest = max(map(len, rows))
        padded = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=model.device)  # [B, K]
        scored = token_logprobs(after, padded[:, 0])[:, None]
        if longest > 1:
            logits = forward(model, padded[:, :-1], starts, cache=cache, past=columns, keep=longest - 1)
            scored = torch.cat([scored, token_logprobs(logits, padded[:, 1:])], dim=1)
            kv.crop(cache, columns)
        for fork, row, found in zip(group, rows, scored.tolist(), strict=True):
            if place < len(fork.continuations):
                yield fork.owners[place], found[: len(row)]
