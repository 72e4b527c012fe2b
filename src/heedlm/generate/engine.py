"""Batched decoding of token ids with any Hugging Face causal language model.

Prompts are laid out with padding on the left; a row that has finished leaves the batch at once and waiting prompts take
its place, so that no forward pass is spent on finished rows. Every row is decoded in its own manner: greedy rows, sampled
ones and penalised ones share a pass. In fp32 the tokens are those of `model.generate` on each prompt alone.
Shapes: B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from heedlm.generate import cache as kv
from heedlm.generate.advance import advance
from heedlm.generate.job import Completion, Guide, Job
from heedlm.generate.memory import Memory
from heedlm.generate.passes import Beginning, context_limit, forward, left_padded, opened, serving
from heedlm.generate.sampling import draws
from heedlm.generate.seeds import request_seed
from heedlm.messages import Sampling

# Padded prompt tokens in one forward pass. More make tensors that a CPU's allocator maps anew each time, page by page: prompts of
# 310 tokens on a 135M model took a fifth longer with 8,192.
_PREFILL_TOKENS = 2048
_EAGER_TOKENS = 512  # of all prefills between two steps, where rows that are running wait for them; on a GPU four times
_APART = 24  # tokens that prompts of one prefill may differ by, where each is computed soon anyway
# Waiting prompts join when a third of the rows is free; each time the cache is copied. Any share from a quarter to a half
# gives the same speed within 5 %, three quarters cost 17 % (4.5M parameters, 64 rows, replies of 6-120 tokens, one core).
_REFILL = 2 / 3

__all__ = [
    "Beginning",
    "Completion",
    "Engine",
    "Job",
    "context_limit",
    "decode",
    "forward",
    "job_for",
    "left_padded",
    "opened",
    "run",
    "serving",
]


@dataclass(slots=True)
class _Running:
    """The jobs in the cache. Row b occupies the columns starts[b]..length - 1; next_ids[b] is not in the cache yet."""

    cache: Cache
    rows: list[Job]
    starts: list[int]
    length: int
    next_ids: torch.Tensor  # int64 [B]


@dataclass(slots=True)
class _Long:
    """A prompt that is run piece by piece. past: tokens that are in its cache."""

    job: Job
    ids: torch.Tensor  # int64 [1, T]
    cache: Cache
    past: int


class Engine:
    """One running batch over a model. Used by one thread, inside `serving(model)`.

    eager: waiting jobs join as soon as there is a place, a limited number of tokens between two steps of those that run; a
    prompt that is longer is run in pieces, and others go on and begin between them. Otherwise jobs wait until a third of the
    places is free, which is faster where nobody waits for a first token.   memory: of what earlier prompts began with.
    """

    def __init__(
        self, model: PreTrainedModel, *, batch_size: int = 64, eager: bool = False, memory: Memory | None = None
    ) -> None:
        self.model = model
        self.batch_size = batch_size
        self.waiting: deque[Job] = deque()
        self._eager = eager
        self._most = _EAGER_TOKENS * (1 if model.device.type == "cpu" else 4)
        resumable = kv.resumable(kv.new_cache(model))
        self._memory = memory if resumable else None
        self._in_pieces = eager and resumable
        self._known: list[Beginning] = []
        self._running: _Running | None = None
        self._long: _Long | None = None
        self._joined = 0  # prompt tokens since the last step of the running rows
        self._went_on = False  # whether the long prompt got a piece since then

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return self._running is not None or self._long is not None or bool(self.waiting)

    @property
    def num_running(self) -> int:
        return 0 if self._running is None else len(self._running.rows)

    def add(self, job: Job) -> None:
        """Let a job wait for its place."""
        self.waiting.append(job)

    def drop(self, job: Job) -> None:
        """Take a job out, wherever it stands; others take its place at the next step. Nothing happens to a finished one."""
        if job in self.waiting:
            self.waiting.remove(job)
        elif self._long is not None and self._long.job is job:
            self._long = None
        elif self._running is not None and job in self._running.rows:
            self._running = _without(self._running, [self._running.rows.index(job)])

    def clear(self) -> list[Job]:
        """Forget everything, as after a pass that failed; the jobs that were there, unfinished."""
        lost = [*self.waiting, *(self._running.rows if self._running is not None else ())]
        lost += [] if self._long is None else [self._long.job]
        self.waiting.clear()
        self._running = self._long = None
        self._known.clear()
        if self._memory is not None:
            self._memory.clear()
        return lost

    def step(self) -> list[Job]:
        """One forward pass: waiting prompts join, a long one goes on, or every running job gets a token. The jobs that
        finished with it."""
        if (first := self._next()) is not None:
            taken = self._take(first)
            if not self._is_long(first):
                return self._join(*self._prefill(taken))
            self._long = self._begun(first)
        if self._long is not None and (self._running is None or not self._went_on):
            self._went_on = True
            self._joined = 0 if self._running is None else self._joined
            return self._go_on(self._long)
        if self._running is None:
            return []
        running, self._joined, self._went_on = self._running, 0, False
        running.next_ids, ending = advance(running.rows, _step(self.model, running))
        finished = self._leave(running, ending)
        self._running = _without(running, ending)
        return finished

    def _join(self, fresh: _Running, logits: torch.Tensor) -> list[Job]:
        """Give prompts that have been run their first tokens, and let them run on with the others; those that ended."""
        fresh.next_ids, ending = advance(fresh.rows, logits)
        finished = self._leave(fresh, ending)
        self._running = _merge(self._running, _without(fresh, ending))
        return finished

    def _next(self) -> Job | None:
        """The job whose turn it is to join; None where nobody may. Short ones need not wait for the end of a long one."""
        if not self.waiting:
            return None
        if self._running is not None:
            if not kv.joinable(self._running.cache):
                return None
            if not self._eager:
                return self.waiting[0] if self.num_running <= self.batch_size * _REFILL else None
            if self._joined >= self._most:
                return None
        if self._long is None:
            return self.waiting[0] if self.num_running < self.batch_size else None
        if self.num_running + 1 >= self.batch_size or self._joined >= self._most:
            return None
        return next((job for job in self.waiting if not self._is_long(job)), None)

    def _is_long(self, job: Job) -> bool:
        """Whether a prompt is run in pieces: more of it than one pass may take is in no cache yet."""
        if not self._in_pieces or len(job.prompt) <= self._most:
            return False
        return len(job.prompt) - (0 if self._memory is None else self._memory.shared(job.prompt)) > self._most

    def _begun(self, job: Job) -> _Long:
        """A long prompt in the place of its own, with what is remembered of it."""
        _draw(job)
        ids, starts = left_padded([job.prompt], self.model.device)
        cache, past = (None, 0) if self._memory is None else self._memory.opened([job.prompt], starts)
        job.remembered = past
        return _Long(job, ids, kv.new_cache(self.model) if cache is None else cache, past)

    def _go_on(self, long: _Long) -> list[Job]:
        """Run one piece of a long prompt; after the last one its row runs with the others."""
        total = long.ids.shape[1]
        end = min(long.past + self._most, total)
        logits = forward(self.model, long.ids[:, long.past : end], [0], cache=long.cache, past=long.past, keep=1)[:, -1]
        long.past = end
        if end < total:
            return []
        self._long = None
        if self._memory is not None:
            self._memory.keep(long.job.prompt, long.cache, 0, 0)
        return self._join(_Running(long.cache, [long.job], [0], total, torch.empty(0)), logits)

    def _take(self, first: Job) -> list[Job]:
        """The job whose turn it is and the next that fit the free rows and one prefill. They no longer wait.

        Where others wait for it, a prefill holds jobs that are alike: about as long, so that little is padding, and with the
        same beginning in memory. A long one is alone.
        """
        free = self.batch_size - self.num_running - (self._long is not None)
        most = self._most - self._joined if self._eager else _PREFILL_TOKENS
        taken, longest = [first], len(first.prompt)
        for job in [] if self._is_long(first) else list(self.waiting):
            if job is first:
                continue
            wider = max(longest, len(job.prompt))
            if len(taken) == free or (len(taken) + 1) * wider > most:
                break
            if self._eager and not self._alike(first, job):
                continue
            taken.append(job)
            longest = wider
        gone = set(map(id, taken))
        self.waiting = deque(job for job in self.waiting if id(job) not in gone)
        if not self._is_long(first):
            self._joined += len(taken) * longest
        return taken

    def _alike(self, first: Job, job: Job) -> bool:
        apart = abs(len(first.prompt) - len(job.prompt))
        if apart > max(_APART, len(first.prompt) // 4):
            return False
        return self._memory is None or self._memory.alike(first.prompt, job.prompt)

    def _prefill(self, rows: list[Job]) -> tuple[_Running, torch.Tensor]:
        """Run the prompts; the rows with their filled cache, and the logits [B, V] after each prompt."""
        for row in rows:
            _draw(row)
        prompts = [row.prompt for row in rows]
        ids, starts = left_padded(prompts, self.model.device)
        cache, past = (None, 0) if self._memory is None else self._memory.opened(prompts, starts)
        for row in rows:
            row.remembered = past
        if cache is None:
            cache, past = opened(self.model, prompts, starts, self._known)
        logits = forward(self.model, ids[:, past:], starts, cache=cache, past=past, keep=1)[:, -1]
        if self._memory is not None:
            for place, prompt in enumerate(prompts):
                self._memory.keep(prompt, cache, place, starts[place])
        return _Running(cache, rows, starts, ids.shape[1], torch.empty(0)), logits

    def _leave(self, running: _Running, places: Sequence[int]) -> list[Job]:
        """The jobs at `places`, whose keys and values are kept for whoever goes on from there."""
        jobs = [running.rows[place] for place in places]
        if self._memory is not None:
            for job, place in zip(jobs, places, strict=True):
                self._memory.keep([*job.prompt, *job.ids[:-1]], running.cache, place, running.starts[place])
        return jobs


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
    """
    names = range(len(prompts)) if indices is None else indices
    jobs = [
        job_for(model, prompt, sampling, name, stop_ids, None if on_token is None else _under(on_token, name))
        for name, prompt in zip(names, prompts, strict=True)
    ]
    run(model, jobs, batch_size=batch_size)
    return [job.completion() for job in jobs]


def run(model: PreTrainedModel, jobs: Sequence[Job], *, batch_size: int = 64) -> None:
    """Finish all jobs, the shortest prompts first."""
    engine = Engine(model, batch_size=batch_size)
    for job in sorted((job for job in jobs if job.room > 0), key=lambda job: len(job.prompt)):
        engine.add(job)
    with serving(model):
        while engine.busy:
            engine.step()


def job_for(
    model: PreTrainedModel,
    prompt: Sequence[int],
    sampling: Sampling,
    index: int,
    stop_ids: Sequence[int],
    hear: Callable[[int], bool] | None,
    *,
    measured: bool = True,
    guide: Guide | None = None,
) -> Job:
    """The job of one prompt.   index: its place in the call, which makes its seed out of the call's."""
    limit = context_limit(model)
    assert len(prompt) > 0, "the caller refuses empty prompts"
    assert limit is None or len(prompt) < limit, "the caller refuses overlong prompts"
    room = sampling.max_tokens if limit is None else min(sampling.max_tokens, limit - len(prompt))
    own = sampling if sampling.temperature == 0 else replace(sampling, seed=request_seed(sampling.seed, index))
    return Job(prompt, own, room, frozenset(stop_ids), hear, measured, guide)


def _under(on_token: Callable[[int, int], bool], name: int) -> Callable[[int], bool]:
    return lambda token: on_token(name, token)


def _draw(job: Job) -> None:
    """The random numbers of a job that begins."""
    if job.sampling.temperature > 0:
        job.draws = draws(job.sampling.seed, job.room)


def _step(model: PreTrainedModel, running: _Running) -> torch.Tensor:
    """Run the newest token of every row; logits [B, V]."""
    running.length += 1
    logits = forward(
        model, running.next_ids[:, None], running.starts, cache=running.cache, past=running.length - 1, keep=1
    )
    return logits[:, -1]


def _without(running: _Running, leaving: Sequence[int]) -> _Running | None:
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
