"""What every mode works with: the desk, the options, and who the rows come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from heedlm.messages import Message, Request
from heedlm.synth.desk import Answer, Call, Desk
from heedlm.synth.journal import Spent
from heedlm.synth.made import Origin
from heedlm.synth.options import Mode, Options


class Progress(NamedTuple):
    """How far a synthesis is. what: is going on, in words.   done, of: answers of this part."""

    what: str
    done: int
    of: int
    spent: Spent


@dataclass(frozen=True, slots=True)
class Work:
    """One synthesis: whom to ask, how, and who hears of it."""

    mode: Mode
    desk: Desk
    options: Options
    origin: Origin
    hear: Callable[[Progress], None]

    def ask(self, what: str, calls: Sequence[Call], before: int = 0, total: int | None = None) -> list[Answer]:
        """Answers to calls, in order; `what` is going on is told, `before` of `total` having been done."""

        def hear(done: int, of: int, spent: Spent) -> None:
            self.hear(Progress(what, before + done, total or before + of, spent))

        return self.desk.ask(calls, hear)


def question(text: str) -> tuple[Message, ...]:
    """A conversation of one question."""
    return (Message("user", text),)


def guided(messages: tuple[Message, ...], guide: str) -> tuple[Message, ...]:
    """The turns with a guide for the teacher, before or behind a system text of their own."""
    if not guide:
        return messages
    if messages and messages[0].role == "system":
        both = Message("system", f"{messages[0].content}\n\n{guide}")
        return (both, *messages[1:])
    return (Message("system", guide), *messages)


def request(messages: tuple[Message, ...]) -> Request:
    return Request(messages=messages)
