"""What is served: models by name, each with its template, and a place in a running batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from heedlm.errors import HeedError
from heedlm.generate.adapters import Adapters
from heedlm.generate.chat import LocalChat, load_chat
from heedlm.generate.engine import Engine
from heedlm.generate.memory import Memory
from heedlm.generate.packed import pack
from heedlm.generate.worker import Lane
from heedlm.messages import JSON
from heedlm.model.load import load_model, pick_device, resolve, serving_dtype
from heedlm.model.save import read_card
from heedlm.serve.names import names_of
from heedlm.serve.sharing import Share, shares
from heedlm.templates.chat import BUILT_IN, fingerprint, load_template
from heedlm.tokens.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

OWN = "own"


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A model that answers under `name`.

    chat: with its own template.   lane: its place among the running batches.   card: what heed wrote beside the weights.
    adapter: whether its weights are a base's, shared with others, under an adapter.   has_template: whether it is known how
    the model expects a conversation.
    """

    name: str
    chat: LocalChat
    lane: Lane
    card: Mapping[str, JSON] = field(default_factory=dict)
    adapter: bool = False
    has_template: bool = True
    _views: dict[str, LocalChat] = field(default_factory=dict)

    @property
    def context(self) -> int | None:
        """Tokens of prompt and reply together, or None where the model does not say."""
        return self.chat.context

    @property
    def formats(self) -> tuple[str, ...]:
        """Chat templates that a request may name: the built-in ones need a token that ends an answer."""
        built_in = BUILT_IN if self.chat.tokenizer.eos_token_id is not None else ()
        return (*((OWN,) if self.has_template else ()), *built_in)

    def under(self, template: str) -> LocalChat:
        """The same model behind another chat template. Raises HeedError for one that is not among `formats`."""
        if template == OWN and not self.has_template:
            raise HeedError(
                f"{self.name} has no chat template: nobody could tell how it expects a conversation.",
                "template",
                f"name one ({', '.join(self.formats)}), start the server with --template, or send a text to /v1/completions",
            )
        if template == OWN:
            return self.chat
        if template not in self.formats:
            raise HeedError(
                f"There is no chat template {template[:80]!r} for this model.",
                "template",
                f"one of {', '.join(self.formats)}",
            )
        if template not in self._views:
            self._views[template] = self.chat.under(load_template(template, self.chat.tokenizer))
        return self._views[template]

    def facts(self) -> dict[str, JSON]:
        """What /v1/models says beside the name."""
        model, template = self.chat.model, self.chat.template
        return {
            "kind": self.card.get("kind", "unknown"),
            "base": self.card.get("base"),
            "template": template.name if self.has_template else None,
            "grade": template.grade,
            "formats": list(self.formats),
            "context": self.context,
            "parameters": model.num_parameters(),
            "device": str(model.device),
            "dtype": str(model.dtype).removeprefix("torch."),
            "adapter": self.adapter,
            "note": template.note if self.has_template else "",
        }


def open_models(
    given: Sequence[str],
    *,
    template: str | None = None,
    device: str | None = None,
    batch_size: int = 32,
    memory_bytes: int = 64 * 2**20,
) -> list[Served]:
    """Load what the names mean: runs, model folders, `atlas`, hub ids.

    template: for models that have none of their own.   batch_size: rows decoded together, for each model.
    memory_bytes: for beginnings of prompts that are kept, for each model.
    Raises HeedError for a name that holds no model, and for a model that was taught another template than it has now.
    """
    folders = [resolve(name) for name in given]  # all names are looked at before any model is loaded
    shared = shares(given, folders)
    bases = _bases(shared, device)
    served = []
    for at, (name, path, folder) in enumerate(zip(names_of(given), given, folders, strict=True)):
        share = shared[at]
        ready: Callable[[], None] = _nothing
        if share is None:
            chat = load_chat(path, template, name=name, device=device, batch_size=batch_size)
            pack(chat.model)
        else:
            base = bases[share.base]
            chat = _on(base.adapters.model, folder, template, name, batch_size)
            ready = partial(base.adapters.switch, base.acting.get(share.adapter))
        card = read_card(folder)
        check_taught(card, chat, folder)
        memory = Memory(memory_bytes) if memory_bytes else None
        engine = Engine(chat.model, batch_size=batch_size, eager=True, memory=memory)
        known = template is not None or bool(chat.tokenizer.chat_template)
        adapter = share is not None and share.adapter is not None
        served.append(Served(name, chat, Lane(engine, ready), card, adapter, known))
    return served


class _Base(NamedTuple):
    """A base in use. acting: the name of each adapter over it, by its folder."""

    adapters: Adapters
    acting: dict[Path | None, str]


def _bases(shared: Sequence[Share | None], device: str | None) -> dict[str, _Base]:
    """Every base that several models share, loaded once, with all their adapters put on."""
    bases: dict[str, _Base] = {}
    place = pick_device(device or "auto")
    for share in shared:
        if share is None:
            continue
        if share.base not in bases:
            model = load_model(share.base, device=place, dtype=serving_dtype(place))
            bases[share.base] = _Base(Adapters(model), {})
        base = bases[share.base]
        if share.adapter is not None and share.adapter not in base.acting:
            base.acting[share.adapter] = base.adapters.add(share.adapter)
    for base in bases.values():
        pack(base.adapters.model)
    return bases


def _on(model: PreTrainedModel, folder: str, template: str | None, name: str, batch_size: int) -> LocalChat:
    """A chat over weights that are loaded already, with the tokenizer and the template in `folder`."""
    tokenizer = load_tokenizer(folder)
    return LocalChat(model, tokenizer, load_template(template, tokenizer), name=name, batch_size=batch_size)


def _nothing() -> None:
    """What a model that shares nothing needs before a pass."""


def check_taught(card: Mapping[str, JSON], chat: LocalChat, folder: str) -> None:
    """Raises HeedError where a model was taught another chat template, or with another tokenizer, than it has now."""
    taught = (card.get("template") or {}).get("fingerprint")
    if taught is not None and taught != fingerprint(chat.template, chat.tokenizer):
        raise HeedError(
            "This model was taught in another chat template, or with another tokenizer, than lie beside it now.",
            str(Path(folder) / "chat_template.jinja"),
            "take the model's folder as heed wrote it, and leave --template away",
        )
