"""The model that is asked: whatever stands behind a name, and what tells it from others of that name."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from heedlm.errors import HeedError
from heedlm.messages import Chat

if TYPE_CHECKING:
    from heedlm.generate.chat import LocalChat


NAMELESS = "default"  # as servers of a single model allow


class Teacher(NamedTuple):
    """A model to ask. endpoint: its address, without user and password.   weights: their sum, of one on this machine."""

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
    if str(model).startswith(("http://", "https://")):
        from heedlm.generate.remote import RemoteChat

        parts = urlsplit(str(model))
        shown = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
        return Teacher(RemoteChat(str(model), name, api_key, timeout=timeout, max_retries=0), shown)
    if re.fullmatch(r"[\w.-]+:\d+(/\S*)?", str(model)):
        raise HeedError("This looks like an endpoint without its protocol.", str(model), f"--model http://{model}")
    from heedlm.generate.chat import load_chat

    chat = load_chat(model, name=str(model))
    return Teacher(chat, weights=sum_of(chat))


def sum_of(chat: LocalChat) -> str:
    """A checksum of template and weights, 16 hex digits. Bits are added, not numbers: no order or device changes the sum."""
    import torch

    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    digest = hashlib.sha256(chat.template.source.encode())
    for name, values in sorted(chat.model.state_dict().items()):
        bits = values.detach().contiguous().view(whole[values.element_size()]).sum(dtype=torch.int64)
        digest.update(f"{name} {tuple(values.shape)} {int(bits)}".encode())
    return digest.hexdigest()[:16]
