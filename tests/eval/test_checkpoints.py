"""Checkpoints of a run as arms: `RUN@step-N` answers as the run's result would, were it saved at that step."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import heedlm.train.sft as sft
from heedlm import api
from heedlm.errors import HeedError
from heedlm.eval.checkpoints import checkpoint_of, is_checkpoint, load_checkpoint, run_behind
from heedlm.evaluating import compare, evaluate, own_base
from heedlm.generate.chat import load_chat
from heedlm.messages import Message, Request, Sampling
from heedlm.pretrain_config import PretrainRecipe
from heedlm.recipe_file import load_recipe
from tests.families import checkpoint

ROWS = [
    {"instruction": f"Add {a} and {b}.", "output": f"{a} and {b} make {a + b}."} for a in range(6) for b in range(6)
]
SETTINGS: dict[str, Any] = {
    "train.tokens_per_step": 300,
    "train.epochs": 3,
    "train.precision": "fp32",
    "train.panel": 0,
    "train.lr": 0.02,
    "train.checkpoint_every": 2,
    "train.keep_checkpoints": 3,
    "train.eval_every": 2,
    "train.device": "cpu",
    "data.val": 0.2,
    "data.test": 0.2,
}


def kept(run: Path, base: Path, rows: Path, patch: pytest.MonkeyPatch, **more: Any) -> Path:
    """A finished run beside which its checkpoints stay, as those of a run that goes on would."""
    aside = run.with_name(run.name + "-checkpoints")

    class Shutil:
        rmtree = staticmethod(_copying(aside, shutil.rmtree))

    patch.setattr(sft, "shutil", Shutil)
    api.train(model=base, data=rows, run=run, settings={**SETTINGS, **more}, observer=api.silent())
    shutil.copytree(aside, run / "checkpoints")
    return run


def _copying(aside: Path, remove: Callable[..., None]) -> Callable[..., None]:
    def rmtree(folder: Path, ignore_errors: bool = False) -> None:
        if Path(folder).name == "checkpoints":
            shutil.copytree(folder, aside)
        remove(folder, ignore_errors=ignore_errors)

    return rmtree


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    checkpoint(folder / "base")
    (folder / "rows.json").write_text(json.dumps(ROWS))
    with pytest.MonkeyPatch.context() as patch:
        kept(folder / "full", folder / "base", folder / "rows.json", patch)
        lora = {"model.method": "lora", "model.lora.rank": 4, "train.lr": 0.05}
        kept(folder / "lora", folder / "base", folder / "rows.json", patch, **lora)
    return folder


def steps(run: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in (run / "checkpoints").glob("step-*"))


def asked(chat: Any) -> list[str]:
    requests = [Request(messages=(Message("user", f"Add {a} and 3."),)) for a in range(4)]
    return [reply.text for reply in chat.reply(requests, Sampling(max_tokens=12))]


@pytest.mark.parametrize("name", ["full", "lora"])
def test_the_last_step_is_the_result(world: Path, name: str) -> None:
    """Full weights and adapters: what stands in the run's model folder, to the last bit."""
    run = world / name
    best = json.loads((run / "checkpoints" / f"step-{steps(run)[-1]:06d}" / "manifest.json").read_text())["best"]
    chat, result = load_checkpoint(checkpoint_of(f"{run}@best"), "it"), load_chat(run)
    assert checkpoint_of(f"{run}@best").step == best["step"]  # the weights that the result is made of
    mine, theirs = chat.model.state_dict(), result.model.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert (chat.template.source, set(chat.stop_ids)) == (result.template.source, set(result.stop_ids))
    assert asked(chat) == asked(result)


@pytest.mark.parametrize("name", ["full", "lora"])
def test_another_step_is_another_model(world: Path, name: str) -> None:
    run = world / name
    first = load_checkpoint(checkpoint_of(f"{run}@{steps(run)[0]}"), "first").model.state_dict()
    last = load_checkpoint(checkpoint_of(f"{run}@last"), "last").model.state_dict()
    assert any(not torch.equal(first[key], last[key]) for key in first)


def test_every_way_to_name_a_step(world: Path) -> None:
    run, step = world / "full", steps(world / "full")[-1]
    names = [f"{run}@step-{step}", f"{run}@{step}", f"{run}@step-{step:06d}", f"{run}@last"]
    names += [str(run / "checkpoints" / f"step-{step:06d}"), str(run / "checkpoints" / f"step-{step:06d}") + "/"]
    assert {(found.step, found.folder) for found in map(checkpoint_of, names)} == {
        (step, run / "checkpoints" / f"step-{step:06d}")
    }
    assert all(run_behind(name) == run for name in names)
    assert not any(map(is_checkpoint, [str(run), str(world / "base"), "org/name@main", "http://a@b/v1", "atlas", ""]))


def test_any_two_checkpoints_in_one_report(world: Path, tmp_path: Path) -> None:
    """Two steps of one run, one of another and the result, on the run's own test rows; gone on with from the log."""
    full, lora = world / "full", world / "lora"
    names = [f"{full}@step-{steps(full)[0]}", str(full / "checkpoints" / f"step-{steps(full)[-1]:06d}")]
    names += [f"{lora}@best", str(full)]
    done = compare(models=names, out=tmp_path / "out", settings={"eval.max_tokens": 8})
    assert done.report.models == tuple(names)
    assert len(done.report.pairs) == 3
    assert str(full / "data" / "test.jsonl") in done.report.about["items"]
    assert f"weights of step {steps(full)[0]}" in done.report.asked[names[0]]
    lines = (tmp_path / "out" / "items.jsonl").read_text()
    again = compare(models=names, out=tmp_path / "out", settings={"eval.max_tokens": 8})
    assert (tmp_path / "out" / "items.jsonl").read_text() == lines
    assert [pair.all for pair in again.report.pairs] == [pair.all for pair in done.report.pairs]


def test_items_that_a_checkpoint_was_trained_on_are_refused(world: Path, tmp_path: Path) -> None:
    run = world / "full"
    row = json.loads((run / "data" / "train.jsonl").read_text().splitlines()[0])
    (tmp_path / "items.jsonl").write_text(json.dumps({"messages": row["messages"]}) + "\n")
    with pytest.raises(HeedError, match="allow-leak"):
        compare(models=[world / "base", f"{run}@last"], data=tmp_path / "items.jsonl", out=tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("@step-99", "There is no such checkpoint."),
        ("@bset", "did you mean 'best'"),
        ("@", "no model folder"),
        ("/checkpoints/step-x", "named by its step"),
    ],
)
def test_a_step_that_is_not_there(world: Path, tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(HeedError) as caught:
        compare(models=[world / "base", f"{world / 'full'}{name}"], out=tmp_path / "out")
    assert words in str(caught.value)


def test_a_run_without_checkpoints_says_where_its_result_is(world: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(world / "full", run)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(HeedError, match="removed once the result is saved") as caught:
        checkpoint_of(f"{run}@last")
    assert str(run) in caught.value.problems[0].mend
    with pytest.raises(HeedError, match="compared like any model"):
        evaluate(run=f"{world / 'full'}@last")


def test_a_damaged_checkpoint_is_no_model(world: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(world / "full", run)
    path = run / "checkpoints" / f"step-{steps(run)[-1]:06d}" / "weights.safetensors"
    tensors = load_file(path)
    name = next(iter(tensors))
    tensors[name] = tensors[name] + 1
    path.unlink()  # it may be a link to the best weights
    save_file(tensors, path)
    with pytest.raises(HeedError, match="not whole"):
        checkpoint_of(f"{run}@last")
    path.unlink()
    with pytest.raises(HeedError, match="not whole"):
        checkpoint_of(f"{run}@last")
    (path.parent / "manifest.json").write_text("{")
    with pytest.raises(HeedError, match="not whole"):
        checkpoint_of(f"{run}@last")


def test_a_base_model_in_the_making(tmp_path: Path) -> None:
    """Checkpoints of a pretraining are base models, asked in plain text; the last one is the result."""
    corpus = tmp_path / "texts.jsonl"
    corpus.write_text("".join(json.dumps({"text": f"The {n} bells of the town rang."}) + "\n" for n in range(40)))
    small = ["shape.vocab_size=300", "shape.context=64", "shape.hidden=32", "shape.layers=2", "shape.heads=2"]
    small += ["shape.kv_heads=2", "shape.intermediate=48", "train.max_steps=4", "train.tokens_per_step=256"]
    small += ["train.checkpoint_every=2", "train.eval_every=2", "train.device=cpu", "corpus.documents=20"]
    recipe = load_recipe(PretrainRecipe, None, [*small, f"corpus.source={corpus}"])
    run = tmp_path / "run"
    aside = tmp_path / "aside"
    with pytest.MonkeyPatch.context() as patch:

        class Shutil:
            rmtree = staticmethod(_copying(aside, shutil.rmtree))

        patch.setattr("heedlm.train.pretrain.shutil", Shutil)
        api.pretrain(recipe=recipe, run=run)
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
    shutil.copytree(aside, run / "checkpoints")
    place = checkpoint_of(f"{run}@best")
    assert (place.plain, place.base) == (True, None)
    mine, theirs = load_checkpoint(place, "it").model.state_dict(), load_chat(run).model.state_dict()
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
    items = tmp_path / "items.jsonl"
    items.write_text(json.dumps({"prompt": "The 3 bells", "completion": "of the town rang."}) + "\n")
    names = [f"{run}@step-2", f"{run}@last", str(run)]
    done = compare(models=names, data=items, out=tmp_path / "out", settings={"eval.max_tokens": 4})
    assert done.report.asked[names[0]] == "plain text, as a base model; weights of step 2"
    assert own_base([names[0]]) == []
