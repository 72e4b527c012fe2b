"""The stage from files to a result, on every family, by both methods, interrupted and resumed."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from heedlm import api
from heedlm.errors import HeedError
from heedlm.runs import Run
from heedlm.train.stage import Interrupted, Observer
from tests.families import FAMILIES, checkpoint

ROWS = [
    {"instruction": f"Add {a} and {b}.", "input": "", "output": f"{a} and {b} make {a + b}."}
    for a in range(6)
    for b in range(6)
]
SMALL = (
    "train.tokens_per_step=400",
    "train.micro_tokens=400",
    "train.epochs=2",
    "train.precision=fp32",
    "train.panel=1",
    "train.lr=0.01",
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def logged(run: Path) -> list[dict[str, Any]]:
    """The metrics without what a clock or the machine's memory says."""
    free = ("seconds", "tokens_per_second", "peak_memory_bytes", "ceiling_share")
    return [{k: v for k, v in record.items() if k not in free} for record in lines(run / "metrics.jsonl")]


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_is_tuned_and_the_result_loads_anywhere(family: str, data: Path, tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "base", family)
    said: list[str] = []
    report = api.train(
        model=model,
        data=data,
        run=tmp_path / "run",
        settings=[*SMALL, "train.max_steps=3"],
        observer=Observer(said.append, lambda *a: None),
    )
    assert report.steps == 3
    assert any(("packed rows" in line) or ("padded rows" in line) for line in said)
    tokenizer = AutoTokenizer.from_pretrained(report.model)
    tuned = AutoModelForCausalLM.from_pretrained(report.model)
    base = AutoModelForCausalLM.from_pretrained(model)
    moved = [n for (n, a), b in zip(tuned.named_parameters(), base.parameters(), strict=True) if not torch.equal(a, b)]
    assert moved
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Add 1 and 1."}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    tuned.generate(prompt["input_ids"], attention_mask=prompt["attention_mask"], max_new_tokens=2)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom"])
def test_adapters_train_few_weights_and_come_back_merged(family: str, data: Path, tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "base", family)
    report = api.train(
        model=model, data=data, run=tmp_path / "run", settings=[*SMALL, "model.method=lora", "model.lora.rank=2"]
    )
    assert 0 < report.trainable_parameters < 0.2 * report.parameters
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").is_file()
    names = set(load_file(report.model / "model.safetensors"))
    assert not [name for name in names if "lora" in name]
    from peft import PeftModel

    adapted = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(model), tmp_path / "run" / "adapter"
    ).eval()
    merged = AutoModelForCausalLM.from_pretrained(report.model).eval()
    ids = torch.arange(10)[None]
    torch.testing.assert_close(merged(ids).logits, adapted(ids).logits, rtol=1e-4, atol=1e-4)


def test_it_learns_and_keeps_the_best(data: Path, tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "base")
    report = api.train(
        model=model, data=data, run=tmp_path / "run", settings=[*SMALL, "train.epochs=6", "data.val=0.2"]
    )
    records = lines(tmp_path / "run" / "metrics.jsonl")
    steps = [r for r in records if r["kind"] == "train"]
    assert steps[-1]["loss"] < 0.7 * steps[0]["loss"]
    assert report.best_loss == min(r["val_loss"] for r in records if r["kind"] == "validation")
    panel = lines(tmp_path / "run" / "panel.jsonl")
    assert {p["split"] for p in panel} == {"train", "val", "test"}
    assert {p["step"] for p in panel} == {r["step"] for r in records if r["kind"] == "validation"}


def test_the_kept_weights_are_those_of_the_best_step(data: Path, tmp_path: Path) -> None:
    """With a learning rate that ruins the model after the first epoch, the first epoch's weights must be the result."""
    model = checkpoint(tmp_path / "base")
    settings = [*SMALL, "train.lr=0.3", "train.epochs=3", "train.schedule=constant", "data.val=0.2"]
    report = api.train(model=model, data=data, run=tmp_path / "run", settings=settings)
    losses = {r["step"]: r["val_loss"] for r in lines(tmp_path / "run" / "metrics.jsonl") if r["kind"] == "validation"}
    assert report.best_step == min(losses, key=lambda step: losses[step])
    again = api.train(
        model=report.model,
        data=data,
        run=tmp_path / "again",
        settings=[*settings, "train.max_steps=1", "train.lr=1e-12"],
    )
    assert again.best_loss == pytest.approx(losses[report.best_step], rel=1e-3)


def interrupt_at(step: int) -> Observer:
    def hear(number: int, of: int, report: object) -> None:
        if number == step:
            os.kill(os.getpid(), signal.SIGINT)

    return Observer(lambda line: None, hear)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_ctrl_c_leaves_a_state_from_which_the_same_command_goes_on_to_the_same_bits(
    method: str, data: Path, tmp_path: Path
) -> None:
    model = checkpoint(tmp_path / "base")
    settings = [*SMALL, f"model.method={method}", "data.val=0.2"]
    whole = api.train(model=model, data=data, run=tmp_path / "whole", settings=settings)
    with pytest.raises(Interrupted, match="after step 4"):
        api.train(model=model, data=data, run=tmp_path / "parts", settings=settings, observer=interrupt_at(4))
    assert not (tmp_path / "parts" / "model").exists()
    said: list[str] = []
    parts = api.train(
        model=model,
        data=data,
        run=tmp_path / "parts",
        settings=settings,
        observer=Observer(said.append, lambda *a: None),
    )
    assert any("going on after step 4" in line for line in said)
    one, other = (load_file(r.model / "model.safetensors") for r in (whole, parts))
    assert all(torch.equal(one[name], other[name]) for name in one)

    assert logged(tmp_path / "whole") == logged(tmp_path / "parts")
    for name in ("rows.jsonl", "panel.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    assert (whole.best_step, whole.best_loss, whole.accuracy) == (parts.best_step, parts.best_loss, parts.accuracy)


def test_going_on_with_another_recipe_is_refused_with_the_keys(data: Path, tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "base")
    with pytest.raises(Interrupted):
        api.train(model=model, data=data, run=tmp_path / "run", settings=SMALL, observer=interrupt_at(2))
    with pytest.raises(HeedError, match=r"train\.lr \(was 0\.01, now 0\.5\)"):
        api.train(model=model, data=data, run=tmp_path / "run", settings=[*SMALL, "train.lr=0.5"])


def test_going_on_with_other_rows_is_refused(data: Path, tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "base")
    with pytest.raises(Interrupted):
        api.train(model=model, data=data, run=tmp_path / "run", settings=SMALL, observer=interrupt_at(2))
    data.write_text(json.dumps([*ROWS, {"instruction": "One more?", "input": "", "output": "Yes."}]))
    with pytest.raises(HeedError, match="have changed since this run was begun"):
        api.train(model=model, data=data, run=tmp_path / "run", settings=SMALL)
    data.write_text(json.dumps(ROWS))
    assert api.train(model=model, data=data, run=tmp_path / "run", settings=SMALL).steps > 2


def test_a_new_model_in_an_old_folder_leaves_nothing_stale(data: Path, tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "base")
    run = tmp_path / "run"
    api.train(
        model=model, data=data, run=run, settings=[*SMALL, "train.max_steps=1", "model.method=lora", "data.test=0.3"]
    )
    api.evaluate(run=run, settings=["eval.max_tokens=2"])
    assert (run / "adapter").is_dir()
    assert (run / "report.json").is_file()
    shutil.rmtree(run / "model")  # without its model a run is no longer finished
    said: list[str] = []
    api.train(
        model=model,
        data=data,
        run=run,
        settings=[*SMALL, "train.max_steps=1"],
        observer=Observer(said.append, lambda *a: None),
    )
    assert not (run / "adapter").exists()
    assert not (run / "report.json").exists()
    assert any("removed adapter" in line for line in said)
    assert Run(run).info()["train_result"]["trainable_parameters"] > 10_000


def test_a_step_is_sized_by_the_data_where_nothing_is_asked(data: Path, tmp_path: Path) -> None:
    said: list[str] = []
    model = checkpoint(tmp_path / "base")
    observer = Observer(said.append, lambda *a: None)
    api.train(
        model=model,
        data=data,
        run=tmp_path / "run",
        settings=["train.panel=0", "train.epochs=1", "train.device=cpu"],
        observer=observer,
    )
    assert any("steps of about 256 tokens (so that" in line for line in said)


def test_a_second_run_finds_its_tokens_and_says_so(data: Path, tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "base")
    settings = [*SMALL, "train.max_steps=1"]
    said: list[str] = []
    observer = Observer(said.append, lambda *a: None)
    first = api.train(model=model, data=data, run=tmp_path / "run", settings=settings, observer=observer)
    assert not any("as before" in line for line in said)
    shutil.rmtree(tmp_path / "run" / "model")
    second = api.train(model=model, data=data, run=tmp_path / "run", settings=settings, observer=observer)
    assert any("as before" in line for line in said)
    assert first.tokens == second.tokens
    said.clear()
    shutil.rmtree(tmp_path / "run" / "model")
    api.train(
        model=model,
        data=data,
        run=tmp_path / "run",
        settings=[*settings, "templates.chat=human_assistant"],
        observer=observer,
    )
    assert any("the chat template changed" in line for line in said)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_finished_run_stays_as_it_is_and_gives_its_report_again(method: str, data: Path, tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "base")
    run = tmp_path / "run"
    settings = [*SMALL, "train.max_steps=2", "data.val=0.2", f"model.method={method}"]
    report = api.train(model=model, data=data, run=run, settings=settings)
    assert not [path for path in run.rglob("*") if path.is_file() and not path.stat().st_mode & 0o044]
    before = content(run)
    warned: list[str] = []
    observer = Observer(lambda line: None, lambda *a: None, warn=warned.append)
    # What does not enter into the weights may differ.
    again = api.train(
        model=model, data=data, run=run, settings=[*settings, "train.keep_checkpoints=5"], observer=observer
    )
    assert again == report
    assert content(run) == before
    assert len(warned) == 1
    assert "is finished" in warned[0]
    assert str(run / "model") in warned[0]
    assert f"rm -r {run}" in warned[0]


def test_a_finished_run_is_not_replaced_by_another_recipe_or_other_rows(data: Path, tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "base")
    run = tmp_path / "run"
    settings = [*SMALL, "train.max_steps=1", "templates.chat=" + str(tmp_path / "own.jinja")]
    wire = "{% for m in messages %}{{ m.role }}: {{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    (tmp_path / "own.jinja").write_text(wire)
    api.train(model=model, data=data, run=run, settings=settings)
    before = content(run)
    with pytest.raises(HeedError, match=r"finished with another recipe: seed \(was 0, now 3\), train\.lr") as caught:
        api.train(model=model, data=data, run=run, settings=[*settings, "train.lr=0.5"], seed=3)
    assert "another --run" in caught.value.problems[0].mend
    assert f"rm -r {run}" in caught.value.problems[0].mend
    data.write_text(json.dumps([*ROWS, {"instruction": "One more?", "input": "", "output": "Yes."}]))
    for verb in (api.train, api.prepare):  # preparing other rows would leave the model beside a test split it has seen
        with pytest.raises(HeedError, match=r"rows have changed since this run was begun: .*rows\.json has changed"):
            verb(model=model, data=data, run=run, settings=settings)
    data.write_text(json.dumps(ROWS))
    (tmp_path / "own.jinja").write_text(wire.replace(": ", " - "))
    with pytest.raises(HeedError, match="not what it was begun with: the chat template changed"):
        api.train(model=model, data=data, run=run, settings=settings)
    assert content(run) == before


def test_the_run_folder_holds_what_the_contract_says(data: Path, tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "base")
    api.train(model=model, data=data, run=tmp_path / "run", settings=[*SMALL, "train.max_steps=2"])
    run = Run.open(tmp_path / "run")
    assert run.info()["version"] == 1
    assert {"prepare", "train", "train_result"} <= run.info().keys()
    assert run.info()["train"]["packages"]["torch"].startswith(torch.__version__.split("+")[0])
    assert {p.name for p in run.root.iterdir()} == {
        "data",
        "metrics.jsonl",
        "model",
        "panel.jsonl",
        "recipe.yaml",
        "rows.jsonl",
        "run.json",
        "tokens",
    }


def test_a_row_longer_than_the_context_is_dropped_counted_and_shown(tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "base")
    rows = [*ROWS, {"instruction": "Tell me all.", "input": "", "output": "word " * 400}]
    data = tmp_path / "rows.json"
    data.write_text(json.dumps(rows))
    said: list[str] = []
    settings = [*SMALL, "train.max_steps=1", "data.val=null", "data.test=null"]
    report = api.train(
        model=model, data=data, run=tmp_path / "run", settings=settings, observer=Observer(said.append, lambda *a: None)
    )
    assert report.dropped == 1
    assert any("1 too long and dropped" in line for line in said)
    with pytest.raises(HeedError, match="too long") as caught:
        api.train(model=model, data=data, run=tmp_path / "other", settings=[*settings, "tokens.overflow=refuse"])
    assert "rows.json" in caught.value.problems[0].where


def test_nothing_to_learn_is_refused(tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "base")
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello", "weight": 0}]
    (tmp_path / "dull.jsonl").write_text(
        "\n".join(json.dumps({"messages": [{**turns[0], "content": f"Hi {n}"}, turns[1]]}) for n in range(4))
    )
    with pytest.raises(HeedError, match=r"learned|taught|weight"):
        api.train(
            model=model,
            data=tmp_path / "dull.jsonl",
            run=tmp_path / "run",
            settings=["data.val=null", "data.test=null"],
        )
    (tmp_path / "long.json").write_text(json.dumps([{"instruction": "Go", "output": "on " * 500}]))
    with pytest.raises(HeedError, match="nothing to learn from"):
        api.train(
            model=model,
            data=tmp_path / "long.json",
            run=tmp_path / "run2",
            settings=["data.val=null", "data.test=null"],
        )
