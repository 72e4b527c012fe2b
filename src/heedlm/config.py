"""Recipes: what a person may set, checked at the door, every problem in one pass.

One model per stage; unknown keys are refused with the nearest name. A field stands here only if the stage honours it
(tests/test_config_effects.py changes every one and looks for the effect).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[int, Field(gt=0)]


def _word(value: object) -> object:
    """YAML reads the words on and off as booleans; here they are words."""
    return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value


Switch = Annotated[Literal["auto", "on", "off"], BeforeValidator(_word)]


class Section(BaseModel):
    """A frozen group of fields that refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceConfig(Section):
    """Rows. mapping: our field name, or with prompts a template's column -> the name in the file, where it has another.
    licence: of rows that name none.   The rest says how prompt templates make conversations of rows of columns; without
    `prompts` none of it may be given."""

    path: str
    mapping: dict[str, str] | None = None
    licence: Annotated[str, Field(min_length=1)] | None = None
    prompts: str | tuple[str, ...] = ()
    prompts_per_row: Positive = 1
    few_shot: Annotated[int, Field(ge=0, le=16)] = 0
    inverted: Share = 0.0
    notation: Literal["plain", "markdown", "xml", "labels", "mix"] = "plain"
    labels: dict[str | int | bool, str] | None = None


Found = Annotated[Literal["flag", "drop", "off"], BeforeValidator(_word)]
FoundPersonal = Annotated[Literal["flag", "mask", "drop", "off"], BeforeValidator(_word)]


class CleanConfig(Section):
    """What happens to a readable row in which a rule finds something: it is flagged, dropped, masked, or not looked at.

    All of them flag: each is right in nearly all rows and wrong in some, and which of the two is for a person to say.
    max_words: of a whole row; min_words: of an answer; both are what the rule `length` goes by.
    """

    length: Found = "flag"
    max_words: Positive = 20_000
    min_words: Annotated[int, Field(ge=0)] = 0
    placeholder: Found = "flag"
    repetition: Found = "flag"
    refusal: Found = "flag"
    echo: Found = "flag"
    truncated: Found = "flag"
    control: Found = "flag"
    encoding: Found = "flag"
    language: Found = "flag"
    email: FoundPersonal = "flag"
    phone: FoundPersonal = "flag"
    card: FoundPersonal = "flag"
    ip: FoundPersonal = "flag"
    key: FoundPersonal = "flag"


class MixConfig(Section):
    """How much of a source one epoch of training holds. weight: its part of the rows, against the other weights.   cap,
    cap_tokens: at most so many of its rows, tokens.   epochs: how often its rows come; 1.5: all, and half of them again."""

    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    cap: Positive | None = None
    cap_tokens: Positive | None = None
    epochs: Annotated[float, Field(gt=0, le=1000)] = 1.0


class DataConfig(Section):
    """sources: where rows come from.   mixture: source -> how much of it is learned.   val, test: a share of the groups, or
    a file of their own, or null for none.

    max_bad: the share of unreadable rows above which the data is refused.   near_duplicates: one of each pair is dropped,
    or both stay on one side of the split.   similarity: from which two rows are near-duplicates.   decontaminate: files
    of evaluation items; contaminated: what happens to a row that holds one.   replay: files of plain documents, mixed into
    tuning so that the model keeps what it knew.   replay_share: their share of training tokens.
    """

    sources: tuple[SourceConfig, ...] = ()
    mixture: dict[str, MixConfig] = Field(default_factory=dict)
    val: Share | str | None = 0.05
    test: Share | str | None = 0.05
    max_bad: Share = 0.01
    clean: CleanConfig = CleanConfig()
    near_duplicates: Found = "drop"
    similarity: Annotated[float, Field(ge=0.5, le=1)] = 0.8
    decontaminate: tuple[str, ...] = ()
    contaminated: Literal["drop", "flag"] = "drop"
    replay: tuple[str, ...] = ()
    replay_share: Share = 0.1

    @field_validator("sources", mode="before")
    @classmethod
    def _paths_are_sources(cls, value: Any) -> Any:
        values = [value] if isinstance(value, (str, Mapping)) else value
        return (
            [{"path": v} if isinstance(v, str) else v for v in values] if isinstance(values, (list, tuple)) else value
        )


class TemplatesConfig(Section):
    """chat: a built-in name, a Jinja file, or null for the tokenizer's own.   kwargs: handed to the template everywhere.
    learn_reasoning: whether the thinking of an assistant turn is taught as well."""

    chat: str | None = None
    kwargs: dict[str, Any] = Field(default_factory=dict)
    learn_reasoning: bool = True


class TokensConfig(Section):
    """max_tokens: longest sequence (null: the model's context).   overflow: what happens to a longer one."""

    max_tokens: Positive | None = None
    overflow: Literal["drop", "refuse", "oldest_turns"] = "drop"


class LoraConfig(Section):
    """rank, alpha, dropout as in LoRA (arXiv 2106.09685); the update is scaled by alpha / rank.   targets: module names.

    rslora: by alpha / sqrt(rank) instead (arXiv 2312.03732).   dora: a magnitude per output is trained beside the
    direction (arXiv 2402.09353).   modules_to_save: modules trained in full and saved with the adapter.
    tokens: tokens, as text, whose rows of embedding and head are trained.
    """

    rank: Positive = 16
    alpha: Positive = 32
    dropout: Share = 0.0
    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    rslora: bool = False
    dora: bool = False
    modules_to_save: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()


class ModelConfig(Section):
    """path: a folder, a run, `atlas` or a hub id.   method: all weights, adapters, or adapters over a base in 4 bits.
    freeze: with method full, name patterns of parameters that do not train."""

    path: str = ""
    method: Literal["full", "lora", "qlora"] = "full"
    freeze: tuple[str, ...] = ()
    lora: LoraConfig = LoraConfig()
    trust_remote_code: bool = False


class StepConfig(Section):
    """How weights change, whatever is learned. Null means: chosen, and shown with the reason.

    tokens_per_step: tokens of one optimiser step (global batch).   micro_tokens: tokens of one forward pass.
    warmup: share of the steps.   decay: the share in which schedule `wsd` falls.
    share_prefixes: compute what sequences of a step begin with once.   activation_checkpointing: layers that repeat their
    forward pass in the backward pass, to keep less (auto: as few as fit into the memory there is).
    parallel: how several processes (torchrun) share the model: ddp, all weights in each; fsdp, a part in each (auto: ddp
    while they fit).
    eval_every, checkpoint_every: in steps (null: at the end of each epoch).   keep_checkpoints: the last so many.
    spike: a run stops when the loss stays above so many times its level (null: never).   sink: where metrics go besides.
    """

    lr: Annotated[float, Field(gt=0)] | None = None
    max_steps: Positive | None = None
    tokens_per_step: Positive | None = None
    micro_tokens: Positive = 4096
    schedule: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    warmup: Share = 0.05
    decay: Annotated[float, Field(gt=0, le=1)] = 0.2
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    share_prefixes: Switch = "auto"
    activation_checkpointing: Annotated[Literal["auto", "off", "selective", "full"], BeforeValidator(_word)] = "auto"
    device: str = "auto"
    parallel: Literal["auto", "ddp", "fsdp"] = "auto"
    eval_every: Positive | None = None
    checkpoint_every: Positive | None = None
    keep_checkpoints: Positive = 2
    spike: Annotated[float, Field(gt=1)] | None = 2.0
    sink: Literal["tensorboard"] | None = None


class TrainConfig(StepConfig):
    """Tuning; max_steps wins over epochs.   panel: prompts of each split that the model answers at every evaluation.

    score: suites that it is scored on then, at most score_items of each task, for at most score_share of the time.
    best: keeps the weights of the best score.   patience: scores in a row without a better one that end the run.
    """

    epochs: Positive = 3
    panel: Annotated[int, Field(ge=0)] = 2
    score: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    score_items: Positive | None = None
    score_share: Annotated[float, Field(gt=0, le=1)] | None = None
    best: Literal["score"] | None = None
    patience: Positive | None = None


class EvalConfig(Section):
    """suites: what is asked: names from `heed suites list`, or files.   items: of each task at most (null: all).   max_tokens: longest reply.   batch_size: requests decoded at once."""

    suites: Annotated[tuple[str, ...], Field(min_length=1)] = ("held_out",)
    items: Positive | None = None
    max_tokens: Positive = 256
    batch_size: Positive = 64


class Recipe(Section):
    """Everything from raw files to an evaluated instruct model."""

    seed: int = 0
    data: DataConfig = DataConfig()
    templates: TemplatesConfig = TemplatesConfig()
    tokens: TokensConfig = TokensConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()


def dump_recipe(recipe: Section) -> str:
    """The resolved recipe as YAML, in the order of the fields."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
