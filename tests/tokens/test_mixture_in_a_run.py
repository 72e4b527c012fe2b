"""A mixture from the recipe to the weights: what is seen, resumed to the bit, and refused when it is another one."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from heedlm import api
from heedlm.errors import HeedError
from heedlm.runs import Run
from heedlm.train.stage import Interrupted, Observer
from heedlm.train.worst import worst_rows
from tests.families import checkpoint

SETTINGS = {
    "train.tokens_per_step": 300,
    "train.micro_tokens": 300,
    "train.epochs": 2,
    "train.precision": "fp32",
    "train.panel": 0,
    "train.lr": 0.01,
    "data.val": None,
    "data.test": None,
    "data.near_duplicates": "off",
    "data.mixture": {"sums": {"weight": 2}, "names": {"weight": 1, "epochs": 2.5}},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("mixture")
    sums = [{"prompt": f"Add {a} and {b}.", "completion": f"It is {a + b}."} for a in range(6) for b in range(6)]
    names = [{"prompt": f"Who is number {n}?", "completion": f"Number {n} is Ann."} for n in range(4)]
    for name, rows in (("sums", sums), ("names", names)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"model": checkpoint(folder / "base"), "data": [folder / "sums.jsonl", folder / "names.jsonl"]}


def seen(run: Path) -> list[Counter[int]]:
    """How often each sequence was learned from, in each epoch of the log."""
    epochs = [json.loads(line)["epoch"] for line in (run / "metrics.jsonl").open()]
    found = [Counter[int]() for _ in range(max(epochs) + 1)]
    for line, epoch in zip((run / "rows.jsonl").open(), epochs, strict=True):
        found[epoch].update(json.loads(line)["rows"])
    return found


def test_an_epoch_holds_what_the_mixture_says_and_a_run_that_was_stopped_goes_on_to_the_same_bits(
    world: dict[str, Any], tmp_path: Path
) -> None:
    said: list[str] = []
    quiet = Observer(said.append, lambda *a: None)
    whole = api.train(run=tmp_path / "whole", settings=SETTINGS, observer=quiet, **world)
    assert any("sums.jsonl: 20 of 36 rows" in line and "left out by weight 16" in line for line in said)
    assert any("names.jsonl: 4 of 4 rows, 10 with repeats" in line for line in said)
    assert (whole.rows, whole.sequences) == (24, 30)
    for epoch in seen(tmp_path / "whole"):
        assert sorted(epoch.elements()) == list(range(30))  # every one of them once in each epoch

    report = worst_rows(Run(tmp_path / "whole"), 40)
    assert (report.rows, report.seen) == (40, 24)
    times = Counter(one.times for one in report.worst)
    assert times == {2: 20, 4: 2, 6: 2}  # two epochs of 1, 2 or 3 times each

    def stop(number: int, of: int, report: object) -> None:
        if number == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        api.train(run=tmp_path / "parts", settings=SETTINGS, observer=Observer(said.append, stop), **world)
    other = {**SETTINGS, "data.mixture": {"sums": {"weight": 1}, "names": {"weight": 1, "epochs": 2.5}}}
    with pytest.raises(HeedError, match=r"another recipe: data\.mixture\.sums\.weight"):
        api.train(run=tmp_path / "parts", settings=other, **world)
    parts = api.train(run=tmp_path / "parts", settings=SETTINGS, **world)
    one, same = (load_file(report.model / "model.safetensors") for report in (whole, parts))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert (tmp_path / "whole" / "rows.jsonl").read_bytes() == (tmp_path / "parts" / "rows.jsonl").read_bytes()
    assert (tmp_path / "parts" / "tokens" / "card.md").is_file()


def test_a_run_begun_before_there_were_mixtures_and_licences_goes_on(world: dict[str, Any], tmp_path: Path) -> None:
    settings = {**SETTINGS, "data.mixture": {}, "train.epochs": 1}
    api.train(run=tmp_path / "run", settings=settings, **world)
    recipe = tmp_path / "run" / "recipe.yaml"
    before = yaml.safe_load(recipe.read_text())
    del before["data"]["mixture"]
    for source in before["data"]["sources"]:
        del source["licence"]
    recipe.write_text(yaml.safe_dump(before))
    assert api.train(run=tmp_path / "run", settings=settings, **world).steps
    with pytest.raises(HeedError, match="another recipe"):
        api.train(run=tmp_path / "run", settings={**settings, "data.mixture": {"sums": {"cap": 3}}}, **world)
