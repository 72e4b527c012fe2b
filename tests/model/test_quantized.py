from __future__ import annotations

from pathlib import Path

import pytest
import torch

from heedlm.config import LoraConfig, ModelConfig
from heedlm.errors import HeedError
from heedlm.model import quantized
from heedlm.model.load import load_model
from heedlm.model.method import check_method, load_base, make_trainable, plain_model
from heedlm.tokens.tokenizer import load_tokenizer
from heedlm.train.probe import choose_packing
from tests.families import checkpoint
from tests.model.test_adapters import shaken


def test_without_cuda_it_is_refused_with_what_works() -> None:
    with pytest.raises(HeedError, match="needs a CUDA device; this run is on cpu") as caught:
        check_method(ModelConfig(path="x", method="qlora"), torch.device("cpu"))
    assert caught.value.problems[0].mend == "--set model.method=lora"


def test_without_its_package_it_is_refused_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantized, "find_spec", lambda name: None)
    with pytest.raises(HeedError, match="bitsandbytes") as caught:
        check_method(ModelConfig(path="x", method="qlora"), torch.device("cuda"))
    assert "pip install 'heedlm[qlora]'" in caught.value.problems[0].mend
    monkeypatch.setattr(quantized, "find_spec", lambda name: object())
    check_method(ModelConfig(path="x", method="qlora"), torch.device("cuda"))


def test_what_is_asked_of_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings that reach transformers, seen without the package: NF4, doubly quantised, fp32 around it."""
    import peft
    from transformers import AutoModelForCausalLM

    asked: dict[str, object] = {}
    model = object()
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda path, **options: asked.update(options) or model)
    monkeypatch.setattr(
        peft, "prepare_model_for_kbit_training", lambda given, **o: asked.update(o, prepared=given) or given
    )
    assert quantized.load_quantized(checkpoint(tmp_path / "base"), device="cuda:0") is model
    settings = asked["quantization_config"]
    assert settings.load_in_4bit  # type: ignore[attr-defined]
    assert settings.bnb_4bit_quant_type == "nf4"  # type: ignore[attr-defined]
    assert settings.bnb_4bit_use_double_quant  # type: ignore[attr-defined]
    assert asked["device_map"] == {"": "cuda:0"}
    assert asked["use_safetensors"] is True
    assert asked["prepared"] is model


def test_freezing_beside_adapters_is_refused() -> None:
    for method in ("lora", "qlora"):
        config = ModelConfig(path="x", method=method, freeze=("norm",))
        with pytest.raises(HeedError, match=r"nothing for model\.freeze to do|CUDA"):
            check_method(config, torch.device("cpu"))


@pytest.mark.gpu
def test_an_adapter_over_four_bits_learns_and_is_merged_in_full_precision(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    from peft import PeftModel

    folder = checkpoint(tmp_path / "base", hidden_size=64, intermediate_size=128, num_hidden_layers=1)
    config = ModelConfig(path=str(folder), method="qlora", lora=LoraConfig(rank=4))
    device = torch.device("cuda")
    said: list[str] = []
    base = load_base(config, load_tokenizer(folder), device, said.append)
    assert choose_packing(base.model).packed
    model = make_trainable(base, config, said.append)
    assert said == ["adapters on 7 of 7 weight matrices between embedding and head"]
    ids = torch.arange(30, device=device)[None]
    shaken(model).train()(input_ids=ids).logits.float().logsumexp(-1).sum().backward()
    learning = [p for p in model.parameters() if p.requires_grad]
    assert len(learning) == 14
    assert all(p.dtype == torch.float32 and p.grad is not None and bool(p.grad.any()) for p in learning)
    plain = plain_model(model, base, config, tmp_path / "adapter")
    over_full = PeftModel.from_pretrained(load_model(folder), str(tmp_path / "adapter")).eval()
    with torch.no_grad():
        torch.testing.assert_close(plain(ids.cpu()).logits, over_full(ids.cpu()).logits, rtol=1e-4, atol=1e-4)
