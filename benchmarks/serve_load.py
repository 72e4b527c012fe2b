"""Clients for benchmarks/serve.py: streaming requests over plain sockets, so that the clients themselves cost little."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Asked(NamedTuple):
    """One request. tokens: new ones, exactly as many as the model then makes."""

    text: str
    tokens: int


class Answer(NamedTuple):
    """What came back. first, whole: seconds from sending to the first text and to the end.   problem: empty where all is well."""

    text: str
    tokens: int
    first: float
    whole: float
    problem: str = ""


@dataclass
class Soaked:
    """What a long run saw. rss: resident bytes of the server, read every second."""

    answers: list[tuple[Asked, Answer]] = field(default_factory=list)
    left: int = 0
    refused: int = 0
    problems: list[str] = field(default_factory=list)
    rss: list[int] = field(default_factory=list)


def body_of(model: str, asked: Asked) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": asked.text}],
        "max_tokens": asked.tokens,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def _sent(port: int, body: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    return reader, writer


async def ask(port: int, model: str, asked: Asked, *, leave_after: int | None = None) -> Answer:
    """One streamed request.   leave_after: hang up after so many events."""
    began = time.perf_counter()
    reader, writer = await _sent(port, json.dumps(body_of(model, asked)).encode())
    first, text, tokens, events, problem = 0.0, [], 0, 0, ""
    try:
        status = int((await reader.readline()).split()[1])
        while (await reader.readline()).strip():
            pass
        if status != 200:
            return Answer("", 0, 0.0, 0.0, f"status {status}: {(await reader.read())[:300]!r}")
        async for line in reader:  # the lengths of chunks stand between the events and begin with no "data:"
            if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                problem = str(event["error"])
                break
            piece = event["choices"][0]["delta"].get("content") if event.get("choices") else None
            if piece:
                first = first or time.perf_counter() - began
                text.append(piece)
            tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
            events += 1
            if leave_after is not None and events >= leave_after:
                break
    finally:
        writer.close()
    return Answer("".join(text), tokens, first, time.perf_counter() - began, problem)


async def _client(port: int, model: str, asked: Sequence[Asked], answers: list[Answer]) -> None:
    for one in asked:
        answers.append(await ask(port, model, one))


def load(port: int, model: str, clients: int, asked: Sequence[Asked]) -> tuple[list[Answer], float]:
    """Requests shared out among clients, each of which sends its next when the last is answered; and the seconds of all."""
    answers: list[Answer] = []

    async def run() -> float:
        began = time.perf_counter()
        await asyncio.gather(*(_client(port, model, asked[at::clients], answers) for at in range(clients)))
        return time.perf_counter() - began

    return answers, asyncio.run(run())


_GARBAGE = (
    b"",
    b"{",
    b"[]",
    b'{"model": 3}',
    b'{"model": "nobody", "messages": [{"role": "user", "content": "a"}]}',
    b"\xff" * 50,
    b'{"model": "MODEL", "messages": [{"role": "user", "content": "a"}], "max_tokens": -4}',
    b'{"model": "MODEL", "messages": [{"role": "user", "content": "a"}], "wizard": 1}',
    b"[" * 5000,
)


async def _garbage(port: int, model: str, chance: random.Random) -> str:
    """Send something that is no request; "" where it was refused as it should be."""
    reader, writer = await _sent(port, chance.choice(_GARBAGE).replace(b"MODEL", model.encode()))
    try:
        status = int((await reader.readline()).split()[1])
        return "" if 400 <= status < 500 else f"garbage was answered {status}"
    finally:
        writer.close()


def soak(port: int, model: str, pid: int, clients: int, seconds: float, pool: Sequence[Asked], seed: int) -> Soaked:
    """So many clients at work for so long: of a hundred requests five hang up early and five are garbage."""
    seen = Soaked()

    async def client(chance: random.Random, end: float) -> None:
        while time.perf_counter() < end:
            kind, one = chance.random(), chance.choice(pool)
            try:
                if kind < 0.05:
                    await ask(port, model, one, leave_after=chance.randrange(1, 10))
                    seen.left += 1
                elif kind < 0.10:
                    problem = await _garbage(port, model, chance)
                    seen.refused += 1
                    seen.problems += [problem] if problem else []
                else:
                    answer = await ask(port, model, one)
                    seen.answers.append((one, answer))
                    seen.problems += [answer.problem] if answer.problem else []
            except (OSError, ValueError, IndexError, asyncio.IncompleteReadError) as error:
                seen.problems.append(f"{type(error).__name__}: {error}")
                await asyncio.sleep(0.2)

    async def watch(end: float) -> None:
        while time.perf_counter() < end:
            seen.rss.append(resident(pid, "VmRSS"))
            await asyncio.sleep(1)

    async def run() -> None:
        end = time.perf_counter() + seconds
        await asyncio.gather(watch(end), *(client(random.Random(seed * 1000 + at), end) for at in range(clients)))

    asyncio.run(run())
    return seen


def resident(pid: int, field_name: str) -> int:
    """Bytes that a process holds: VmRSS now, VmHWM at most; 0 for a process that has ended."""
    try:
        with open(f"/proc/{pid}/status") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith(field_name)), 0)
    except OSError:
        return 0
