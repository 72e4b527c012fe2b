"""Evaluation in Python, the same words as on the command line: runs, models and endpoints wired to the room `eval`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from heedlm.config import Recipe
from heedlm.errors import HeedError
from heedlm.recipe_file import Settings, load_recipe, setting_lines
from heedlm.runs import Run, environment

if TYPE_CHECKING:
    from heedlm.eval.gate_file import Gate
    from heedlm.eval.results import EvalReport, Judgement
    from heedlm.eval.stage import Evaluated, Wanted
    from heedlm.eval.versus import Compared
    from heedlm.messages import Chat, Task

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
    judge: str | Path | Chat | None = None,
    rubric: str | Path | None = None,
    settings: Settings = (),
    on_progress: Hear | None = None,
) -> Evaluated:
    """Base against instruct on the run's test rows: `run`/report.json, report.md, report.html.

    against: another base than the run's own.   gate: a YAML file of figures to reach; the verdict is in the report and,
    bound to hashes, in `run`/evidence.json.   noise_floor: ask the tuned model twice.   rescore: score the log again by
    today's checks; nothing is asked.   allow_leak, force_template: go on with items that were trained on, with another
    chat template than was taught; the headline says so.   judge, rubric: a model that judges the replies afterwards, as in
    `heedlm.judge`; its figures stand apart.
    """
    from heedlm.eval.stage import rescore_run, tasks_of, tuned_run, written_again
    from heedlm.model.load import resolve

    _check_rescore(rescore, noise_floor)
    _check_judge(judge, rubric)
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
    if judge is not None:
        told = _judgements(folder.root, [done.report], judge, rubric, on_progress)
        report = replace(done.report, judged=told)
        done = replace(done, report=report, files=written_again(folder, report, done.files[0].parent))
    if gate is not None:
        folders = {"base": Path(resolve(base)), "instruct": folder.model}
        _keep_evidence(folder, done, Path(gate), folders, tasks_of(folder, recipe.eval), recipe)
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
    system: str | Path | None = None,
    few_shot: str | Path | None = None,
    noise_floor: bool = False,
    rescore: bool = False,
    allow_leak: bool = False,
    force_template: bool = False,
    judge: str | Path | Chat | None = None,
    rubric: str | Path | None = None,
    settings: Settings = (),
    on_progress: Hear | None = None,
) -> Compared:
    """Any models on the same items, each against the first: `out`/report.json, report.md, report.html and
    the log of items.

    models: runs, model folders, hub ids, or endpoints as http://HOST/v1#MODEL.   data: rows to ask; without it the test
    rows of the first run among the models.   same_recipe: all but the first are one recipe under several seeds.
    grid: a file with a system text, with which both of two models are asked as well: prompt or tune?   system: the same, with
    which every model with a chat format is asked as well.   few_shot: rows, or a run; every base model is asked as well in
    its best plain frame, and there behind solved examples from them.
    The rest as in `evaluate`; a gate judges the second of two.
    """
    from heedlm.eval.contenders import Beside, is_endpoint, shots_of
    from heedlm.eval.pairs_report import write_pairs
    from heedlm.eval.stage import Wanted, evaluation_only
    from heedlm.eval.versus import compare_models, items_of
    from heedlm.model.load import resolve

    _check_rescore(rescore, noise_floor)
    _check_judge(judge, rubric)
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
    if grid is not None and (len(names) != 2 or gate is not None):
        what = "A grid has two models, and no gate: it gives advice."
        raise HeedError(what, "--grid", "heed eval RUN --grid system.txt, or heed eval BASE TUNED --grid system.txt")
    if (system is not None or few_shot is not None) and (same_recipe or grid is not None):
        option, other = "--system" if system is not None else "--few-shot", "--same-recipe" if same_recipe else "--grid"
        raise HeedError(f"{option} adds arms, and {other} has its own.", option, f"leave out {option} or {other}")
    texts = [_system_text(grid, "--grid"), _system_text(system, "--system")]
    extra = Beside(texts[1] or "", () if few_shot is None else shots_of(few_shot))
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
        grid=texts[0],
        extra=extra,
        seed=recipe.seed,
        on_progress=on_progress,
    )
    if judge is not None:
        pairs = [pair.report for pair in done.report.pairs]
        told = replace(done.report, judged=_judgements(Path(out), pairs, judge, rubric, on_progress))
        done = replace(done, report=told, files=write_pairs(told, Path(out)))
    if gate is not None:
        local = {role: name for role, name in zip(("first", "second"), names, strict=True) if not is_endpoint(name)}
        folders = {role: Path(resolve(name)) for role, name in local.items()}
        _keep_evidence(Run(Path(out)), done, Path(gate), folders, items_of(names, files, recipe.eval).tasks, recipe)
    return done


def _judgements(
    folder: Path, reports: Sequence[EvalReport], by: str | Path | Chat, rubric: str | Path | None, hear: Hear | None
) -> tuple[Judgement, ...]:
    """What a judge says of the replies that the reports are about."""
    from heedlm.eval.judge.report import judgements
    from heedlm.judging import judge

    only = {(case.task, case.id) for report in reports for case in report.cases}
    on_progress: Hear = hear or (lambda what, done, total: None)
    return judgements(judge(of=folder, by=by, rubric=rubric, only=only, on_progress=on_progress).report)


def _system_text(file: str | Path | None, option: str) -> str | None:
    if file is None:
        return None
    path = Path(file)
    try:
        text = path.read_text("utf8").strip()
    except (OSError, UnicodeDecodeError):
        text = ""
    if not text:
        raise HeedError("Here is no system text.", f"{option} {path}", "name a text file that holds one")
    return text


def _check_judge(by: str | Path | Chat | None, rubric: str | Path | None) -> None:
    """Raises HeedError for what would be found wrong only after all was asked."""
    from heedlm.eval.contenders import is_endpoint
    from heedlm.eval.judge.rubric import read_rubric
    from heedlm.model.load import resolve

    if rubric is not None:
        if by is None:
            raise HeedError("A rubric is for a judge, and none is named.", "--rubric", "--judge MODEL, or leave it out")
        read_rubric(Path(rubric))
    if isinstance(by, (str, Path)) and not is_endpoint(str(by)):
        resolve(by)


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
    run: Run,
    done: Evaluated | Compared,
    gate: Path,
    models: dict[str, Path],
    tasks: Sequence[Task],
    recipe: Recipe,
) -> None:
    """Beside the report, which for a suite is a folder inside the run."""
    from heedlm.eval.evidence import hash_of_suite, write_evidence

    assert done.report.decision is not None, "a gate was asked"
    write_evidence(
        done.files[0].parent,
        done.report.decision,
        models=models,
        files=[run.data / "train.jsonl", run.data / "test.jsonl", run.recipe, *done.files],
        logs=[run.eval / "items.jsonl", run.root / "items.jsonl"],
        root=run.root,
        suite=hash_of_suite(tasks),
        gate=gate,
        about=done.report.about,
        config={"seed": recipe.seed, **recipe.eval.model_dump(mode="json")},
    )


def goes_as_a_pair(against: str | None) -> str:
    """Why a model to compare with is no base of a run but a contender of its own; "" where it is a base."""
    from heedlm.eval.contenders import is_endpoint
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


def evidence_of(folder: str | Path, settings: Settings = ()) -> tuple[str, list[str]]:
    """The verdict that was reached in a folder, or in a run on the suites of the settings, and what has changed since."""
    from heedlm.eval.evidence import changes, read_evidence
    from heedlm.eval.stage import report_folder

    place = Path(folder)
    if settings and (place / "run.json").is_file():
        place = report_folder(Run(place), load_recipe(Recipe, None, setting_lines(settings)).eval)
    return str(read_evidence(place)["verdict"]), changes(place)


__all__ = ["COMPARISON", "compare", "evaluate", "evidence_of", "goes_as_a_pair", "own_base"]
