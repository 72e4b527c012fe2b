"""One prompt on its way through an engine, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from heedlm.messages import Sampling, StopReason

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


class Guide(Protocol):
    """What a reply is held to. error: why it can be held to it no longer; empty where all is well."""

    error: str

    def allow(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits [V] without the tokens that may not follow."""
        ...

    def take(self, token: int) -> bool:
        """Hear a token, never a stop id; whether the reply ends after it."""
        ...


@dataclass(slots=True, eq=False)
class Job:
    """One prompt on its way: how it is to be continued, and what it has made so far.

    prompt: ids, at least one and fewer than the context limit.   sampling: `stop` is not looked at (texts are the caller's
    business, see `text.TextStream`), and `seed` is that of this job alone.   room: new tokens at most.   stop_ids: end it;
    kept as its last id.   hear(id): hears every token but a stop id, and answers whether the job shall end after it.
    measured: whether log-probabilities are wanted.   guide: what the reply is held to; where it fails, the job ends with
    stop_reason "error".
    """

    prompt: Sequence[int]
    sampling: Sampling
    room: int
    stop_ids: frozenset[int] = frozenset()
    hear: Callable[[int], bool] | None = None
    measured: bool = True
    guide: Guide | None = None
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
