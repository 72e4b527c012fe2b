"""From the logits after a pass to the next token of every row, each chosen in its own manner.

Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from heedlm.generate.job import Job
from heedlm.generate.sampling import choose, likeliest, penalised, token_logprobs


def advance(rows: Sequence[Job], logits: torch.Tensor) -> tuple[torch.Tensor, list[int]]:
    """Choose and record the next token of every row; the tokens, int64 [B], and the places of the rows that are finished.

    logits: [B, V].
    """
    next_ids = _chosen(rows, logits)
    measured = [place for place, row in enumerate(rows) if row.measured]
    if len(measured) == len(rows):
        logprobs = token_logprobs(logits, next_ids).tolist()
    elif measured:
        logprobs = token_logprobs(logits[measured], next_ids[measured]).tolist()
    for at, place in enumerate(measured):
        row = rows[place]
        row.logprobs.append(logprobs[at])
        if row.sampling.top_logprobs:
            row.alternatives.append(tuple(likeliest(logits[place], row.sampling.top_logprobs)))
    finished = []
    for place, (row, token) in enumerate(zip(rows, next_ids.tolist(), strict=True)):
        row.ids.append(token)
        if row.seen is not None:
            row.seen[token] = True
        if token in row.stop_ids or _ends(row, token):
            row.stop_reason = "error" if row.guide is not None and row.guide.error else "stop"
            finished.append(place)
        elif len(row.ids) == row.room:
            finished.append(place)
    return next_ids, finished


def _ends(row: Job, token: int) -> bool:
    """Whether a reply ends after `token`: those who hear it say so, or what it is held to."""
    heard = row.hear is not None and row.hear(token)
    return (row.guide is not None and row.guide.take(token)) or heard


def _chosen(rows: Sequence[Job], logits: torch.Tensor) -> torch.Tensor:
    """The next token of every row, each by its own sampling; int64 [B]."""
    logits = _guided(rows, _penalised(rows, logits))
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


def _guided(rows: Sequence[Job], logits: torch.Tensor) -> torch.Tensor:
    """The logits [B, V] without what may not follow in the rows that are held to something."""
    guided = [(place, row.guide) for place, row in enumerate(rows) if row.guide is not None]
    if guided:
        logits = logits.clone()
        for place, guide in guided:
            logits[place] = guide.allow(logits[place])
    return logits
