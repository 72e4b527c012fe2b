"""Batched decoding of token ids with any Hugging Face causal language model.

Prompts are laid out with padding on the left; a row that has finished leaves the batch at once and waiting prompts take
its place, so that no forward pass is spent on finished rows. Every row is decoded in its own manner: greedy rows, sampled
ones and penalised ones share a pass. In fp32 the tokens are those of `model.generate` on each prompt alone.
Shapes: B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from heedlm.generate import cache as kv
from heedlm.generate.memory import Memory
from heedlm.generate.passes import Beginning, context_limit, forward, left_padded, opened, serving
from heedlm.generate.sampling import choose, draws, likeliest, penalised, token_logprobs
from heedlm.generate.seeds import request_seed
from heedlm.messages import Sampling, StopReason

_PREFILL_TOKENS = 8192  # padded prompt tokens in one forward pass: bounds the memory that a prefill takes
_EAGER_TOKENS = 2048  # of all prefills between two steps, where rows that are running wait for them
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

Alternatives = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """What was generated for one prompt.   ids: stop id included.   logprobs: one per id, of the unfiltered model.

    alternatives: for each id the likeliest tokens, where they were asked for.   remembered: prompt tokens that an earlier
    request had computed.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    stop_reason: StopReason
    alternatives: tuple[Alternatives, ...] = ()
    remembered: int = 0


@dataclass(slots=True, eq=False)
class Job:
    """One prompt on its way: how it is to be continued, and what it has made so far.

    prompt: ids, at least one and fewer than the context limit.   sampling: `stop` is not looked at (texts are the caller's
    business, see `text.TextStream`), and `seed` is that of this job alone.   room: new tokens at most.   stop_ids: end it;
    kept as its last id.   hear(id): hears every token but a stop id, and answers whether the job shall end after it.
    measured: whether log-probabilities are wanted.
    """

    prompt: Sequence[int]
    sampling: Sampling
    room: int
    stop_ids: frozenset[int] = frozenset()
    hear: Callable[[int], bool] | None = None
    measured: bool = True
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    alternatives: list[Alternatives] = field(default_factory=list)
    stop_reason: StopReason = "length"
    remembered: int = 0
    draws: torch.Tensor | None = None  # made when the job begins to run, as is `seen`: bool [V]
    seen: torch.Tensor | None = None

    def completion(self) -> Completion:
        """What was made, as it stands."""
        return Completion(
            tuple(self.ids), tuple(self.logprobs), self.stop_reason, tuple(self.alternatives), self.remembered
        )


@dataclass(slots=True)
class _Running:
    """The jobs in the cache. Row b occupies the columns starts[b]..length - 1; next_ids[b] is not in the cache yet."""

    cache: Cache
    rows: list[Job]
    starts: list[int]
    length: int
    next_ids: torch.Tensor  # int64 [B]


class Engine:
    """One running batch over a model. Used by one thread, inside `serving(model)`.

    eager: waiting jobs join as soon as there is a place, a limited number of tokens between two steps of those that run;
    otherwise they wait until a third of the places is free, which is faster where nobody waits for a first token.   memory: of what earlier prompts
    began with.
    """

    def __init__(
        self, model: PreTrainedModel, *, batch_size: int = 64, eager: bool = False, memory: Memory | None = None
    ) -> None:
        self.model = model
        self.batch_size = batch_size
        self.waiting: deque[Job] = deque()
        self._eager = eager
        self._memory = memory if memory is not None and kv.resumable(kv.new_cache(model)) else None
        self._known: list[Beginning] = []
        self._running: _Running | None = None
        self._joined = 0  # prompt tokens since the last step of the running rows

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return self._running is not None or bool(self.waiting)

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
        elif self._running is not None and job in self._running.rows:
            self._running = _without(self._running, [self._running.rows.index(job)])

    def clear(self) -> list[Job]:
        """Forget everything, as after a pass that failed; the jobs that were there, unfinished."""
        lost = [*self.waiting, *(self._running.rows if self._running is not None else ())]
        self.waiting.clear()
        self._running = None
        self._known.clear()
        if self._memory is not None:
            self._memory.clear()
        return lost

    def step(self) -> list[Job]:
        """One forward pass: waiting prompts join, or every running job gets a token. The jobs that finished with it."""
        if self._may_join():
            fresh, logits = self._prefill(self._take())
            ending = _advance(fresh, logits)
            finished = self._leave(fresh, ending)
            self._running = _merge(self._running, _without(fresh, ending))
            return finished
        if self._running is None:
            return []
        running, self._joined = self._running, 0
        ending = _advance(running, _step(self.model, running))
        finished = self._leave(running, ending)
        self._running = _without(running, ending)
        return finished

    def _may_join(self) -> bool:
        if not self.waiting or self._running is None:
            return bool(self.waiting)
        if not kv.joinable(self._running.cache):
            return False
        if self._eager:
            return self.num_running < self.batch_size and self._joined < _EAGER_TOKENS
        return self.num_running <= self.batch_size * _REFILL

    def _take(self) -> list[Job]:
        """The next jobs that fit the free rows and one prefill; at least one. They no longer wait.

        Where others wait for it, a prefill holds the job whose turn it is, and jobs like it: about as long, so that little
        is padding, and with the same beginning in memory.
        """
        free = self.batch_size - self.num_running
        most = _EAGER_TOKENS - self._joined if self._eager else _PREFILL_TOKENS
        first = self.waiting[0]
        taken, longest = [first], len(first.prompt)
        for job in list(self.waiting)[1:]:
            wider = max(longest, len(job.prompt))
            if len(taken) == free or (len(taken) + 1) * wider > most:
                break
            if self._eager and not self._alike(first, job):
                continue
            taken.append(job)
            longest = wider
        gone = set(map(id, taken))
        self.waiting = deque(job for job in self.waiting if id(job) not in gone)
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
            if row.sampling.temperature > 0:
                row.draws = draws(row.sampling.seed, row.room)
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
) -> Job:
    """The job of one prompt.   index: its place in the call, which makes its seed out of the call's."""
    limit = context_limit(model)
    assert len(prompt) > 0, "the caller refuses empty prompts"
    assert limit is None or len(prompt) < limit, "the caller refuses overlong prompts"
    room = sampling.max_tokens if limit is None else min(sampling.max_tokens, limit - len(prompt))
    own = sampling if sampling.temperature == 0 else replace(sampling, seed=request_seed(sampling.seed, index))
    return Job(prompt, own, room, frozenset(stop_ids), hear, measured)


def _under(on_token: Callable[[int, int], bool], name: int) -> Callable[[int], bool]:
    return lambda token: on_token(name, token)


def _step(model: PreTrainedModel, running: _Running) -> torch.Tensor:
    """Run the newest token of every row; logits [B, V]."""
    running.length += 1
    logits = forward(
        model, running.next_ids[:, None], running.starts, cache=running.cache, past=running.length - 1, keep=1
    )
    return logits[:, -1]


def _advance(running: _Running, logits: torch.Tensor) -> list[int]:
    """Choose and record the next token of every row; the places of the rows that are finished with it."""
    running.next_ids = _chosen(running.rows, logits)
    measured = [place for place, row in enumerate(running.rows) if row.measured]
    if len(measured) == len(running.rows):
        logprobs = token_logprobs(logits, running.next_ids).tolist()
    elif measured:
        logprobs = token_logprobs(logits[measured], running.next_ids[measured]).tolist()
    for at, place in enumerate(measured):
        row = running.rows[place]
        row.logprobs.append(logprobs[at])
        if row.sampling.top_logprobs:
            row.alternatives.append(tuple(likeliest(logits[place], row.sampling.top_logprobs)))
    finished = []
    for place, (row, token) in enumerate(zip(running.rows, running.next_ids.tolist(), strict=True)):
        row.ids.append(token)
        if row.seen is not None:
            row.seen[token] = True
        if token in row.stop_ids or (row.hear is not None and row.hear(token)):
            row.stop_reason = "stop"
            finished.append(place)
        elif len(row.ids) == row.room:
            finished.append(place)
    return finished


def _chosen(rows: Sequence[Job], logits: torch.Tensor) -> torch.Tensor:
    """The next token of every row, each by its own sampling; int64 [B]."""
    logits = _penalised(rows, logits)
    manners: dict[tuple[float, int, float, float], list[int]] = {}
    for place, row in enumerate(rows):
        how = row.sampling
        manner = (how.temperature, how.top_k, how.top_p, how.min_p) if how.temperature > 0 else (0.0, 0, 1.0, 0.0)
        manners.setdefault(manner, []).append(place)
    chosen = torch.empty(len(rows), dtype=torch.long, device=logits.device)
    for (temperature, top_k, top_p, min_p), places in manners.items():
        drawn = None
        if temperature > 0:
            drawn = torch.stack([mine[len(rows[at].ids)] for at in places if (mine := rows[at].draws) is not None])
        of = logits if len(manners) == 1 else logits[places]
        chosen[places] = choose(of, drawn, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    return chosen


def _penalised(rows: Sequence[Job], logits: torch.Tensor) -> torch.Tensor:
    """The logits [B, V] with the repetition penalty of the rows that have one."""
    punished = [place for place, row in enumerate(rows) if row.sampling.repetition_penalty != 1.0]
    if not punished:
        return logits
    logits = logits.clone()
    for place in punished:
        row = rows[place]
        if row.seen is None:
            row.seen = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
            row.seen[list(row.prompt)] = True
        logits[place] = penalised(logits[place], row.seen, row.sampling.repetition_penalty)
    return logits


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
