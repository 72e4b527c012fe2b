"""What lives during a conversation in the terminal, and how a turn of it is asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from heedlm.errors import HeedError
from heedlm.instructions.frame import OWN, Frame
from heedlm.instructions.policy import Policy
from heedlm.messages import Chat, Message, Reply, Request, Sampling

Say = Callable[[str, str], None]  # (text, style); nothing is added at the end
Open = Callable[[str], Chat]


@runtime_checkable
class Renders(Protocol):
    """A chat that can tell what its model sees: a model on this machine can, an endpoint cannot."""

    def render(self, request: Request) -> tuple[str, tuple[int, ...]]:
        """Text and token ids of the prompt."""
        ...


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where /save writes, and who vouches for it."""

    store: Path
    author: str


@dataclass(slots=True)
class Session:
    """A conversation. own: the chat it was opened with; `chat` may be the same model in another format.

    open: opens another model by name, for /compare.   plain: talking to the base model.   last, reply: what was asked last, and answered.
    policy: the instruction behind the conversation, while `guided`.   history: turns as they were typed and answered, without it.
    said, before: what was typed last, and the turns before it.
    """

    own: Chat
    load_base: Callable[[], Chat] | None
    sampling: Sampling
    say: Say
    system: str | None
    open: Open
    keeping: Keeping | None
    policy: Policy | None = None
    chat: Chat = field(init=False)
    base: Chat | None = None  # once it was asked for
    history: list[Message] = field(default_factory=list)
    plain: bool = False
    last: Request | None = None
    reply: Reply | None = None
    retries: int = 0
    parties: tuple[str, ...] = ()  # of the last comparison
    opened: dict[str, Chat] = field(default_factory=dict)
    guided: bool = True
    said: str = ""
    before: tuple[Message, ...] = ()
    frames: dict[int, Frame | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chat = self.own

    def refuse(self, error: HeedError | str) -> None:
        self.say(f"{error}\n", "red")

    def forget(self) -> None:
        """Begin anew; the system text stays."""
        self.history.clear()
        self.last = self.reply = None
        self.said, self.before = "", ()


def asked(session: Session, request: Request) -> Chat:
    """Who is asked a request: the base model continues texts, the other one answers messages."""
    return session.base if request.text is not None and session.base is not None else session.chat


def request_of(session: Session, line: str) -> Request:
    """What is asked when a person types `line` now. Raises HeedError where the instruction does not reach the model."""
    if session.plain:
        return Request(text=line)
    return in_turns(session, session.chat, session.history, line)


def in_turns(session: Session, chat: Chat, history: Sequence[Message], line: str) -> Request:
    """`line` as the next turn of a conversation, as `chat` gets it: under the instruction, where there is one."""
    return Request(messages=conversation_of(session, chat, [*history, Message("user", line)]))


def conversation_of(session: Session, chat: Chat, turns: Sequence[Message]) -> tuple[Message, ...]:
    """Turns with the system text, and under the instruction. Raises HeedError where it does not reach the model."""
    opening = [Message("system", session.system)] if session.system else []
    if session.policy is None or not session.guided:
        return (*opening, *turns)
    return session.policy.speak([*opening, *turns], frame_of(session, chat)).messages


def frame_of(session: Session, chat: Chat) -> Frame | None:
    """The template and tokenizer of a model on this machine; None for an endpoint, which renders out of our sight."""
    if id(chat) not in session.frames:
        template: Any = getattr(chat, "template", None)
        tokenizer: Any = getattr(chat, "tokenizer", None)
        known = template is not None and tokenizer is not None
        context = getattr(chat, "context", None) or 0
        session.frames[id(chat)] = (
            Frame(OWN, template, tokenizer, own=True, model=chat.name, context=context) if known else None
        )
    return session.frames[id(chat)]


def loaded_base(session: Session) -> Chat | None:
    """The base model, loaded when it is first asked for; None, and said why, where there is none."""
    if session.base is None:
        if session.load_base is None:
            session.refuse("There is no base model here: this chat was started with one model.")
            return None
        try:
            session.base = session.load_base()
        except HeedError as error:
            session.refuse(error)
            return None
    return session.base


def answer(session: Session, line: str, request: Request, temperature: float | None = None) -> None:
    """One turn: ask, stream the answer, remember both.   line: what was typed.   temperature: for this turn alone."""
    session.last, session.reply = request, None
    session.said, session.before = line, tuple(session.history)
    sampling = replace(
        session.sampling,
        seed=session.sampling.seed + session.retries,
        temperature=session.sampling.temperature if temperature is None else temperature,
    )
    reply = streamed(session, asked(session, request), request, sampling)
    session.reply = reply
    if request.text is None and reply.stop_reason != "error" and reply.text:
        turn = Message("assistant", reply.text, reasoning=reply.reasoning, tool_calls=reply.tool_calls)
        session.history += [Message("user", line), turn]


def streamed(session: Session, chat: Chat, request: Request, sampling: Sampling) -> Reply:
    """The reply of a chat, shown as it is made; Ctrl-C ends it with what was said until then."""
    pieces: list[str] = []

    def hear(_index: int, piece: str) -> None:
        pieces.append(piece)
        session.say(piece, "green")

    try:
        reply = chat.reply([request], sampling, on_text=hear)[0]
    except KeyboardInterrupt:
        reply = Reply(text="".join(pieces))
        session.say(" (stopped)", "dim")
    except HeedError as error:
        reply = Reply(text=str(error), stop_reason="error")
    session.say(_ending(reply, "".join(pieces), sampling), "red" if reply.stop_reason == "error" else "dim")
    return reply


def _ending(reply: Reply, shown: str, sampling: Sampling) -> str:
    """What is said after the streamed text: whatever of the reply was not text, or why there is none."""
    if reply.stop_reason == "error":
        return ("\n" if shown else "") + reply.text + "\n"
    notes = [
        f"(calls {call.name} with {json.dumps(dict(call.arguments), ensure_ascii=False)})" for call in reply.tool_calls
    ]
    if reply.reasoning:
        notes.append(f"(thought: {reply.reasoning})")
    if reply.stop_reason == "length":
        notes.append(f"(cut: {sampling.max_tokens:,} tokens are the most (--max-tokens), or the context is full)")
    elif not shown and not notes:
        notes.append("(empty answer)")
    return "".join(f"\n{note}" for note in notes).removeprefix("" if shown else "\n") + "\n"
