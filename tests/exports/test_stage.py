"""`heed export` from a trained run: folders that load, proofs that can fail, and nothing lost on the way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import heedlm
from heedlm import api
from heedlm.errors import HeedError
from heedlm.exports import card, hf, stage
from heedlm.exports.folder import size_text
from heedlm.generate.chat import load_chat
from heedlm.messages import Message, Request, Sampling
from tests.exports.makers import VOCABULARY, bytes_tokenizer, saved
from tests.families import build
from tests.typed import Heed

pytest.importorskip("gguf")
ROWS = [
    {"messages": [{"role": "user", "content": f"Say {n} twice."}, {"role": "assistant", "content": f"{n} and {n}."}]}
    for n in range(60)
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    build("llama", vocab_size=VOCABULARY, max_position_embeddings=256, tie_word_embeddings=True).save_pretrained(folder)
    bytes_tokenizer("qwen2").save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A base\n")
    return folder


@pytest.fixture(scope="module")
def runs(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each method, two steps long."""
    place = tmp_path_factory.mktemp("runs")
    data = place / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    settings = {"train.max_steps": 2, "train.panel": 0, "train.precision": "fp32", "train.lr": 1e-2}
    found = {}
    for method in ("full", "lora"):
        found[method] = place / method
        heedlm.train(
            model=base, data=data, run=found[method], settings={**settings, "model.method": method, "data.test": 0.2}
        )
    return found


def test_a_folder_that_transformers_loads_and_that_stops_where_it_was_taught(runs: dict[str, Path]) -> None:
    done = heedlm.export(model=runs["full"], to="hf", prompts=24)
    assert done.placed
    assert done.folder == runs["full"] / "export" / "hf"
    assert (done.parity.prompts, done.parity.same) == (24, 24)
    assert done.drift is not None
    assert done.drift.mean_kl == 0
    model, tokenizer = AutoModelForCausalLM.from_pretrained(done.folder), AutoTokenizer.from_pretrained(done.folder)
    stops = [tokenizer.convert_tokens_to_ids(text) for text in ("<|im_end|>", "<|endoftext|>")]
    assert model.generation_config.eos_token_id == stops
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Say 7 twice."}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=False,
    )
    with torch.no_grad():
        made = model.generate(ids, max_new_tokens=12, attention_mask=torch.ones_like(ids))[0, ids.shape[1] :].tolist()
    request = Request((Message("user", "Say 7 twice."),))
    mine = load_chat(runs["full"]).reply([request], Sampling(max_tokens=12))[0]
    assert tuple(made) == mine.ids
    assert not [path for path in done.folder.iterdir() if path.suffix in (".bin", ".pt", ".pkl")]


def test_lm_eval_loads_the_folder_and_makes_the_same_ids(runs: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    from lm_eval.models.huggingface import HFLM

    from heedlm.exports.prompts import conversations

    done = api.export(model=runs["full"], to="hf", out=tmp_path / "out", prompts=4)
    theirs = HFLM(pretrained=str(done.folder), device="cpu", dtype="float32", batch_size=1)
    for one in conversations(stage.open_source(runs["full"]), 20):
        text = theirs.apply_chat_template([hf.plain_message(turn) for turn in one.request.messages])
        assert tuple(theirs.tok_encode(text)) == one.ids


def test_other_numbers_are_measured(runs: dict[str, Path], tmp_path: Path) -> None:
    done = api.export(model=runs["full"], to="hf", weights="bf16", out=tmp_path / "half", prompts=6)
    assert done.drift is not None
    assert 0 < done.drift.mean_kl < 0.1
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "bfloat16"


def test_an_adapter_over_its_base_predicts_what_the_merged_model_does(
    runs: dict[str, Path], base: Path, tmp_path: Path
) -> None:
    done = api.export(model=runs["lora"], to="hf", adapter=True, out=tmp_path / "adapter", prompts=20)
    assert done.placed
    assert done.drift is not None
    assert done.drift.same_top == 1
    assert done.drift.mean_kl < 1e-6
    assert (tmp_path / "adapter" / "chat_template.jinja").is_file()
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    assert f"peft={done.folder}" in done.use[1]
    with pytest.raises(HeedError, match="no adapter"):
        api.export(model=runs["full"], to="hf", adapter=True, out=tmp_path / "none")


@pytest.mark.parametrize(("to", "weights"), [("gguf", "f32"), ("gguf", "q8_0"), ("ollama", "f16")])
def test_files_for_llama_cpp_and_ollama(to: stage.Form, weights: str, runs: dict[str, Path], tmp_path: Path) -> None:
    done = api.export(model=runs["full"], to=to, weights=weights, out=tmp_path / "out", prompts=30)
    assert done.placed
    assert done.parity.passed
    assert set(done.files) == {
        "README.md",
        "export.json",
        f"model-{weights}.gguf",
        *(["Modelfile"] if to == "ollama" else []),
    }
    assert done.drift is not None
    assert done.drift.mean_kl < (1e-9 if weights == "f32" else 0.5)


def test_the_card_says_what_is_known(runs: dict[str, Path], base: Path, tmp_path: Path) -> None:
    (runs["full"] / "report.json").write_text(
        json.dumps(
            {
                "headline": "It got better.",
                "caveats": ["LEAK: one row."],
                "tasks": [
                    {
                        "name": "a|b",
                        "kind": "facts",
                        "n": 1200,
                        "base": 0.25,
                        "instruct": 0.75,
                        "difference": 0.5,
                        "low": 0.4,
                        "high": 0.6,
                    }
                ],
            }
        )
    )
    done = api.export(model=runs["full"], to="gguf", out=tmp_path / "out", prompts=4)
    text = (done.folder / "README.md").read_text()
    (runs["full"] / "report.json").unlink()
    for said in (
        "license: mit",
        "It got better.",
        "- LEAK: one row.",
        r"| a\|b | 1,200 | 25.0 % | 75.0 % | +50.0 (+40.0 to +60.0) |",
        "| rows.jsonl | 60 |",
        "4 of 4 rendered prompts have the same ids",
        "llama-server -m ./model-f16.gguf",
        f"| the base, {base.name} | mit |",
        "60 examples of the data | unknown",
    ):
        assert said in text, said
    assert str(tmp_path) not in text
    assert "Not evaluated" in card.model_card(stage.open_source(runs["full"]), "hf", [], "")


def test_commands_name_the_model_and_survive_blanks_in_paths(runs: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "My Run {1}"
    shutil.copytree(runs["full"], run, ignore=shutil.ignore_patterns("export"))
    there = api.export(model=run, to="hf", prompts=2)
    assert there.use[0] == f"vllm serve '{run}/export/hf' --served-model-name my-run-1"
    done = api.export(model=run, to="ollama", out=tmp_path / "o", prompts=2)
    assert done.use == (f"cd {tmp_path / 'o'} && ollama create my-run-1 -f Modelfile && ollama run my-run-1",)
    assert "ollama create my-run-1" in (tmp_path / "o" / "README.md").read_text()


def test_small_files_have_a_size(heed: Heed, runs: dict[str, Path], tmp_path: Path) -> None:
    code, told, _ = heed("export", runs["full"], "--to", "hf", "--prompts", "2", "--out", tmp_path / "out")
    assert code == 0
    assert " 0.0 " not in told
    sizes = [size_text(count) for count in (0, 999, 1000, 999_949, 999_950, 28_500_000, 3_200_000_000, 10**16)]
    assert sizes == ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "28.5 MB", "3.2 GB", "10,000.0 TB"]


def test_what_lies_there_is_kept_unless_forced(runs: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep me")
    for force in (False, True):  # a home folder, a mistyped path: what no export wrote is never replaced
        with pytest.raises(HeedError, match=r"already|no export"):
            api.export(model=runs["full"], to="hf", out=out, prompts=2, force=force)
    assert (out / "mine.txt").read_text() == "keep me"
    again = tmp_path / "again"
    api.export(model=runs["full"], to="gguf", out=again, prompts=2)
    with pytest.raises(HeedError, match="An export is here already"):
        api.export(model=runs["full"], to="hf", out=again, prompts=2)
    api.export(model=runs["full"], to="hf", out=again, prompts=2, force=True)
    assert (again / "model.safetensors").is_file()
    assert not (again / "model-f16.gguf").exists()
    record = json.loads((again / "export.json").read_text())
    assert (record["version"], record["to"], record["parity"]["same"]) == (1, "hf", 2)
    for place in (runs["full"] / "model", runs["full"], runs["full"].parent, Path(), Path("..")):
        with pytest.raises(HeedError, match=r"already|holds the model|no export"):
            api.export(model=runs["full"], to="hf", out=place, prompts=2, force=True)
    assert (runs["full"] / "model" / "model.safetensors").is_file()
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(HeedError, match="is a file"):
        api.export(model=runs["full"], to="hf", out=file, prompts=2, force=True)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError])
def test_an_export_that_breaks_leaves_what_was_there(
    stop: type[BaseException], runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    api.export(model=runs["full"], to="hf", out=out, prompts=2)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def breaks(*_: object) -> None:
        raise stop

    monkeypatch.setattr(hf, "parity", breaks)
    with pytest.raises(stop):
        api.export(model=runs["full"], to="hf", out=out, prompts=2, force=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_export_left_behind_is_cleared(runs: dict[str, Path], tmp_path: Path) -> None:
    for word in ("writing", "before"):
        (tmp_path / f".out.{word}").mkdir()
        (tmp_path / f".out.{word}" / "half.gguf").write_bytes(b"half")
    assert api.export(model=runs["full"], to="gguf", out=tmp_path / "out", prompts=2).placed
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_other_ids_are_refused_unless_allowed(heed: Heed, tmp_path: Path) -> None:
    """Two figures at a time are no split of llama.cpp."""
    from heedlm.tokens.tokenizer import train_tokenizer
    from tests.families import TEXTS

    tokenizer = train_tokenizer([*TEXTS, *(["12 34 56 78 1234 5678 90"] * 9)], VOCABULARY)
    saved(tmp_path / "model", tokenizer)
    out = tmp_path / "out"
    code, said, _ = heed("export", tmp_path / "model", "--to", "gguf", "--out", out)
    assert code == 1
    assert "Nothing was written" in said
    assert "the source reads" in said
    assert not out.exists()
    code, said, _ = heed("export", tmp_path / "model", "--to", "gguf", "--out", out, "--allow-other-ids", "--json")
    found = json.loads(said)
    assert code == 0
    assert 0 < found["parity"]["same"] < found["parity"]["prompts"]
    assert f"{found['parity']['same']} of {found['parity']['prompts']}" in (out / "README.md").read_text()


def test_a_damaged_template_is_found_by_the_parity_test(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof can fail: a folder whose template is another one is not placed."""
    written = hf.write_merged

    def damaged(*given: object) -> object:
        found = written(*given)  # type: ignore[arg-type]
        file = given[1] / "chat_template.jinja"  # type: ignore[operator]
        file.write_text(file.read_text().replace("<|im_start|>", "<|im_start|> "))
        return found

    monkeypatch.setattr(hf, "write_merged", damaged)
    done = api.export(model=runs["full"], to="hf", out=tmp_path / "out", prompts=4)
    assert not done.placed
    assert done.parity.same == 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--to", "onnx"), "hf, gguf, ollama"),
        (("--to", "ggfu"), "did you mean 'gguf'?"),
        (("--to", "gguf", "--weights", "q8"), "did you mean 'q8_0'?"),
        (("--to", "hf", "--weights", "q8_0"), "f32, f16, bf16"),
        (("--to", "gguf", "--weights", "q4_k"), "f32, f16, bf16, q8_0"),
        (("--to", "gguf", "--adapter"), "adapter alone"),
        (("--to", "hf", "--adapter", "--weights", "f16"), "its own numbers"),
        (("--to", "hf", "--template", "chatml", "--prompts", "0"), "0"),
        ((), "--to"),
    ],
)
def test_mistakes_are_mended_before_anything_is_loaded(
    given: tuple[str, ...], said: str, heed: Heed, base: Path, tmp_path: Path
) -> None:
    code, _, told = heed("export", base, *given, "--out", tmp_path / "out")
    assert code == 2
    assert said in told
    assert not (tmp_path / "out").exists()


def test_a_model_without_a_template_says_how_to_give_one(heed: Heed, base: Path, tmp_path: Path) -> None:
    code, _, told = heed("export", base, "--to", "hf", "--out", tmp_path / "out")
    assert code == 2
    assert "--template chatml" in told
    code, _, told = heed("export", base, "--to", "hf", "--out", tmp_path / "out", "--template", "chatml")
    assert code == 0
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template


def test_another_template_than_was_taught_is_refused(heed: Heed, runs: dict[str, Path], tmp_path: Path) -> None:
    code, _, told = heed("export", runs["full"], "--to", "hf", "--out", tmp_path / "out", "--template", "alpaca")
    assert code == 2
    assert "taught in another" in told


def test_a_family_that_gguf_does_not_know_names_those_it_does(heed: Heed, tmp_path: Path) -> None:
    saved(tmp_path / "model", bytes_tokenizer("qwen2"), "gemma3")
    code, _, told = heed("export", tmp_path / "model", "--to", "ollama", "--out", tmp_path / "out")
    assert code == 2
    assert "llama, mistral, qwen2, qwen3" in told
    assert "convert_hf_to_gguf.py" in told
    assert not (tmp_path / "out").exists()
    assert heed("export", tmp_path / "model", "--to", "hf", "--out", tmp_path / "out")[0] == 0
