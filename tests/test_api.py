"""The same words in Python: the verbs of the package, their arguments, their results, and errors that say what to do."""

from __future__ import annotations

import inspect
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import heedlm
from heedlm import api
from heedlm.errors import HeedError
from heedlm.pretrain_config import PretrainRecipe
from heedlm.recipe_file import load_recipe
from tests.families import checkpoint

ROWS = [{"prompt": f"Add {a} and {b}.", "completion": f"{a + b}"} for a in range(8) for b in range(8)]
ONE_STEP = {"train.max_steps": 1, "train.panel": 0, "train.precision": "fp32"}
ARGUMENTS = {
    "prepare": {"run", "recipe", "executor", "on_progress", "options"},
    "train": {"run", "recipe", "observer", "push", "public", "workshop", "options"},
    "evaluate": {
        *(
            "run",
            "against",
            "gate",
            "noise_floor",
            "rescore",
            "allow_leak",
            "force_template",
            "judge",
            "rubric",
            "settings",
            "on_progress",
        ),
        *("budget_requests", "budget_tokens", "budget_money", "prices"),
    },
    "compare": {
        *(
            "models",
            "data",
            "out",
            "gate",
            "same_recipe",
            "grid",
            "system",
            "few_shot",
            "noise_floor",
            "rescore",
            "allow_leak",
            "force_template",
        ),
        *("judge", "rubric", "settings", "on_progress"),
        *("budget_requests", "budget_tokens", "budget_money", "prices"),
    },
    "show": {"data", "model", "limit", "plain", "options"},
    "pretrain": {"recipe", "run", "observer"},
    "rows": {"run", "worst"},
    "export": {"model", "to", "options"},
    "inspect": {"data", "model", "mapping", "limit", "seed", "settings", "on_progress"},
    "check": {"run", "recipe", "say", "options"},
    "check_numerics": {"say", "options"},
    "label_sheet": {"of", "out", "tasks", "items", "seed"},
    "judge": {
        *("of", "by", "how", "rubric", "labels", "reference", "tasks", "items", "only", "out", "say", "on_progress"),
        "options",
    },
    "demo": {"run", "observer", "seed", "settings", "on_eval"},
    "synthesise": {
        *("mode", "data", "model", "out", "api_key", "manner", "say", "on_progress", "options"),
    },
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("base"), max_position_embeddings=1024)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def test_three_lines_from_a_file_to_a_model(model: Path, data: Path, tmp_path: Path) -> None:
    """In a Python of its own, as a person types it: the verb is there at once, and the result loads without us."""
    code = f"""
import heedlm
report = heedlm.train(model={str(model)!r}, data={str(data)!r}, run="runs/first")
print(report.model, report.rows)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["runs/first/model", "57"]
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoModelForCausalLM.from_pretrained(tmp_path / "runs" / "first" / "model")
    assert AutoTokenizer.from_pretrained(tmp_path / "runs" / "first" / "model").chat_template


def test_every_public_name_is_there_and_nothing_else_is_promised() -> None:
    assert set(heedlm.__all__) == {"__version__", *ARGUMENTS}
    assert all(getattr(heedlm, name) is not None for name in heedlm.__all__)
    assert set(ARGUMENTS) <= set(api.__all__)
    with pytest.raises(AttributeError, match="tune"):
        _ = heedlm.tune


@pytest.mark.parametrize("verb", sorted(ARGUMENTS))
def test_a_verb_takes_the_documented_arguments(verb: str) -> None:
    function = getattr(api, verb)
    assert set(inspect.signature(function).parameters) == ARGUMENTS[verb]
    assert function.__doc__
    shared = set(inspect.signature(api.make_recipe).parameters)
    assert {"model", "data", "seed", "settings"} <= shared  # what `options` of train and prepare stands for


def test_train_is_a_verb_and_a_room_at_once(model: Path, data: Path, tmp_path: Path) -> None:
    first = heedlm.train(model=model, data=data, run=tmp_path / "one", settings=ONE_STEP)
    import heedlm.train.sft as by_path
    from heedlm.train import sft as by_name
    from heedlm.train.loop import fit

    assert by_path is by_name
    assert callable(fit)
    second = heedlm.train(model=model, data=data, run=tmp_path / "two", settings=ONE_STEP)
    assert (first.steps, first.tokens, first.best_loss) == (second.steps, second.tokens, second.best_loss)
    assert heedlm.train.sft is by_path
    from heedlm import train

    assert train is heedlm.train
    assert callable(train)


def test_the_same_verb_twice_into_the_same_run(model: Path, data: Path, tmp_path: Path) -> None:
    one, two = (heedlm.train(model=model, data=data, run=tmp_path / "run", settings=ONE_STEP) for _ in range(2))
    assert one.best_loss == two.best_loss
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 1]  # one step and its validation, not those of two runs


def test_settings_are_a_mapping_or_lines_as_on_the_command_line(data: Path) -> None:
    lines = ["train.lr=2e-5", "data.val=null", "model.lora.targets=[q_proj]", "templates.kwargs={date_string: today}"]
    mapping = {
        "train.lr": 2e-5,
        "data.val": None,
        "model.lora.targets": ("q_proj",),
        "templates.kwargs": {"date_string": "today"},
    }
    assert api.make_recipe(settings=lines) == api.make_recipe(settings=mapping)
    assert api.make_recipe(settings={"train": {"epochs": 2}}).train.epochs == 2
    assert [s.path for s in api.make_recipe(data=[data, "b: odd.jsonl"]).data.sources] == [str(data), "b: odd.jsonl"]


def test_options_and_settings_win_over_the_file(tmp_path: Path, data: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("seed: 1\nmodel: {path: there}\ntrain: {epochs: 9, lr: 1.0e-3}\n")
    made = api.make_recipe(recipe, model="here", data=data, seed=4, settings=["train.epochs=2"])
    assert (made.seed, made.model.path, made.train.epochs, made.train.lr) == (4, "here", 2, 1e-3)


def test_prepare_then_train_on_what_it_left(model: Path, data: Path, tmp_path: Path) -> None:
    report = heedlm.prepare(run=tmp_path / "run", data=data, settings={"data.val": 0.25})
    assert report.rows_in == report.kept == 64
    assert sum(report.splits.values()) == 64
    assert (tmp_path / "run" / "data" / "card.md").is_file()
    trained = heedlm.train(model=model, run=tmp_path / "run", settings=ONE_STEP)
    assert trained.rows == report.splits["train"]


def test_evaluate_a_run_against_its_base_or_another(model: Path, data: Path, tmp_path: Path) -> None:
    heedlm.train(model=model, data=data, run=tmp_path / "run", settings=ONE_STEP)
    heard: list[str] = []
    settings = ["eval.items=2", "eval.max_tokens=2"]
    done = heedlm.evaluate(
        run=tmp_path / "run", settings=settings, on_progress=lambda arm, number, of: heard.append(arm)
    )
    assert [path.name for path in done.files] == ["report.json", "report.md", "report.html"]
    assert all(path.is_file() for path in done.files)
    assert {"base", "instruct"} <= set(heard)
    other = checkpoint(tmp_path / "other", "qwen2", max_position_embeddings=1024)
    heedlm.evaluate(run=tmp_path / "run", against=other, settings=settings)


def test_show_gives_something_to_print(model: Path, data: Path) -> None:
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(heedlm.show(data=data, model=model, limit=2, settings=["templates.chat=human_assistant"]))
    text = console.export_text()
    assert text.count("learned") == 2
    assert "Human: Add 0 and" in text
    assert "Assistant: " in text


def test_pretrain_from_a_file_of_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = tmp_path / "texts.jsonl"
    corpus.write_text("".join(json.dumps({"text": f"The {n} bells of the town rang."}) + "\n" for n in range(40)))
    small = ["shape.vocab_size=300", "shape.context=64", "shape.hidden=32", "shape.layers=1", "shape.heads=2"]
    small += ["shape.kv_heads=2", "shape.intermediate=48", "train.max_steps=2", "train.tokens_per_step=256"]
    recipe = load_recipe(PretrainRecipe, None, [*small, f"corpus.source={corpus}", "corpus.documents=20"])
    report = heedlm.pretrain(recipe=recipe, run=tmp_path / "run")
    assert report.num_parameters > 0
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps({"prompt": "Ring!", "completion": "Bells."}) + "\n")
    tuned = heedlm.train(
        model=report.model,
        data=data,
        run=tmp_path / "tuned",
        settings={**ONE_STEP, "data.val": None, "data.test": None},
    )
    assert tuned.steps == 1


def test_demo_runs_on_another_model_as_well(model: Path, tmp_path: Path) -> None:
    settings = [f"model.path={model}", "train.max_steps=1", "train.panel=0", "eval.items=1", "eval.max_tokens=2"]
    done = heedlm.demo(tmp_path / "run", api.silent(), seed=3, settings=settings)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["version"] == 1
    assert len(report["tasks"]) == len(done.report.tasks) > 10


MISTAKES: dict[str, tuple[Callable[..., Any], str, str]] = {
    "no model": (lambda m, d, t: heedlm.train(data=d, run=t), "No model is named", "atlas"),
    "no data": (lambda m, d, t: heedlm.train(model=m, run=t), "No data is named", "--data"),
    "no data to prepare": (lambda m, d, t: heedlm.prepare(run=t), "No data is named", "--data"),
    "no such file": (lambda m, d, t: heedlm.train(model=m, data=t / "rows.jsn", run=t), "no such file", "rows.jsn"),
    "no such model": (lambda m, d, t: heedlm.train(model=t / "no", data=d, run=t / "r"), "no model folder", "/no"),
    "typo in a setting": (
        lambda m, d, t: heedlm.train(model=m, data=d, run=t, settings={"train.epoch": 2}),
        "train.epoch",
        "did you mean 'epochs'",
    ),
    "wrong value": (
        lambda m, d, t: heedlm.train(model=m, data=d, run=t, settings={"train.lr": -1}),
        "'train.lr' is -1",
        "above 0",
    ),
    "unknown template": (
        lambda m, d, t: heedlm.show(model=m, data=d, settings=["templates.chat=chatlm"]),
        "chatlm",
        "chatml",
    ),
    "no run": (lambda m, d, t: heedlm.evaluate(run=t / "nothing"), "There is no run here", "heed train"),
    "not a run": (lambda m, d, t: heedlm.evaluate(run=t), "not a run", "heed train"),
    "show without data": (lambda m, d, t: heedlm.show(data=[], model=m), "No data is named", "--data"),
    "no such recipe": (lambda m, d, t: heedlm.pretrain(recipe=t / "no.yaml", run=t), "no recipe", "no.yaml"),
    "no such recipe to train": (lambda m, d, t: heedlm.train(recipe=t / "no.yaml", run=t), "no recipe", "no.yaml"),
    "run is a file": (lambda m, d, t: heedlm.prepare(data=d, run=d), "is a file", "rows.jsonl"),
}


@pytest.mark.parametrize("mistake", sorted(MISTAKES))
def test_a_mistake_is_said_with_what_where_and_how_to_mend(
    mistake: str, model: Path, data: Path, tmp_path: Path
) -> None:
    call, what, rest = MISTAKES[mistake]
    with pytest.raises(HeedError) as caught:
        call(model, data, tmp_path)
    problem = caught.value.problems[0]
    assert what in problem.what
    assert rest in str(caught.value)
    assert problem.where
    assert problem.mend


def test_every_wrong_setting_is_named_at_once() -> None:
    with pytest.raises(HeedError) as caught:
        api.make_recipe(settings={"train.epoch": 1, "tokens.overflow": "cut", "seed": "many"})
    assert len(caught.value.problems) == 3


def test_a_refused_run_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(HeedError, match="no such file"):
        heedlm.prepare(run=tmp_path / "typo", data=str(tmp_path / "nowhere.jsonl"))
    assert not (tmp_path / "typo").exists()
    with pytest.raises(HeedError, match="no such file"):
        heedlm.train(model="atlas", run=tmp_path / "typo", data=str(tmp_path / "nowhere.jsonl"))
    assert not (tmp_path / "typo").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(HeedError):
        heedlm.prepare(run=tmp_path / "mine", data=str(tmp_path / "nowhere.jsonl"))
    assert (tmp_path / "mine").is_dir()  # it was there before
