"""The comparison of a saved model with the trained one: zero for itself, exact on a case worked out by hand, bounded."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from heedlm import api
from heedlm.messages import Encoded
from heedlm.tokens.loader import Loader
from heedlm.train.drift import Drift, witness
from heedlm.train.probe import choose_packing
from heedlm.train.stage import Observer
from tests.families import VOCABULARY, build, checkpoint


def loader(count: int = 6, length: int = 12) -> Loader:
    generator = torch.Generator().manual_seed(1)
    rows = [
        Encoded(tuple(torch.randint(0, VOCABULARY, (length,), generator=generator).tolist()), (0.0,) * 4 + (1.0,) * 8)
        for _ in range(count)
    ]
    return Loader(rows, 40, 40, 0)


@pytest.mark.parametrize("family", ["llama", "bloom", "gpt2"])
def test_a_model_does_not_drift_from_itself(family: str) -> None:
    model = build(family)
    compare = witness(model, choose_packing(model), loader())
    drift = compare(model)
    assert drift.same_top == 1.0
    assert drift.mean_kl == 0.0
    assert drift.targets == 48


@torch.no_grad()
def test_it_is_the_divergence_from_the_trained_to_the_saved() -> None:
    """Against a head of zeros, which says 1/V of every token, the divergence is log V minus the trained entropy."""
    model = build("llama")
    flat = copy.deepcopy(model)
    with torch.no_grad():
        flat.get_output_embeddings().weight.zero_()
    packing = choose_packing(model)
    rows = loader()
    logits = torch.cat([model(torch.tensor([one.ids])).logits[0, 3:11] for one in rows.sequences]).double()
    entropy = float(torch.distributions.Categorical(logits=logits).entropy().mean())
    drift = witness(model, packing, rows)(flat)
    assert drift.mean_kl == pytest.approx(math.log(VOCABULARY) - entropy, rel=1e-5)
    assert drift.same_top == pytest.approx(float((logits.argmax(-1) == 0).double().mean()))


def test_the_witness_remembers_what_the_model_was() -> None:
    """Merging changes the weights in place: the comparison is with what they were before."""
    model = build("llama")
    compare = witness(model, choose_packing(model), loader())
    with torch.no_grad():
        model.get_output_embeddings().weight.add_(0.01)
    assert compare(model).mean_kl > 0


@pytest.mark.parametrize("targets", [1, 20, 47, 48, 49])
def test_no_more_is_kept_than_was_allowed(targets: int) -> None:
    model = build("llama")
    drift = witness(model, choose_packing(model), loader(), kept_logits=targets * VOCABULARY)(model)
    assert drift.targets == min(targets, 48)
    assert drift.mean_kl == 0.0


def test_the_model_comes_back_as_it_was() -> None:
    model = build("llama").train()
    name = model.config._attn_implementation
    witness(model, choose_packing(model), loader())(model)
    assert model.training
    assert model.config._attn_implementation == name
    assert all(p.grad is None for p in model.parameters())


def test_it_reads_as_a_sentence() -> None:
    assert str(Drift(1.23e-7, 1.0, 1234)) == "mean KL 1.2e-07 nats, same top token 100.0% of 1,234"


ROWS = [
    {"instruction": f"Add {a} and {b}.", "input": "", "output": f"{a} and {b} make {a + b}."}
    for a in range(5)
    for b in range(5)
]
SMALL = ("train.tokens_per_step=400", "train.max_steps=3", "train.precision=fp32", "train.panel=0", "train.lr=0.01")


def tuned(folder: Path, settings: list[str], dtype: str = "float32", **more: Any) -> tuple[Any, list[str]]:
    """A run over a tiny base that is stored in `dtype`."""
    base = checkpoint(folder / "base", **more)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "dtype": dtype}))
    (folder / "rows.json").write_text(json.dumps(ROWS))
    said: list[str] = []
    report = api.train(
        model=base,
        data=folder / "rows.json",
        run=folder / "run",
        settings=[*SMALL, *settings],
        observer=Observer(said.append, lambda *a: None),
    )
    return report, said


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["model.lora.dora=true", "model.lora.rslora=true"],
        ["model.lora.tokens=['<|im_end|>']", "data.val=null"],
        ["model.lora.modules_to_save=[lm_head]", "model.lora.dropout=0.1"],
    ],
)
def test_adapters_end_as_a_model_that_is_compared_with_them(settings: list[str], tmp_path: Path) -> None:
    report, said = tuned(tmp_path, ["model.method=lora", *settings], tie_word_embeddings=True)
    drift = Drift(**report.drift)
    assert drift.targets > 10
    assert drift.same_top == 1.0
    assert 0 <= drift.mean_kl < 1e-8
    assert f"merged, read back from disk: {drift}" in said
    assert json.loads((tmp_path / "run" / "run.json").read_text())["train_result"]["drift"] == report.drift
    card = json.loads((report.model / "heed.json").read_text())
    assert card["drift"] == report.drift
    assert f"| against the trained weights | {drift} |" in (report.model / "README.md").read_text()
    assert "lm_head.weight" not in load_file(report.model / "model.safetensors")


@pytest.mark.parametrize("method", ["full", "lora"])
def test_storing_in_bf16_rounds_and_the_report_shows_it(method: str, tmp_path: Path) -> None:
    report, said = tuned(tmp_path, [f"model.method={method}"], dtype="bfloat16")
    assert load_file(report.model / "model.safetensors")["model.norm.weight"].dtype == torch.bfloat16
    assert 1e-7 < report.drift["mean_kl"] < 1e-2
    word = "saved" if method == "full" else "merged"
    assert any(line.startswith(f"{word}, read back from disk: mean KL") for line in said)


def test_in_fp32_nothing_is_lost(tmp_path: Path) -> None:
    report, _ = tuned(tmp_path, ["model.freeze=[embed_tokens]"])
    assert report.drift["mean_kl"] == 0.0
    assert report.trainable_parameters == report.parameters - 320 * 32
    base, result = (load_file(tmp_path / f / "model.safetensors") for f in ("base", "run/model"))
    name = "model.embed_tokens.weight"
    assert torch.equal(base[name], result[name])
    assert not torch.equal(base["lm_head.weight"], result["lm_head.weight"])
