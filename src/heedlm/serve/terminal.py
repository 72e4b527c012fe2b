"""A conversation with a model in the terminal."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from typing import Protocol, runtime_checkable

from rich.console import Console

from heedlm.errors import HeedError
from heedlm.messages import Chat, Message, Reply, Request, Sampling

COMMANDS = {
    "system": "/system TEXT   say how the model behaves; without TEXT show it; /system off ends it",
    "base": "/base [TEXT]   switch to the base model and back; with TEXT it continues TEXT",
    "show": "/show [TEXT]   what the model saw last, or would see for TEXT, and its tokens",
    "reset": "/reset [TEXT]  forget the conversation, not the system text; begin with TEXT",
    "help": "/help          this list",
    "quit": "/quit          leave (or Ctrl-D); Ctrl-C stops an answer",
}
_COMMAND = re.compile(r"/([A-Za-z]+)(?:\s+(.*))?", re.DOTALL)


@runtime_checkable
class Renders(Protocol):
    """A chat that can tell what its model sees: a model on this machine can, an endpoint cannot."""

    def render(self, request: Request) -> tuple[str, tuple[int, ...]]:
        """Text and token ids of the prompt."""
        ...


@dataclass(slots=True)
class _Session:
    """What lives during a conversation."""

    chat: Chat
    load_base: Callable[[], Chat] | None
    sampling: Sampling
    say: Callable[[str, str], None]  # (text, style); nothing is added at the end
    system: str | None
    base: Chat | None = None  # once it was asked for
    history: list[Message] = field(default_factory=list)
    plain: bool = False  # talking to the base model
    last: Request | None = None


def terminal_chat(
    chat: Chat,
    *,
    base: Callable[[], Chat] | None = None,
    sampling: Sampling,
    system: str | None = None,
    lines: Iterable[str] | None = None,
    write: Callable[[str], None] | None = None,
) -> None:
    """Talk with `chat` until the lines end or the person leaves.

    base: loads the model before tuning, when /base first asks for it.   lines: what the person types, one turn each; by default the keyboard,
    where Ctrl-D ends them.   write: takes the text to show, without colours; by default the terminal, with colours.
    An error in an answer is shown and the conversation goes on without that turn.
    """
    session = _Session(chat, base, sampling, _screen(write), system)
    session.say(f"{chat.name}: type a message, or /help\n", "bold")
    typed: Iterator[str] = iter(_Keyboard(session) if lines is None else lines)
    while True:
        try:
            line = next(typed).strip()
        except StopIteration:
            break
        except KeyboardInterrupt:
            session.say("\n(Ctrl-D or /quit leaves)\n", "dim")
            continue
        if not line:
            continue
        command = _COMMAND.fullmatch(line)
        if command is None:
            _answer(session, line)
        elif not _obey(session, command[1].lower(), (command[2] or "").strip()):
            break
    session.say("\n", "")


def _obey(session: _Session, name: str, rest: str) -> bool:
    """Do what a command says; False to leave."""
    if name == "quit":
        return False
    if name == "help":
        _help(session, rest.removeprefix("/").lower())
    elif name == "reset":
        session.history.clear()
        session.last = None
        session.say("The conversation is forgotten.\n", "dim")
        if rest:
            _answer(session, rest)
    elif name == "system":
        _system(session, rest)
    elif name == "base":
        _switch(session, rest)
    elif name == "show":
        _show(session, _request(session, rest) if rest else session.last)
    else:
        _unknown(session, name)
    return True


def _help(session: _Session, name: str) -> None:
    if name and name not in COMMANDS:
        _unknown(session, name)
    else:
        session.say((COMMANDS[name] if name else "\n".join(COMMANDS.values())) + "\n", "dim")


def _unknown(session: _Session, name: str) -> None:
    close = get_close_matches(name, COMMANDS, n=1)
    hint = f"Did you mean /{close[0]}? " if close else ""
    known = ", ".join(f"/{one}" for one in COMMANDS)
    session.say(f"There is no command /{name}. {hint}Known: {known}. Nothing was sent.\n", "red")


def _system(session: _Session, text: str) -> None:
    if not text:
        session.say(f"system: {session.system}\n" if session.system else "There is no system text.\n", "dim")
        return
    session.system = None if text == "off" else text
    session.say("The system text is taken away.\n" if session.system is None else f"system: {text}\n", "dim")


def _switch(session: _Session, text: str) -> None:
    """To the base model and back; with a text to the base model, which continues it."""
    if session.load_base is None:
        session.say("There is no base model here: this chat was started with one model.\n", "red")
        return
    if session.base is None:
        try:
            session.base = session.load_base()
        except HeedError as error:
            session.say(f"{error}\n", "red")
            return
    if not session.plain:
        session.plain = True
        session.say(
            f"{session.base.name}: continues what you type, knows no turns and no system text; /base: back\n", "bold"
        )
    elif not text:
        session.plain = False
        session.say(f"{session.chat.name}: answers; the conversation goes on where it was\n", "bold")
    if text:
        _answer(session, text)


def _show(session: _Session, request: Request | None) -> None:
    if request is None:
        session.say("Nothing was sent yet.\n", "dim")
        return
    model = _asked(session, request)
    if not isinstance(model, Renders):
        sent = [_trimmed(message) for message in request.messages] or request.text
        session.say(json.dumps(sent, ensure_ascii=False, indent=2) + "\n", "cyan")
        session.say("(as sent: the endpoint makes the model's text from it, out of our sight)\n", "dim")
        return
    try:
        text, ids = model.render(request)
    except HeedError as error:
        session.say(f"{error}\n", "red")
        return
    session.say(text, "cyan")
    session.say(f"\n({len(ids):,} tokens)\n", "dim")


def _asked(session: _Session, request: Request) -> Chat:
    """Who is asked a request: the base model continues texts, the other one answers messages."""
    return session.base if request.text is not None and session.base is not None else session.chat


def _request(session: _Session, line: str) -> Request:
    """What is asked when a person types `line` now."""
    if session.plain:
        return Request(text=line)
    opening = [Message("system", session.system)] if session.system else []
    return Request(messages=(*opening, *session.history, Message("user", line)))


def _trimmed(message: Message) -> dict[str, object]:
    return {key: value for key, value in asdict(message).items() if value not in (None, ())}


def _answer(session: _Session, line: str) -> None:
    """One turn: ask, stream the answer, remember both."""
    request = _request(session, line)
    session.last = request
    pieces: list[str] = []

    def hear(_index: int, piece: str) -> None:
        pieces.append(piece)
        session.say(piece, "green")

    try:
        reply = _asked(session, request).reply([request], session.sampling, on_text=hear)[0]
    except KeyboardInterrupt:
        reply = Reply(text="".join(pieces))
        session.say(" (stopped)", "dim")
    except HeedError as error:
        reply = Reply(text=str(error), stop_reason="error")
    session.say(_ending(reply, "".join(pieces), session.sampling), "red" if reply.stop_reason == "error" else "dim")
    if request.text is None and reply.stop_reason != "error" and reply.text:
        answer = Message("assistant", reply.text, reasoning=reply.reasoning, tool_calls=reply.tool_calls)
        session.history += [Message("user", line), answer]


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


def _screen(write: Callable[[str], None] | None) -> Callable[[str, str], None]:
    """How text is shown: in colours on the terminal, or plainly through `write`."""
    if write is not None:
        return lambda text, style: write(text)
    console = Console(highlight=False, emoji=False)

    def say(text: str, style: str) -> None:
        # A model may write escape sequences, and a terminal would obey them.
        console.print(text.replace("\x1b", "␛"), style=style or None, end="", markup=False, soft_wrap=True)

    return say


class _Keyboard:
    """Lines from the keyboard, with a prompt that tells who listens; Ctrl-D ends them."""

    def __init__(self, session: _Session) -> None:
        with contextlib.suppress(ImportError):  # not on every platform
            import readline  # noqa: F401  # `input` takes arrow keys and history from it
        self._session = session

    def __iter__(self) -> _Keyboard:
        return self

    def __next__(self) -> str:
        try:
            return input("base> " if self._session.plain else "> ")
        except EOFError:
            raise StopIteration from None


def model_behind(path: str, named: str | None) -> Callable[[], Chat] | None:
    """How to load the model for /base: the one that is `named`, else the one that `path` was tuned from."""
    from heedlm.generate.chat import load_chat
    from heedlm.model.load import resolve, resolve_here
    from heedlm.model.save import read_card

    tuned_from = named or read_card(path).get("base")
    if not tuned_from:
        return None
    folder = resolve(named) if named else resolve_here(tuned_from)

    def load() -> Chat:
        if folder is None:
            mend = "leave, and start again with --base FOLDER, or with --base and its hub id"
            raise HeedError("The base of this model is not on this machine.", str(tuned_from), mend)
        return load_chat(folder, name=str(tuned_from))

    return load
