"""Rows and workers: every side is given the same tokens, and trains on them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from heedlm.tokens.tokenizer import load_tokenizer

PEER = Path(__file__).resolve().parents[2] / ".bench" / "trl" / "bin" / "python"


def run(name: str, python: str, model: Path, files: Any, **more: Any) -> dict[str, Any]:
    import common

    spec = {"model": str(model), "rows": str(files.rows), "pairs": str(files.pairs), "device": "cpu", "seed": 0, **more}
    return common.run_worker(Path(python), f"{name}_worker.py", spec, threads=1, name=name)


def test_rows_are_what_their_text_says_and_no_boundary_is_in_doubt(bench: Path) -> None:
    import rows

    learned, held_out, source = rows.instruction_rows(20, 5, seed=0)
    assert (len(learned), len(held_out), source) == (20, 5, "atlas")
    assert not {row.prompt for row in learned} & {row.prompt for row in held_out}
    tokenizer = load_tokenizer(rows.tokenizer_folder())
    for row in learned:
        before = tokenizer(row.prompt, add_special_tokens=False)["input_ids"]
        assert list(row.ids) == tokenizer(row.prompt + row.completion, add_special_tokens=False)["input_ids"]
        assert list(row.ids[: len(before)]) == before
        assert row.learned == (False,) * len(before) + (True,) * (len(row.ids) - len(before))
        assert row.completion.endswith(str(tokenizer.eos_token))
    assert rows.instruction_rows(20, 5, seed=0)[0] == learned
    assert rows.instruction_rows(20, 5, seed=1)[0] != learned


@pytest.mark.parametrize(("tokens", "learned"), [(64, 32), (512, 256), (30, 3)])
def test_even_rows_have_exactly_the_tokens_asked_for(bench: Path, tokens: int, learned: int) -> None:
    import rows

    made = rows.even_rows(3, tokens, learned, seed=0)
    assert [(len(row.ids), sum(row.learned)) for row in made] == [(tokens, learned)] * 3
    assert len({row.ids for row in made}) == 3


def test_heed_and_a_plain_loop_learn_the_same_tokens_with_the_same_first_loss(bench: Path) -> None:
    import common
    import rows

    made = rows.even_rows(4, 32, 16, seed=0)
    files = rows.write_rows(bench / "rows", made, "words")
    model = rows.model_folder("tiny")
    settings = ["train.tokens_per_step=128", "train.precision=bf16"]
    wanted = common.worker_digest((row.ids, row.learned) for row in made)
    ours = run("heed", sys.executable, model, files, steps=2, settings=settings)
    plain = run("plain", sys.executable, model, files, steps=2, checkpointing=True)
    for name, report in (("heed", ours), ("plain", plain)):
        common.check_same_rows(name, report, wanted)
        common.check_learns(name, report)
        assert [(step["tokens"], step["learned"]) for step in report["steps"]] == [(128, 64)] * 2
        assert report["peak"] > report["level"] > 0
    assert ours["steps"][0]["loss"] == pytest.approx(plain["steps"][0]["loss"], rel=1e-3)
    assert ours["steps"][0]["grad_norm"] == pytest.approx(plain["steps"][0]["grad_norm"], rel=0.02)
    assert sorted(index for step in ours["order"] for index in step) == [0, 1, 2, 3]


def test_a_worker_that_fails_says_what_it_printed(bench: Path) -> None:
    import common
    import rows

    files = rows.write_rows(bench / "rows", rows.even_rows(1, 16, 4, seed=0), "words")
    with pytest.raises(common.Failed, match="There is no such model folder"):
        run("heed", sys.executable, bench / "nowhere", files, steps=1, settings=[])


def test_shared_prefixes_are_shared_and_change_nothing(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import common
    import shared_prefix

    monkeypatch.setattr(common, "matrix_ceiling", lambda threads, device: {"bf16": 1e12, "fp32": 1e11})
    found = shared_prefix.measure(shared_prefix.SMOKE, threads=1, seed=0, micro_tokens=4096, device="cpu")
    assert found["computed_tokens"] == {"shared": 60 + 6 * 10, "alone": 6 * 70}
    assert found["loss_difference"] < 1e-6
    assert found["gradient_difference"] < 1e-4
    assert {"ratio", "runs", "peers", "tokens", "rows_sha"} <= found.keys()


@pytest.mark.slow
@pytest.mark.skipif(not PEER.exists(), reason="TRL is not installed: make bench-setup")
def test_trl_learns_the_same_tokens_padded_packed_and_without_padding(bench: Path) -> None:
    import common
    import rows

    made = rows.instruction_rows(16, 0, seed=0)[0]
    files = rows.write_rows(bench / "rows", made, "atlas")
    model = rows.model_folder("tiny")
    wanted = common.worker_digest((row.ids, row.learned) for row in made)
    forms: list[dict[str, Any]] = [{"batch": 16}, {"batch": 16, "padding_free": True}, {"batch": 16, "packing": True}]
    configs = [{"name": str(form), "steps": 1, "bf16": False, **form} for form in forms]
    reports = run("trl", os.fspath(PEER), model, files, configs=configs)["runs"]
    settings = ["train.tokens_per_step=100000", "train.precision=fp32"]
    ours = run("heed", sys.executable, model, files, steps=1, settings=settings)
    for report in reports:
        common.check_same_rows("trl", report, wanted)
        common.check_learns("trl", report)
        assert report["steps"][0]["learned"] == wanted["learned"]
        assert report["steps"][0]["loss"] == pytest.approx(ours["steps"][0]["loss"], rel=1e-4)
        assert report["steps"][0]["grad_norm"] == pytest.approx(ours["steps"][0]["grad_norm"], rel=1e-3)
