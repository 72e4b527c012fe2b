"""What a benchmark counts, what it refuses, and the line it leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from heedlm.messages import Encoded
from heedlm.tokens.pack import pack
from heedlm.train.meter import work_of


def report(**step: Any) -> dict[str, Any]:
    return {"steps": [{"tokens": 8, "learned": 4, "seconds": 2.0, "grad_norm": 1.0, **step}]}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("trained", [1.0, 0.0])
def test_needed_operations_agree_with_those_that_heed_counts_on_the_model(tied: bool, trained: float) -> None:
    from common import Shape, needed_flops

    shape = Shape(3, 64, 4, 2, 96, 500, tied)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=shape.vocab,
            hidden_size=shape.hidden,
            intermediate_size=shape.intermediate,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            tie_word_embeddings=tied,
        )
    ).requires_grad_(bool(trained))
    matrices = sum(p.numel() for p in model.parameters() if p.dim() > 1)
    assert matrices == shape.parameters
    rows = [Encoded((1,) * n, (0.0,) * (n - k) + (1.0,) * k) for n, k in ((7, 3), (20, 19), (2, 1))]
    assert needed_flops(shape, [7, 20, 2], 23, trained) == pytest.approx(work_of(model).of(pack(rows)))


@pytest.mark.parametrize("norm", [0.0, float("nan"), float("inf"), None])
def test_a_side_without_gradients_fails(norm: float | None) -> None:
    from common import Failed, check_learns

    check_learns("side", report())
    with pytest.raises(Failed, match="side: the gradient norm of step 0"):
        check_learns("side", report(grad_norm=norm))


def test_a_side_that_learns_from_nothing_fails() -> None:
    from common import Failed, check_learns

    with pytest.raises(Failed, match="learned from no token"):
        check_learns("side", report(learned=0))


def test_rows_are_the_same_in_any_order_and_differ_by_one_learned_mark() -> None:
    from common import Failed, check_same_rows, worker_digest

    a, b = ([1, 2, 3], [False, True, True]), ([4, 5], [False, True])
    wanted = worker_digest([a, b])
    assert wanted == worker_digest([b, a])
    assert (wanted["rows"], wanted["tokens"], wanted["learned"]) == (2, 5, 3)
    assert wanted == worker_digest([([1, 2, 3], [True, True, True]), b])  # a first token has no predecessor
    for other in ([a], [a, ([4, 5], [False, False])], [a, ([4, 6], [False, True])]):
        with pytest.raises(Failed, match="does not learn the same tokens"):
            check_same_rows("side", {"dataset": worker_digest(other)}, wanted)


def test_speed_leaves_the_warm_up_out_and_needs_something_behind_it() -> None:
    from common import Failed, tokens_per_second

    steps = [*report(seconds=50.0)["steps"], *report()["steps"], *report(tokens=4, seconds=1.0)["steps"]]
    assert tokens_per_second({"steps": steps}, 1) == pytest.approx(4.0)
    with pytest.raises(Failed, match="the first 3 are not counted"):
        tokens_per_second({"steps": steps}, 3)


def test_a_missing_peer_is_named_with_the_way_to_get_it(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from common import Failed, peer_python

    monkeypatch.delenv("HEED_PEER_TRL", raising=False)
    with pytest.raises(Failed, match="make bench-setup"):
        peer_python("trl")
    monkeypatch.setenv("HEED_PEER_TRL", str(bench))
    assert peer_python("trl") == bench


def test_the_last_line_is_the_result_and_a_smoke_run_is_kept_apart(
    bench: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import common

    monkeypatch.setattr(common, "RESULTS", tmp_path)
    for smoke, folder in ((True, bench / "smoke"), (False, tmp_path)):
        common.finish("speed", {"ratio": 2.0, "runs": 3}, began=0.0, threads=1, smoke=smoke)
        line = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert line["ratio"] == 2.0
        assert line["seconds"] > 0
        assert line["machine"]["threads"] == 1
        assert json.loads((folder / "speed.jsonl").read_text().splitlines()[-1]) == line
    assert not list(bench.glob("*.jsonl"))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured on Linux only")
def test_each_step_has_its_own_peak() -> None:
    from meter import Meter

    from heedlm.machine import return_free_memory

    return_free_memory()  # a training in this process has asked for freed memory to be kept (train.heap)
    meter = Meter()
    meter.before_model()
    meter.start()
    large = torch.ones(2**25)  # 128 MB
    meter.step(1, 1)
    del large
    return_free_memory()
    meter.step(1, 1)
    first, second = (step["peak"] - meter.level for step in meter.steps)
    # Giving memory back takes effect at the second step's beginning, where its peak starts.
    assert first > 100 * 2**20
    meter.step(1, 1)
    assert meter.steps[2]["peak"] - meter.level < first - 64 * 2**20
    assert second >= 0
    assert meter.report()["peak"] - meter.level == pytest.approx(first, abs=2**22)


def test_an_exponent_is_the_slope_of_a_power_law() -> None:
    from scaling import slope

    assert slope([1, 10, 100], [3, 3 * 10**1.5, 3 * 10**3]) == pytest.approx(1.5)
