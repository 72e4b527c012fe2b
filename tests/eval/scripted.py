"""A Chat without a model: replies come from a function, and what it was asked is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from heedlm.messages import Example, Message, Reply, Request, Sampling


@dataclass
class ScriptedChat:
    """answer: what to say to a request.   nats: log-probability of every character of a scored text."""

    answer: Callable[[Request], str | Reply]
    name: str = "scripted"
    nats: float = -1.0
    asked: list[Request] = field(default_factory=list)
    samplings: list[Sampling] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)

    def reply(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        *,
        on_text: Callable[[int, str], None] | None = None,
    ) -> list[Reply]:
        self.calls.append(len(requests))
        said = [self.answer(request) for request in requests]
        self.asked += requests
        self.samplings += [sampling] * len(requests)
        replies = [text if isinstance(text, Reply) else Reply(text) for text in said]
        if on_text is not None:
            for index, reply in enumerate(replies):
                on_text(index, reply.text)
        return replies

    def score(self, requests: Sequence[Request], continuations: Sequence[str]) -> list[list[float]]:
        assert all(request.text == "" for request in requests)
        return [[self.nats] * len(text) for text in continuations]


def last(request: Request) -> str:
    """The question of a request, however it was asked: the last line that holds one."""
    if request.text is None:
        return request.messages[-1].content
    return [line for line in request.text.splitlines() if "?" in line][-1].split(": ")[-1]


def example(
    question: str,
    answer: str,
    *,
    id: str = "x",  # noqa: A002 - the field's own name
    group: str | None = None,
    system: str = "",
    task: str = "facts",
    kind: str = "facts",
    gated: bool = True,
    checks: Sequence[dict[str, object]] | None = None,
    **meta: object,
) -> Example:
    """A row as the readers make it, judged by equality unless checks are given."""
    turns = [Message("system", system)] if system else []
    turns += [Message("user", question), Message("assistant", answer)]
    held = {
        "task": task,
        "kind": kind,
        "gated": gated,
        "checks": checks or [{"type": "equals", "value": answer}],
        **meta,
    }
    return Example(id=id, messages=tuple(turns), source="rows.jsonl:1", group=group, meta=held)
