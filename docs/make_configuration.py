"""Write docs/configuration.md: names, types, defaults and limits from the pydantic models, meanings from here.

Run it after a change of `heedlm.config`:   .venv/bin/python docs/make_configuration.py
tests/test_docs.py compares its output with the page, and refuses a field without words or words without a field.
"""

from __future__ import annotations

import types
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from heedlm.config import Recipe, StepConfig
from heedlm.pretrain_config import PretrainRecipe


class Words(NamedTuple):
    """What a field means, and what is seen to change when it does."""

    meaning: str
    effect: str


TUNING: dict[str, Words] = {
    "seed": Words(
        "Seed of everything that is drawn.",
        "Which groups go to which split, the order of rows, the start of adapters, intervals in the report.",
    ),
    "data.sources": Words(
        "Where rows come from: a path, or a list of paths or of `{path, mapping}`. `--data` sets it.",
        "The rows that are prepared.",
    ),
    "data.sources.path": Words(
        "A file (JSON, JSON lines, CSV, TSV, Parquet, Arrow, text, Markdown), a folder of them, `hub:OWNER/NAME`, or `-`.",
        "The rows.",
    ),
    "data.sources.mapping": Words(
        "Our field name to the name in your file, such as `{instruction: ask, output: say}`; null recognises the shape.",
        "Rows with other field names are read instead of refused.",
    ),
    "data.sources.licence": Words(
        "The licence of rows that name none, such as `CC-BY-4.0`; it wins over what the data set says of itself.",
        "Licences in the card, and in `meta` of each row.",
    ),
    "data.sources.prompts": Words(
        "Prompt templates that make conversations of rows of columns: a name from `heed templates list`, a YAML file, or a "
        "list of these. `mapping` then goes from their columns to names in your file. See [data](rooms/data.md#prompt-templates).",
        "Tables become conversations.",
    ),
    "data.sources.prompts_per_row": Words(
        "Conversations made of one row, each in another wording; all of them on one side of the split.",
        "The number of rows.",
    ),
    "data.sources.few_shot": Words(
        "Solved examples before a question at most; each row draws its number. They are train rows of the same wording.",
        "Questions with examples before them.",
    ),
    "data.sources.inverted": Words(
        "Share of the conversations that ask for the input, given the answer. They are taught, never tested.",
        "Conversations the other way round.",
    ),
    "data.sources.notation": Words(
        "How named blocks of a template are written: `plain`, `markdown`, `xml`, `labels`, or `mix`, one of them for each row.",
        "System texts and questions with headings, tags or labels.",
    ),
    "data.sources.labels": Words(
        "What the values in the column of labels mean, such as `{0: negative, 1: positive}`.",
        "The choices, and the answers.",
    ),
    "data.mixture": Words(
        "How much of each source one epoch of training holds: source to `{weight, cap, cap_tokens, epochs}`. A source is named "
        "as in `data.sources`, or by the end of its path. See [tokens](rooms/tokens.md#the-mixture).",
        "The training tokens; `card.md` beside them.",
    ),
    "data.mixture.weight": Words(
        "The source's part of the rows of an epoch, against the weights of the others; all sources have one, or none. The "
        "scarcest source gives all it has, the others are cut: nothing is repeated for a weight.",
        "How many rows of the other sources are left out.",
    ),
    "data.mixture.cap": Words(
        "At most so many training rows of the source, drawn by the seed; a larger cap holds the rows of a smaller one.",
        "Rows left out by the mixture.",
    ),
    "data.mixture.cap_tokens": Words("At most so many tokens of the source, whole rows drawn likewise.", "As above."),
    "data.mixture.epochs": Words(
        "How often the source's rows come in one epoch of training: 0.5 half of them, 1.5 all, and half of them again.",
        "Sequences and tokens of an epoch.",
    ),
    "data.val": Words(
        "Validation rows: a share of the groups, or a file of its own, or null for none.",
        "How many rows guide the choice of the best weights.",
    ),
    "data.test": Words(
        "Test rows, given likewise. They are never tokenised for training.", "The rows that `heed eval` asks."
    ),
    "data.max_bad": Words(
        "The share of rows that may be broken and dropped.", "Above it the run is refused with the broken lines."
    ),
    "data.clean.length": Words(
        "A row of more than `max_words` words, or an answer of fewer than `min_words`.",
        "Rows in `flagged.jsonl` or `dropped.jsonl`, counted in the card.",
    ),
    "data.clean.max_words": Words("The longest row, in words of all turns together.", "Which rows `length` finds."),
    "data.clean.min_words": Words(
        "The shortest answer, in words; calls of tools are not counted.", "Which rows `length` finds."
    ),
    "data.clean.placeholder": Words(
        "An answer, or an input behind the question, that stands for nothing: `nan`, `N/A`, `<nooutput>`.", "As above."
    ),
    "data.clean.repetition": Words(
        "An answer that goes round in circles: one passage four times in a row, or half of it said twice.", "As above."
    ),
    "data.clean.refusal": Words(
        "An answer that refuses, or speaks of being a language model, in some twenty languages.", "As above."
    ),
    "data.clean.echo": Words("An answer that repeats the question.", "As above."),
    "data.clean.truncated": Words("Long prose that stops inside a sentence; code that is never closed.", "As above."),
    "data.clean.control": Words(
        "A control token or the mark of another turn in the text. It is neutralised in training either way.",
        "As above.",
    ),
    "data.clean.encoding": Words("Letters of a wrong encoding (`Ã©`), replacement characters, NULs.", "As above."),
    "data.clean.language": Words(
        "An answer in another language than the question, which does not speak of languages.", "As above."
    ),
    "data.clean.email": Words(
        "E-mail addresses. These five rules also take `mask`, which writes `[EMAIL]` and the like instead.", "As above."
    ),
    "data.clean.phone": Words("Phone numbers, with a country code or in North American form.", "As above."),
    "data.clean.card": Words("Card numbers whose check digit is right.", "As above."),
    "data.clean.ip": Words("Public network addresses.", "As above."),
    "data.clean.key": Words("Keys and tokens of well-known services, private keys.", "As above."),
    "data.near_duplicates": Words(
        "Rows that ask and answer nearly the same: `drop` keeps one of each pair, `flag` keeps both on one side of the "
        "split, `off` does not look. See [data](rooms/data.md#near-duplicates).",
        "Rows dropped as near-duplicates; groups of the split.",
    ),
    "data.similarity": Words(
        "The share of three-word sequences that two rows must have in common to be near-duplicates.",
        "Which rows are near-duplicates.",
    ),
    "data.decontaminate": Words(
        "Files or folders of evaluation items, whatever the names of their fields, which rows may not hold. The run's own "
        "validation and test rows always count.",
        "Rows in `contamination.jsonl`.",
    ),
    "data.contaminated": Words(
        "A row that holds an item of those files, or an item of the run's own splits with its answer: `drop` or `flag`.",
        "Whether such rows are dropped.",
    ),
    "data.replay": Words(
        "Files of plain documents, rows with a `text` field or text and Markdown, learned in full beside the rows.",
        "Fewer forgotten words: see bits per byte in the report.",
    ),
    "data.replay_share": Words(
        "Their share of the training tokens, as far as the documents reach.", "How many replayed tokens are mixed in."
    ),
    "templates.chat": Words(
        "A built-in format (`chatml`, `llama3`, `human_assistant`, `alpaca`, `dolly`, `base`) or a Jinja file; "
        "null takes the tokenizer's own, or ChatML where it has none.",
        "The text that the model sees, in training and afterwards.",
    ),
    "templates.kwargs": Words(
        "Values for names that the template reads, such as `{enable_thinking: false}`.",
        "They are written into the template that travels with the model.",
    ),
    "templates.learn_reasoning": Words(
        "Whether the thinking of an assistant turn is taught too.", "The number of learned tokens."
    ),
    "tokens.max_tokens": Words(
        "The longest sequence, in tokens; null takes the model's context, or 2,048 where that is unknown.",
        "Which rows are too long.",
    ),
    "tokens.overflow": Words(
        "What happens to a longer row: `drop` it, `refuse` the run, or take away its `oldest_turns`.",
        "Rows kept and lost, counted; an answer is never cut.",
    ),
    "model.path": Words("A folder, a run, `atlas`, or a hub id. `--model` sets it.", "The model that is tuned."),
    "model.method": Words(
        "`full` changes all weights, `lora` trains low-rank adapters and merges them at the end, `qlora` does so over a base "
        "in four bits (NF4; needs CUDA and `pip install 'heedlm[qlora]'`).",
        "Trainable parameters, memory, and the learning rate that is chosen.",
    ),
    "model.freeze": Words(
        "With `full`: parameters that keep their values, as patterns of whole name parts, such as `embed_tokens`, "
        "`layers.0.*` or `layers.[0-5]`.",
        "Trainable parameters; a pattern that matches nothing is refused, and so is freezing everything.",
    ),
    "model.lora.rank": Words("Rank of the adapters.", "Trainable parameters."),
    "model.lora.alpha": Words("The adapters' update is scaled by alpha / rank.", "How far a step reaches."),
    "model.lora.dropout": Words("Dropout before the adapters.", "Noise in training, none afterwards."),
    "model.lora.targets": Words(
        "`all-linear` (all between embedding and head, stacked experts included), or a list of names of layers.",
        "Which layers get an adapter; an unknown name is refused.",
    ),
    "model.lora.rslora": Words(
        "Whether the update is scaled by alpha / sqrt(rank) instead.", "How far a step reaches at a high rank."
    ),
    "model.lora.dora": Words(
        "Whether each output's magnitude is trained beside its direction (DoRA).",
        "Trainable parameters; each step takes longer.",
    ),
    "model.lora.modules_to_save": Words(
        "Names of modules that are trained in full beside the adapters, such as `lm_head` or `norm`; a tied pair of "
        "embedding and head stays one matrix.",
        "Trainable parameters; the modules are saved with the adapter.",
    ),
    "model.lora.tokens": Words(
        "Tokens, as text, whose rows of embedding and head are trained: for control tokens that the base never saw.",
        "Those rows, which an adapter alone leaves as they are.",
    ),
    "model.trust_remote_code": Words(
        "Whether code that comes with a checkpoint may run.", "Such a checkpoint loads instead of being refused."
    ),
    "eval.suites": Words(
        "What is asked: names from `heed suites list`, or YAML files of your own. `held_out` is the run's test rows.",
        "The tasks of the report.",
    ),
    "eval.items": Words(
        "At most so many items of each task; null asks all.", "How long it takes, and how wide the intervals are."
    ),
    "eval.max_tokens": Words(
        "The longest reply, in tokens. A task whose right answers are short has a lower limit of its own.",
        "Where long replies are cut.",
    ),
    "eval.batch_size": Words("Requests that are decoded at once.", "Speed and memory, not answers (in fp32)."),
}

TRAIN: dict[str, Words] = {
    "lr": Words(
        "Peak learning rate; null chooses by model size and method, and prints the reason.", "How fast weights move."
    ),
    "epochs": Words("How often every row is seen.", "The number of steps."),
    "max_steps": Words(
        "Optimiser steps in all, instead of epochs; epochs repeat until it is reached.", "The number of steps."
    ),
    "tokens_per_step": Words(
        "Tokens of one optimiser step (the global batch), prompts included; null is 8,192, or fewer where the data would "
        "make less than a hundred steps, and prints the reason.",
        "The number of steps per epoch.",
    ),
    "micro_tokens": Words(
        "Tokens of one forward pass; a step is cut into as many as it needs. A longer sequence gets a pass of its own.",
        "Memory; the result changes by rounding only.",
    ),
    "schedule": Words(
        "How the rate goes down after the warm-up: `cosine` or `linear` to a tenth of the peak, `constant`, or `wsd` "
        "(warm-up, stable, decay).",
        "The rate of every step.",
    ),
    "warmup": Words("Share of the steps in which the rate rises to its peak.", "The rate of the first steps."),
    "decay": Words(
        "With `wsd`: share of the steps, at the end, in which the rate falls as 1 - sqrt(share done).",
        "The rate of the last steps.",
    ),
    "weight_decay": Words("Decay of matrices, not of gains and biases.", "The size of the weights."),
    "clip_norm": Words("The longest gradient, over all parameters together.", "Steps with a longer one are shortened."),
    "precision": Words(
        "Of the matrix products: `bf16`, `fp32`, or `auto`, which takes bf16 where the hardware has it. Weights, "
        "gradients and optimiser are always fp32.",
        "Speed and rounding.",
    ),
    "share_prefixes": Words(
        "Compute what sequences of a step begin with only once (a system text, one prompt with several answers): `on`, `off`, "
        "or `auto`, which does so where the model can and at least 3 % of the tokens are saved.",
        "Speed and memory; the result changes by rounding only. `on` refuses a model that cannot.",
    ),
    "activation_checkpointing": Words(
        "Layers that are computed again in the backward pass, so that less is kept: `off`, `selective` (every second layer), "
        "`full` (all), or `auto`, as few as make a step fit into the memory there is. Where even `full` does not fit, `auto` "
        "takes smaller micro-batches, and refuses when nothing helps.",
        "Memory and speed; the result changes by rounding only.",
    ),
    "device": Words("`auto` (CUDA, else MPS, else CPU), or a name that torch knows.", "Where the model runs."),
    "parallel": Words(
        "How several processes share the model: `ddp` (each has all weights), `fsdp` (each has a part), `auto` (ddp while "
        "they fit). See [train](rooms/train.md#several-processes).",
        "Memory per device; one process refuses all but `auto`.",
    ),
    "eval_every": Words(
        "Steps between validations; null validates at the end of each epoch. The last step always does.",
        "Points of the validation curve, and candidates for the best weights.",
    ),
    "checkpoint_every": Words(
        "Steps between checkpoints; null writes one at the end of each epoch. Ctrl-C writes one in any case.",
        "How much a crash costs.",
    ),
    "keep_checkpoints": Words(
        "How many checkpoints stay, the last ones; one more exists while it is written. The best weights stay besides.",
        "Room on the disk, and how many may be damaged before a run is lost.",
    ),
    "spike": Words(
        "A run stops when the loss of 5 steps in a row is above so many times its level, and 2 nats above it; the level is "
        "the median of the last 20 calm steps. null never stops.",
        "Whether a run that diverges ends at once, with the rows of the batch where it began.",
    ),
    "sink": Words(
        "`tensorboard` writes the metrics to RUN/tensorboard too (`pip install 'heedlm[tensorboard]'`). Any other tracker "
        "is a callable: `Observer(..., sinks=[log])`.",
        "Files to look at with `tensorboard --logdir`.",
    ),
    "panel": Words(
        "Prompts from each of train, validation and test that the model answers at every validation.",
        "Lines in `panel.jsonl`, by which learning by heart and learning can be told apart.",
    ),
    "score": Words(
        "Suites (names or files) that the model in the making is scored on at every evaluation. `held_out` asks the "
        "validation rows here, never the test rows. See [train](rooms/train.md#scores-on-the-way).",
        "Lines in `scores.jsonl` and `eval/during.jsonl`, a curve in the report.",
    ),
    "score_items": Words(
        "Items of each task, spread evenly over it; null asks 32.", "How sure a score is, and how long it takes."
    ),
    "score_share": Words(
        "The share of the training time that scoring may take, from its second time on; null means 0.1, and 1 leaves none out.",
        "At which evaluations the model is scored; those left out are named.",
    ),
    "best": Words(
        "`score` keeps the weights of the highest score (of equal scores, of the lower validation loss); null those of the "
        "lowest validation loss.",
        "Which step the model is of.",
    ),
    "patience": Words(
        "The run ends when so many scores in a row were not above the best one; null never ends it early.",
        "The number of steps.",
    ),
}

PRETRAINING: dict[str, Words] = {
    "seed": Words(
        "Seed of the corpus, of the first weights and of the order.", "The order of what is read, and the model."
    ),
    "start": Words(
        "A model to go on from (a folder, a run or a name), with its tokenizer and its shape; null begins with nothing.",
        "The first weights. `shape` then says nothing, and must be left out.",
    ),
    "corpus.source": Words(
        "`atlas`, or documents: rows with a `text` field, or text files; a part of them validates.", "The documents."
    ),
    "corpus.documents": Words(
        "Documents that make an epoch. The built-in world writes new ones for each; of a file it is a window that moves on.",
        "When an epoch ends.",
    ),
    "corpus.mix": Words(
        "Shares of the kinds of document that the built-in world writes: `geography`, `papers`, `echo`, `figures`, "
        "`forms`, `briefs`, `desks`. Empty: 0.46, 0.48, 0.06 and none of the last four.",
        "The documents.",
    ),
    "shape.vocab_size": Words("Tokens of the tokenizer that is trained first.", "Tokens per document, parameters."),
    "shape.context": Words("The longest sequence; longer documents are cut into pieces.", "What the model can see."),
    "shape.hidden": Words("Width of a layer.", "Parameters."),
    "shape.layers": Words("Layers.", "Parameters."),
    "shape.heads": Words("Query heads; they share the width.", "The size of a head."),
    "shape.kv_heads": Words("Key/value heads; they divide the query heads.", "Parameters, memory of the cache."),
    "shape.intermediate": Words("Width of the feed-forward part.", "Parameters."),
}
PRETRAIN_TRAIN: dict[str, Words] = {
    **{key: words for key, words in TRAIN.items() if key in StepConfig.model_fields},
    "lr": Words("Peak learning rate.", "How fast weights move."),
    "max_steps": Words("Optimiser steps in all; must be given.", "The number of steps."),
}


class Row(NamedTuple):
    """One field as the page shows it."""

    key: str
    kind: str
    default: str
    words: Words


def rows(recipe: type[BaseModel], words: dict[str, Words]) -> list[Row]:
    """Every field of a recipe in its order. Raises ValueError where fields and words do not match."""
    found = list(_walk(recipe, ""))
    without = [key for key, _ in found if key not in words]
    stale = [key for key in words if key not in dict(found)]
    if without or stale:
        raise ValueError(f"{recipe.__name__}: fields without words {without}, words without a field {stale}")
    return [Row(key, _kind(info), _default(info), words[key]) for key, info in found]


def _walk(kind: type[BaseModel], prefix: str) -> list[tuple[str, FieldInfo]]:
    found: list[tuple[str, FieldInfo]] = []
    for name, info in kind.model_fields.items():
        inner = _models(info.annotation)
        if not inner or info.annotation is not inner[0]:  # a value of its own, or a list of groups
            found.append((prefix + name, info))
        for group in inner:
            found += _walk(group, f"{prefix}{name}.")
    return found


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _kind(info: FieldInfo) -> str:
    text = _type(info.annotation)
    limits = _limits(info.metadata)
    return f"{text} {limits}".strip()


def _type(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        limits = _limits(annotation.__metadata__)
        return _type(parts[0]) + (f" {limits}" if limits else "")
    if origin in (Union, types.UnionType):
        return ", or ".join(_type(part) for part in parts)
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin is tuple:
        return "list" if _models(annotation) else f"list of {_type(parts[0])}"
    if origin is dict:
        return "mapping"
    if annotation is type(None):
        return "null"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "anything"}
    return names.get(annotation, str(getattr(annotation, "__name__", annotation)))


def _limits(metadata: Any) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    said = []
    for item in metadata:
        for part in (item, *getattr(item, "metadata", ())):
            for name, sign in signs.items():
                value = getattr(part, name, None)
                if value is not None:
                    said.append(f"{sign} {value:g}")
    return " and ".join(dict.fromkeys(said))


def _default(info: FieldInfo) -> str:
    value = info.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "must be given"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, dict)):
        return "none" if not value else str(value)
    return f"`{value}`" if value != "" else "none"


def tables() -> tuple[list[Row], list[Row]]:
    """The fields of a tuning recipe and of a pretraining recipe."""
    tuning = rows(Recipe, {**TUNING, **{f"train.{name}": words for name, words in TRAIN.items()}})
    pretraining = {**PRETRAINING, **{f"train.{name}": words for name, words in PRETRAIN_TRAIN.items()}}
    return tuning, rows(PretrainRecipe, pretraining)


def _table(found: list[Row]) -> str:
    lines = ["| field | value | default | meaning | what changes |", "|---|---|---|---|---|"]
    lines += [f"| `{r.key}` | {r.kind} | {r.default} | {r.words.meaning} | {r.words.effect} |" for r in found]
    return "\n".join(lines)


def _sections(found: list[Row], level: str, words: dict[str, str]) -> str:
    by_section: dict[str, list[Row]] = {}
    for row in found:
        section = row.key.partition(".")[0] if "." in row.key else "seed"
        by_section.setdefault(section if section in words else row.key, []).append(row)
    return "\n\n".join(
        f"{level} {section}\n\n{words[section]}\n\n{_table(part)}" for section, part in by_section.items()
    )


ABOUT_TUNING = {
    "seed": "One number for the whole run; `--seed` sets it.",
    "data": "Where rows come from and how they are divided. See [data](rooms/data.md).",
    "templates": "The wire format. See [templates](rooms/templates.md).",
    "tokens": "How long a sequence may be. See [tokens](rooms/tokens.md).",
    "model": "What is tuned, and how much of it. See [model](rooms/model.md).",
    "train": "How weights change. See [train](rooms/train.md).",
    "eval": "What the comparison asks. See [eval](rooms/eval.md).",
}
ABOUT_PRETRAINING = {
    "seed": "One number for the whole run.",
    "corpus": "What is read.",
    "shape": "A Llama-shaped decoder with tied embeddings.",
    "train": "All fields and defaults of [train](#train) hold, except for these.",
}

PAGE = """# Configuration

<!-- Written by docs/make_configuration.py from the models in src/heedlm/config.py: change those, then run it again. -->

A recipe is a YAML file that holds only what differs from the defaults. All of it may be left out. What counts, in order:
the defaults below, then the recipe, then `--model`, `--data` and `--seed`, then `--set`, the later winning.

```yaml
# support.yaml
model: {{path: path/to/model, method: lora}}
data:
  sources: [mails.jsonl, {{path: tickets.jsonl, mapping: {{question: ask, answer: say}}}}]
  test: 0.1
train: {{epochs: 2, tokens_per_step: 16384}}
```

```bash
heed train support.yaml --run runs/support --set train.lr=2e-4
```

A key that does not exist is refused with the nearest name that does, a value out of its limits with what is expected, and
all such problems of a recipe are told at once. The resolved recipe, every default filled in, is written to `recipe.yaml` in
the run folder. Each field of a tuning recipe has an effect that a test observes (`tests/test_config_effects.py`).

In Python the same settings are strings or a mapping:

```python
import heedlm

heedlm.train(model="path/to/model", data="rows.jsonl", run="runs/mine", settings={{"train.epochs": 2}})
```

## Tuning: `heed prepare`, `heed train`, `heed eval`

{tuning}

## Pretraining: `heed pretrain`

{pretraining}
"""


def page() -> str:
    """The whole page."""
    tuning, pretraining = tables()
    own = [row for row in pretraining if row not in tuning]  # fields that mean the same are shown once
    return PAGE.format(
        tuning=_sections(tuning, "###", ABOUT_TUNING), pretraining=_sections(own, "###", ABOUT_PRETRAINING)
    )


if __name__ == "__main__":
    Path(__file__).with_name("configuration.md").write_text(page(), encoding="utf8")
