"""The plan: the fastest way that fits, prefixes shared where it pays, refusals that say what would fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.modeling_layers import GradientCheckpointingLayer

from heedlm import api, memory_left
from heedlm.config import ModelConfig, StepConfig
from heedlm.errors import HeedError
from heedlm.messages import Encoded
from heedlm.tokens.loader import Loader
from heedlm.train import plan
from heedlm.train.forward import Packing
from heedlm.train.memory import Kept, Load, Profile
from heedlm.train.plan import FILL, Sizes, Way, choose_sharing, fit_into, largest, plan_memory, refuse_too_large, settle
from heedlm.train.probe import choose_packing
from heedlm.train.sft import Trainee
from heedlm.train.stage import Observer
from tests.families import build, checkpoint

MB = 2**20
OF = Profile(
    weights=10 * MB,
    gradients=10 * MB,
    kept=Kept(0.0, 40_000.0, 0.0),
    repeated=Kept(0.0, 4_000.0, 0.0),
    layers=4,
    half=2,
    depth=4,
    vocabulary=1000,
    item=4,
    part=0,
    plain=0,
    head=0,
    widest=1000,
    on_cpu=True,
    padded=False,
)


def sizes(micro_tokens: int) -> Sizes:
    return Sizes((Load(micro_tokens, 0, 16),), max(1, 8192 // micro_tokens))


def peak(way: Way) -> int:
    return plan.largest_need(OF, sizes(way.micro_tokens), way).peak


LADDER = [
    Way("off", 4096, False),
    Way("selective", 4096, False),
    Way("full", 4096, False),
    Way("full", 4096, True),
    Way("full", 2048, True),
    Way("full", 1024, True),
    Way("full", 512, True),
]


@pytest.mark.parametrize("number", range(len(LADDER)))
def test_the_first_way_that_fits_is_taken(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "keeps_freed_memory", lambda: True)
    peaks = [peak(way) for way in LADDER]
    assert peaks == sorted(peaks, reverse=True)
    available = int(peaks[number] / FILL) + 1
    tried = fit_into(available, "auto", OF, sizes, 4096, 400)
    assert [one.way for one in tried] == LADDER[: number + 1]


def test_no_micro_batch_is_shorter_than_the_longest_row() -> None:
    tried = fit_into(0, "auto", OF, sizes, 4096, 900)
    assert tried[-1].way == Way("full", 1024, True)
    assert [one.way for one in fit_into(0, "auto", OF._replace(layers=0, on_cpu=False), sizes, 1024, 1)] == [
        Way("off", 1024, False),
        Way("off", 512, False),
        Way("off", 256, False),
    ]


@pytest.mark.parametrize("wanted", ["off", "selective", "full"])
def test_what_is_asked_for_is_done_whether_it_fits_or_not(wanted: str) -> None:
    assert [one.way for one in fit_into(0, wanted, OF, sizes, 4096, 1)] == [
        Way(wanted, 4096, wanted != "off")  # type: ignore[arg-type]
    ]


def rows(count: int, shared: int, own: int) -> list[Encoded]:
    return [
        Encoded((*range(shared), *((number * 7 + at) % 250 + 50 for at in range(own))), (1.0,) * (shared + own))
        for number in range(count)
    ]


SHARES, ALONE = Packing(True, "", shares=True), Packing(True, "")


@pytest.mark.parametrize(
    ("wanted", "packing", "shared", "share", "said"),
    [
        ("auto", SHARES, 20, True, "computed once"),
        ("auto", SHARES, 0, False, ""),
        ("auto", ALONE, 20, False, ""),
        ("off", SHARES, 20, False, "as asked"),
        ("on", SHARES, 0, True, "as asked"),
    ],
)
def test_prefixes_are_shared_where_it_pays_and_may_be(
    wanted: str, packing: Packing, shared: int, share: bool, said: str
) -> None:
    loader = Loader(rows(6, shared, 20), 400, 400, 0)
    found = choose_sharing(wanted, packing, loader)
    assert found.share is share
    assert said in found.why
    assert bool(found.why) is bool(said)


def test_too_little_to_share_is_said_and_left() -> None:
    loader = Loader([*rows(2, 17, 3), *rows(20, 0, 150)], 10_000, 10_000, 0)
    assert 0 < loader.saving() < plan.BREAK_EVEN
    found = choose_sharing("auto", SHARES, loader)
    assert not found.share
    assert "too few" in found.why


def test_sharing_that_is_asked_for_where_it_cannot_be_is_refused() -> None:
    with pytest.raises(HeedError) as caught:
        choose_sharing("on", ALONE, Loader(rows(2, 20, 5), 400, 400, 0))
    assert caught.value.problems[0].where == "train.share_prefixes"


def test_the_largest_micro_batch_is_found_whatever_its_step() -> None:
    model = build("llama")
    packing = choose_packing(model)
    documents = rows(300, 0, 20)
    documents[137] = Encoded(tuple(range(120)), (1.0,) * 120)
    loader = Loader(documents, 160, 80, 0)
    found = largest(model, loader, packing, torch.float32)
    assert max(load.rows for load in found.loads) >= 120
    assert max(load.rows for load in found.loads) >= 120
    assert found.micro_batches >= 2


def trainee(name: str = "llama") -> Trainee:
    model = build(name)
    return Trainee(model, torch.device("cpu"), choose_packing(model), model.num_parameters())


def settled(available: int | None, noted: Any = None, **config: Any) -> tuple[plan.Settled, list[str], Trainee]:
    said: list[str] = []
    of = trainee()
    loader = Loader(rows(40, 0, 30), 600, 600, 0)
    observer = Observer(said.append, lambda step, total, report: None)
    chosen = settle(StepConfig(**config), "full", of, loader, torch.float32, available, noted, observer)
    return chosen, said, of


def again(of: Trainee) -> int:
    layers = (module for module in of.model.modules() if isinstance(module, GradientCheckpointingLayer))
    return sum(layer.gradient_checkpointing for layer in layers)


@pytest.fixture
def heap(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The process keeps its way with memory."""
    asked: list[str] = []
    monkeypatch.setattr(plan, "return_memory_at_once", lambda: asked.append("at once"))
    return asked


def test_with_room_everything_is_kept(heap: list[str]) -> None:
    chosen, said, of = settled(10**12)
    assert chosen.facts["way"] == {"recompute": "off", "micro_tokens": 600, "at_once": False}
    assert again(of) == 0
    assert not heap
    assert said[0].startswith("memory: ")


def test_what_a_run_began_with_it_goes_on_with(heap: list[str]) -> None:
    noted = {"share": True, "way": {"recompute": "selective", "micro_tokens": 300, "at_once": True}}
    chosen, said, of = settled(0, noted)
    assert chosen.loader.micro_tokens == 300
    assert chosen.loader.share
    assert again(of) == 1
    assert heap == ["at once"]
    assert not said


def test_where_memory_is_not_looked_at_the_recipe_holds(heap: list[str]) -> None:
    assert again(settled(None)[2]) == 0
    assert again(settled(None, activation_checkpointing="full")[2]) == 2


def test_where_nothing_fits_the_plan_says_what_would(heap: list[str]) -> None:
    with pytest.raises(HeedError) as caught:
        settled(10 * MB)
    problem = caught.value.problems[0]
    assert "model.method=lora" in problem.mend
    assert "tokens.max_tokens" in problem.mend
    assert "at least" in problem.what


def test_what_was_asked_for_and_may_not_fit_is_an_alarm(heap: list[str]) -> None:
    said: list[str] = []
    of = trainee()
    loader = Loader(rows(40, 0, 30), 600, 600, 0)
    config = StepConfig(activation_checkpointing="off")
    needed = plan_memory(of.model, config, loader, of.packing, torch.float32, 0).chosen.need.peak
    warned: list[str] = []
    observer = Observer(said.append, lambda step, total, report: None, warn=warned.append)
    settle(config, "full", of, loader, torch.float32, needed + 1, None, observer)
    assert len(warned) == 1
    assert "may not fit" in warned[0]


def test_an_architecture_that_cannot_compute_again_is_told(heap: list[str]) -> None:
    said: list[str] = []
    of = trainee()
    of.model.supports_gradient_checkpointing = False
    loader = Loader(rows(40, 0, 30), 600, 600, 0)
    observer = Observer(said.append, lambda step, total, report: None)
    settle(StepConfig(activation_checkpointing="full"), "full", of, loader, torch.float32, 10**12, None, observer)
    assert any("cannot compute its layers again" in line for line in said)


@pytest.mark.parametrize(("method", "each"), [("full", 16), ("lora", 4)])
def test_a_model_that_cannot_fit_is_refused_before_it_is_loaded(tmp_path: Path, method: Any, each: int) -> None:
    folder = checkpoint(tmp_path / "model")
    parameters = build("llama").num_parameters()
    config = ModelConfig(path=str(folder), method=method)
    refuse_too_large(config, each * parameters)
    with pytest.raises(HeedError, match="too large") as caught:
        refuse_too_large(config, each * parameters - 1)
    assert "in full" in caught.value.problems[0].mend
    assert ("model.method=lora" in caught.value.problems[0].mend) == (method == "full")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    lines = [{"prompt": f"Say {n}.", "completion": f"It is {n}."} for n in range(60)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def run(tmp_path: Path, data: Path, name: str, *settings: str) -> dict[str, Any]:
    lines = ["train.precision=fp32", "train.tokens_per_step=600", "train.max_steps=4", "train.panel=0", *settings]
    api.train(model=tmp_path / "model", data=data, run=tmp_path / name, settings=lines)
    metrics = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
    noted = json.loads((tmp_path / name / "run.json").read_text())["memory"]
    return {"losses": [m["loss"] for m in metrics if m["kind"] == "train"], "way": noted["way"]}


def test_little_memory_makes_smaller_steps_and_the_same_losses(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, heap: list[str]
) -> None:
    checkpoint(tmp_path / "model")
    free = run(tmp_path, data, "free")
    assert free["way"]["recompute"] == "off"
    decide = plan.plan_memory

    def just_enough(*given: Any) -> plan.Memory:
        ways = decide(*given[:-1], 0).tried
        return decide(
            *given[:-1], next(one.need.peak for one in ways if one.way.recompute == "full" and one.way.at_once)
        )

    monkeypatch.setattr(plan, "plan_memory", just_enough)
    monkeypatch.setattr(plan, "FILL", 1.0)
    tight = run(tmp_path, data, "tight")
    assert tight["way"]["recompute"] == "full"
    assert tight["losses"] == pytest.approx(free["losses"], rel=1e-5)


def test_the_command_refuses_what_the_machine_cannot_hold(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint(tmp_path / "model")
    monkeypatch.setattr(memory_left, "device_memory_bytes", lambda device: 1000)
    with pytest.raises(HeedError, match="too large"):
        run(tmp_path, data, "run")
    assert not (tmp_path / "run").exists()
