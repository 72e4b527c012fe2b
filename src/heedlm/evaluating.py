"""Evaluation in Python, the same words as on the command line: runs, models and endpoints wired to the room `eval`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heedlm.config import Recipe
from heedlm.errors import HeedError
from heedlm.recipe_file import Settings, load_recipe, setting_lines
from heedlm.runs import Run, environment

if TYPE_CHECKING:
    from heedlm.eval.gate_file import Gate
    from heedlm.eval.stage import Evaluated, Wanted
    from heedlm.eval.versus import Compared
    from heedlm.messages import Task

COMPARISON = "runs/compare"  # where a comparison of several models is kept, unless told otherwise

Hear = Callable[[str, int, int], None]


def evaluate(
    *,
    run: str | Path,
    against: str | Path | None = None,
    gate: str | Path | None = None,
    noise_floor: bool = False,
    rescore: bool = False,
    allow_leak: bool = False,
    force_template: bool = False,
    settings: Settings = (),
    on_progress: Hear | None = None,
) -> Evaluated:
    """Base against instruct on the run's test rows: `run`/report.json, report.md, report.html.

    against: another base than the run's own.   gate: a YAML file of figures to reach; the verdict is in the report and,
    bound to hashes, in `run`/evidence.json.   noise_floor: ask the tuned model twice.   rescore: score the log again by
    today's checks; nothing is asked.   allow_leak, force_template: go on with items that were trained on, with another
    chat template than was taught; the headline says so.
    """
    from heedlm.eval.stage import rescore_run, tasks_of, tuned_run
    from heedlm.model.load import resolve

    _check_rescore(rescore, noise_floor)
    lines = setting_lines(settings)
    folder = tuned_run(run, lines)
    recipe = load_recipe(Recipe, folder.recipe if folder.recipe.is_file() else None, lines)
    asked = _gate(gate, lambda: tasks_of(folder, recipe.eval))
    base = str(against or recipe.model.path)
    if rescore:
        done = rescore_run(folder, recipe.eval, asked, seed=recipe.seed)
    else:
        from heedlm.eval.stage import Wanted

        done = _asked(folder, recipe, base, Wanted(asked, noise_floor, allow_leak, force_template), on_progress)
        folder.note(eval=environment())
    if gate is not None:
        folders = {"base": Path(resolve(base)), "instruct": folder.model}
        _keep_evidence(folder.root, done, Path(gate), folders, tasks_of(folder, recipe.eval))
    return done


def _asked(folder: Run, recipe: Recipe, base: str, wanted: Wanted, on_progress: Hear | None) -> Evaluated:
    from heedlm.eval.results import Seconds
    from heedlm.eval.stage import evaluate_run
    from heedlm.generate.chat import load_chat
    from heedlm.model.load import resolve
    from heedlm.model.save import read_card

    path = resolve(base)
    known: list[str] = []
    if read_card(path).get("corpus") == "atlas":
        from heedlm.atlas.tasks import held_out_documents

        known = held_out_documents()
    info = folder.info()
    trained = info.get("train_result", {}).get("seconds", 0.0)
    return evaluate_run(
        folder,
        load_chat(path, name=base),
        load_chat(folder.model, name=folder.root.name),
        recipe.eval,
        known=known,
        seed=recipe.seed,
        seconds=Seconds(prepare=info.get("prepare_seconds", 0.0), train=trained),
        wanted=wanted,
        on_progress=on_progress,
    )


def compare(
    *,
    models: Sequence[str | Path],
    data: str | Path | Sequence[str | Path] = (),
    out: str | Path = COMPARISON,
    gate: str | Path | None = None,
    same_recipe: bool = False,
    grid: str | Path | None = None,
    noise_floor: bool = False,
    rescore: bool = False,
    allow_leak: bool = False,
    force_template: bool = False,
    settings: Settings = (),
    on_progress: Hear | None = None,
) -> Compared:
    """Any models on the same items, each against the first: `out`/report.json, report.md and the log of items.

    models: runs, model folders, hub ids, or endpoints as http://HOST/v1#MODEL.   data: rows to ask; without it the test
    rows of the first run among the models.   same_recipe: all but the first are one recipe under several seeds.
    grid: a file with a system text, with which both of two models are asked as well: prompt or tune?
    The rest as in `evaluate`; a gate judges the second of two.
    """
    from heedlm.eval.stage import Wanted, evaluation_only
    from heedlm.eval.versus import compare_models, is_endpoint, items_of
    from heedlm.model.load import resolve

    _check_rescore(rescore, noise_floor)
    if (Path(out) / "run.json").is_file() or (Path(out).exists() and not Path(out).is_dir()):
        what = "This is no folder for a comparison: its own files would be lost."
        raise HeedError(what, str(out), f"--out {COMPARISON}, or another new folder")
    names, lines = [str(name) for name in models], setting_lines(settings)
    files = [data] if isinstance(data, (str, Path)) else list(data)
    if len(names) < (3 if same_recipe else 2):
        what = "A recipe over seeds needs two of its trainings." if same_recipe else "A comparison needs two models."
        mend = "heed eval FIRST SECOND THIRD --same-recipe" if same_recipe else "heed eval FIRST SECOND"
        raise HeedError(what, ", ".join(names), mend)
    if gate is not None and len(names) > 2:
        raise HeedError("A gate judges one model.", "--gate", "name two models: the one to compare with, and that one")
    system = _system_text(grid, names, gate is not None)
    evaluation_only(lines)
    recipe = load_recipe(Recipe, None, lines)
    asked = _gate(gate, lambda: items_of(names, files, recipe.eval).tasks)
    done = compare_models(
        names,
        Path(out),
        recipe.eval,
        data=files,
        wanted=Wanted(asked, noise_floor, allow_leak, force_template),
        same_recipe=same_recipe,
        again=rescore,
        system=system,
        seed=recipe.seed,
        on_progress=on_progress,
    )
    if gate is not None:
        local = {role: name for role, name in zip(("first", "second"), names, strict=True) if not is_endpoint(name)}
        folders = {role: Path(resolve(name)) for role, name in local.items()}
        _keep_evidence(Path(out), done, Path(gate), folders, items_of(names, files, recipe.eval).tasks)
    return done


def _system_text(grid: str | Path | None, names: Sequence[str], gated: bool) -> str | None:
    if grid is None:
        return None
    if len(names) != 2 or gated:
        what = "A grid has two models, and no gate: it gives advice."
        raise HeedError(what, "--grid", "heed eval RUN --grid system.txt, or heed eval BASE TUNED --grid system.txt")
    path = Path(grid)
    try:
        text = path.read_text("utf8").strip()
    except (OSError, UnicodeDecodeError):
        text = ""
    if not text:
        raise HeedError("Here is no system text.", str(path), "name a text file that holds one")
    return text


def _check_rescore(rescore: bool, noise_floor: bool) -> None:
    if rescore and noise_floor:
        raise HeedError(
            "A noise floor has to be asked, and --rescore asks nothing.", "--noise-floor", "leave --rescore out"
        )


def _gate(path: str | Path | None, tasks: Callable[[], Sequence[Task]]) -> Gate | None:
    """The gate of a file, its task names checked before a model is loaded."""
    if path is None:
        return None
    from heedlm.eval.gate_file import check_names, read_gate

    gate = read_gate(Path(path))
    check_names(gate, [task.name for task in tasks()], Path(path))
    return gate


def _keep_evidence(
    folder: Path, done: Evaluated | Compared, gate: Path, models: dict[str, Path], tasks: Sequence[Task]
) -> None:
    from heedlm.eval.evidence import hash_of_suite, write_evidence

    assert done.report.decision is not None, "a gate was asked"
    run = Run(folder)
    files = [run.data / "train.jsonl", run.data / "test.jsonl", run.recipe, run.eval / "items.jsonl"]
    files += [folder / "items.jsonl", *done.files]
    write_evidence(
        folder,
        done.report.decision,
        models=models,
        files=files,
        suite=hash_of_suite(tasks),
        gate=gate,
        about=done.report.about,
    )


def goes_as_a_pair(against: str | None) -> str:
    """Why a model to compare with is no base of a run but a contender of its own; "" where it is a base."""
    from heedlm.eval.versus import is_endpoint
    from heedlm.model.load import resolve
    from heedlm.model.save import read_card

    if against is None:
        return ""
    if is_endpoint(against):
        return f"{against} is an endpoint"
    return f"{against} was tuned itself" if read_card(resolve(against)).get("kind") == "instruct" else ""


def own_base(models: Sequence[str]) -> list[str]:
    """What a single run was tuned from, as the model to compare it with; empty where several models are named."""
    if len(models) != 1 or not (Path(models[0]) / "recipe.yaml").is_file():
        return []
    path = load_recipe(Recipe, Path(models[0]) / "recipe.yaml").model.path
    return [str(path)] if path else []


def evidence_of(folder: str | Path) -> tuple[str, list[str]]:
    """The verdict that was reached in a folder, and what has changed since."""
    from heedlm.eval.evidence import changes, read_evidence

    return str(read_evidence(Path(folder))["verdict"]), changes(Path(folder))


__all__ = ["COMPARISON", "compare", "evaluate", "evidence_of", "goes_as_a_pair", "own_base"]
