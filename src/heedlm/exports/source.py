"""What is exported: a model with its tokenizer, its chat template and what is known of where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heedlm.errors import HeedError
from heedlm.model.load import resolve
from heedlm.model.save import read_card
from heedlm.runs import Run
from heedlm.templates.chat import BUILT_IN, ChatTemplate, fingerprint, load_template, stop_ids
from heedlm.tokens.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Source:
    """A model that is to be taken elsewhere.

    name: as it was typed.   folder: its weights, or a hub id.   run: where it was made; None for a bare model folder.
    card: what heed wrote beside it; empty for models made elsewhere.   stops: ids that end a reply.
    """

    name: str
    folder: str
    run: Run | None
    card: Mapping[str, Any]
    tokenizer: PreTrainedTokenizerBase
    template: ChatTemplate
    stops: tuple[int, ...]

    @property
    def stop_texts(self) -> tuple[str, ...]:
        """The stop tokens as text, then the texts that open the next turn in a soft format."""
        tokens = (str(self.tokenizer.convert_ids_to_tokens(stop)) for stop in self.stops)
        return tuple(dict.fromkeys((*tokens, *self.template.stop_strings)))


def open_source(name: str | Path, template: str | None = None) -> Source:
    """The model behind a run, a folder, `atlas` or a hub id.   template: one for a model that has none of its own.

    Raises HeedError for a model without a chat template, for one that was taught another template than this, and for a
    format that no runtime could stop.
    """
    folder = resolve(name)
    root = Path(name)
    tokenizer = load_tokenizer(folder)
    if template is None and not tokenizer.chat_template:
        raise HeedError(
            "This model has no chat template: nobody could tell how to talk to it elsewhere.",
            folder,
            f"a base model is tuned first (heed train); else --template {'|'.join(BUILT_IN)}, or a Jinja file",
        )
    chosen = load_template(template, tokenizer)
    card = read_card(folder)
    taught = card.get("template", {}).get("fingerprint")
    if taught is not None and taught != fingerprint(chosen, tokenizer):
        raise HeedError(
            f"The model was taught in another chat template than {chosen.name!r}, or with another tokenizer.",
            str(Path(folder) / "chat_template.jinja"),
            "leave --template away, and take the model's folder as heed wrote it",
        )
    run = Run(root) if (root / "run.json").is_file() else None
    return Source(str(name), folder, run, card, tokenizer, chosen, stop_ids(chosen, tokenizer))
