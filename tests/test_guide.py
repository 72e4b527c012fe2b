"""The guide says no more than was measured, and its own examples keep its own rules."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

from heedlm.instructions.format import parse
from heedlm.instructions.lint.registry import RULES
from heedlm.instructions.lint.run import lint_text

DOCS = Path(__file__).resolve().parents[1] / "docs"
STEPS = (("base", "base + optimised"), ("base + optimised", "tuned + optimised"), ("tuned", "tuned + hand"))
INTERVALS = {"gain": (1.0, 5.0), "loss": (-5.0, -1.0), "neither": (-2.0, 2.0)}
ARMS = ("base", "base + hand", "base + optimised", "tuned", "tuned + hand", "tuned + optimised", "baked", "taught")


@pytest.fixture(autouse=True)
def _pages(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(DOCS))
    yield
    for name in ("guide_measured", "guide_opening", "make_guide"):
        sys.modules.pop(name, None)


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


def result(low: float, high: float) -> dict[str, Any]:
    """A result in which every step has the same interval."""
    change = {"mean": (low + high) / 2, "low": low, "high": high, "p": 0.5, "items": 10, "groups": 10}
    steps = [
        {"from": before, "to": after, "family": family, "families": 1, **change}
        for before, after in STEPS
        for family in ("name", "all")
    ]
    means = dict.fromkeys(ARMS, 0.25) | {f"tuned + {style}": 0.5 for style in ("short", "full", "shown")}
    tokens = {"tuned": {"none": 20, "short": 37, "full": 145, "shown": 122}}
    notations = {"markdown": 0.5, "xml": 0.4, "label": 0.5, "plain": 0.9}
    cells = [
        {"size": size, "family": "name", "means": means, "tokens": tokens, "notations": notations}
        for size in ("small", "built-in")
    ]
    change_of_gain = {"from": "tuned", "to": "tuned + optimised", "family": "all", "small": 3.0, "built_in": 1.0}
    return {
        "smoke": False,
        "commit": "abc",
        "machine": {"cpu": "a processor", "cores": 2},
        "rows": 300,
        "budget": 800,
        "doublings": 2.1,
        "sizes": [
            {"name": "small", "parameters": 1_100_000, "base": {"tokens": 1e7}},
            {"name": "built-in", "parameters": 4_700_000, "base": {"tokens": 5e7}},
        ],
        "cells": cells,
        "steps": {"small": steps, "built-in": steps},
        "size_changes_gain": [{**change_of_gain, **change}],
    }


def test_a_sentence_is_as_sure_as_its_interval() -> None:
    page = {name: script("guide_measured").tuning_page(result(*ends)) for name, ends in INTERVALS.items()}
    assert "gains +3.0 points [+1.0, +5.0]" in page["gain"]
    assert "it **rises**" in page["gain"]
    assert "An instruction harms this base model" in page["loss"]
    assert "it **falls**" in page["loss"]
    assert "nothing sure" in page["neither"]
    assert "**no change is sure**" in page["neither"]
    assert "gains +0.0" not in page["neither"]
    for told in page.values():
        assert "baked" not in told.split("## What that says")[1].split("**Task by task**")[0], (
            "a step that was not measured"
        )


def test_without_figures_none_are_claimed(tmp_path: Path) -> None:
    measured = script("guide_measured")
    assert measured.recorded(tmp_path / "none.jsonl") is None
    page = measured.tuning_page(None)
    assert "Nothing is recorded yet" in page
    assert "points [" not in page
    assert measured.spread_section(None) == ""
    assert measured.pictures(None) == []


def test_smoke_runs_are_no_figures_and_the_last_whole_run_counts(tmp_path: Path) -> None:
    measured = script("guide_measured")
    file = tmp_path / "results.jsonl"
    lines = [
        {**result(1, 5), "commit": name, "smoke": smoke} for name, smoke in (("a", False), ("b", False), ("c", True))
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert measured.recorded(file)["commit"] == "b"
    file.write_text(json.dumps(lines[2]) + "\n")
    assert measured.recorded(file) is None


def test_the_picture_shows_every_arm_of_every_task() -> None:
    measured = script("guide_measured")
    grid = result(1, 5)
    drawn = measured.picture(grid)
    assert drawn == measured.picture(grid)
    root = ElementTree.fromstring(drawn)
    texts = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("25") == 6
    assert "bare name" in texts


def test_what_is_shown_keeps_the_rules_that_are_taught() -> None:
    opening = script("guide_opening")
    template = parse(opening.TEMPLATE, "mine.prompty")
    assert [block.kind for block in template.blocks][:5] == list(opening.FIVE)
    assert not [one for one in lint_text(opening.TEMPLATE).findings if one.severity != "info"]
    assert opening.findings(opening.NEW) == []
    assert len(opening.findings(opening.OLD)) >= 6
    page = opening.opening()
    assert page.index("# Task") < page.index("## Five blocks"), "the template comes first"


def test_habits_stand_on_rules_that_exist() -> None:
    named = {id_ for _, _, ids in script("make_guide").HABITS for id_ in ids}
    assert named <= set(RULES)
    assert all(ids for _, _, ids in script("make_guide").HABITS)
