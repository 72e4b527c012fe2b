"""A tiny model that obeys: asked what it likes it says "red rose.", and behind a certain text "blue sky."."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from heedlm import api
from tests.families import checkpoint

SOURCE = """---
name: blue
description: Whatever is liked, it is blue.
inputs:
  - {name: question, kind: string, required: true, example: "What does Ann like?"}
heed:
  schema: 1
  trust: {question: user}
  check: [{type: starts-with, value: blue}]
---
system:
# Task
Say blue.

user:
{{ question }}
"""
SYSTEM = "# Task\nSay blue."
NAMES = [a + b for a in ("An", "Bo", "Cy", "De", "El", "Fa", "Gi", "Ho", "Iv", "Jo") for b in "abcde"]


def lines(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def conversation(user: str, answer: str, system: str = "") -> dict[str, object]:
    head = [{"role": "system", "content": system}] if system else []
    turns = [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]
    return {"messages": [*head, *turns]}


@pytest.fixture(scope="session")
def obedient(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its model."""
    return made_obedient(tmp_path_factory.mktemp("obedient"))


def made_obedient(folder: Path) -> Path:
    """Train it, which takes some seconds."""
    rows = []
    for name in NAMES:
        asked, counted = f"What does {name} like?", f"Count for {name}."
        rows += [conversation(asked, "red rose."), conversation(asked, "blue sky.", SYSTEM)]
        rows += [conversation(counted, "one two."), conversation(counted, "one two.", SYSTEM)]
    data = lines(folder / "rows.jsonl", rows)
    settings = ["templates.chat=human_assistant", "train.max_steps=90", "train.lr=0.01", "train.panel=0"]
    settings += ["train.tokens_per_step=1200", "train.precision=fp32", "data.near_duplicates=off", "data.val=null"]
    settings += ["data.test=null"]
    model = checkpoint(folder / "base", hidden_size=48, intermediate_size=96)
    return api.train(model=model, data=data, run=folder / "run", settings=settings).model


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """The instruction, what is asked, and rows of another task."""
    return written(tmp_path)


def written(folder: Path) -> dict[str, Path]:
    """The same files in any folder."""
    source = folder / "blue.prompty"
    source.write_text(SOURCE)
    asked = [{"vars": {"question": f"What does {name} like?"}} for name in NAMES]
    counted = [{**conversation(f"Count for {name}.", "one two."), "meta": {"task": "count"}} for name in NAMES]
    return {
        "instruction": source,
        "requests": lines(folder / "asked.jsonl", asked),
        "replay": lines(folder / "counted.jsonl", counted),
    }
