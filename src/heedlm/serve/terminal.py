"""A conversation with a model in the terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from difflib import get_close_matches
from pathlib import Path

from rich.console import Console

from heedlm.errors import HeedError
from heedlm.instructions.policy import Policy
from heedlm.messages import Chat, Message, Sampling
from heedlm.serve.beside import compare
from heedlm.serve.formats import switch_format
from heedlm.serve.instructed import begin, show_instruction
from heedlm.serve.kept import save
from heedlm.serve.keyboard import QUOTES, Joined, Keyboard
from heedlm.serve.opening import open_chat
from heedlm.serve.probabilities import ALTERNATIVES, show_probabilities
from heedlm.serve.session import Keeping, Open, Renders, Say, Session, answer, asked, loaded_base, request_of

COMMANDS = {
    "system": "/system TEXT   say how the model behaves; without TEXT show it; /system off ends it",
    "instruction": "/instruction [TEXT]  the instruction as the model sees it, block by block; off and on end and resume it",
    "base": "/base [TEXT]   switch to the base model and back; with TEXT it continues TEXT",
    "format": "/format [NAME] talk on in another chat format; without NAME list them; /format own goes back",
    "compare": "/compare [@NAME ...] [TEXT]  the same text to others too: @base, @FORMAT, @RUN, @URL#MODEL",
    "retry": "/retry [T]     the last answer once more, drawn anew (T: temperature)",
    "probs": "/probs [all]   how sure the model was of each token, and what it would have said instead",
    "save": "/save [TEXT]   the conversation as a training row; TEXT: what the last answer should have been",
    "show": "/show [TEXT]   what the model saw last, or would see for TEXT, and its tokens",
    "reset": "/reset [TEXT]  forget the conversation, not the system text; begin with TEXT",
    "help": "/help          this list",
    "quit": "/quit          leave (or /exit, or Ctrl-D); Ctrl-C stops an answer",
}
_LEAVE = ("quit", "exit")
_MANY_LINES = f"A line that ends in \\ goes on in the next; {QUOTES} opens and closes a message of many lines.\n"
_COMMAND = re.compile(r"/([A-Za-z]+)(?:\s+(.*))?", re.DOTALL)


def terminal_chat(
    chat: Chat,
    *,
    base: Callable[[], Chat] | None = None,
    sampling: Sampling,
    system: str | None = None,
    policy: Policy | None = None,
    keeping: Keeping | None = None,
    other: Open = open_chat,
    history: Path | None = None,
    lines: Iterable[str] | None = None,
    write: Callable[[str], None] | None = None,
) -> None:
    """Talk with `chat` until the lines end or the person leaves.

    base: loads the model before tuning, when /base first asks for it.   policy: the instruction behind the conversation.   keeping: where /save writes.   other: opens what /compare names.
    history: a file of what was typed before.   lines: what the person types; by default the keyboard, where Ctrl-D ends them.
    write: takes the text to show, without colours; by default the terminal, with colours.
    An error in an answer is shown and the conversation goes on without that turn. Raises HeedError, before anything is
    typed, where the instruction would not reach the model.
    """
    local = isinstance(chat, Renders)
    wanted = replace(sampling, top_logprobs=ALTERNATIVES) if local else sampling
    session = Session(chat, base, wanted, _screen(write), system, other, keeping, policy)
    begin(session)
    session.say(f"{chat.name}: type a message, or /help\n", "bold")
    typed = _typed(session, lines, history)
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
        try:
            if not _take(session, line):
                break
        except KeyboardInterrupt:  # while a command works, such as a model that loads
            session.say(" (stopped)\n", "dim")
    session.say("\n", "")


def _typed(session: Session, lines: Iterable[str] | None, history: Path | None) -> Iterator[str]:
    if lines is not None:
        return Joined(iter(lines))
    keyboard = Keyboard(lambda: "base> " if session.plain else "> ", tuple(COMMANDS), history)
    return Joined(keyboard, keyboard.more)


def _take(session: Session, line: str) -> bool:
    """Do what was typed; False to leave."""
    command = _COMMAND.fullmatch(line)
    if command is None:
        _say_to(session, line)
        return True
    return _obey(session, command[1].lower(), (command[2] or "").strip())


def _say_to(session: Session, line: str) -> None:
    session.retries = 0
    try:
        request = request_of(session, line)
    except HeedError as error:
        session.refuse(error)
        return
    answer(session, line, request)


def _obey(session: Session, name: str, rest: str) -> bool:
    """Do what a command says; False to leave."""
    if name in _LEAVE:
        return False
    verbs: dict[str, Callable[[Session, str], None]] = {
        "help": _help,
        "reset": _reset,
        "system": _system,
        "instruction": show_instruction,
        "base": _switch,
        "format": switch_format,
        "compare": compare,
        "retry": _retry,
        "probs": show_probabilities,
        "save": save,
        "show": _show,
    }
    if name in verbs:
        verbs[name](session, rest)
    else:
        _unknown(session, name)
    return True


def _help(session: Session, rest: str) -> None:
    name = rest.removeprefix("/").lower()
    if name and name not in COMMANDS:
        _unknown(session, name)
    elif name:
        session.say(COMMANDS[name] + "\n", "dim")
    else:
        session.say("\n".join(COMMANDS.values()) + "\n" + _MANY_LINES, "dim")


def _unknown(session: Session, name: str) -> None:
    close = get_close_matches(name, COMMANDS, n=1)
    hint = f"Did you mean /{close[0]}? " if close else ""
    known = ", ".join(f"/{one}" for one in COMMANDS)
    session.say(f"There is no command /{name}. {hint}Known: {known}. Nothing was sent.\n", "red")


def _reset(session: Session, rest: str) -> None:
    session.forget()
    session.say("The conversation is forgotten.\n", "dim")
    if rest:
        _say_to(session, rest)


def _system(session: Session, text: str) -> None:
    if not text:
        session.say(f"system: {session.system}\n" if session.system else "There is no system text.\n", "dim")
        return
    session.system = None if text == "off" else text
    session.say("The system text is taken away.\n" if session.system is None else f"system: {text}\n", "dim")


def _switch(session: Session, text: str) -> None:
    """To the base model and back; with a text to the base model, which continues it."""
    base = loaded_base(session)
    if base is None:
        return
    if not session.plain:
        session.plain = True
        session.say(f"{base.name}: continues what you type, knows no turns and no system text; /base: back\n", "bold")
    elif not text:
        session.plain = False
        session.say(f"{session.chat.name}: answers; the conversation goes on where it was\n", "bold")
    if text:
        _say_to(session, text)


def _retry(session: Session, rest: str) -> None:
    """The last request again, with other draws; its answer takes the place of the one before."""
    if session.last is None:
        session.say("Nothing was asked yet.\n", "dim")
        return
    try:
        temperature = float(rest) if rest else session.sampling.temperature
    except ValueError:
        temperature = -1.0
    if not 0 <= temperature < 100:
        session.refuse(f"/retry takes a temperature such as 0.8; not {rest!r}.")
        return
    if temperature == 0 and not rest:
        session.say("The temperature is 0: the answer would be the same. /retry 0.8 draws another.\n", "dim")
        return
    request = session.last
    if request.text is None and len(session.history) == len(session.before) + 2:
        del session.history[-2:]
    session.retries += 1
    answer(session, session.said, request, temperature)


def _show(session: Session, rest: str) -> None:
    try:
        request = request_of(session, rest) if rest else session.last
    except HeedError as error:
        session.refuse(error)
        return
    if request is None:
        session.say("Nothing was sent yet.\n", "dim")
        return
    model = asked(session, request)
    if not isinstance(model, Renders):
        sent = [_trimmed(message) for message in request.messages] or request.text
        session.say(json.dumps(sent, ensure_ascii=False, indent=2) + "\n", "cyan")
        session.say("(as sent: the endpoint makes the model's text from it, out of our sight)\n", "dim")
        return
    try:
        text, ids = model.render(request)
    except HeedError as error:
        session.refuse(error)
        return
    session.say(text, "cyan")
    session.say(f"\n({len(ids):,} tokens)\n", "dim")


def _trimmed(message: Message) -> dict[str, object]:
    return {key: value for key, value in asdict(message).items() if value not in (None, ())}


def _screen(write: Callable[[str], None] | None) -> Say:
    """How text is shown: in colours on the terminal, or plainly through `write`."""
    if write is not None:
        return lambda text, style: write(text)
    console = Console(highlight=False, emoji=False)

    def say(text: str, style: str) -> None:
        # A model may write escape sequences, and a terminal would obey them.
        console.print(text.replace("\x1b", "␛"), style=style or None, end="", markup=False, soft_wrap=True)

    return say
