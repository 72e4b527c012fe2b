"""Recipes: what a person may set, checked at the door, every problem in one pass.

One model per stage; unknown keys are refused with the nearest name. A field stands here only if the stage honours it
(tests/test_config_effects.py changes every one and looks for the effect).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from heedlm.errors import HeedError, Problem, nearest

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """A frozen group of fields that refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceConfig(Section):
    """One file or folder of rows. mapping: our field name -> the name in the file, where ours are not used."""

    path: str
    mapping: dict[str, str] | None = None


class DataConfig(Section):
    """sources: where rows come from.   val, test: a share of the groups, or a file of their own, or null for none.

    max_bad: the share of unreadable rows above which the data is refused.   replay: files of plain documents (JSONL with
    a `text` field) mixed into tuning so that the model keeps what it knew.   replay_share: their share of training tokens.
    """

    sources: tuple[SourceConfig, ...] = ()
    val: Share | str | None = 0.05
    test: Share | str | None = 0.05
    max_bad: Share = 0.01
    replay: tuple[str, ...] = ()
    replay_share: Share = 0.1

    @field_validator("sources", mode="before")
    @classmethod
    def _paths_are_sources(cls, value: Any) -> Any:
        values = [value] if isinstance(value, (str, Mapping)) else value
        return [{"path": v} if isinstance(v, str) else v for v in values]


class TemplatesConfig(Section):
    """chat: a built-in name, a Jinja file, or null for the tokenizer's own.   kwargs: handed to the template everywhere.

    learn_reasoning: whether the thinking of an assistant turn is taught as well.
    """

    chat: str | None = None
    kwargs: dict[str, Any] = Field(default_factory=dict)
    learn_reasoning: bool = True


class TokensConfig(Section):
    """max_tokens: longest sequence (null: the model's context).   overflow: what happens to a longer one."""

    max_tokens: Positive | None = None
    overflow: Literal["drop", "refuse", "oldest_turns"] = "drop"


class LoraConfig(Section):
    """rank, alpha, dropout as in LoRA (arXiv 2106.09685); the update is scaled by alpha / rank.   targets: module names."""

    rank: Positive = 16
    alpha: Positive = 32
    dropout: Share = 0.0
    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"


class ModelConfig(Section):
    """path: a folder, a run, `atlas` or a hub id.   method: all weights, or low-rank adapters."""

    path: str = ""
    method: Literal["full", "lora"] = "full"
    lora: LoraConfig = LoraConfig()
    trust_remote_code: bool = False


class StepConfig(Section):
    """How weights change, whatever is learned. Null means: chosen, and shown with the reason.

    tokens_per_step: tokens of one optimiser step (global batch).   micro_tokens: tokens of one forward pass.
    warmup: share of the steps.   eval_every, checkpoint_every: in steps (null: at the end of each epoch).
    """

    lr: Annotated[float, Field(gt=0)] | None = None
    max_steps: Positive | None = None
    tokens_per_step: Positive | None = None
    micro_tokens: Positive = 4096
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: Share = 0.05
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: str = "auto"
    eval_every: Positive | None = None
    checkpoint_every: Positive | None = None


class TrainConfig(StepConfig):
    """Tuning. max_steps wins over epochs where both are given.

    panel: prompts taken from each of train, validation and test that the model answers at every evaluation.
    """

    epochs: Positive = 3
    panel: Annotated[int, Field(ge=0)] = 2


class EvalConfig(Section):
    """items: test items per task at most (null: all).   max_tokens: longest reply.   batch_size: requests decoded at once."""

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


class CorpusConfig(Section):
    """source: `atlas`, or a JSONL file with a `text` field.   documents: how many make an epoch (atlas: new ones each)."""

    source: str = "atlas"
    documents: Positive = 4000


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
    """From plain documents to a tokenizer and a base model."""

    seed: int = 0
    corpus: CorpusConfig = CorpusConfig()
    shape: ShapeConfig = ShapeConfig()
    train: PretrainTrain


R = TypeVar("R", bound=Section)
# What pydantic puts into a place to name the branch of a union: no key of ours.
_BRANCHES = frozenset(("str", "float", "int", "bool"))


def load_recipe(
    kind: type[R], path: str | Path | None, settings: Sequence[str] = (), base: Mapping[str, Any] | None = None
) -> R:
    """A recipe from a YAML file, then `a.b=c` settings over it, then checked.

    base: values beneath the file.   Raises HeedError with every problem found, each where it was written.
    """
    values: dict[str, Any] = dict(base or {})
    where = "recipe"
    if path is not None:
        where = str(path)
        values = _merged(values, _read_yaml(Path(path)))
    problems: list[Problem] = []
    set_keys: list[str] = []
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            problems.append(Problem(f"This is not a setting: {setting!r}.", "--set", "write --set train.lr=2e-5"))
            continue
        values = _merged(values, _nested(key.split("."), _scalar(text)))
        set_keys.append(key)
    try:
        recipe = kind.model_validate(values)
    except ValidationError as error:
        found = [_problem(kind, dict(item), where, set_keys) for item in error.errors()]
        problems += {(problem.what.partition(":")[0], problem.where): problem for problem in reversed(found)}.values()
    if problems:
        raise HeedError.of(problems)
    return recipe


def dump_recipe(recipe: Section) -> str:
    """The resolved recipe as YAML, in the order of the fields."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf8")
    except FileNotFoundError:
        raise HeedError(
            "There is no recipe here.", str(path), "name a YAML file, for example recipes/qwen3_0.6b_lora.yaml"
        ) from None
    except (UnicodeDecodeError, IsADirectoryError):
        raise HeedError("This recipe is not a UTF-8 text file.", str(path), "name a YAML file") from None
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        reason = getattr(error, "problem", None) or "it cannot be read"
        raise HeedError(
            f"This recipe is not valid YAML: {reason}.", f"{path}{line}", "check indentation and colons"
        ) from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise HeedError("A recipe is a mapping of sections.", f"{path}:1", "write for example `train: {epochs: 2}`")
    return value


def _scalar(text: str) -> Any:
    """YAML's reading, except that 2e-5 is a number (YAML 1.1 wants a dot, people do not)."""
    try:
        return float(text) if "e" in text.lower() and text[:1] in "0123456789.-+" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return text


def _nested(keys: Sequence[str], value: Any) -> dict[str, Any]:
    return {keys[0]: value if len(keys) == 1 else _nested(keys[1:], value)}


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(below)
    for key, value in above.items():
        old = out.get(key)
        out[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return out


def _problem(kind: type[Section], item: Mapping[str, Any], where: str, set_keys: Sequence[str]) -> Problem:
    path = [part for part in map(str, item["loc"]) if "-" not in part and part not in _BRANCHES]
    key = ".".join(path)
    where = next((f"--set {given}" for given in set_keys if f"{key}.".startswith(f"{given}.")), where)
    if item["type"] == "extra_forbidden":
        hint = nearest(path[-1], _fields_at(kind, path[:-1]))
        return Problem(f"Unknown key {key!r}.", where, hint)
    if item["type"] == "missing":
        return Problem(f"Key {key!r} is missing.", where, f"--set {key}=...")
    return Problem(
        f"Key {key!r} is {item['input']!r}: {item['msg'][:1].lower()}{item['msg'][1:]}.", where, f"--set {key}=..."
    )


def _fields_at(kind: type[BaseModel], path: Sequence[str]) -> list[str]:
    for part in path:
        field = kind.model_fields.get(part)
        inner = field.annotation if field else None
        options = [inner, *get_args(inner)] if inner is not None else []
        found = [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]
        if not found and part.isdigit():
            continue
        if not found:
            return []
        kind = found[0]
    return list(kind.model_fields)
