"""The verbs in Python, the same words as on the command line: each stage wired to the rooms above it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from heedlm.config import Recipe, dump_recipe
from heedlm.errors import HeedError
from heedlm.evaluating import compare, evaluate
from heedlm.judging import judge, label_sheet
from heedlm.launch import launched
from heedlm.pretrain_config import PretrainRecipe
from heedlm.recipe_file import Settings, load_recipe, setting_lines
from heedlm.runs import Run, environment
from heedlm.synth.stage import synthesise
from heedlm.train.earlier import check_same_recipe, taken
from heedlm.wiring import examples_of, refuse_early, rendered, tokenise_run, wire_of

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from heedlm.data.inspect import Inspection
    from heedlm.data.prepare import Executor, PrepareReport
    from heedlm.eval.rows_join import RowsReport
    from heedlm.eval.stage import Evaluated
    from heedlm.exports.stage import Exported, Form
    from heedlm.messages import Example
    from heedlm.templates.chat import ChatTemplate
    from heedlm.train.check import CheckReport
    from heedlm.train.numerics import Comparison
    from heedlm.train.pretrain import PretrainReport
    from heedlm.train.sft import TrainReport, Workshop
    from heedlm.train.stage import Observer
    from heedlm.train.watch import Panel, PanelAnswer

PANEL_TOKENS = 96

Paths: TypeAlias = "str | Path | Sequence[str | Path]"


def make_recipe(
    recipe: str | Path | Recipe | None = None,
    *,
    model: str | Path | None = None,
    data: Paths | None = None,
    mapping: Mapping[str, str] | None = None,
    seed: int | None = None,
    settings: Settings = (),
) -> Recipe:
    """A checked recipe from a file or another recipe, the common options and settings over it, the later winning.

    mapping: our field name -> the name in the files of `data`.   settings: `a.b=c` lines, or a mapping {"a.b": c}.
    """
    given: list[str] = []
    if model is not None:
        given.append(f"model.path={_yaml(model)}")
    if data is not None or mapping:
        from heedlm.data.named import source_entries

        many = [data] if isinstance(data, (str, Path)) else list(data or ())
        given.append(f"data.sources={_yaml(source_entries(many, mapping or {}))}")
    if seed is not None:
        given.append(f"seed={seed}")
    lines = [*given, *setting_lines(settings)]
    if isinstance(recipe, Recipe):
        return load_recipe(Recipe, None, lines, base=recipe.model_dump(mode="json")) if lines else recipe
    return load_recipe(Recipe, recipe, lines)


def prepare(
    *,
    run: str | Path,
    recipe: str | Path | Recipe | None = None,
    executor: Executor = "local",
    on_progress: Callable[[str, int], None] | None = None,
    **options: Any,
) -> PrepareReport:
    """Sources -> leak-free train, validation and test splits with a data card, under `run`/data.

    executor: where rows are looked at; "ray" is a cluster, and gives the same files.   on_progress: hears what is being
    done, and how many rows it is done with.
    """
    from heedlm.data import prepare as room
    from heedlm.data.checks import checks_of
    from heedlm.data.mixture import mixture_of, planned
    from heedlm.data.named import refuse_missing
    from heedlm.data.prompts.setup import prompting_of

    chosen = make_recipe(recipe, **options)
    refuse_missing(chosen.data)
    if not chosen.data.sources:
        mend = "--data FILE (JSON lines, CSV, Parquet, ...), or a recipe with data.sources"
        raise HeedError("No data is named.", "data.sources", mend)
    mixture = mixture_of(chosen.data)  # a name that is unknown is refused before anything is read
    there = Path(run).exists()
    folder = Run.create(run)
    sources = [
        room.Source(Path(source.path), source.mapping or {}, prompting_of(source, chosen.seed), source.licence)
        for source in chosen.data.sources
    ]
    began = time.perf_counter()
    kept = chosen.data
    how: dict[str, Any] = {"seed": chosen.seed, "checks": checks_of(kept), "frozen": taken(folder)}
    how |= {"executor": executor, "on_progress": on_progress}
    try:
        report = room.prepare(sources, folder.data, val=kept.val, test=kept.test, max_bad=kept.max_bad, **how)
    except BaseException:
        # Nobody expects a run of a mistyped file name, or of what was interrupted.
        for empty in (folder.data, folder.root) if not there else ():
            if empty.is_dir() and not any(empty.iterdir()):
                empty.rmdir()
        raise
    if not report.reused:
        folder.note(prepare=environment(), prepare_seconds=round(time.perf_counter() - began, 2))
    return planned(report, mixture)


def train(
    *,
    run: str | Path,
    recipe: str | Path | Recipe | None = None,
    observer: Observer | None = None,
    push: str | None = None,
    public: bool = False,
    workshop: Callable[..., Workshop] | None = None,
    **options: Any,
) -> TrainReport:
    """Prepare and tune: `heedlm.train(model="...", data="...", run="runs/first")`; the result is `run`/model.

    options: model, data, seed, settings, as in `make_recipe`. The same call goes on with a run that was interrupted, and
    gives the report of one that is finished, which stays as it is. push: a repository on the hub, ORG/NAME, to which the
    model goes at the end; a new one is private unless `public`.   workshop: made instead of `train.workshop.Bench`.
    """
    if not str(run):  # it would be the folder that one stands in
        raise HeedError("The run folder has no name.", "--run", "name a folder: --run runs/NAME")
    chosen = _with_model(make_recipe(recipe, **options))  # refused before anything is read or written
    from heedlm.eval.during_setup import exam_of
    from heedlm.model import push as hub
    from heedlm.model.load import pick_device
    from heedlm.train import sft, sinks
    from heedlm.train.parallel import own_device, together
    from heedlm.train.watch import Watch
    from heedlm.train.workshop import Bench

    device = own_device(pick_device(chosen.train.device))
    folder = Run(Path(run))
    with together(device) as ranks:  # one process, unless a launcher started several
        told = (observer if ranks.first else None) or silent()
        template, asked = ranks.on_first(lambda: _prepared(chosen, folder, device, told, push, public))
        rows = examples_of(folder) if chosen.train.score else {}
        watch = Watch(_panel(chosen, template, asked), exam_of(chosen, folder, rows, template))
        with sinks.behind(told, chosen.train.sink if ranks.first else None, folder) as heard:
            report = sft.train(chosen, folder, heard, (workshop or Bench)(chosen, folder, heard, ranks, watch), ranks)
        if push:
            told.say("pushed to " + ranks.on_first(lambda: hub.push(report.model, push, public=public)))
    return report


def _prepared(
    chosen: Recipe, folder: Run, device: torch.device, observer: Observer, push: str | None, public: bool
) -> tuple[ChatTemplate, list[tuple[str, Example]]]:
    """What `train` does before it trains: refusals, rows, tokens. Returns what the panel needs."""
    from heedlm.memory_left import device_memory_bytes
    from heedlm.model import push as hub
    from heedlm.model.method import check_method
    from heedlm.train.plan import refuse_too_large

    check_method(chosen.model, device)
    if push:
        hub.check_push(push, public=public)
    if launched().size == 1:  # several processes may cut it among them
        refuse_too_large(chosen.model, device_memory_bytes(device))
    splits = _rows(chosen, folder)
    wire = tokenise_run(chosen, folder, splits, observer.say)
    asked = [(name, one) for name, examples in splits.items() for one in examples[: chosen.train.panel]]
    return wire.template, asked


def _rows(recipe: Recipe, run: Run) -> dict[str, list[Example]]:
    """The examples of a run's splits, made of the recipe's sources where it names some."""
    check_same_recipe(run, dump_recipe(recipe))
    if recipe.data.sources:
        prepare(run=run.root, recipe=recipe)
    elif not (run.data / "train.jsonl").is_file():
        mend = "--data FILE, or `heed prepare` first"
        raise HeedError("No data is named, and the run holds none.", str(run.data), mend)
    return examples_of(run)


def check(
    *,
    run: str | Path | None = None,
    recipe: str | Path | Recipe | None = None,
    say: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> CheckReport:
    """What `train` would do and need, without doing it; rows and tokens stay in `run`, where one is named, for `train`."""
    import tempfile

    from heedlm.train import check as room

    chosen = _with_model(make_recipe(recipe, **options))
    with tempfile.TemporaryDirectory() as folder:
        place = Run(Path(run or folder))
        splits = _rows(chosen, place)

        def prepared() -> room.Wire:
            return room.Wire(*tokenise_run(chosen, place, splits, lambda line: None))

        return room.check(chosen, place, prepared, say)


def check_numerics(*, say: Callable[[str], None] = lambda line: None, **options: Any) -> list[Comparison]:
    """Every way to compute a step of a model against a plainer one (train.numerics)."""
    from heedlm.model.load import pick_device
    from heedlm.train.numerics import compare_all

    chosen = _with_model(make_recipe(**options))
    device = pick_device(chosen.train.device)
    return compare_all(chosen.model.path, device, say, trust=chosen.model.trust_remote_code)


def _with_model(recipe: Recipe) -> Recipe:
    """Raises HeedError where no model is named, and with every name that nothing is behind."""
    refuse_early(recipe)
    return recipe


def _panel(recipe: Recipe, template: ChatTemplate, chosen: Sequence[tuple[str, Example]]) -> Panel | None:
    """Greedy answers to chosen rows of each split: what a server would say, from the model in the making."""
    from heedlm.model.load import resolve
    from heedlm.tokens.tokenizer import load_tokenizer
    from heedlm.train.watch import PanelAnswer

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
        recipe = make_recipe(path, seed=seed, settings=[*own, *setting_lines(settings)])
    train(run=run, recipe=recipe, observer=observer)
    return evaluate(
        run=run, settings=[line for line in setting_lines(settings) if line.startswith("eval.")], on_progress=on_eval
    )


def pretrain(
    *, recipe: str | Path | PretrainRecipe, run: str | Path, observer: Observer | None = None
) -> PretrainReport:
    """A tokenizer and a base model from scratch, on the built-in corpus or on a file of documents."""
    from heedlm import corpora
    from heedlm.train import pretrain as stage
    from heedlm.train import sinks

    chosen = recipe if isinstance(recipe, PretrainRecipe) else load_recipe(PretrainRecipe, recipe)
    folder = Run.create(run)
    with sinks.behind(observer or silent(), chosen.train.sink, folder) as heard:
        return stage.pretrain(chosen, folder, corpora.documents_of(chosen), heard)


def rows(*, run: str | Path, worst: int = 20) -> RowsReport:
    """The rows that a run has not learnt, by their loss when they were last seen, with what the evaluation of it found."""
    from heedlm.eval.rows_join import joined_rows

    return joined_rows(Run.open(run), worst)


def show(*, data: Paths, model: str | Path, limit: int = 3, plain: bool = False, **options: Any) -> Any:
    """What the model will see, learned tokens in colour: a rich renderable; as text with [[ ]] round them when `plain`.

    options: mapping, settings, as in `make_recipe`."""
    import tempfile

    from heedlm.model.load import resolve
    from heedlm.tokens import show as room

    lines = [*setting_lines(options.pop("settings", ())), "data.val=null", "data.test=null"]
    recipe = make_recipe(model=model, data=data, settings=lines, **options)
    resolve(model)  # refused before anything is read
    with tempfile.TemporaryDirectory() as folder:
        prepare(run=folder, recipe=recipe)
        examples = examples_of(Run(Path(folder))).get("train", [])
    wire = wire_of(recipe, examples)
    make = room.show_plain if plain else room.show
    return make(wire.template, wire.tokenizer, examples, limit, learn_reasoning=recipe.templates.learn_reasoning)


def inspect(
    *,
    data: Paths,
    model: str | Path | None = None,
    mapping: Mapping[str, str] | None = None,
    limit: int = 3,
    seed: int = 0,
    settings: Settings = (),
    on_progress: Callable[[int], None] | None = None,
) -> Inspection:
    """What files hold, and what to do with them: shapes, lengths, languages, problems, `limit` examples.

    The examples are rendered as `model` would see them, without one with the names of roles.   mapping: our field name ->
    the name in the files.   on_progress: hears the number of rows read.
    """
    from dataclasses import replace

    from heedlm.data import inspect as room

    recipe = make_recipe(model=model, settings=settings)
    recipe = recipe if model is None else _with_model(recipe)  # refused before anything is read
    paths = [Path(path) for path in ([data] if isinstance(data, (str, Path)) else data)]
    found = room.inspect_files(paths, mapping=mapping, shown=limit, seed=seed, on_progress=on_progress)
    return found if model is None else replace(found, rendered=rendered(recipe, found.shown))


def export(*, model: str | Path, to: Form, **options: Any) -> Exported:
    """A run's model, or a model folder, for transformers, vLLM, llama.cpp or Ollama, compared with its source.

    options: out, weights, adapter, template, prompts, allow_other_ids, force, say, as in `exports.stage.export`. Where ids
    differ and that was not allowed nothing is written, and `placed` of the result is False.
    """
    from heedlm.exports import stage

    return stage.export(model, to, **options)


def silent() -> Observer:
    """An observer that says nothing."""
    from heedlm.train.meter import Meter
    from heedlm.train.stage import Observer

    return Observer(lambda line: None, lambda step, of, report: None, gauge=Meter)


def _yaml(value: Any) -> str:
    return json.dumps(value, default=str)


__all__ = [
    "check",
    "check_numerics",
    "compare",
    "demo",
    "dump_recipe",
    "evaluate",
    "export",
    "inspect",
    "judge",
    "label_sheet",
    "make_recipe",
    "prepare",
    "pretrain",
    "rows",
    "show",
    "silent",
    "synthesise",
    "train",
]
