"""/compare: one message, answered by several models and formats, one below the other."""

from __future__ import annotations

from heedlm.errors import HeedError
from heedlm.messages import Chat, Request
from heedlm.serve.formats import in_format, is_format
from heedlm.serve.session import Session, in_turns, loaded_base, streamed

BASE = "base"


def compare(session: Session, rest: str) -> None:
    """Ask a text, or the last message again, of this model and of others; the conversation stays as it was.

    rest: names after an @ (`base`, a format, a run, a folder, URL#NAME), then the text. Without names: those of last time, or the
    base. Where the base is the one that is talked to, `base` means the other one: the model that answers.
    """
    words = rest.split()
    names = tuple(word[1:] for word in words if word.startswith("@") and len(word) > 1)
    text = rest
    for name in names:
        text = text.replace(f"@{name}", "", 1)
    again = not text.strip()
    line = session.said if again else text.strip()
    if not line:
        session.refuse("There is nothing to compare yet: /compare TEXT, or type a message first.")
        return
    session.parties = names or session.parties or (BASE,)
    # What was asked last is asked as it was asked: of whoever was talked to then.
    plain = session.last is not None and session.last.text is not None if again else session.plain
    history = session.before if again else tuple(session.history)
    for name in ("", *session.parties):
        base = plain if not name else (name == BASE) != plain
        own = not name or name == BASE
        chat = (loaded_base(session) if base else session.chat) if own else _party(session, name)
        if chat is None:
            continue
        continues = base if own else plain
        try:
            request = Request(text=line) if continues else in_turns(session, chat, history, line)
        except HeedError as error:
            session.refuse(error)
            continue
        told = (chat.name if own else name) + (": continues the text" if continues and name else "")
        session.say(f"-- {told} " + "-" * 20 + "\n", "bold")
        streamed(session, chat, request, session.sampling)


def _party(session: Session, name: str) -> Chat | None:
    """Who answers under a name; None, and said why, where nobody does."""
    try:
        if name not in session.opened:
            session.opened[name] = in_format(session.own, name) if is_format(name) else session.open(name)
        return session.opened[name]
    except HeedError as error:
        session.refuse(error)
        return None
