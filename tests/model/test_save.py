import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from heedlm.errors import HeedError
from heedlm.model import save
from heedlm.model.load import load_model, stored_dtype
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
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "bfloat16"
    assert stored_dtype(tmp_path / "half") == torch.bfloat16
    assert next(AutoModelForCausalLM.from_pretrained(tmp_path / "half").parameters()).dtype == torch.bfloat16
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


def test_what_is_measured_of_the_model_read_back_stands_in_its_card(folder: Path, tmp_path: Path) -> None:
    """The measure sees the weights as stored, in fp32, before the folder has its name."""
    tokenizer = load_tokenizer(folder)
    template = load_template("chatml", tokenizer)
    model = load_model(folder)

    def measure(again: torch.nn.Module) -> dict[str, object]:
        assert not (tmp_path / "model").exists()
        assert not again.training
        for mine, theirs in zip(model.parameters(), again.parameters(), strict=True):
            assert theirs.dtype == torch.float32
            assert torch.equal(mine.bfloat16().float(), theirs)
        return {"rounded_by": "little", "figures": {"a": 1.0}}

    found = save.save_result(
        model,
        tokenizer,
        tmp_path / "model",
        dtype=torch.bfloat16,
        chat_template=template.source,
        stop_ids=stop_ids(template, tokenizer),
        facts={"base": "b"},
        measure=measure,
    )
    assert found == {"rounded_by": "little", "figures": {"a": 1.0}}
    assert save.read_card(tmp_path / "model")["figures"] == {"a": 1.0}
    assert "| rounded by | little |" in (tmp_path / "model" / "README.md").read_text()


@pytest.mark.parametrize(
    ("file", "change", "what"),
    [
        ("chat_template.jinja", lambda text: text + " ", "the chat template"),
        ("generation_config.json", lambda text: text.replace('"eos_token_id": [', '"eos_token_id": [7, '), "stop ids"),
        ("tokenizer.json", lambda text: text.replace('"<|im_end|>"', '"<|im_over|>"'), "the tokenizer's vocabulary"),
    ],
)
def test_template_stop_ids_and_tokens_are_read_back_too(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, change: Callable[[str], str], what: str
) -> None:
    whole = save._read_back

    def damaged(model: Any, tokenizer: Any, written: Path, dtype: torch.dtype) -> Any:
        text = (written / file).read_text()
        assert change(text) != text
        (written / file).write_text(change(text))
        return whole(model, tokenizer, written, dtype)

    monkeypatch.setattr(save, "_read_back", damaged)
    with pytest.raises(HeedError, match=what):
        save_once(folder, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_second_result_takes_the_place_of_the_first_and_leaves_nothing_beside_it(
    folder: Path, tmp_path: Path
) -> None:
    save_once(folder, tmp_path / "model", torch.bfloat16)
    (tmp_path / "model" / "stray").write_text("of the first")
    save_once(folder, tmp_path / "model")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert not (tmp_path / "model" / "stray").exists()
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "float32"


@pytest.mark.parametrize(("base", "named"), [("ORG/NAME-1.5", True), ("atlas", False), ("./x/y", False), ("", False)])
def test_a_card_names_a_base_only_by_a_hub_id(folder: Path, tmp_path: Path, base: str, named: bool) -> None:
    """The hub refuses the upload of a card whose base_model is a folder of somebody's machine."""
    tokenizer = load_tokenizer(folder)
    save.save_result(
        load_model(folder),
        tokenizer,
        tmp_path / "model",
        dtype=torch.float32,
        chat_template="x",
        stop_ids=(2,),
        facts={"base": base},
    )
    card = (tmp_path / "model" / "README.md").read_text()
    assert (f"base_model: {base}\n" in card) == named
    assert ("base_model" in card) == named
    assert f"| base | {base} |" in card


def test_a_tied_matrix_is_stored_once_and_stays_tied(tmp_path: Path) -> None:
    tied = checkpoint(tmp_path / "base", tie_word_embeddings=True)
    save_once(tied, tmp_path / "model", torch.bfloat16)
    assert "lm_head.weight" not in load_file(tmp_path / "model" / "model.safetensors")
    model = load_model(tmp_path / "model")
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
