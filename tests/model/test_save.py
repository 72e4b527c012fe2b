import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from heedlm.errors import HeedError
from heedlm.model import save
from heedlm.model.load import load_model
from heedlm.templates.chat import load_template, stop_ids
from heedlm.tokens.tokenizer import load_tokenizer
from tests.families import checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("llama"))


def save_once(folder: Path, out: Path, dtype: torch.dtype = torch.float32) -> None:
    tokenizer = load_tokenizer(folder)
    template = load_template("chatml", tokenizer)
    stops = stop_ids(template, tokenizer)
    save.save_result(
        load_model(folder),
        tokenizer,
        out,
        dtype=dtype,
        chat_template=template.source,
        stop_ids=stops,
        facts={"base": "b"},
    )


def test_the_result_is_what_transformers_loads_and_generates_from(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    save_once(folder, out)
    names = {p.name for p in out.iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "chat_template.jinja",
        "generation_config.json",
        "README.md",
        "heed.json",
        "tokenizer.json",
    } <= names
    tokenizer = AutoTokenizer.from_pretrained(out)
    model = AutoModelForCausalLM.from_pretrained(out)
    stop = json.loads((out / "generation_config.json").read_text())["eos_token_id"]
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in stop
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    assert model.generate(**prompt, max_new_tokens=3).shape[1] > prompt["input_ids"].shape[1]


def test_weights_are_stored_in_the_asked_dtype_and_read_back_equal(folder: Path, tmp_path: Path) -> None:
    save_once(folder, tmp_path / "half", torch.bfloat16)
    again = load_model(tmp_path / "half")
    for (name, mine), theirs in zip(load_model(folder).named_parameters(), again.parameters(), strict=True):
        assert torch.equal(mine.bfloat16().float(), theirs), name


def test_what_does_not_read_back_is_not_called_saved(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaForCausalLM

    whole = LlamaForCausalLM.save_pretrained

    def forgetful(self: LlamaForCausalLM, path: Path, state_dict: dict[str, torch.Tensor]) -> None:
        whole(self, path, state_dict={**state_dict, "model.norm.weight": state_dict["model.norm.weight"] + 1})

    monkeypatch.setattr(LlamaForCausalLM, "save_pretrained", forgetful)
    with pytest.raises(HeedError, match=r"model\.norm\.weight"):
        save_once(folder, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_model_that_was_there(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_once(folder, tmp_path / "model")
    before = (tmp_path / "model" / "model.safetensors").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("transformers.LlamaForCausalLM.save_pretrained", full)
    with pytest.raises(HeedError, match="No space left"):
        save_once(folder, tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_the_card_is_read_back(folder: Path, tmp_path: Path) -> None:
    save_once(folder, tmp_path / "model")
    assert save.read_card(tmp_path / "model") == {"version": 1, "kind": "instruct", "base": "b"}
    assert save.read_card(folder) == {}
