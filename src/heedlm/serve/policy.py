"""The server's own instruction behind every conversation, whoever asks: proved at the start, put in at each request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from heedlm.errors import HeedError
from heedlm.generate.chat import LocalChat
from heedlm.instructions.conversation import Spoken
from heedlm.instructions.frame import OWN, Frame
from heedlm.instructions.policy import Policy
from heedlm.instructions.stretches import tokens_by_block
from heedlm.instructions.wire import Placed, put_on_wire
from heedlm.messages import Message, Request
from heedlm.serve.refusal import Refusal

ClientSystem = Literal["behind", "refuse"]
CLIENT_SYSTEM: tuple[ClientSystem, ...] = ("behind", "refuse")
_SYSTEM = ("system", "developer")


@dataclass(frozen=True, slots=True)
class ServerPolicy:
    """client_system: what becomes of a system text of a client: "behind" puts it as a block of its own behind those of the
    instruction, "refuse" answers 422."""

    policy: Policy
    client_system: ClientSystem = "behind"
    _frames: dict[int, tuple[LocalChat, Frame]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.policy.name

    def proved(self, chat: LocalChat) -> int:
        """Tokens of the instruction in the model's own template. Raises HeedError, with the way out, where a block would not
        reach the model."""
        frame = self._frame(chat)
        found = tokens_by_block(self.policy.prove(frame), frame) or {}
        return sum(count for block, count in found.items() if block)

    def behind(self, chat: LocalChat, request: Request) -> Request:
        """The request with its conversation under the instruction; a plain text has no place for one. Raises HeedError."""
        return request if request.text is not None else replace(request, messages=self.spoken(chat, request).messages)

    def spoken(self, chat: LocalChat, request: Request) -> Spoken:
        """The conversation of a request under the instruction, with the place of every block."""
        self._check([one.role for one in request.messages])
        return self.policy.speak(request.messages, self._frame(chat))

    def placed(self, chat: LocalChat, spoken: Spoken) -> Sequence[Placed]:
        """Where the blocks of such a conversation stand in the text that the model sees."""
        return put_on_wire(self._frame(chat), spoken.messages, spoken.spans, "", None).spans

    def relayed(self, turns: Any) -> list[dict[str, Any]]:
        """Turns as a client sent them for a model of another server, under the instruction. Raises Refusal."""
        if not isinstance(turns, list) or not all(isinstance(one, dict) for one in turns):
            raise Refusal(422, "messages is no list of turns.", "messages", '[{"role": "user", "content": "..."}]')
        self._check([one.get("role") for one in turns])
        kept: dict[int, dict[str, Any]] = {}
        said: list[Message] = []
        for at, one in enumerate(turns):
            role = one.get("role")
            told = role in _SYSTEM or role == "user"
            said.append(
                Message("system" if role in _SYSTEM else "user", _text(one, at)) if told else Message("tool", "")
            )
            if not told:  # passed on as it came: it may hold calls, or what other servers know
                kept[id(said[-1])] = one
        try:
            made = self.policy.speak(said).messages
        except HeedError as error:
            raise Refusal.of(error) from None
        return [kept.get(id(one)) or {"role": one.role, "content": one.content} for one in made]

    def _check(self, roles: Sequence[Any]) -> None:
        if self.client_system == "refuse":
            for at, role in enumerate(roles):
                if role in _SYSTEM:
                    what = (
                        f"This server speaks under an instruction of its own ({self.name}), and takes no system text."
                    )
                    raise Refusal(422, what, f"messages.{at}", "leave the turn out", code="system_not_allowed")

    def _frame(self, chat: LocalChat) -> Frame:
        held = self._frames.get(id(chat))
        if held is None:
            context = chat.context or 0
            frame = Frame(OWN, chat.template, chat.tokenizer, own=True, model=chat.name, context=context)
            held = self._frames[id(chat)] = (chat, frame)
        return held[1]


def _text(turn: Mapping[str, Any], at: int) -> str:
    """The text of a turn, of its parts together. Raises Refusal for what is no text."""
    content = turn.get("content")
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    texts = [one.get("text") if isinstance(one, dict) and one.get("type") == "text" else None for one in parts]
    if any(not isinstance(text, str) for text in texts):
        what = "The server's instruction is put round texts, and this turn holds something else."
        raise Refusal(422, what, f"messages.{at}.content", "send a text")
    return "".join(str(text) for text in texts)
