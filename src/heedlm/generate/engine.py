"""Batched decoding of token ids with any Hugging Face causal language model.

Prompts are sorted by length and laid out with padding on the left; a row that has finished leaves the batch at once and
waiting prompts take its place, so that no forward pass is spent on finished rows. In fp32 the tokens are those of
`model.generate` on each prompt alone.   Shapes: B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import Cache
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from heedlm.errors import HeedError
from heedlm.generate import cache as kv
from heedlm.generate.sampling import choose, draws, token_logprobs
from heedlm.generate.seeds import request_seed
from heedlm.messages import Sampling, StopReason
from heedlm.model.load import context_length

_PREFILL_TOKENS = 8192  # padded prompt tokens in one forward pass: bounds the memory that a prefill takes
_WORTH_SHARING = 256  # tokens that a shared beginning must save: below it another forward pass costs as much
# Waiting prompts join when a third of the rows is free; each time the cache is copied. Any share from a quarter to a half
# gives the same speed within 5 %, three quarters cost 17 % (4.5M parameters, 64 rows, replies of 6-120 tokens, one core).
_REFILL = 2 / 3


@dataclass(frozen=True, slots=True)
class Completion:
    """What was generated for one prompt.   ids: stop id included.   logprobs: one per id, of the unfiltered model."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    stop_reason: StopReason


@dataclass(slots=True)
class _Row:
    """One prompt on its way: what it has made so far."""

    index: int
    prompt: Sequence[int]
    room: int
    draws: torch.Tensor | None = None  # made when the row begins to run
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stop_reason: StopReason = "length"


@dataclass(slots=True)
class _Running:
    """The rows in the cache. Row b occupies the columns starts[b]..length - 1; next_ids[b] is not in the cache yet."""

    cache: Cache
    rows: list[_Row]
    starts: list[int]
    length: int
    next_ids: torch.Tensor  # int64 [B]


# Prompt and reply together; under the name by which upper floors ask for it.
context_limit = context_length


@contextmanager
def serving(model: PreTrainedModel) -> Iterator[None]:
    """Evaluation mode, no gradients, and an attention that masks padding; everything is put back afterwards.

    A model in training may use an attention function of its own that builds no padding mask.
    """
    training = [module for module in model.modules() if module.training]
    attention = model.config._attn_implementation
    foreign = attention is not None and attention not in ALL_MASK_ATTENTION_FUNCTIONS._global_mapping
    if foreign:
        model.set_attn_implementation("sdpa" if model._supports_sdpa else "eager")
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True
        if foreign:
            model.set_attn_implementation(attention)


def decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    stop_ids: Sequence[int] = (),
    indices: Sequence[int] | None = None,
    batch_size: int = 64,
    on_token: Callable[[int, int], bool] | None = None,
) -> list[Completion]:
    """Continue every prompt; one completion each, in the order given.

    prompts: ids, each at least one and fewer than the context limit.   stop_ids: end a row; kept as its last id.
    indices: what a prompt is called in `on_token` and in its seed; its place in `prompts` by default.
    on_token(index, id): hears every token but a stop id, and answers whether the row shall stop after it.
    `sampling.stop` is not looked at: texts are the caller's business (see `text.TextStream`).
    """
    limit = context_limit(model)
    names = range(len(prompts)) if indices is None else indices
    rows: list[_Row] = []
    for index, prompt in zip(names, prompts, strict=True):
        room = sampling.max_tokens if limit is None else min(sampling.max_tokens, limit - len(prompt))
        assert len(prompt) > 0, "the caller refuses empty prompts"
        assert limit is None or len(prompt) < limit, "the caller refuses overlong prompts"
        rows.append(_Row(index, prompt, room))
    waiting = sorted((row for row in rows if row.room > 0), key=lambda row: len(row.prompt), reverse=True)
    stops = frozenset(stop_ids)
    running: _Running | None = None
    with serving(model):
        while waiting or running is not None:
            if waiting and (
                running is None or (len(running.rows) <= batch_size * _REFILL and kv.joinable(running.cache))
            ):
                free = batch_size - (0 if running is None else len(running.rows))
                fresh, logits = _prefill(model, _take(waiting, free), sampling)
                leaving = _advance(fresh, logits, sampling, stops, on_token)
                running = _merge(running, _without(fresh, leaving))
            else:
                assert running is not None
                logits = _step(model, running)
                running = _without(running, _advance(running, logits, sampling, stops, on_token))
    return [Completion(tuple(row.ids), tuple(row.logprobs), row.stop_reason) for row in rows]


def _take(waiting: list[_Row], free: int) -> list[_Row]:
    """The next prompts, shortest first, that fit `free` rows and one prefill; at least one. They leave `waiting`."""
    taken: list[_Row] = []
    while waiting and len(taken) < free:
        if taken and (len(taken) + 1) * len(waiting[-1].prompt) > _PREFILL_TOKENS:
            break
        taken.append(waiting.pop())
    return taken


def _prefill(model: PreTrainedModel, rows: list[_Row], sampling: Sampling) -> tuple[_Running, torch.Tensor]:
    """Run the prompts; the rows with their filled cache, and the logits [B, V] after each prompt."""
    if sampling.temperature > 0:
        for row in rows:
            row.draws = draws(request_seed(sampling.seed, row.index), row.room)
    ids, starts = left_padded([row.prompt for row in rows], model.device)
    cache = kv.new_cache(model)
    past = _shared(rows) if kv.resumable(cache) else 0
    if past:
        forward(model, ids[starts.index(0)][None, :past], [0], cache=cache, keep=1)
        kv.spread(cache, starts)
    logits = forward(model, ids[:, past:], starts, cache=cache, past=past, keep=1)[:, -1]
    return _Running(cache, rows, starts, ids.shape[1], torch.empty(0)), logits


def _shared(rows: Sequence[_Row]) -> int:
    """How many tokens, from the first, all prompts begin with (one token of each stays), or 0 where it would save little.

    Examples before each question of a task, or one system text before all: such a beginning is computed once.
    """
    shortest = min(rows, key=lambda row: len(row.prompt)).prompt
    longest = max(rows, key=lambda row: len(row.prompt)).prompt
    same = len(shortest) - 1
    for row in rows:
        same = next((at for at in range(same) if row.prompt[at] != shortest[at]), same)
    return same if same * 4 >= len(longest) and same * (len(rows) - 1) >= _WORTH_SHARING else 0


def _step(model: PreTrainedModel, running: _Running) -> torch.Tensor:
    """Run the newest token of every row; logits [B, V]."""
    running.length += 1
    logits = forward(
        model, running.next_ids[:, None], running.starts, cache=running.cache, past=running.length - 1, keep=1
    )
    return logits[:, -1]


def _advance(
    running: _Running,
    logits: torch.Tensor,
    sampling: Sampling,
    stops: frozenset[int],
    on_token: Callable[[int, int], bool] | None,
) -> list[int]:
    """Choose and record the next token of every row; the places of the rows that are finished with it."""
    drawn = None
    if sampling.temperature > 0:
        drawn = torch.stack([row.draws[len(row.ids)] for row in running.rows if row.draws is not None])
    chosen = choose(logits, drawn, temperature=sampling.temperature, top_k=sampling.top_k, top_p=sampling.top_p)
    running.next_ids = chosen
    finished = []
    measured = token_logprobs(logits, chosen).tolist()
    for place, (row, token, logprob) in enumerate(zip(running.rows, chosen.tolist(), measured, strict=True)):
        row.ids.append(token)
        row.logprobs.append(logprob)
        if token in stops or (on_token is not None and on_token(row.index, token)):
            row.stop_reason = "stop"
            finished.append(place)
        elif len(row.ids) == row.room:
            finished.append(place)
    return finished


def _without(running: _Running, leaving: list[int]) -> _Running | None:
    """The batch without the rows at `leaving` and without columns that are padding in all others; None when nobody is
    left."""
    if not leaving:
        return running
    kept = kv.survivors(len(running.rows), leaving)
    if not kept:
        return None
    first = min(running.starts[row] for row in kept) if kv.joinable(running.cache) else 0
    kv.keep_rows(running.cache, kept, first)
    running.length -= first
    running.rows = [running.rows[row] for row in kept]
    running.starts = [running.starts[row] - first for row in kept]
    running.next_ids = running.next_ids[torch.tensor(kept, device=running.next_ids.device)]
    return running


def _merge(running: _Running | None, fresh: _Running | None) -> _Running | None:
    """Both batches as one, ends aligned."""
    if running is None or fresh is None:
        return fresh if running is None else running
    length = max(running.length, fresh.length)
    kv.join(running.cache, fresh.cache)
    return _Running(
        running.cache,
        running.rows + fresh.rows,
        [start + length - running.length for start in running.starts]
        + [start + length - fresh.length for start in fresh.starts],
        length,
        torch.cat([running.next_ids, fresh.next_ids]),
    )


def left_padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, list[int]]:
    """Rows of ids as one tensor [B, T] padded on the left (with id 0, which the mask hides), and where each begins."""
    length = max(map(len, rows))
    starts = [length - len(row) for row in rows]
    ids = torch.tensor([[0] * start + list(row) for start, row in zip(starts, rows, strict=True)], device=device)
    return ids, starts


def forward(
    model: PreTrainedModel,
    ids: torch.Tensor,
    starts: Sequence[int],
    *,
    cache: Cache | None = None,
    past: int = 0,
    keep: int = 0,
) -> torch.Tensor:
    """Logits [B, keep, V] of the last `keep` tokens of left-padded rows (0: of all tokens).

    ids: int64 [B, T], the tokens after the `past` columns that are in `cache`.   starts: first column of each row that
    is not padding, counted from the first column of the cache.
    """
    known = _inputs(model)
    total = past + ids.shape[1]
    begin = torch.tensor(starts, device=ids.device)[:, None]  # [B, 1]
    columns = torch.arange(total, device=ids.device)  # [past + T]
    extra: dict[str, object] = {}
    stateful = "past_key_values" not in known  # the Mamba kind: its state holds no columns to be masked later
    if cache is not None:
        extra["cache_params" if stateful else "past_key_values"] = cache
    if any(starts) and not (stateful and past):
        extra["attention_mask"] = (columns >= begin).long()
    if "position_ids" in known:
        extra["position_ids"] = (columns[past:] - begin).clamp(min=0)
    if "logits_to_keep" in known:
        extra["logits_to_keep"] = keep
    logits: torch.Tensor = model(input_ids=ids, use_cache=cache is not None, return_dict=True, **extra).logits
    return logits[:, -keep:]


def _inputs(model: PreTrainedModel) -> frozenset[str]:
    """What the model's forward pass can be given; of an adapter, what the model inside can."""
    inside = model.get_base_model() if hasattr(model, "get_base_model") else model
    return _parameters(type(inside).__name__, type(inside).forward)


@lru_cache(maxsize=64)
def _parameters(name: str, function: Callable[..., object]) -> frozenset[str]:
    known = frozenset(inspect.signature(function).parameters)
    if not known & {"past_key_values", "cache_params"}:
        raise HeedError(
            f"{name} keeps what it has read in a way that heed does not know.",
            mend="use a model with a key/value cache, or one of the Mamba kind",
        )
    return known
