"""The models that an instruction can be written for: each with the formats that it can be asked in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from heedlm.errors import HeedError, nearest
from heedlm.instructions.frame import COMPLETION, MESSAGES, Frame, frame_of
from heedlm.instructions.frame import OWN as CHAT
from heedlm.templates.chat import BUILT_IN, ChatTemplate, load_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from heedlm.serve.models import Served
    from heedlm.serve.relay import Endpoint

OWN, PLAIN = "own", "plain"  # formats under the names of the page


@dataclass(frozen=True, slots=True, eq=False)
class Seat:
    """One model. tokenizer: None for a model of another server, which renders out of our sight.   template: its own; None
    where it has none.   context: tokens that it holds; 0 unknown."""

    name: str
    tokenizer: PreTrainedTokenizerBase | None = None
    template: ChatTemplate | None = None
    context: int = 0
    _frames: dict[tuple[str, bool], Frame] = field(default_factory=dict)

    @property
    def formats(self) -> tuple[str, ...]:
        """What it can be asked in."""
        if self.tokenizer is None:
            return (OWN,)
        own = (OWN,) if self.template is not None else ()
        return (*own, PLAIN, *(BUILT_IN if self.tokenizer.eos_token_id is not None else ()))

    def served(self, format_: str) -> Frame | None:
        """The frame of a conversation that the server puts into this format; None where another server does. Raises
        HeedError for a format that the model has not."""
        self._check(format_)
        if self.tokenizer is None:
            return None
        if format_ == PLAIN:
            return self.written(PLAIN)
        template = self.template if format_ == OWN else load_template(format_, self.tokenizer)
        assert template is not None, "a model without a template has no format of its own"
        return self._kept(
            (format_, True), Frame(CHAT, template, self.tokenizer, own=True, model=self.name, context=self.context)
        )

    def written(self, format_: str) -> Frame | None:
        """The frame of a text that is written here, as `heed prompt test` asks: its own template, or one that it was not
        taught; None for messages. Raises HeedError for a format that the model has not."""
        self._check(format_)
        if self.tokenizer is None or format_ == OWN:
            return self.served(format_)
        name = COMPLETION if format_ == PLAIN else format_
        return self._kept((format_, False), frame_of(self.tokenizer, name, model=self.name, context=self.context))

    def _check(self, format_: str) -> None:
        if format_ not in self.formats:
            what = f"{self.name} cannot be asked in the format {format_[:80]!r}"
            raise HeedError(what, "format", nearest(format_, self.formats))

    def _kept(self, key: tuple[str, bool], made: Frame) -> Frame:
        """One frame for each format: what was found out about it is found out once."""
        return self._frames.setdefault(key, made)


def seats_of(served: Iterable[Served], endpoints: Iterable[Endpoint] = ()) -> dict[str, Seat]:
    """The models of a server by name."""
    own = [
        Seat(one.name, one.chat.tokenizer, one.chat.template if one.has_template else None, one.context or 0)
        for one in served
    ]
    return {seat.name: seat for seat in (*own, *(Seat(one.name) for one in endpoints))}


def seat(seats: Mapping[str, Seat], name: str) -> Seat:
    """The model of that name. Raises HeedError with the nearest."""
    found = seats.get(name)
    if found is None:
        mend = nearest(name, seats) if seats else "serve a model"
        raise HeedError(f"there is no model {name[:100]!r} here", "model", mend)
    return found


def way_name(seat_: Seat, format_: str) -> str:
    """How `heed prompt test` calls a format of this model."""
    if format_ == OWN:
        return CHAT if seat_.tokenizer is not None else MESSAGES
    return COMPLETION if format_ == PLAIN else format_
