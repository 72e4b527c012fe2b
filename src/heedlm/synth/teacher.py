"""The model that is asked: whatever stands behind a name, and what tells it from others of that name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

from heedlm.errors import HeedError
from heedlm.messages import Chat
from heedlm.model.identity import identity

NAMELESS = "default"  # as servers of a single model allow
_WEB = ("http://", "https://")


def named(model: str | Path | Chat) -> tuple[str | Path | Chat, str]:
    """What stands in http://HOST/v1#MODEL: the address, and the model's name there; anything else is as it is."""
    if not isinstance(model, (str, Path)) or not str(model).startswith(_WEB):
        return model, NAMELESS
    address, _, name = str(model).partition("#")
    return address, name or NAMELESS


class Teacher(NamedTuple):
    """A model to ask. endpoint: its address, without user and password.   weights: their checksum, of one on this machine."""

    chat: Chat
    endpoint: str | None = None
    weights: str | None = None

    @property
    def who(self) -> str:
        """What the journal knows it by: its name, and its weights; an endpoint's model without a name by the address."""
        nameless = self.endpoint is not None and self.chat.name == NAMELESS
        return " ".join(filter(None, (self.chat.name, self.weights, self.endpoint if nameless else None)))


def teacher_of(model: str | Path | Chat, name: str, api_key: str | None, timeout: float) -> Teacher:
    """The model of a folder, a run, a hub id or `atlas`, the one called `name` at an address, or a chat as it is.

    timeout: seconds for one answer of an endpoint, which is tried once: who counts the cost counts the attempts.
    """
    if not isinstance(model, (str, Path)):
        return Teacher(model)
    if str(model).startswith(_WEB):
        from heedlm.generate.remote import RemoteChat

        parts = urlsplit(str(model))
        shown = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
        return Teacher(RemoteChat(str(model), name, api_key, timeout=timeout, max_retries=0), shown)
    if re.fullmatch(r"[\w.-]+:\d+(/\S*)?", str(model)):
        raise HeedError("This looks like an endpoint without its protocol.", str(model), f"--model http://{model}")
    from heedlm.generate.chat import load_chat

    chat = load_chat(model, name=str(model))
    return Teacher(chat, weights=identity(chat.model, chat.template.source))
