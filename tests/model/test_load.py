from pathlib import Path

import pytest
import torch

from heedlm.errors import HeedError
from heedlm.model.load import (
    configured_context,
    context_length,
    load_model,
    pick_device,
    resolve,
    serving_dtype,
    stored_dtype,
)
from tests.families import FAMILIES, checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("llama"))


def test_weights_arrive_in_fp32_whatever_they_are_stored_in(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path)
    assert stored_dtype(tmp_path) == torch.bfloat16
    assert {p.dtype for p in load_model(tmp_path).parameters()} == {torch.float32}


def test_the_context_is_read_with_and_without_weights(folder: Path) -> None:
    assert context_length(load_model(folder)) == configured_context(str(folder)) == 128


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_loads_from_its_folder(family: str, tmp_path: Path) -> None:
    model = load_model(checkpoint(tmp_path, family))
    assert sum(p.numel() for p in model.parameters()) > 1000


def test_a_missing_folder_names_what_can_be_given() -> None:
    with pytest.raises(HeedError, match="no model folder") as caught:
        load_model("./nowhere")
    assert "hub id" in caught.value.problems[0].mend


def test_a_folder_without_config_without_weights_or_with_pickles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HeedError, match=r"config\.json is missing"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(HeedError, match="holds no weights"):
        load_model(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(HeedError, match="pickled"):
        load_model(tmp_path)


@pytest.mark.parametrize("config", ["{", '{"model_type": "no-such-model"}', "[]"])
def test_a_broken_config_is_an_error_with_a_place_not_a_traceback(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(HeedError, match="cannot be loaded") as caught:
        load_model(tmp_path)
    assert str(tmp_path) in caught.value.problems[0].where


def test_weights_that_are_cut_off_are_an_error(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(HeedError, match="cannot be loaded"):
        load_model(tmp_path)


def test_names_stand_for_folders(folder: Path, tmp_path: Path) -> None:
    assert resolve(folder) == str(folder)
    assert resolve("atlas").endswith("base")
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(HeedError, match="no model yet"):
        resolve(tmp_path)
    checkpoint(tmp_path / "model")
    assert resolve(tmp_path) == str(tmp_path / "model")


def test_a_device_that_is_not_there_is_refused() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    if not torch.cuda.is_available():
        with pytest.raises(HeedError, match="no device 'cuda'"):
            pick_device("cuda")
    with pytest.raises(HeedError, match="no device 'abacus'"):
        pick_device("abacus")


def test_a_typo_under_a_folder_that_exists_is_not_asked_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HeedError, match="no model folder") as caught:
        resolve("runs/dmo")
    assert "runs/demo" in caught.value.problems[0].mend


def test_a_run_without_a_model_says_what_to_run_next(tmp_path: Path) -> None:
    for facts, mend in (
        ('{"prepare": {"command": "heed prepare --data rows.jsonl"}}', f"heed train --model MODEL --run {tmp_path}"),
        ('{"prepare": {"command": "heed train --model m --data d"}}', "heed train --model m --data d"),
        ('{"prepare": {"command": "x.py"}, "train": {"command": "x.py"}}', "once more"),
        ('{"pretrain": {"command": "heed pretrain r.yaml"}}', "heed pretrain r.yaml"),
    ):
        (tmp_path / "run.json").write_text(facts)
        with pytest.raises(HeedError, match="no model yet") as caught:
            resolve(tmp_path)
        assert mend in caught.value.problems[0].mend


def test_a_file_is_no_model_and_a_folder_of_models_names_one(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(HeedError, match="this is a file"):
        resolve(folder / "config.json")
    inside = checkpoint(tmp_path / "models" / "one")
    with pytest.raises(HeedError, match="holds no model") as caught:
        resolve(tmp_path / "models")
    assert str(inside) in caught.value.problems[0].mend


def test_a_model_that_only_answers_is_held_in_what_the_device_computes_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for supported, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True, s=supported: s)
        assert serving_dtype(torch.device("cuda")) == expected
        assert serving_dtype(torch.device("cpu")) == serving_dtype(torch.device("mps")) == torch.float32
    assert {p.dtype for p in load_model(folder, dtype=torch.bfloat16).parameters()} == {torch.bfloat16}
