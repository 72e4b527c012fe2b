"""/compare: one message, answered by several models and formats, one below the other."""

from __future__ import annotations

from heedlm.errors import HeedError
from heedlm.messages import Chat, Request
from heedlm.serve.formats import in_format, is_format
from heedlm.serve.session import Session, asked, loaded_base, request_of, streamed

BASE = "base"


def compare(session: Session, rest: str) -> None:
    """Ask a text, or the last message again, of this model and of others; the conversation stays as it was.

    rest: names after an @ (`base`, a format, a run, a folder, URL#NAME), then the text. Without names: those of last time, or the base.
    """
    words = rest.split()
    names = tuple(word[1:] for word in words if word.startswith("@") and len(word) > 1)
    text = rest
    for name in names:
        text = text.replace(f"@{name}", "", 1)
    line = text.strip() or _said_last(session)
    if not line:
        session.refuse("There is nothing to compare yet: /compare TEXT, or type a message first.")
        return
    session.parties = names or session.parties or (BASE,)
    again = not text.strip()
    request = session.last if again and session.last is not None else request_of(session, line)
    for name in ("", *session.parties):
        chat = asked(session, request) if not name else _party(session, name)
        if chat is None:
            continue
        session.say(f"-- {_title(session, name) if name else chat.name} " + "-" * 20 + "\n", "bold")
        plain = name == BASE or (request.text is not None)
        streamed(session, chat, Request(text=line) if plain else request, session.sampling)


def _said_last(session: Session) -> str:
    if session.last is None:
        return ""
    return session.last.text or session.last.messages[-1].content


def _title(session: Session, name: str) -> str:
    return f"{session.base.name}: continues the text" if name == BASE and session.base else name


def _party(session: Session, name: str) -> Chat | None:
    """Who answers under a name; None, and said why, where nobody does."""
    if name == BASE:
        return loaded_base(session)
    try:
        if name not in session.opened:
            session.opened[name] = in_format(session.own, name) if is_format(name) else session.open(name)
        return session.opened[name]
    except HeedError as error:
        session.refuse(error)
        return None
