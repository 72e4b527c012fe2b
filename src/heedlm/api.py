"""The verbs in Python, the same words as on the command line: each stage wired to the rooms above it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from heedlm.config import Recipe, dump_recipe
from heedlm.errors import HeedError
from heedlm.pretrain_config import PretrainRecipe
from heedlm.recipe_file import load_recipe
from heedlm.runs import Run, environment
from heedlm.train.earlier import check_same_recipe, taken

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from heedlm.data.prepare import PrepareReport
    from heedlm.eval.stage import Evaluated
    from heedlm.messages import Example
    from heedlm.templates.chat import ChatTemplate
    from heedlm.train.pretrain import PretrainReport
    from heedlm.train.sft import Panel, PanelAnswer, TrainReport
    from heedlm.train.stage import Observer
    from heedlm.train.worst import RowsReport

# Documents on which a tokenizer is trained, and on which pretraining is validated.
TOKENIZER_DOCUMENTS = 8000
VALIDATION_DOCUMENTS = 200
DEFAULT_MAX_TOKENS = 2048  # per sequence, where neither recipe nor model says
PANEL_TOKENS = 96

Paths: TypeAlias = "str | Path | Sequence[str | Path]"
Settings: TypeAlias = "str | Sequence[str] | Mapping[str, Any]"


def make_recipe(
    recipe: str | Path | Recipe | None = None,
    *,
    model: str | Path | None = None,
    data: Paths | None = None,
    seed: int | None = None,
    settings: Settings = (),
) -> Recipe:
    """A checked recipe from a file or another recipe, the common options and settings over it, the later winning.

    settings: `a.b=c` lines, or a mapping {"a.b": c}.
    """
    given: list[str] = []
    if model is not None:
        given.append(f"model.path={_yaml(model)}")
    if data is not None:
        many = [data] if isinstance(data, (str, Path)) else list(data)
        given.append(f"data.sources={_yaml(many)}")
    if seed is not None:
        given.append(f"seed={seed}")
    lines = [*given, *_lines(settings)]
    if isinstance(recipe, Recipe):
        return load_recipe(Recipe, None, lines, base=recipe.model_dump(mode="json")) if lines else recipe
    return load_recipe(Recipe, recipe, lines)


def _lines(settings: Settings) -> list[str]:
    if isinstance(settings, str):
        return [settings]
    if isinstance(settings, Mapping):
        return [f"{key}={_yaml(value)}" for key, value in settings.items()]
    return list(settings)


def prepare(*, run: str | Path, recipe: str | Path | Recipe | None = None, **options: Any) -> PrepareReport:
    """Sources -> leak-free train, validation and test splits with a data card, under `run`/data."""
    from heedlm.data import prepare as room
    from heedlm.data.checks import checks_of

    chosen = make_recipe(recipe, **options)
    if not chosen.data.sources:
        raise HeedError(
            "No data is named.", "data.sources", "--data FILE (JSON or JSONL), or a recipe with data.sources"
        )
    folder = Run.create(run)
    sources = [room.Source(Path(source.path), source.mapping or {}) for source in chosen.data.sources]
    began = time.perf_counter()
    kept = chosen.data
    how: dict[str, Any] = {"seed": chosen.seed, "checks": checks_of(kept), "frozen": taken(folder)}
    report = room.prepare(sources, folder.data, val=kept.val, test=kept.test, max_bad=kept.max_bad, **how)
    if not report.reused:
        folder.note(prepare=environment(), prepare_seconds=round(time.perf_counter() - began, 2))
    return report


def train(
    *,
    run: str | Path,
    recipe: str | Path | Recipe | None = None,
    observer: Observer | None = None,
    push: str | None = None,
    public: bool = False,
    **options: Any,
) -> TrainReport:
    """Prepare and tune: `heedlm.train(model="...", data="...", run="runs/first")`; the result is `run`/model.

    options: model, data, seed, settings, as in `make_recipe`. The same call goes on with a run that was interrupted, and
    gives the report of one that is finished, which stays as it is. push: a repository on the hub, ORG/NAME, to which the
    model goes at the end; a new one is private unless `public`.
    """
    chosen = make_recipe(recipe, **options)
    if not chosen.model.path:
        raise HeedError(
            "No model is named.", "model.path", "--model FOLDER, a hub id, or `atlas` for the built-in base model"
        )
    from heedlm.model import push as hub
    from heedlm.model.load import pick_device
    from heedlm.train import sft, sinks
    from heedlm.train.parallel import own_device, together
    from heedlm.train.workshop import Bench

    device = own_device(pick_device(chosen.train.device))
    folder = Run(Path(run))
    with together(device) as ranks:  # one process, unless a launcher started several
        told = (observer if ranks.first else None) or silent()
        panel = _panel(chosen, *ranks.on_first(lambda: _prepared(chosen, folder, device, told, push, public)))
        with sinks.behind(told, chosen.train.sink if ranks.first else None, folder) as heard:
            report = sft.train(chosen, folder, heard, Bench(chosen, folder, heard, ranks), panel, ranks)
        if push:
            told.say("pushed to " + ranks.on_first(lambda: hub.push(report.model, push, public=public)))
    return report


def _prepared(
    chosen: Recipe, folder: Run, device: torch.device, observer: Observer, push: str | None, public: bool
) -> tuple[ChatTemplate, list[tuple[str, Example]]]:
    """What `train` does before it trains: refusals, rows, tokens. Returns what the panel needs."""
    from heedlm.model import push as hub
    from heedlm.model.load import resolve
    from heedlm.model.method import check_method

    resolve(chosen.model.path)  # refused before anything is read or written
    check_method(chosen.model, device)
    if push:
        hub.check_push(push, public=public)
    Run.create(folder.root)
    check_same_recipe(folder, dump_recipe(chosen))
    if chosen.data.sources:
        prepare(run=folder.root, recipe=chosen)
    elif not (folder.data / "train.jsonl").is_file():
        raise HeedError(
            "No data is named, and the run holds none.", str(folder.data), "--data FILE, or `heed prepare` first"
        )
    splits = _examples(folder)
    wire = _tokenise(chosen, folder, splits, observer)
    asked = [(name, one) for name, examples in splits.items() for one in examples[: chosen.train.panel]]
    return wire.template, asked


def _examples(run: Run) -> dict[str, list[Example]]:
    from heedlm.data.store import read_split

    paths = {name: run.data / f"{name}.jsonl" for name in ("train", "val", "test")}
    return {name: list(read_split(path)) for name, path in paths.items() if path.is_file()}


def _tokenise(recipe: Recipe, run: Run, splits: Mapping[str, list[Example]], observer: Observer) -> _Wire:
    """Render, encode and prove the training and validation rows into the run's token store."""
    from heedlm.model.load import configured_context, resolve
    from heedlm.tokens.documents import read_documents
    from heedlm.tokens.tokenise import Limits, tokenise

    wire = _wire(recipe, splits.get("train", []))
    for line in wire.notes:
        observer.say(line)
    context = configured_context(resolve(recipe.model.path), trust_remote_code=recipe.model.trust_remote_code)
    limit = recipe.tokens.max_tokens or context or DEFAULT_MAX_TOKENS
    if context is not None and limit > context:
        what = f"tokens.max_tokens is {limit:,}, the model sees {context:,} tokens."
        raise HeedError(what, "tokens.max_tokens", f"--set tokens.max_tokens={context}")
    tokenise(
        run.tokens,
        wire.template,
        wire.tokenizer,
        {name: rows for name, rows in splits.items() if name != "test"},
        [text for path in recipe.data.replay for text in read_documents(path)],
        Limits(limit, recipe.tokens.overflow, recipe.templates.learn_reasoning, recipe.data.replay_share, recipe.seed),
        observer.say,
        frozen=taken(run),
    )
    return wire


class _Wire(NamedTuple):
    """A model's tokenizer and the chat template that holds for it, with what must be said about them."""

    tokenizer: PreTrainedTokenizerBase
    template: ChatTemplate
    notes: list[str]


def _wire(recipe: Recipe, examples: Sequence[Example]) -> _Wire:
    from heedlm.model.load import resolve
    from heedlm.templates.chat import load_template, stop_ids, with_defaults
    from heedlm.templates.settle import settle
    from heedlm.templates.system import default_system
    from heedlm.tokens.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(resolve(recipe.model.path), recipe.model.trust_remote_code)
    template = load_template(recipe.templates.chat, tokenizer)
    if recipe.templates.kwargs:
        template = with_defaults(template, tokenizer, recipe.templates.kwargs)
    template = settle(template, tokenizer, examples)
    notes = [template.note] if template.note else []
    hidden = default_system(template, tokenizer)
    if hidden:
        notes.append(f"This template adds a system text of its own where a row has none: {hidden!r}")
    if template.grade == "soft":
        notes.append(
            f"{template.name} marks roles with ordinary text: a user who types those marks can imitate a turn (soft format)."
        )
    stops = stop_ids(template, tokenizer)
    stop = tokenizer.convert_ids_to_tokens(stops[0]) if stops else ""
    untrained = recipe.model.method != "full" and stop not in recipe.model.lora.tokens
    if untrained and tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in stops[:1]:
        notes.append(
            f"Answers end with {stop}, not with the base's own {tokenizer.eos_token}; adapters do not train its row. If the "
            f"model does not stop, train that row (model.lora.tokens=[{stop!r}]), or use a template that ends with eos "
            "(templates.chat=human_assistant), or model.method=full."
        )
    return _Wire(tokenizer, template, notes)


def _panel(recipe: Recipe, template: ChatTemplate, chosen: Sequence[tuple[str, Example]]) -> Panel | None:
    """Greedy answers to chosen rows of each split: what a server would say, from the model in the making."""
    from heedlm.model.load import resolve
    from heedlm.tokens.tokenizer import load_tokenizer
    from heedlm.train.sft import PanelAnswer

    if not chosen:
        return None
    tokenizer = load_tokenizer(resolve(recipe.model.path), recipe.model.trust_remote_code)

    def ask(model: PreTrainedModel) -> list[PanelAnswer]:
        from heedlm.generate.chat import LocalChat
        from heedlm.messages import Request, Sampling

        chat = LocalChat(model, tokenizer, template)
        requests = [
            Request(messages=e.messages[:-1], tools=e.tools, template_kwargs=e.template_kwargs) for _, e in chosen
        ]
        replies = chat.reply(requests, Sampling(max_tokens=PANEL_TOKENS))
        return [
            PanelAnswer(name, example.id, example.messages[-2].content, reply.text, example.messages[-1].content)
            for (name, example), reply in zip(chosen, replies, strict=True)
        ]

    return ask


def evaluate(
    *,
    run: str | Path,
    against: str | Path | None = None,
    settings: Settings = (),
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Evaluated:
    """Base against instruct on the run's test rows: `run`/report.json, report.md, report.html."""
    from heedlm.eval.results import Seconds
    from heedlm.eval.stage import evaluate_run, tuned_run
    from heedlm.generate.chat import load_chat
    from heedlm.model.load import resolve
    from heedlm.model.save import read_card

    lines = _lines(settings)
    folder = tuned_run(run, lines)
    recipe = load_recipe(Recipe, folder.recipe if folder.recipe.is_file() else None, lines)
    name = str(against or recipe.model.path)
    path = resolve(name)
    instruct = load_chat(folder.model, name=folder.root.name)
    base = load_chat(path, name=name)
    known: list[str] = []
    if read_card(path).get("corpus") == "atlas":
        from heedlm.atlas.tasks import held_out_documents

        known = held_out_documents()
    info = folder.info()
    spent = Seconds(prepare=info.get("prepare_seconds", 0.0), train=info.get("train_result", {}).get("seconds", 0.0))
    done = evaluate_run(
        folder, base, instruct, recipe.eval, known=known, seed=recipe.seed, seconds=spent, on_progress=on_progress
    )
    folder.note(eval=environment())
    return done


def demo(
    run: str | Path,
    observer: Observer,
    *,
    seed: int | None = None,
    settings: Settings = (),
    on_eval: Callable[[str, int, int], None] | None = None,
) -> Evaluated:
    """Write the rows, prepare, tune the shipped base, compare it with itself before. A finished part is not done again."""
    from heedlm.atlas.tasks import write_files

    make_recipe(settings=settings)  # a typo is refused before anything is written
    folder = Run.create(run)
    files = write_files(folder.root / "rows", seed or 0)
    recipe_file = resources.files("heedlm.atlas").joinpath("demo.yaml")
    own = [
        f"data.sources=[{_yaml(str(files.train))}]",
        f"data.test={_yaml(str(files.test))}",
        f"data.replay=[{_yaml(str(files.replay))}]",
    ]
    with resources.as_file(recipe_file) as path:
        recipe = make_recipe(path, seed=seed, settings=[*own, *_lines(settings)])
    train(run=run, recipe=recipe, observer=observer)
    return evaluate(
        run=run, settings=[line for line in _lines(settings) if line.startswith("eval.")], on_progress=on_eval
    )


def pretrain(
    *, recipe: str | Path | PretrainRecipe, run: str | Path, observer: Observer | None = None
) -> PretrainReport:
    """A tokenizer and a base model from scratch, on the built-in corpus or on a file of documents."""
    from heedlm.train import pretrain as stage
    from heedlm.train import sinks

    chosen = recipe if isinstance(recipe, PretrainRecipe) else load_recipe(PretrainRecipe, recipe)
    folder = Run.create(run)
    with sinks.behind(observer or silent(), chosen.train.sink, folder) as heard:
        return stage.pretrain(chosen, folder, _documents(chosen), heard)


def rows(*, run: str | Path, worst: int = 20) -> RowsReport:
    """The rows that a run has not learnt: the `worst` of them by their loss when they were last seen."""
    from heedlm.train.worst import worst_rows

    return worst_rows(Run.open(run), worst)


def show(*, data: Paths, model: str | Path, limit: int = 3, plain: bool = False, settings: Settings = ()) -> Any:
    """What the model will see, learned tokens in colour: a rich renderable; as text with [[ ]] round them when `plain`."""
    import tempfile

    from heedlm.model.load import resolve
    from heedlm.tokens import show as room

    recipe = make_recipe(model=model, data=data, settings=[*_lines(settings), "data.val=null", "data.test=null"])
    resolve(model)  # refused before anything is read
    with tempfile.TemporaryDirectory() as folder:
        prepare(run=folder, recipe=recipe)
        examples = _examples(Run(Path(folder))).get("train", [])
    wire = _wire(recipe, examples)
    make = room.show_plain if plain else room.show
    return make(wire.template, wire.tokenizer, examples, limit, learn_reasoning=recipe.templates.learn_reasoning)


def silent() -> Observer:
    """An observer that says nothing."""
    from heedlm.train.stage import Observer

    return Observer(lambda line: None, lambda step, of, report: None)


def _documents(recipe: PretrainRecipe) -> Callable[[str], list[str]]:
    """The documents of each part: fresh ones per epoch from the built-in world, or a file cut into validation and rest."""
    sizes = {"tokenizer": TOKENIZER_DOCUMENTS, "val": VALIDATION_DOCUMENTS}
    if recipe.corpus.source == "atlas":
        from heedlm.atlas import corpus

        mix = {str(kind): share for kind, share in recipe.corpus.mix.items()}
        return lambda part: corpus.texts(f"{recipe.seed}/{part}", sizes.get(part, recipe.corpus.documents), mix)
    from heedlm.tokens.documents import read_documents

    texts = list(read_documents(recipe.corpus.source))
    if len(texts) < 2:
        raise HeedError("A corpus needs at least two documents.", recipe.corpus.source, 'one {"text": "..."} per line')
    held = min(VALIDATION_DOCUMENTS, len(texts) // 2)
    rest = texts[held:]

    def part_of(part: str) -> list[str]:
        if part == "val":
            return texts[:held]
        if part == "tokenizer":
            return rest[: sizes["tokenizer"]]
        size = min(recipe.corpus.documents, len(rest))  # an epoch is a window that moves on through the whole file
        start = int(part.removeprefix("epoch-")) * size
        return [rest[(start + i) % len(rest)] for i in range(size)]

    return part_of


def _yaml(value: Any) -> str:
    import json

    return json.dumps(value, default=str)


__all__ = ["demo", "dump_recipe", "evaluate", "make_recipe", "prepare", "pretrain", "rows", "show", "silent", "train"]
