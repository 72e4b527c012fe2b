"""The journal of paid calls: what was sent and what came back, on the disk before it counts.

An append-only file of events, one JSON object per line, keyed by the content of the call (`key_of`):

    {"heed_synth": 1, "event": "sent", "key": "...", "attempt": 1, "most": [120, 256], "time": "2026-01-31T12:00:00Z"}
    {"heed_synth": 1, "event": "got", "key": "...", "attempt": 1, "tokens": [31, 58], "told": true, "reply": {...}, "call": {...}}
    {"heed_synth": 1, "event": "free", "key": "...", "attempt": 2, "why": "The endpoint answered 429: ..."}
    {"heed_synth": 1, "event": "unsure", "key": "...", "attempt": 3, "why": "The endpoint did not answer in time."}
    {"heed_synth": 1, "event": "failed", "key": "...", "why": "..."}

`most` are the tokens of prompt and answer that the call can cost at most. An attempt that was sent and has no other event
was under way when the process was killed: it may have been paid, so it counts with its `most` from then on, as one that is
`unsure` does. `told` says whether the endpoint counted the tokens; else `tokens` is `most`.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from heedlm.data.events import repair, to_line
from heedlm.errors import HeedError
from heedlm.messages import Message, Reply, Request, Sampling, ToolCall
from heedlm.runs import disk_errors, sync

VERSION = 1
_EVENTS = ("sent", "got", "free", "unsure", "failed")


class Tokens(NamedTuple):
    """Tokens of prompts and of completions."""

    prompt: int
    completion: int

    def plus(self, other: Tokens) -> Tokens:
        return Tokens(self.prompt + other.prompt, self.completion + other.completion)

    def minus(self, other: Tokens) -> Tokens:
        return Tokens(self.prompt - other.prompt, self.completion - other.completion)


NONE = Tokens(0, 0)


class Spent(NamedTuple):
    """What a journal says was spent. requests: sent, whatever came of them.   tokens: paid, or perhaps paid.

    unsure: requests of which nobody knows whether they were paid; they are in `tokens` with all that they can cost.
    guessed: answers whose tokens the endpoint did not count.
    """

    requests: int = 0
    tokens: Tokens = NONE
    unsure: int = 0
    guessed: int = 0


class Journal:
    """A journal, open for this process alone. Raises HeedError where another process has it, or a line is damaged.

    What is written survives the end of the process at once, and a power cut once `settle` has returned.
    notes: what was repaired when it was opened.   spent: so far; of calls under way only that they were sent.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock, self._settling = threading.Lock(), threading.Lock()
        self._written = self._settled = 0  # bytes of the file: written, and known to be on the disk
        self._got: dict[str, tuple[int, int]] = {}  # key -> place and length of the line, so that memory stays small
        self._failed: set[str] = set()
        self._most: dict[int, Tokens] = {}  # attempts without an end
        self._attempts = 0
        self.spent = Spent()
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._folder = _only_one(path.parent)
            try:
                self.notes = repair(path)
                self._handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
                sync(path.parent)
                self._read()
            except BaseException:
                os.close(self._folder)
                raise
        for most in self._most.values():  # under way when their process ended
            self._count(most, unsure=True)
        self._most.clear()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock, self._settling:
            # A thread that is still waiting for its answer must not write into a file that gets the same number next.
            handle, self._handle = self._handle, -1
        os.close(handle)
        os.close(self._folder)

    def __len__(self) -> int:
        """Answers in it."""
        return len(self._got)

    def reply(self, key: str) -> Reply | None:
        """The answer to a call, where there is one."""
        if key not in self._got:
            return None
        place, length = self._got[key]
        return reply_of(json.loads(os.pread(self._handle, length, place))["reply"])

    def failed(self, key: str) -> bool:
        """Whether the call was given up for good."""
        return key in self._failed

    def sent(self, key: str, most: Tokens) -> int:
        """Write that a call goes out now; the number of this attempt. It may go once `settle` has returned."""
        with self._lock:
            attempt = self._attempts + 1
            self._append({"event": "sent", "key": key, "attempt": attempt, "most": list(most), "time": _now()})
            self._attempts = attempt
            self._most[attempt] = most
            self.spent = self.spent._replace(requests=self.spent.requests + 1)
            return attempt

    def got(self, key: str, attempt: int, reply: Reply, tokens: Tokens, told: bool, call: Mapping[str, Any]) -> None:
        """Write the answer of an attempt. told: whether the endpoint counted the tokens.   call: what was asked, and how."""
        event = {"event": "got", "key": key, "attempt": attempt, "tokens": list(tokens), "told": told}
        with self._lock:
            self._got[key] = self._append({**event, "reply": reply_as_json(reply), "call": call, "time": _now()})
            self._most.pop(attempt)
            self._count(tokens, guessed=not told)

    def free(self, key: str, attempt: int, why: str) -> None:
        """Write that an attempt cost nothing."""
        with self._lock:
            self._append({"event": "free", "key": key, "attempt": attempt, "why": why})
            self._most.pop(attempt)

    def unsure(self, key: str, attempt: int, why: str) -> None:
        """Write that the answer of an attempt was lost, paid or not."""
        with self._lock:
            self._append({"event": "unsure", "key": key, "attempt": attempt, "why": why})
            self._count(self._most.pop(attempt), unsure=True)

    def give_up(self, key: str, why: str) -> None:
        """Write that a call is not to be tried again, in this run or a later one."""
        with self._lock:
            self._append({"event": "failed", "key": key, "why": why})
            self._failed.add(key)

    def settle(self) -> None:
        """Return when all that was written so far is on the disk; threads that wait at once share one writing."""
        written = self._written
        with self._settling, disk_errors(self._path):
            if self._settled < written:
                reach = self._written
                os.fsync(self._handle)
                self._settled = reach

    def _count(self, tokens: Tokens, *, unsure: bool = False, guessed: bool = False) -> None:
        spent = self.spent
        self.spent = Spent(spent.requests, spent.tokens.plus(tokens), spent.unsure + unsure, spent.guessed + guessed)

    def _append(self, event: Mapping[str, Any]) -> tuple[int, int]:
        """One line at the end; its place and length. A full disk leaves no half of a line behind."""
        line = _line({"heed_synth": VERSION, **event})
        with disk_errors(self._path):
            place = os.fstat(self._handle).st_size
            try:
                rest = memoryview(line)
                while rest:
                    rest = rest[os.write(self._handle, rest) :]
            except OSError:
                os.ftruncate(self._handle, place)
                raise
        self._written = place + len(line)
        return place, len(line)

    def _read(self) -> None:
        place = 0
        with open(self._path, "rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    self._take(json.loads(line), place, len(line))
                except (ValueError, KeyError, TypeError, RecursionError) as error:
                    what = f"damaged line: {error}" if isinstance(error, ValueError) else "damaged line: it is no event"
                    mend = "take the line as it was from a copy of the file; or choose another folder: --out FOLDER"
                    raise HeedError(what, f"{self._path}:{number}", mend) from error
                place += len(line)

    def _take(self, event: dict[str, Any], place: int, length: int) -> None:
        """Take in one event that was read."""
        if event["heed_synth"] != VERSION:
            raise ValueError(f"version {event['heed_synth']!r}, this heed reads {VERSION}")
        kind, key = event["event"], event["key"]
        if kind not in _EVENTS or not isinstance(key, str):
            raise TypeError(kind)
        if kind == "failed":
            self._failed.add(key)
            return
        attempt = int(event["attempt"])
        if kind == "sent":
            self._attempts = max(self._attempts, attempt)
            self._most[attempt] = Tokens(*map(int, event["most"]))
            self.spent = self.spent._replace(requests=self.spent.requests + 1)
            return
        most = self._most.pop(attempt)
        if kind == "got":
            reply_of(event["reply"])
            self._got[key] = (place, length)
            self._count(Tokens(*map(int, event["tokens"])), guessed=not event["told"])
        elif kind == "unsure":
            self._count(most, unsure=True)


def _line(event: Mapping[str, Any]) -> bytes:
    """An event as a line. Half characters, which an endpoint may answer with, become question marks."""
    try:
        return to_line(event)
    except UnicodeEncodeError:
        return to_line(json.loads(json.dumps(event, ensure_ascii=False).encode("utf-8", "replace")))


def key_of(model: str, request: Request, sampling: Sampling) -> str:
    """What tells one call from another: the model, all that is asked of it, and how it decodes, the seed too."""
    text = json.dumps([model, call_as_json(request, sampling)], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def call_as_json(request: Request, sampling: Sampling) -> dict[str, Any]:
    """A call as the journal keeps it; what holds its default is left out."""
    asked: dict[str, Any] = {"messages": [message_as_json(message) for message in request.messages]}
    asked |= {} if request.text is None else {"text": request.text}
    asked |= {"tools": list(request.tools)} if request.tools else {}
    asked |= {"template_kwargs": dict(request.template_kwargs)} if request.template_kwargs else {}
    return {**asked, "sampling": sampling_as_json(sampling)}


def sampling_as_json(sampling: Sampling) -> dict[str, Any]:
    """How a call decodes, with its seed."""
    told: dict[str, Any] = {"max_tokens": sampling.max_tokens, "temperature": sampling.temperature}
    told |= {"top_p": sampling.top_p} if sampling.top_p < 1 else {}
    told |= {"top_k": sampling.top_k} if sampling.top_k else {}
    told |= {"stop": list(sampling.stop)} if sampling.stop else {}
    return {**told, "seed": sampling.seed}


def message_as_json(message: Message) -> dict[str, Any]:
    """A turn with what it holds."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    turn |= {} if message.reasoning is None else {"reasoning": message.reasoning}
    turn |= {"tool_calls": _calls(message.tool_calls)} if message.tool_calls else {}
    return turn | ({} if message.tool_call_id is None else {"tool_call_id": message.tool_call_id})


def reply_as_json(reply: Reply) -> dict[str, Any]:
    """What of a reply is text: without ids, log-probabilities and the rendered prompt."""
    told: dict[str, Any] = {"text": reply.text, "stop_reason": reply.stop_reason}
    told |= {} if reply.reasoning is None else {"reasoning": reply.reasoning}
    return told | ({"tool_calls": _calls(reply.tool_calls)} if reply.tool_calls else {})


def reply_of(told: Mapping[str, Any]) -> Reply:
    """The reply that `reply_as_json` wrote. Raises KeyError, TypeError or ValueError where it did not."""
    calls = tuple(ToolCall(call["name"], call["arguments"], call.get("id")) for call in told.get("tool_calls", ()))
    text, reason = told["text"], told["stop_reason"]
    if not isinstance(text, str) or reason not in ("stop", "length", "error"):
        raise TypeError("a reply has a text and a reason why it stopped")
    return Reply(text, reasoning=told.get("reasoning"), tool_calls=calls, stop_reason=reason)


def _calls(calls: tuple[ToolCall, ...]) -> list[dict[str, Any]]:
    return [
        {"name": call.name, "arguments": dict(call.arguments), **({} if call.id is None else {"id": call.id})}
        for call in calls
    ]


def _only_one(folder: Path) -> int:
    """The folder, open and locked for this process; the lock ends with it, however that ends."""
    import fcntl  # not on Windows, where everything else of heed works all the same

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        with suppress(OSError):
            os.close(handle)
        if isinstance(error, BlockingIOError):
            what = "Another heed is at work in this folder."
            raise HeedError(what, str(folder), "wait for it, or choose another folder: --out FOLDER") from error
        raise
    return handle


def _now() -> str:
    return datetime.now(timezone.utc).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
