"""/format: the same model behind another chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from heedlm.errors import HeedError
from heedlm.messages import Chat
from heedlm.serve.session import Session, frame_of

OWN = "own"


@runtime_checkable
class Reformats(Protocol):
    """A chat whose model can be put behind another template: a model on this machine can, an endpoint cannot."""

    tokenizer: Any
    template: Any

    def under(self, template: Any) -> Chat:
        """The same model behind `template`."""
        ...


def is_format(name: str) -> bool:
    """Whether a name is a chat template: a built-in one, or a Jinja file."""
    from heedlm.templates.chat import BUILT_IN

    return name in BUILT_IN or Path(name).suffix in (".jinja", ".j2")


def in_format(chat: Chat, name: str) -> Chat:
    """The model of `chat` in another format. Raises HeedError for an unknown one, and for an endpoint, which renders itself."""
    from heedlm.templates.chat import load_template

    if not isinstance(chat, Reformats):
        raise HeedError("An endpoint makes the model's text itself: its format cannot be changed from here.")
    return chat.under(load_template(name, chat.tokenizer))


def switch_format(session: Session, name: str) -> None:
    """Talk on in another format; without a name say which one it is, and which there are."""
    from heedlm.templates.chat import BUILT_IN

    if not name:
        known = ", ".join((OWN, *BUILT_IN))
        now = session.chat.template.name if isinstance(session.chat, Reformats) else "the endpoint's own"
        session.say(f"format: {now}. Known: {known}, or a Jinja file.\n", "dim")
        return
    try:
        chat = session.own if name == OWN else in_format(session.own, name)
        if session.policy is not None:
            session.policy.prove(frame_of(session, chat))
    except HeedError as error:
        session.refuse(error)
        return
    session.chat = chat
    note = "" if name == OWN else " The model was perhaps taught in another; /format own goes back."
    session.say(f"The conversation goes on in the format {name}.{note}\n", "dim")
