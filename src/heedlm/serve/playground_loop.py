"""From mended answers to the next model: a recipe that takes them, and a suite that asks for them again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from heedlm.config import Recipe
from heedlm.recipe_file import load_recipe
from heedlm.runs import Run, write_text

REGRESSION = "regression"
_RECIPE_HEAD = (
    "# The next training: rows of people beside the others, and their cases in the evaluation. Yours to edit.\n"
)
_SUITE = """\
about: Answers that people have mended, asked again. They are taught, so they show that a mend holds, and nothing more.
tasks:
  regression: {{items: {items}, scorer: checks}}
"""


def suite_file(cases: Path) -> Path:
    """The suite beside a file of cases."""
    return cases.with_suffix(".yaml")


def write_suite(cases: Path) -> None:
    """Write the suite that asks the cases, unless there is one: it may have been edited."""
    if not suite_file(cases).is_file():
        items = yaml.safe_dump(cases.name, default_style='"', allow_unicode=True).strip()
        write_text(suite_file(cases), _SUITE.format(items=items))


def next_recipe(recipe: Path, run: Path | None, model: str, store: Path | None, cases: Path) -> str:
    """The recipe of the next training, as YAML: what it is now, or that of `run`, with the store and the suite in it.

    store: None while there are no rows of people.   Raises HeedError where the recipe there is cannot be read, so that nothing of it is lost.
    """
    if recipe.is_file():
        now = load_recipe(Recipe, recipe)
        if _has(now, store, cases):
            return recipe.read_text("utf8")
        value = _written(now)
    else:
        value = _start(run, model)
    data, evaluation = value.setdefault("data", {}), value.setdefault("eval", {})
    sources = data.setdefault("sources", [])
    if store is not None and str(store) not in [source["path"] for source in sources]:
        sources.append({"path": str(store)})
    suites = evaluation.setdefault("suites", [] if _nothing_held(data) else ["held_out"])
    if str(suite_file(cases)) not in suites:
        suites.append(str(suite_file(cases)))
    return _RECIPE_HEAD + yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def next_steps(recipe: Path, run: Path | None, model: str) -> list[str]:
    """The lines to type: train with the mended answers, judge the result, look at it here.

    model: what is tuned; "" where only models of other servers are served, so that a person has to name it.
    """
    name = _new_name(run)
    base = [] if model else ["--model", "BASE"]
    words = (
        ["heed", "train", str(recipe), *base, "--run", name],
        ["heed", "eval", name],
        ["heed", "serve", name, "--ui"],
    )
    return [shlex.join(line) for line in words]


def _has(recipe: Recipe, store: Path | None, cases: Path) -> bool:
    read = store is None or str(store) in [one.path for one in recipe.data.sources]
    return read and str(suite_file(cases)) in recipe.eval.suites


def _start(run: Path | None, model: str) -> dict[str, Any]:
    """What the recipe begins with: that of the run that is served, or a model alone."""
    if run is None or not Run(run).recipe.is_file():
        return {"model": {"path": model}, "data": {"sources": [], "val": None, "test": None}}
    folder = Run(run)
    value = _written(load_recipe(Recipe, folder.recipe))
    if not value.get("data", {}).get(
        "sources"
    ):  # its rows were prepared beforehand, and are known by their files alone
        splits = {name: folder.data / f"{name}.jsonl" for name in ("train", "val", "test")}
        held = {name: str(file) if file.is_file() else None for name, file in splits.items() if name != "train"}
        train = [{"path": str(splits["train"])}] if splits["train"].is_file() else []
        value["data"] = {**value.get("data", {}), "sources": train, **held}
    return value


def _written(recipe: Recipe) -> dict[str, Any]:
    """A recipe as people write one: only what differs from the defaults."""
    return recipe.model_dump(mode="json", exclude_defaults=True)


def _nothing_held(data: Mapping[str, Any]) -> bool:
    """Whether no row is held back for a test, so that there is nothing but the cases to ask."""
    return "test" in data and not data["test"]


def _new_name(run: Path | None) -> str:
    """A run folder that does not exist yet, numbered behind the one that is served."""
    root = Path("runs/first") if run is None else run
    if run is None and not root.exists():
        return str(root)
    stem = re.sub(r"-\d+$", "", root.name)
    number = 2
    while (root.parent / f"{stem}-{number}").exists():
        number += 1
    return str(root.parent / f"{stem}-{number}")
