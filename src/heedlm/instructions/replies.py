"""Replies by the content of what was asked: in memory, and line by line on disk, where a kill loses none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, get_args

from heedlm.eval.asking import Ask
from heedlm.eval.log import mend_tail
from heedlm.messages import Reply, Sampling, StopReason
from heedlm.runs import disk_errors

VERSION = 1  # of a line; lines of another version are asked again


class Kept(NamedTuple):
    """A reply, the tokens that it took (None: not told) and the seconds."""

    reply: Reply
    tokens: int | None
    seconds: float


def key_of(model: str, ask: Ask, sampling: Sampling, continuation: str | None = None) -> str:
    """64 hex digits of all that decides an answer: model, request, stop texts, decoding, seed.

    continuation: the text whose likelihood was asked, where no answer was.
    """
    request = ask.request
    decoding = asdict(sampling)
    if sampling.temperature == 0:  # the seed of a greedy answer changes nothing
        decoding["seed"] = 0
    elif ask.seed is not None:
        decoding["seed"] = ask.seed
    told: list[Any] = [VERSION, model, request.text, [[one.role, one.content] for one in request.messages]]
    told += [list(ask.stop), decoding, dict(request.template_kwargs), continuation]
    return hashlib.sha256(json.dumps(told, ensure_ascii=True, default=str).encode()).hexdigest()


class Store:
    """path: a file of JSON lines, or None for memory alone. A line that cannot be read is left out: it is asked again.

    Replies with stop_reason "error" are never kept.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.replies: dict[str, Kept] = {}
        self.likelihoods: dict[str, float] = {}
        self.unread = 0
        if path is not None and path.exists():
            with disk_errors(path):
                lines = path.read_bytes().split(b"\n")
            for line in filter(None, lines):
                self._read(line)

    def keep(self, fresh: Mapping[str, Kept]) -> None:
        """Keep answers; a kill of this process loses none of them once this returns."""
        self.replies |= fresh
        told = [
            {
                "key": key,
                "reply": one.reply.text,
                "reasoning": one.reply.reasoning,
                "stop_reason": one.reply.stop_reason,
                "tokens": one.tokens,
                "seconds": round(one.seconds, 4),
                "version": VERSION,
            }
            for key, one in fresh.items()
        ]
        self._write(told)

    def keep_likelihoods(self, fresh: Mapping[str, float]) -> None:
        self.likelihoods |= fresh
        self._write([{"key": key, "likelihood": one, "version": VERSION} for key, one in fresh.items()])

    def _write(self, told: list[dict[str, Any]]) -> None:
        if self.path is None or not told:
            return
        lines = "".join(json.dumps(one, ensure_ascii=True) + "\n" for one in told)
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            mend_tail(self.path)
            # In the hands of the system once this is closed: a kill of ours loses nothing, and a disk is not waited for.
            with self.path.open("ab") as file:
                file.write(lines.encode())

    def _read(self, line: bytes) -> None:
        try:
            row = json.loads(line)
            if row["version"] != VERSION:
                return
            key = row["key"]
            if "likelihood" in row:
                self.likelihoods[key] = float(row["likelihood"])
                return
            if not isinstance(row["reply"], str) or row["stop_reason"] not in get_args(StopReason):
                raise ValueError("no reply")
            reply = Reply(row["reply"], reasoning=row["reasoning"], stop_reason=row["stop_reason"])
            self.replies[key] = Kept(reply, row["tokens"], float(row["seconds"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            self.unread += 1
