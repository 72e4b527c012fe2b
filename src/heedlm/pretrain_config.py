"""The recipe of pretraining: what a person may set."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from heedlm.config import Positive, Section, StepConfig


class CorpusConfig(Section):
    """source: `atlas`, or rows with a `text` field, or text files.   documents: how many make an epoch (atlas: new ones each).

    mix: shares of the kinds of document that the built-in world writes (empty: the usual ones).
    """

    source: str = "atlas"
    documents: Positive = 4000
    mix: dict[
        Literal["geography", "papers", "echo", "figures", "forms", "briefs", "desks"], Annotated[float, Field(ge=0)]
    ] = Field(default_factory=dict)


class ShapeConfig(Section):
    """A Llama-shaped decoder with tied embeddings."""

    vocab_size: Positive = 4096
    context: Positive = 1024
    hidden: Positive = 256
    layers: Positive = 5
    heads: Positive = 4
    kv_heads: Positive = 2
    intermediate: Positive = 704


class PretrainTrain(StepConfig):
    """As in tuning; `max_steps` must be given, for a stream of documents has no end."""

    max_steps: Positive
    lr: Annotated[float, Field(gt=0)] = 2e-3
    tokens_per_step: Positive = 2048


class PretrainRecipe(Section):
    """From plain documents to a tokenizer and a base model. start: a model to go on from, with its tokenizer and shape."""

    seed: int = 0
    start: str | None = None
    corpus: CorpusConfig = CorpusConfig()
    shape: ShapeConfig = ShapeConfig()
    train: PretrainTrain
