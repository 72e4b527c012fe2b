from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from heedlm.errors import HeedError
from heedlm.eval.evidence import changes, hash_of_suite, read_evidence, write_evidence
from heedlm.eval.results import Decision, Figure
from heedlm.eval.task import tasks_from

from .scripted import example

DECISION = Decision("ship", (Figure("mails: gain, points", "surely above +0", "+20", "reached"),))


def made(folder: Path) -> Path:
    run = folder / "run"
    for name in ("model", "data"):
        (run / name).mkdir(parents=True)
    (folder / "base").mkdir()
    for model in (run / "model", folder / "base"):
        (model / "model.safetensors").write_bytes(b"weights")
        (model / "config.json").write_text("{}")
        (model / "README.md").write_text("words")
    (run / "data" / "test.jsonl").write_text("{}\n")
    (folder / "gate.yaml").write_text("stop_rate: 0.9\n")
    write_evidence(
        run,
        DECISION,
        models={"base": folder / "base", "instruct": run / "model"},
        files=[run / "data" / "test.jsonl", run / "nothing.jsonl"],
        suite="s",
        gate=folder / "gate.yaml",
        about={"date": "today"},
    )
    return run


def test_evidence_holds_until_something_changes(tmp_path: Path) -> None:
    run = made(tmp_path)
    found = read_evidence(run)
    assert (found["verdict"], found["suite"], list(found["files"])) == ("ship", "s", ["data/test.jsonl"])
    assert found["models"]["instruct"]["folder"] == "model"
    assert changes(run) == []
    (run / "model" / "README.md").write_text("other words")
    assert changes(run) == []  # what nobody is answered by does not count


def test_every_change_is_named(tmp_path: Path) -> None:
    run = made(tmp_path)
    (run / "model" / "model.safetensors").write_bytes(b"other weights")
    (run / "model" / "adapter.safetensors").write_bytes(b"more")
    (run / "model" / "config.json").unlink()
    (run / "data" / "test.jsonl").write_text("{}\n{}\n")
    (tmp_path / "gate.yaml").write_text("stop_rate: 0.1\n")
    assert changes(run) == [
        "instruct: adapter.safetensors is new",
        "instruct: config.json is gone",
        "instruct: model.safetensors has changed",
        "data/test.jsonl has changed",
        f"{tmp_path / 'gate.yaml'} has changed",
    ]


def test_a_run_that_was_moved_takes_its_evidence_along(tmp_path: Path) -> None:
    run = made(tmp_path)
    moved = run.rename(tmp_path / "elsewhere")
    assert changes(moved) == []


def test_a_model_that_is_gone(tmp_path: Path) -> None:
    run = made(tmp_path)
    (tmp_path / "base").rename(tmp_path / "bose")
    assert changes(run) == [f"base: the model is gone ({tmp_path / 'base'})"]


@pytest.mark.parametrize("text", [None, "{", "[]", '{"version": 99}'])
def test_no_evidence_or_none_of_ours(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "evidence.json").write_text(text)
    with pytest.raises(HeedError, match=r"No gate was asked|no evidence of version") as caught:
        changes(tmp_path)
    assert "--gate" in str(caught.value)


def test_the_suite_is_what_is_asked_and_how_it_is_judged() -> None:
    rows = [example("Question?", "yes", id="a"), example("Other?", "no", id="b")]
    whole = hash_of_suite(tasks_from(rows))
    assert whole == hash_of_suite(tasks_from([replace(row, source="moved.jsonl:7") for row in rows]))
    stricter = replace(rows[1], meta={**rows[1].meta, "checks": [{"type": "upper-case"}]})
    others = [rows[:1], [rows[0], stricter], [rows[0], example("Other!", "no", id="b")]]
    assert len({whole, *(hash_of_suite(tasks_from(one)) for one in others)}) == 4
    assert json.dumps(whole)
