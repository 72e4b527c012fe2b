"""Several processes compute what one computes: gradients, losses, validation, whoever holds which weights."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heedlm import failures, launch
from heedlm.errors import HeedError
from heedlm.messages import Encoded
from heedlm.tokens.pack import pack
from heedlm.train import parallel, ranks
from heedlm.train.forward import Packing, target_logits
from heedlm.train.loss import token_nll
from heedlm.train.parallel import choose_engine
from heedlm.train.ranks import ALONE, Ranks, balanced
from tests.families import build
from tests.train.ranks import CASES, MORE, STEPS, Case, Result, run

ROOT = Path(__file__).resolve().parents[2]


def computed(out: Path, *more: str, seconds: int = 280) -> dict[str, Any]:
    """What two processes make of the cases."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = str(ROOT / "tests" / "train" / "ranks.py")
    done = subprocess.run(
        [*command, script, str(out), *more],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr[:4000]
    result: dict[str, Any] = torch.load(out, weights_only=False)
    return result


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return computed(tmp_path_factory.mktemp("two") / "results.pt")


def compare(case: Case, ranks: list[Mapping[str, Any]]) -> Result:
    """One process computes the case, and is compared with what several computed."""
    one = run(case)
    first = ranks[0]
    exact = case.products == torch.float32
    assert [r["losses"] for r in ranks] == [first["losses"]] * len(ranks)  # all know the same
    assert first["tokens"] == one.tokens
    assert first["gradients"].keys() == one.gradients.keys()
    for name, mine in one.gradients.items():
        apart = float((first["gradients"][name] - mine).abs().max())
        assert apart <= (1e-5 if exact else 2e-2) * max(float(mine.abs().max()), 1e-6), name
    assert len(one.losses) == STEPS
    assert first["losses"] == pytest.approx(one.losses, abs=1e-4 if exact else 3e-2)
    assert first["norms"] == pytest.approx(one.norms, rel=1e-4 if exact else 0.25)
    assert first["validation"][2] == one.validation[2]
    assert first["validation"][0] == pytest.approx(one.validation[0], abs=1e-5 if exact else 2e-2)
    return one


@pytest.mark.parametrize("name", CASES)
def test_two_processes_take_the_same_steps_as_one(name: str, two: dict[str, Any]) -> None:
    one = compare(CASES[name], [ranks[name] for ranks in two["ranks"]])
    # No model of these has a weight without a gradient: AdamW would make steps of the noise.
    for weight, mine in one.weights.items():
        assert torch.allclose(two["ranks"][0][name]["weights"][weight], mine, atol=2e-5), weight


def test_the_same_run_twice_is_the_same_to_the_last_bit(two: dict[str, Any]) -> None:
    first = two["ranks"][0][next(iter(CASES))]
    assert two["again"]["losses"] == first["losses"]
    assert all(torch.equal(two["again"]["weights"][name], value) for name, value in first["weights"].items())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_take_the_same_steps_in_other_architectures_and_precisions(tmp_path: Path) -> None:
    more = computed(tmp_path / "results.pt", "more", seconds=880)
    for name, case in MORE.items():
        compare(case, [ranks[name] for ranks in more["ranks"]])


def test_one_process_does_what_it_did_before_there_were_several() -> None:
    batches = [pack([Encoded((1, 2, 3), (0.0, 1.0, 1.0))])]
    state = torch.get_rng_state()
    ALONE.draw(0, 1)
    assert torch.equal(torch.get_rng_state(), state)
    assert ALONE.share(batches)[0] is batches[0]
    assert ALONE.sum(1.5, 2) == (1.5, 2)
    assert ALONE.gather("x") == ["x"]
    assert ALONE.objective(token_nll) is token_nll
    assert ALONE.on_first(lambda: 3) == ALONE.with_root(lambda: 3) == ALONE.with_weights(lambda: 3) == 3


@given(st.lists(st.integers(1, 5000), max_size=40), st.integers(1, 9))
def test_every_micro_batch_has_one_process_and_none_has_much_more_than_its_share(sizes: list[int], parts: int) -> None:
    made = balanced(sizes, parts)
    assert len(made) == parts
    assert sorted(index for part in made for index in part) == list(range(len(sizes)))
    assert all(part == sorted(part) for part in made)
    totals = [sum(sizes[index] for index in part) for part in made]
    assert max(totals) - min(totals) <= max(sizes, default=0)


def test_where_weights_are_cut_all_processes_compute_the_same_number() -> None:
    batches = [pack([Encoded(tuple(range(n)), (1.0,) * n)]) for n in (9, 4, 3)]
    cut = ranks.Whole(torch.nn.Linear(1, 1))
    shares = [Ranks(rank, 4, None, cut).share(batches) for rank in range(4)]
    assert [len(share) for share in shares] == [1, 1, 1, 1]
    assert [len(share[0].target_id) for share in shares] == [8, 3, 2, 0]
    assert [len(Ranks(rank, 4).share(batches)) for rank in range(4)] == [1, 1, 1, 0]
    assert Ranks(1, 4, None, cut).share([]) == []


def test_a_filling_batch_touches_every_weight_and_changes_none() -> None:
    model = build("llama")
    empty = ranks._without_targets(pack([Encoded((1, 2, 3), (0.0, 1.0, 1.0)), Encoded((4, 5), (0.0, 1.0))]))
    result = token_nll(target_logits(model, Packing(False, "")), empty)
    result.loss.backward()
    assert (float(result.loss.detach()), len(result.correct)) == (0.0, 0)
    assert all(p.grad is not None and not bool(p.grad.any()) for p in model.parameters())


def test_gradients_are_summed_in_pieces_of_one_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "PIECE", 10)
    gradients = [torch.zeros(n) for n in (4, 6, 1, 25, 2)] + [torch.zeros(2, dtype=torch.bfloat16)]
    pieces = [[len(g) for g in piece] for piece in ranks._pieces(gradients)]
    assert pieces == [[4, 6], [1], [25], [2], [2]]
    assert ranks._pieces([]) == []


class Told(Ranks):
    """Ranks whose devices all have the same memory."""

    def gather(self, value: Any) -> list[Any]:
        return [value] * self.size


def engine(wanted: str, size: int = 4, method: str = "full", weights: float = 1e9, memory: float = 80e9) -> str:
    return choose_engine(
        wanted,
        Told(0, size),
        method=method,
        parameters=lambda: int(weights),
        products=torch.bfloat16,
        memory=int(memory),
    ).engine


def test_weights_are_cut_only_when_they_do_not_fit_or_when_asked() -> None:
    assert engine("auto") == "ddp"
    assert engine("auto", weights=8e9) == "fsdp"  # 18 bytes each
    assert engine("auto", weights=8e9, method="lora") == "ddp"  # 6 bytes each
    assert engine("auto", weights=13e9, method="lora") == "fsdp"
    assert engine("fsdp") == "fsdp"
    assert engine("ddp", weights=8e9) == "ddp"
    assert engine("auto", weights=70e9, method="qlora") == "ddp"  # four bits cannot be cut
    with pytest.raises(HeedError, match="four bits"):
        engine("fsdp", method="qlora")


@pytest.mark.parametrize("wanted", ["ddp", "fsdp"])
def test_an_engine_for_one_process_is_refused_with_the_command_for_several(wanted: str) -> None:
    with pytest.raises(HeedError, match="one process") as caught:
        engine(wanted, size=1)
    assert "torchrun --nproc-per-node 2 -m heedlm" in caught.value.problems[0].mend
    assert engine("auto", size=1) == "ddp"


def test_a_step_has_a_row_for_every_process() -> None:
    assert ranks.micro_tokens(ALONE, 8192, 4096) == 4096
    assert ranks.micro_tokens(Ranks(0, 2), 8192, 4096) == 4096
    assert ranks.micro_tokens(Ranks(0, 8), 8192, 4096) == 1024
    assert ranks.micro_tokens(Ranks(0, 3), 100, 4096) == 34


def launched_as(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_a_launcher_is_known_by_all_of_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    launched_as(monkeypatch, RANK="3", WORLD_SIZE="8")  # some schedulers leave these lying about
    assert launch.launched() == launch.Launch(0, 1, 0, 1)
    assert failures.program() == "heed"
    launched_as(monkeypatch, RANK="3", WORLD_SIZE="8", LOCAL_RANK="1", LOCAL_WORLD_SIZE="2", **where)
    assert launch.launched() == launch.Launch(3, 8, 1, 2)
    assert failures.program() == "torchrun --nnodes 4 ... --nproc-per-node 2 -m heedlm --"
    monkeypatch.setattr(failures, "STORE_PATIENCE", timedelta(seconds=0.1))
    assert failures.may_speak()  # nobody keeps the store: better said twice than not at all


def test_more_processes_than_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    launched_as(monkeypatch, RANK="2", WORLD_SIZE="4", **where)
    assert parallel.own_device(torch.device("cpu")) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(HeedError, match=r"4 processes on this machine, which has 2 cuda device") as caught:
        parallel.own_device(torch.device("cuda"))
    assert "--nproc-per-node 2" in caught.value.problems[0].mend
    with pytest.raises(HeedError, match="1 mps device"):
        parallel.own_device(torch.device("mps"))


def test_only_the_end_of_another_process_counts_as_its_loss() -> None:
    reset = RuntimeError("[gloo/transport/tcp/pair.cc:537] Read error: Connection reset by peer.")
    assert failures.lost_another(reset)
    assert not failures.lost_another(RuntimeError("CUDA out of memory"))
    assert not failures.lost_another(ValueError("Connection closed by peer"))


def test_an_error_keeps_its_problems_on_the_way_to_another_process() -> None:
    error = HeedError("no space", "here", "make some")
    assert pickle.loads(pickle.dumps(error)).problems == error.problems


def test_layers_are_groups_of_their_own_unless_they_share_a_weight() -> None:
    model = build("llama", tie_word_embeddings=True)
    layers = list(model.model.layers)
    assert parallel._layers(model) == layers
    layers[1].mlp.up_proj.weight = layers[0].mlp.up_proj.weight
    assert parallel._layers(model) == []

    class Other(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(3))
            self.ends = torch.nn.ModuleList([torch.nn.Linear(2, 2)])

    other = Other()
    assert parallel._layers(other) == list(other.blocks)
