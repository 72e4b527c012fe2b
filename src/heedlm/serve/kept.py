"""/save: an answer, or what it should have been, as a training row in the store of `heed data`."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

from heedlm.data import human
from heedlm.errors import HeedError
from heedlm.serve.session import Session, conversation_of


def save(session: Session, text: str) -> None:
    """Write the conversation up to its last answer.   text: what that answer should have been; the conversation then goes on with it."""
    if session.keeping is None:
        session.refuse("Nothing can be saved here: this chat was started without a store.")
        return
    if session.plain or len(session.history) < 2:
        what = "a continued text is no conversation" if session.plain else "there is no answer yet"
        session.refuse(f"Nothing to save: {what}.")
        return
    *before, said = session.history
    answer = replace(said, content=text) if text else said
    turns = conversation_of(session, session.chat, [*before, answer])
    rows: list[dict[str, Any]] = [{"role": turn.role, "content": turn.content} for turn in turns]
    corrects = human.Corrected(said.content, session.chat.name) if text else None
    keeping = session.keeping
    try:
        written = human.add(keeping.store, {"messages": rows}, human.About(keeping.author), corrects=corrects)
    except HeedError as error:
        session.refuse(error)
        return
    session.history[-1] = answer
    how = "your answer in place of the model's" if text else "the model's answer, as it is"
    session.say(
        f"{written.id} saved by {keeping.author}: {how} ({written.where}). "
        f"Train on it: heed train --data {keeping.store} ...; take it back: "
        f"heed data withdraw {written.id} --author {shlex.quote(keeping.author)}\n",
        "dim",
    )
