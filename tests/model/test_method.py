"""Methods from the recipe to the result: what is refused before any work, what trains, what goes on to the same bits."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from heedlm import api
from heedlm.config import LoraConfig
from heedlm.errors import HeedError
from heedlm.messages import Encoded
from heedlm.model import attention, push
from heedlm.model.adapters import add_adapter
from heedlm.model.load import load_model
from heedlm.tokens.pack import pack
from heedlm.tokens.tokenizer import load_tokenizer
from heedlm.train import forward
from heedlm.train.forward import attention_set_to
from heedlm.train.loss import token_nll
from heedlm.train.probe import choose_packing
from heedlm.train.stage import Interrupted, Observer
from tests.families import checkpoint
from tests.model.test_adapters import shaken

ROWS = [
    {"instruction": f"Add {a} and {b}.", "input": "", "output": f"{a} and {b} make {a + b}."}
    for a in range(5)
    for b in range(5)
]
SMALL = ("train.tokens_per_step=300", "train.epochs=2", "train.precision=fp32", "train.panel=0", "train.lr=0.01")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS))
    return path


def tune(folder: Path, data: Path, *settings: str, said: list[str] | None = None, **more: Any) -> Any:
    hear = (lambda line: None) if said is None else said.append
    observer = more.pop("observer", None) or Observer(hear, lambda *a: None)
    options = {"model": folder / "base", "data": data, "run": folder / "run", **more}
    return api.train(settings=[*SMALL, *settings], observer=observer, **options)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (["model.method=qlora", "train.device=cpu"], "needs a CUDA device"),
        (["model.method=lora", "model.freeze=[norm]"], r"nothing for model\.freeze to do"),
    ],
)
def test_a_method_that_cannot_run_is_refused_before_anything_is_written(
    settings: list[str], match: str, data: Path, tmp_path: Path
) -> None:
    checkpoint(tmp_path / "base")
    with pytest.raises(HeedError, match=match):
        tune(tmp_path, data, *settings)
    assert not (tmp_path / "run").exists()


def test_the_trainable_share_is_said(data: Path, tmp_path: Path) -> None:
    checkpoint(tmp_path / "base")
    said: list[str] = []
    report = tune(tmp_path, data, "train.max_steps=1", "model.freeze=[embed_tokens,lm_head]", said=said)
    assert report.parameters - report.trainable_parameters == 2 * 320 * 32
    assert any("0.02M weights in 2 parameters are frozen, as asked" in line for line in said)
    share = f"{report.trainable_parameters / report.parameters:.1%}"
    assert any(f"trainable (full, {share})" in line for line in said)


def test_adapters_that_nobody_asked_for_by_method_are_mentioned(data: Path, tmp_path: Path) -> None:
    checkpoint(tmp_path / "base")
    said: list[str] = []
    tune(tmp_path, data, "train.max_steps=1", "model.lora.rank=8", said=said)
    assert "model.lora is set and does nothing: model.method is full" in said


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    "config", [{"modules_to_save": ["lm_head"]}, {"tokens": ["<|im_end|>"]}, {"targets": ["q_proj"], "dora": True}]
)
def test_a_head_with_something_to_learn_gets_the_same_gradients_in_parts(
    config: dict[str, Any], tied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Head and loss run over some learned tokens at a time: what peft put round the head must not be passed by."""
    tokenizer = load_tokenizer(checkpoint(tmp_path, tie_word_embeddings=tied))
    model = load_model(tmp_path)
    packing = choose_packing(model)
    assert packing.splits
    torch.manual_seed(0)
    adapted = shaken(add_adapter(model, LoraConfig(rank=2, **config), tokenizer))
    ids = tuple(torch.randint(0, 320, (40,), generator=torch.Generator().manual_seed(1)).tolist())
    batch = pack([Encoded(ids, (1.0,) * 40)])
    learning = [p for p in adapted.parameters() if p.requires_grad]
    found = []
    for elements in (2**25, 320 * 7):
        monkeypatch.setattr(forward, "HEAD_ELEMENTS", elements)
        with attention_set_to(adapted, attention.NAME):
            loss = token_nll(forward.target_logits(adapted, packing), batch).loss
            found.append((loss, torch.autograd.grad(loss, learning)))
    (whole, expected), (parts, gradients) = found
    torch.testing.assert_close(parts, whole)
    for mine, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_tokenizer_longer_than_its_model_gets_rows_that_train(method: str, data: Path, tmp_path: Path) -> None:
    """Pain 16. Somebody added a stop token to the tokenizer and forgot the model: the token must learn and travel."""
    base = checkpoint(tmp_path / "base", tie_word_embeddings=True)
    tokenizer = load_tokenizer(base)
    tokenizer.add_tokens([f"<|{n}|>" for n in range(320 - len(tokenizer))] + ["<|stop|>"], special_tokens=True)
    tokenizer.save_pretrained(base)
    (tmp_path / "plain.jinja").write_text(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}{% if m.role == 'assistant' %}<|stop|>{% endif %}\n"
        "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    )
    said: list[str] = []
    settings = [f"model.method={method}", f"templates.chat={tmp_path / 'plain.jinja'}", "data.test=null"]
    report = tune(tmp_path, data, *settings, said=said)
    assert any("1 tokens more than the model" in line for line in said)
    model, words = AutoModelForCausalLM.from_pretrained(report.model), AutoTokenizer.from_pretrained(report.model)
    assert model.config.vocab_size == len(words) == 321
    assert words.convert_tokens_to_ids("<|stop|>") == 320
    rows = model.get_input_embeddings().weight.detach()
    assert float((rows[320] - rows[:320].mean(0)).abs().max()) > 1e-3
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert report.drift["same_top"] == 1.0
    if method == "lora":
        held = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
        assert [tuple(w.shape) for name, w in held.items() if "trainable_tokens" in name] == [(1, 32)]


def test_a_base_shorter_than_its_tokenizer_can_be_compared_with(data: Path, tmp_path: Path) -> None:
    base = checkpoint(tmp_path / "base")
    tokenizer = load_tokenizer(base)
    tokenizer.add_tokens([f"<|{n}|>" for n in range(330 - len(tokenizer))])
    tokenizer.add_special_tokens({"eos_token": "<|over|>"})
    tokenizer.save_pretrained(base)
    settings = ["train.max_steps=1", "data.test=0.2", "templates.chat=human_assistant", "train.panel=1"]
    report = tune(tmp_path, data, *settings)
    assert len(AutoModelForCausalLM.from_pretrained(report.model).get_input_embeddings().weight) == 331
    done = api.evaluate(run=tmp_path / "run", settings=["eval.max_tokens=2"])
    assert done.report.tasks


@pytest.mark.parametrize(
    "settings",
    [
        ["model.freeze=['layers.0',embed_tokens]", "train.schedule=wsd"],
        ["model.method=lora", "model.lora.dora=true", "model.lora.tokens=['<|im_end|>']", "model.lora.dropout=0.2"],
        ["model.method=lora", "model.lora.modules_to_save=[lm_head,norm]"],
    ],
)
def test_whatever_trains_goes_on_to_the_same_bits(settings: list[str], data: Path, tmp_path: Path) -> None:
    checkpoint(tmp_path / "base", tie_word_embeddings=True)

    def stop(number: int, of: int, report: object) -> None:
        if number == 3:
            os.kill(os.getpid(), signal.SIGINT)

    whole = tune(tmp_path, data, *settings, run=tmp_path / "whole")
    with pytest.raises(Interrupted, match="after step 3"):
        tune(tmp_path, data, *settings, observer=Observer(lambda line: None, stop))
    parts = tune(tmp_path, data, *settings)
    one, other = (load_file(r.model / "model.safetensors") for r in (whole, parts))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert whole.drift == parts.drift


def test_pushing_is_asked_for_checked_first_and_done_last(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint(tmp_path / "base")
    done: list[tuple[str, bool, bool]] = []

    def seen(word: str, public: bool) -> str:
        done.append((word, public, (tmp_path / "run" / "model" / "heed.json").is_file()))
        return "https://huggingface.co/me/model"

    monkeypatch.setattr(push, "check_push", lambda repo, public: seen(f"check {repo}", public))
    monkeypatch.setattr(push, "push", lambda folder, repo, public: seen(f"push {folder.name} {repo}", public))
    said: list[str] = []
    tune(tmp_path, data, "train.max_steps=1", said=said, push="me/model")
    assert done == [("check me/model", False, False), ("push model me/model", False, True)]
    assert said[-1] == "pushed to https://huggingface.co/me/model"
    done.clear()
    tune(tmp_path, data, "train.max_steps=1")
    assert done == []


def test_the_command_line_hands_it_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from heedlm.cli import main

    given: dict[str, Any] = {}
    monkeypatch.setattr(api, "train", lambda **options: given.update(options) or (_ for _ in ()).throw(HeedError("on")))
    for arguments, public in ((["--push", "me/model"], False), (["--push", "me/model", "--public"], True)):
        with pytest.raises(SystemExit):
            main(["train", "--model", "atlas", "--data", "x.json", "--run", str(tmp_path), *arguments])
        assert (given["push"], given["public"]) == ("me/model", public)


def test_a_push_that_cannot_work_is_refused_before_anything_is_written(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    from huggingface_hub import constants

    checkpoint(tmp_path / "base")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(HeedError, match="Nobody is logged in"):
        tune(tmp_path, data, push="me/model")
    assert not (tmp_path / "run").exists()
