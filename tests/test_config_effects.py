"""Every configuration field has an observable effect or does not exist.

One small run is observed whole (what was prepared, learned, logged, saved, said); each field is changed alone and must
change what its row of the table names.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from pydantic import BaseModel
from safetensors.torch import load_file

from heedlm import api, corpora
from heedlm.config import Recipe
from heedlm.data.clean.rules import RULES
from heedlm.errors import HeedError
from heedlm.pretrain_config import PretrainRecipe
from heedlm.recipe_file import load_recipe
from heedlm.train.stage import Observer
from tests.families import checkpoint


class Change(NamedTuple):
    """value: of the field, over the base settings.   seen: keys of the observation that must differ.   also: set on both sides."""

    value: Any
    seen: tuple[str, ...]
    also: tuple[str, ...] = ()


TABLE = {"path": "table.jsonl", "prompts": ["classify-text"]}  # rows of columns, to be made conversations
TWO = "data.sources=[rows.jsonl, guided.jsonl]"
PROMPTED = f"data.sources={json.dumps([TABLE])}"
# The first score is 0 and no later one is above it, while the loss goes on falling.
CONFUSED = ("train.score=[empty.yaml]", "train.score_share=1", "train.lr=0.01", "train.eval_every=1")
CHANGES: dict[str, Change] = {
    "seed": Change(5, ("order",)),
    "data.sources": Change("other.jsonl", ("splits",)),
    "data.sources.path": Change([{"path": "other.jsonl"}], ("splits",)),
    "data.sources.mapping": Change(
        [{"path": "odd.jsonl", "mapping": {"instruction": "ask", "output": "say"}}],
        ("error",),
        ("data.sources=[odd.jsonl]",),
    ),
    "data.sources.licence": Change([{"path": "rows.jsonl", "licence": "CC0-1.0"}], ("licences",)),
    "data.mixture": Change({"rows.jsonl": {"cap": 5}}, ("rows",)),
    "data.mixture.weight": Change({"rows": {"weight": 3}, "guided": {"weight": 1}}, ("rows",), (TWO,)),
    "data.mixture.cap": Change({"rows.jsonl": {"cap": 7}}, ("rows",)),
    "data.mixture.cap_tokens": Change({"rows.jsonl": {"cap_tokens": 300}}, ("rows",)),
    "data.mixture.epochs": Change({"rows.jsonl": {"epochs": 2}}, ("order", "sequences")),
    "data.sources.prompts": Change([{**TABLE, "prompts": ["sentiment-review"]}], ("texts",), (PROMPTED,)),
    "data.sources.prompts_per_row": Change([{**TABLE, "prompts_per_row": 2}], ("splits",), (PROMPTED,)),
    "data.sources.few_shot": Change([{**TABLE, "few_shot": 3}], ("texts",), (PROMPTED,)),
    "data.sources.inverted": Change([{**TABLE, "inverted": 0.9}], ("texts",), (PROMPTED,)),
    "data.sources.notation": Change([{**TABLE, "notation": "xml"}], ("texts",), (PROMPTED,)),
    "data.sources.labels": Change([{**TABLE, "labels": {"pos": "glad", "neg": "cross"}}], ("texts",), (PROMPTED,)),
    "data.val": Change(0.5, ("splits",)),
    "data.test": Change(0.5, ("splits",)),
    "data.max_bad": Change(0.001, ("error",)),
    **{f"data.clean.{rule}": Change("drop", ("splits",), ("data.sources=[dirty.jsonl]",)) for rule in RULES},
    "data.clean.max_words": Change(20, ("splits",), ("data.sources=[dirty.jsonl]", "data.clean.length=drop")),
    "data.clean.min_words": Change(3, ("splits",), ("data.sources=[dirty.jsonl]", "data.clean.length=drop")),
    "data.near_duplicates": Change("flag", ("splits",), ("data.sources=[alike.jsonl]",)),
    "data.similarity": Change(0.99, ("splits",), ("data.sources=[alike.jsonl]",)),
    "data.decontaminate": Change(["items.jsonl"], ("splits",)),
    "data.contaminated": Change("flag", ("splits",), ("data.decontaminate=[items.jsonl]",)),
    "data.replay": Change(["replay.jsonl"], ("replay_tokens", "first_loss")),
    "data.replay_share": Change(0.6, ("replay_tokens",), ("data.replay=[replay.jsonl]",)),
    "templates.chat": Change("alpaca", ("template", "first_loss")),
    "templates.kwargs": Change({"greeting": "Hi"}, ("chat_template", "first_loss"), ("templates.chat=greeting.jinja",)),
    "templates.learn_reasoning": Change(False, ("learned_tokens",)),
    "tokens.max_tokens": Change(70, ("rows",)),
    "tokens.overflow": Change("oldest_turns", ("rows",), ("tokens.max_tokens=70",)),
    "model.path": Change("other-model", ("first_loss",)),
    "model.method": Change("lora", ("trainable",)),
    "model.freeze": Change(["embed_tokens", "layers.0.*"], ("trainable",)),
    "model.lora.rank": Change(2, ("trainable",), ("model.method=lora",)),
    "model.lora.alpha": Change(500, ("last_loss",), ("model.method=lora",)),
    "model.lora.dropout": Change(0.9, ("last_loss",), ("model.method=lora",)),
    "model.lora.targets": Change(["q_proj"], ("trainable",), ("model.method=lora",)),
    "model.lora.rslora": Change(True, ("last_loss",), ("model.method=lora",)),
    "model.lora.dora": Change(True, ("trainable",), ("model.method=lora",)),
    "model.lora.modules_to_save": Change(["lm_head"], ("trainable",), ("model.method=lora",)),
    "model.lora.tokens": Change(["<|im_end|>"], ("trainable",), ("model.method=lora",)),
    "model.trust_remote_code": Change(True, ("error",), ("model.path=custom-model",)),
    "train.lr": Change(1e-5, ("rates",)),
    "train.epochs": Change(1, ("steps",)),
    "train.max_steps": Change(1, ("steps",)),
    "train.tokens_per_step": Change(120, ("steps",)),
    "train.micro_tokens": Change(64, ("micro_batches",)),
    "train.schedule": Change("constant", ("rates",)),
    "train.warmup": Change(0.9, ("rates",)),
    "train.decay": Change(1.0, ("rates",), ("train.schedule=wsd",)),
    "train.weight_decay": Change(0.9, ("weights",)),
    "train.clip_norm": Change(1e-4, ("weights",)),
    "train.precision": Change("bf16", ("first_loss",)),
    "train.device": Change("cuda" if not torch.cuda.is_available() else "meta", ("error",)),
    "train.share_prefixes": Change("off", ("computed_tokens",), ("data.sources=[guided.jsonl]",)),
    "train.activation_checkpointing": Change("full", ("recomputed",)),
    "train.parallel": Change("fsdp", ("error",)),
    "train.eval_every": Change(1, ("evaluations",)),
    "train.checkpoint_every": Change(1, ("saved",)),
    "train.keep_checkpoints": Change(1, ("kept",)),
    "train.spike": Change(
        None, ("error",), ("train.lr=30", "train.clip_norm=1e6", "train.schedule=constant", "train.epochs=3")
    ),
    "train.sink": Change("tensorboard", ("sink",) if find_spec("tensorboard") else ("error",)),
    "train.panel": Change(0, ("panel",)),
    "train.score": Change(["held_out"], ("scores",)),
    "train.score_items": Change(1, ("scores",), ("train.score=[held_out]",)),
    "train.score_share": Change(1e-9, ("scores",), ("train.score=[held_out]", "train.score_share=1")),
    "train.best": Change("score", ("best_score",), CONFUSED),
    "train.patience": Change(1, ("steps",), CONFUSED),
    "eval.suites": Change(["forgetting"], ("tasks",), ("eval.items=1",)),
    "eval.items": Change(1, ("items",)),
    "eval.max_tokens": Change(2, ("longest_reply",)),
    "eval.batch_size": Change(1, ("asked_at_once",)),
}
BASE = (
    "train.epochs=2",
    "train.tokens_per_step=240",
    "train.micro_tokens=240",
    "train.precision=fp32",
    "train.panel=1",
    "train.device=cpu",
    "data.val=0.2",
    "data.test=0.2",
    "data.max_bad=0.5",
    "eval.max_tokens=12",
)

# Fields of which all the effect is seen once rows are prepared.
PROMPTS = tuple(f"data.sources.{name}" for name in ("licence", "prompts", "few_shot", "inverted", "notation", "labels"))
PREPARED = (
    *PROMPTS,
    "data.clean.",
    "data.near_duplicates",
    "data.similarity",
    "data.decontaminate",
    "data.contaminated",
)
DIRTY = {
    "length": ("Say it at length.", "word " * 20_001),
    "placeholder": ("What is it?", "n/a"),
    "repetition": ("Tell me more.", "I am sorry. " * 12),
    "refusal": ("How do you feel?", "As an AI language model, I do not feel."),
    "echo": ("Which bird is it that sings?", "Which bird is it that sings? A wren."),
    "truncated": ("Tell me about the town.", "The town has many old houses, and people walk to the river when it is warm, "
    "where boats wait for them and somebody sells cakes and tea to all who come by and want to"),
    "control": ("What ends a turn?", "It is <|im_end|> here."),
    "encoding": ("Where does he live?", "In a cafÃ© by the sea."),
    "language": ("What is the name of the river that flows by here?", "Das ist ein Fluss, und er heißt wie die Stadt."),
    "email": ("Who is it?", "Write to ada@example.org."),
    "phone": ("What is the number?", "Call (212) 555-0187 now."),
    "card": ("Which card?", "4111 1111 1111 1111"),
    "ip": ("Which host?", "It is 8.8.8.8 today."),
    "key": ("Which key?", "AKIAABCDEFGHIJKLMNOP"),
}  # fmt: skip
ALIKE = (
    "The ferry leaves the old harbour in the morning and comes back when the lamps are lit, and on the way it stops at "
)
ALIKE += (
    "each of the small islands, where people wait on the pier with baskets of fruit, bread and fish for the {} market."
)


def fields_of(kind: type[BaseModel], prefix: str = "") -> list[str]:
    """Dotted names of all leaf fields, those of list items included."""
    names = []
    for name, field in kind.model_fields.items():
        inner = [
            t
            for t in (field.annotation, *getattr(field.annotation, "__args__", ()))
            if isinstance(t, type) and issubclass(t, BaseModel)
        ]
        if not inner or getattr(field.annotation, "__args__", ()):
            names.append(prefix + name)
        if inner:
            names += fields_of(inner[0], f"{prefix}{name}.")
    return names


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    checkpoint(folder / "model")
    checkpoint(folder / "other-model", "qwen3")
    custom_checkpoint(folder / "custom-model")
    rows = [
        {"messages": [{"role": "user", "content": f"Say {n}."}, {"role": "assistant", "content": f"It is {n}."}]}
        for n in range(24)
    ]
    long = [
        turn
        for n in range(6)
        for turn in ({"role": "user", "content": f"And {n} now?"}, {"role": "assistant", "content": f"Now {n}."})
    ]
    thinking = {"role": "assistant", "content": "Seven.", "reasoning_content": "Six and one."}
    rows += [{"messages": long[2 * start :]} for start in range(4)]
    rows += [{"messages": [{"role": "user", "content": f"{n}: 6+1?"}, thinking]} for n in range(4)]
    lines = [json.dumps(row) for row in rows]
    (folder / "rows.jsonl").write_text("\n".join([*lines, "{broken"]) + "\n")
    (folder / "other.jsonl").write_text("\n".join(lines[:9]) + "\n")
    (folder / "odd.jsonl").write_text(
        "".join(json.dumps({"ask": f"Say {n}.", "say": f"{n}!"}) + "\n" for n in range(12))
    )
    dirty = [*DIRTY.values(), *((f"Is it {word}?", "Yes.") for word in ("red", "blue", "green", "white", "black"))]
    alike = [("Tell me of the ferry.", ALIKE.format(word)) for word in ("town", "evening")] + dirty[-5:]
    for name, found in (("dirty", dirty), ("alike", alike)):
        texts = [json.dumps({"prompt": asked, "completion": said}) for asked, said in found]
        (folder / f"{name}.jsonl").write_text("\n".join(texts) + "\n")
    guide = {"role": "system", "content": "You are a patient guide, and you answer in a few plain words."}
    guided = [{"messages": [guide, *json.loads(line)["messages"]]} for line in lines[:20]]
    (folder / "guided.jsonl").write_text("\n".join(map(json.dumps, guided)) + "\n")
    table = [
        {"text": f"The {word} was {how} on the way home.", "label": label}
        for word in ("soup", "film", "hotel", "train", "book", "lamp", "garden", "coffee")
        for how, label in (("splendid", "pos"), ("awful", "neg"))
    ]
    (folder / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    (folder / "empty.yaml").write_text(
        "about: Nobody can know.\ntasks:\n  none:\n    items: [{prompt: Well, target: xyzzy}]\n    scorer: exact\n"
    )
    (folder / "items.jsonl").write_text(json.dumps({"question": "Say 7."}) + "\n")
    (folder / "replay.jsonl").write_text(
        "".join(json.dumps({"text": f"Once there were {n} ships at sea."}) + "\n" for n in range(300))
    )
    (folder / "greeting.jinja").write_text(
        "{% for m in messages %}{{ greeting | default('') }}{{ m.role }}: {% if m.reasoning_content %}({{ m.reasoning_content }}) {% endif %}{{ m.content }}"
        "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}\n{% endfor %}{% if add_generation_prompt %}{{ greeting | default('') }}assistant: {% endif %}"
    )
    return folder


def custom_checkpoint(folder: Path) -> None:
    """A checkpoint whose code travels with it: never run unless asked for by name."""
    checkpoint(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "ours", "auto_map": {"AutoConfig": "ours.OursConfig", "AutoModelForCausalLM": "ours.Ours"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "ours.py").write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM\n\n\n"
        "class OursConfig(LlamaConfig):\n    model_type = 'ours'\n\n\n"
        "class Ours(LlamaForCausalLM):\n    config_class = OursConfig\n"
    )


def observe(
    folder: Path, run: Path, settings: list[str], monkeypatch: pytest.MonkeyPatch, evaluate: bool
) -> dict[str, Any]:
    """One run, seen from outside."""
    from heedlm.generate.chat import LocalChat
    from heedlm.train import checkpoint as store
    from heedlm.train import loop

    saved: list[int] = []
    kept: list[int] = []
    micro: list[int] = []
    computed: list[int] = []
    recomputed: list[int] = []
    asked: list[int] = []
    save, step, reply = store.save, loop._step, LocalChat.reply

    def seen_saving(*a: Any, **k: Any) -> Any:
        path = save(*a, **k)
        saved.append(a[3].step)
        kept.append(len(list(a[0].glob("step-*"))))
        return path

    monkeypatch.setattr(store, "save", seen_saving)

    def seen_step(*a: Any, **k: Any) -> Any:
        micro.append(len(a[2].micro_batches))
        computed.append(sum(len(batch.ids) for batch in a[2].micro_batches))
        recomputed.append(sum(bool(getattr(m, "gradient_checkpointing", False)) for m in a[0].modules()))
        return step(*a, **k)

    monkeypatch.setattr(loop, "_step", seen_step)
    monkeypatch.setattr(
        LocalChat,
        "reply",
        lambda self, requests, *a, **k: (asked.append(len(requests)), reply(self, requests, *a, **k))[1],
    )
    monkeypatch.chdir(folder)
    seen: dict[str, Any] = {"error": None}
    try:
        recipe = api.make_recipe(model="model", data="rows.jsonl", settings=[*BASE, *settings])
        report = api.train(run=run, recipe=recipe, observer=Observer(lambda line: None, lambda *a: None))
        if evaluate:
            asked.clear()
            done = api.evaluate(run=run, settings=[s for s in settings if s.startswith("eval.")])
            seen |= {
                "items": sum(task.n for task in done.report.tasks),
                "tasks": [task.name for task in done.report.tasks],
                "asked_at_once": max(asked, default=0),
                "longest_reply": max(len(a.text) for case in done.report.cases for a in case.answers.values()),
            }
    except HeedError as error:
        return {"error": str(error)}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "train"]
    panel = run / "panel.jsonl"
    return seen | {
        "splits": {p.name: len(p.read_text().splitlines()) for p in sorted((run / "data").glob("*.jsonl"))},
        "order": [line["tokens"] for line in steps],
        "rates": [line["lr"] for line in steps],
        "steps": len(steps),
        "first_loss": steps[0]["loss"],
        "last_loss": steps[-1]["loss"],
        "evaluations": sum(line["kind"] == "validation" for line in lines),
        "panel": len(panel.read_text().splitlines()) if panel.is_file() else 0,
        "scores": [line["items"] for line in lines if line["kind"] == "score"],
        "best_score": report.best_score,
        "template": report.template,
        "chat_template": (run / "model" / "chat_template.jinja").read_text(),
        "trainable": report.trainable_parameters,
        "learned_tokens": report.learned_tokens,
        "replay_tokens": report.replay_tokens,
        "rows": report.rows,
        "sequences": report.sequences,
        "saved": saved,
        "kept": kept,
        "sink": sorted(path.name.split(".")[0] for path in run.glob("tensorboard/*")),
        "micro_batches": micro,
        "computed_tokens": computed,
        "recomputed": recomputed,
        "weights": float(load_file(run / "model" / "model.safetensors")["model.norm.weight"].float().sum())
        + float(
            load_file(run / "model" / "model.safetensors")["model.layers.0.mlp.up_proj.weight"].double().abs().sum()
        ),
    }


def prepared(folder: Path, run: Path, settings: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What lies in the folder of prepared rows."""
    monkeypatch.chdir(folder)
    api.prepare(run=run, recipe=api.make_recipe(data="rows.jsonl", settings=[*BASE, *settings]))
    lines = (run / "data" / "train.jsonl").read_text().splitlines()
    return {
        "splits": {p.name: len(p.read_text().splitlines()) for p in sorted((run / "data").glob("*.jsonl"))},
        "texts": [[turn["content"] for turn in json.loads(line)["messages"]] for line in lines],
        "licences": [json.loads(line).get("meta", {}).get("licence") for line in lines],
    }


def test_every_field_is_in_the_table() -> None:
    assert sorted(fields_of(Recipe)) == sorted(CHANGES)


@pytest.fixture(scope="module")
def baselines() -> dict[tuple[str, ...], dict[str, Any]]:
    return {}


@pytest.mark.parametrize("field", sorted(CHANGES))
def test_changing_a_field_changes_what_it_says(
    field: str,
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    baselines: dict[tuple[str, ...], dict[str, Any]],
) -> None:
    change = CHANGES[field]
    evaluates = field.startswith("eval.")
    early = field.startswith(PREPARED)
    key = (*change.also, str(evaluates), str(early))
    if key not in baselines:
        with monkeypatch.context() as patch:
            run, settings = tmp_path / "before", list(change.also)
            baselines[key] = (
                prepared(world, run, settings, patch) if early else observe(world, run, settings, patch, evaluates)
            )
    before = baselines[key]
    target = next((one for one in ("data.sources", "data.mixture") if field.startswith(f"{one}.")), field)
    value = "null" if change.value is None else json.dumps(change.value)
    with monkeypatch.context() as patch:
        run, settings = tmp_path / "after", [*change.also, f"{target}={value}"]
        after = prepared(world, run, settings, patch) if early else observe(world, run, settings, patch, evaluates)
    for name in change.seen:
        assert before.get(name) != after.get(name), f"{field} changed, {name} did not: {before.get(name)}"


PRETRAIN = {
    "seed": 7,
    "start": "atlas",
    "corpus.mix": {"echo": 1.0},
    "corpus.source": "texts.jsonl",
    "corpus.documents": 5,
    "shape.vocab_size": 280,
    "shape.context": 32,
    "shape.hidden": 16,
    "shape.layers": 2,
    "shape.heads": 4,
    "shape.kv_heads": 1,
    "shape.intermediate": 24,
    "train.max_steps": 2,
    "train.lr": 1e-4,
    "train.tokens_per_step": 256,
}
SHAPE = (
    "shape.vocab_size=300",
    "shape.context=64",
    "shape.hidden=32",
    "shape.layers=1",
    "shape.heads=2",
    "shape.kv_heads=2",
    "shape.intermediate=48",
)
SMALL = (
    *SHAPE,
    "corpus.documents=12",
    "train.max_steps=3",
    "train.tokens_per_step=512",
    "train.micro_tokens=512",
    "train.precision=fp32",
)


def test_every_field_of_pretraining_is_covered_here_or_above() -> None:
    shared = {name for name in CHANGES if name.startswith("train.")}
    assert set(fields_of(PretrainRecipe)) - shared <= set(PRETRAIN)


def pretrained(folder: Path, run: Path, settings: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(corpora, "TOKENIZER_DOCUMENTS", 60)
    monkeypatch.setattr(corpora, "VALIDATION_DOCUMENTS", 4)
    small = [one for one in SMALL if not (settings and settings[0].startswith("start=") and one.startswith("shape."))]
    recipe = load_recipe(PretrainRecipe, None, [*small, *settings])
    report = api.pretrain(recipe=recipe, run=run)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    config = json.loads((run / "model" / "config.json").read_text())
    return {
        "losses": [line.get("loss") for line in lines],
        "tokens": [line.get("tokens") for line in lines],
        "epochs": [line.get("epoch") for line in lines],
        "rates": [line.get("lr") for line in lines],
        "config": {k: config[k] for k in config if k != "transformers_version"},
        "parameters": report.num_parameters,
    }


@pytest.mark.parametrize("field", sorted(PRETRAIN))
def test_changing_a_field_of_pretraining_changes_the_run(
    field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, baselines: dict[tuple[str, ...], dict[str, Any]]
) -> None:
    (tmp_path / "texts.jsonl").write_text(
        "".join(json.dumps({"text": f"The {n} bells of the town rang."}) + "\n" for n in range(40))
    )
    key = ("pretrain",)
    if key not in baselines:
        with monkeypatch.context() as patch:
            baselines[key] = pretrained(tmp_path, tmp_path / "before", [], patch)
    with monkeypatch.context() as patch:
        after = pretrained(tmp_path, tmp_path / "after", [f"{field}={json.dumps(PRETRAIN[field])}"], patch)
    assert after != baselines[key]
