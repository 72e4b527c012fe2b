"""Evaluation in Python, the same words as on the command line: runs, models and endpoints wired to the room `eval`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from heedlm.config import Recipe
from heedlm.errors import HeedError, Problem
from heedlm.judge_after import Judging, check_judging, endpoints_of, judged_after
from heedlm.recipe_file import Settings, load_recipe, setting_lines
from heedlm.runs import Run, environment

if TYPE_CHECKING:
    from heedlm.eval.contenders import Behind
    from heedlm.eval.gate_file import Gate
    from heedlm.eval.prices import Prices
    from heedlm.eval.stage import Evaluated, Wanted
    from heedlm.eval.versus import Compared
    from heedlm.messages import Chat, Task

COMPARISON = "runs/compare"  # where a comparison of several models is kept, unless told otherwise

Hear = Callable[[str, int, int], None]
T = TypeVar("T")


class Wrong:
    """What several checks find wrong, told in one go."""

    def __init__(self) -> None:
        self._found: list[Problem] = []

    def after(self, check: Callable[[], T]) -> T | None:
        """What a check gives; None where it found something wrong."""
        try:
            return check()
        except HeedError as error:
            self._found += [problem for problem in error.problems if problem not in self._found]
            return None

    def tell(self) -> None:
        """Raises HeedError with all that was found."""
        if self._found:
            raise HeedError.of(self._found)


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
    budget_requests: int | None = None,
    budget_tokens: int | None = None,
    budget_money: str | float | None = None,
    prices: Prices = (),
    settings: Settings = (),
    on_progress: Hear | None = None,
) -> Evaluated:
    """Base against instruct on the run's test rows: `run`/report.json, report.md, report.html.

    against: another base than the run's own.   gate: a YAML file of figures to reach; the verdict is in the report and,
    bound to hashes, in `run`/evidence.json.   noise_floor: ask the tuned model twice.   rescore: score the log again by
    today's checks; nothing is asked.   allow_leak, force_template: go on with items that were trained on, with another
    chat template than was taught; the headline says so.   judge, rubric: a model that judges the replies afterwards, as in
    `heedlm.judge`; its figures stand apart.   budget_...: what the judge may spend in this folder, in all runs together.
    prices: of endpoints, {NAME: (IN, OUT)} or NAME=IN,OUT, per million tokens.
    Raises HeedError with all that can be found wrong before anything is asked.
    """
    from heedlm.eval.prices import prices_of
    from heedlm.eval.stage import Wanted, rescore_run, suites_of, tuned_run, written_again
    from heedlm.model.load import resolve

    judging = Judging(judge, rubric, budget_requests, budget_tokens, budget_money)
    lines, wrong = setting_lines(settings), Wrong()
    wrong.after(lambda: _check_rescore(rescore, noise_floor))
    known = wrong.after(lambda: prices_of(prices, endpoints_of((), judge))) or {}
    price = known.get(str(judge))
    wrong.after(lambda: check_judging(judging, price))
    folder = wrong.after(lambda: tuned_run(run, lines))
    if folder is None:
        wrong.after(lambda: _gate(gate, None))
        wrong.tell()
    assert folder is not None, "else it was told"
    place = folder
    recipe = wrong.after(lambda: load_recipe(Recipe, place.recipe if place.recipe.is_file() else None, lines))
    chosen = recipe or Recipe()
    base = str(against or chosen.model.path)
    if recipe is not None and not rescore:
        wrong.after(lambda: resolve(base))
    suites = None if recipe is None else wrong.after(lambda: suites_of(place, chosen.eval))
    asked = wrong.after(lambda: _gate(gate, None if suites is None else [one.task for one in suites]))
    wrong.tell()
    if rescore:
        done = rescore_run(place, chosen.eval, asked, seed=chosen.seed)
    else:
        done = _asked(place, chosen, base, Wanted(asked, noise_floor, allow_leak, force_template), on_progress)
        place.note(eval=environment())
    if judge is not None:
        told = judged_after(place.root, [done.report], judging, price, on_progress)
        report = replace(done.report, judged=told)
        done = replace(done, report=report, files=written_again(place, report, done.files[0].parent))
    if gate is not None:
        folders = {"base": Path(resolve(base)), "instruct": place.model}
        _keep_evidence(place, done, Path(gate), folders, [one.task for one in suites or ()], chosen)
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
    budget_requests: int | None = None,
    budget_tokens: int | None = None,
    budget_money: str | float | None = None,
    prices: Prices = (),
    settings: Settings = (),
    on_progress: Hear | None = None,
) -> Compared:
    """Any models on the same items, each against the first: `out`/report.json, report.md, report.html and
    the log of items.

    models: runs, checkpoints as RUN@step-400 (or @best, @last), model folders, hub ids, or endpoints as
    http://HOST/v1#MODEL.   data: rows to ask; without it the test
    rows of the first run among the models.   same_recipe: all but the first are one recipe under several seeds.
    grid: a file with a system text, with which both of two models are asked as well: prompt or tune?   system: the same, or an
    instruction, with which every model with a chat format is asked as well.   few_shot: rows, or a run; every base model is asked as well in
    its best plain frame, and there behind solved examples from them.
    The rest as in `evaluate`; a gate judges the second of two.
    """
    from heedlm.eval.contenders import Beside, contenders_of, shots_of
    from heedlm.eval.pairs_report import write_pairs
    from heedlm.eval.prices import prices_of
    from heedlm.eval.stage import Wanted, evaluation_only
    from heedlm.eval.versus import compare_models, items_of

    names, lines = [str(name) for name in models], setting_lines(settings)
    files = [data] if isinstance(data, (str, Path)) else list(data)
    judging, wrong = Judging(judge, rubric, budget_requests, budget_tokens, budget_money), Wrong()
    wrong.after(lambda: _check_rescore(rescore, noise_floor))
    wrong.after(lambda: _check_place(Path(out)))
    wrong.after(lambda: _check_arms(names, same_recipe, gate, grid, system, few_shot))
    known = wrong.after(lambda: prices_of(prices, endpoints_of(names, judge))) or {}
    price = known.get(str(judge))
    wrong.after(lambda: check_judging(judging, price))
    instead = wrong.after(lambda: _system_text(grid, "--grid"))
    before = wrong.after(lambda: _behind(system, names))
    shots = wrong.after(lambda: () if few_shot is None else shots_of(few_shot)) or ()
    wrong.after(lambda: evaluation_only(lines))
    recipe = wrong.after(lambda: load_recipe(Recipe, None, lines)) or Recipe()
    wrong.after(lambda: contenders_of(names))
    items = wrong.after(lambda: items_of(names, files, recipe.eval))
    asked = wrong.after(lambda: _gate(gate, None if items is None else items.tasks))
    wrong.tell()
    done = compare_models(
        names,
        Path(out),
        recipe.eval,
        data=files,
        wanted=Wanted(asked, noise_floor, allow_leak, force_template),
        same_recipe=same_recipe,
        again=rescore,
        grid=instead,
        extra=Beside(before or "", shots),
        seed=recipe.seed,
        prices=known,
        on_progress=on_progress,
    )
    if judge is not None:
        pairs = [pair.report for pair in done.report.pairs]
        told = replace(done.report, judged=judged_after(Path(out), pairs, judging, price, on_progress))
        done = replace(done, report=told, files=write_pairs(told, Path(out)))
    if gate is not None and items is not None:
        _keep_evidence(Run(Path(out)), done, Path(gate), _folders_of(names), items.tasks, recipe)
    return done


def _folders_of(names: Sequence[str]) -> dict[str, Path]:
    """Where the models of a pair lie, by role; an endpoint lies nowhere."""
    from heedlm.eval.checkpoints import checkpoint_of, is_checkpoint
    from heedlm.eval.contenders import is_endpoint
    from heedlm.model.load import resolve

    found: dict[str, Path] = {}
    for role, name in zip(("first", "second"), names, strict=True):
        if is_checkpoint(name):
            place = checkpoint_of(name)
            found[role] = place.folder
            found |= {} if place.base is None else {f"base of the {role}": Path(resolve(place.base))}
        elif not is_endpoint(name):
            found[role] = Path(resolve(name))
    return found


def _check_place(out: Path) -> None:
    if (out / "run.json").is_file() or (out.exists() and not out.is_dir()):
        what = "This is no folder for a comparison: its own files would be lost."
        raise HeedError(what, str(out), f"--out {COMPARISON}, or another new folder")


def _check_arms(
    names: Sequence[str],
    same_recipe: bool,
    gate: str | Path | None,
    grid: str | Path | None,
    system: str | Path | None,
    few_shot: str | Path | None,
) -> None:
    """Raises HeedError for arms that do not go together."""
    problems = []
    if len(names) < (3 if same_recipe else 2):
        what = "A recipe over seeds needs two of its trainings." if same_recipe else "A comparison needs two models."
        mend = "heed eval FIRST SECOND THIRD --same-recipe" if same_recipe else "heed eval FIRST SECOND"
        problems.append(Problem(what, ", ".join(names), mend))
    if gate is not None and len(names) > 2:
        mend = "name two models: the one to compare with, and that one"
        problems.append(Problem("A gate judges one model.", "--gate", mend))
    if grid is not None and (len(names) != 2 or gate is not None):
        what = "A grid has two models, and no gate: it gives advice."
        mend = "heed eval RUN --grid system.txt, or heed eval BASE TUNED --grid system.txt"
        problems.append(Problem(what, "--grid", mend))
    if (system is not None or few_shot is not None) and (same_recipe or grid is not None):
        option, other = "--system" if system is not None else "--few-shot", "--same-recipe" if same_recipe else "--grid"
        problems.append(
            Problem(f"{option} adds arms, and {other} has its own.", option, f"leave out {option} or {other}")
        )
    if problems:
        raise HeedError.of(problems)


def _behind(file: str | Path | None, names: Sequence[str]) -> str | Behind | None:
    """A plain system text, or an instruction, proved on those of the models that have a chat format."""
    from heedlm.eval.contenders import contenders_of
    from heedlm.instructions.asked import behind, is_instruction

    if file is None or not is_instruction(file):
        return _system_text(file, "--system")
    return behind(file, [one.name for one in contenders_of(names) if not one.plain])


def _system_text(file: str | Path | None, option: str) -> str | None:
    if file is None:
        return None
    path = Path(file)
    if path.suffix == ".prompty":
        what = "This is an instruction, and a grid has a plain system text."
        raise HeedError(what, f"{option} {path}", f"--system {path} asks the models with a chat format behind it")
    try:
        text = path.read_text("utf8").strip()
    except (OSError, UnicodeDecodeError):
        text = ""
    if not text:
        raise HeedError("Here is no system text.", f"{option} {path}", "name a text file that holds one")
    return text


def _check_rescore(rescore: bool, noise_floor: bool) -> None:
    if rescore and noise_floor:
        raise HeedError(
            "A noise floor has to be asked, and --rescore asks nothing.", "--noise-floor", "leave --rescore out"
        )


def _gate(path: str | Path | None, tasks: Sequence[Task] | None) -> Gate | None:
    """The gate of a file, its task names checked before a model is loaded. tasks: None where they are not known."""
    if path is None:
        return None
    from heedlm.eval.gate_file import check_names, read_gate

    gate = read_gate(Path(path))
    if tasks is not None:
        check_names(gate, [task.name for task in tasks], Path(path))
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
    from heedlm.eval.checkpoints import is_checkpoint
    from heedlm.eval.contenders import is_endpoint
    from heedlm.model.load import resolve
    from heedlm.model.save import read_card

    if against is None:
        return ""
    if is_endpoint(against):
        return f"{against} is an endpoint"
    if is_checkpoint(against):
        return f"{against} is a checkpoint"
    try:
        kind = read_card(resolve(against)).get("kind")
    except HeedError:  # no model at all: told with whatever else is wrong
        return ""
    return f"{against} was tuned itself" if kind == "instruct" else ""


def own_base(models: Sequence[str]) -> list[str]:
    """What a single run was tuned from, as the model to compare it with; empty where several models are named."""
    from heedlm.eval.checkpoints import run_behind

    run = Run(run_behind(models[0]))
    if len(models) != 1 or not run.recipe.is_file() or "pretrain" in run.info():
        return []
    path = load_recipe(Recipe, run.recipe).model.path
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
