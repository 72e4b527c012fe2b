"""From plain documents to a base model that transformers loads."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from heedlm import api, corpora
from heedlm.errors import HeedError
from heedlm.pretrain_config import PretrainRecipe
from heedlm.recipe_file import load_recipe
from heedlm.runs import Run
from heedlm.train import pretrain as stage
from heedlm.train.stage import Interrupted, Observer

SETTINGS = (
    "shape={vocab_size: 300, context: 64, hidden: 32, layers: 2, heads: 2, kv_heads: 1, intermediate: 48}",
    "corpus.documents=20",
    "train={max_steps: 12, tokens_per_step: 256, micro_tokens: 256, precision: fp32, lr: 0.01}",
)


def documents(part: str) -> list[str]:
    return [f"The {part} of page {n} is {n * n}. The river is wide." for n in range(20)]


def recipe() -> PretrainRecipe:
    return load_recipe(PretrainRecipe, None, SETTINGS)


def test_a_base_model_from_nothing(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run")
    report = stage.pretrain(recipe(), run, documents, api.silent())
    model = AutoModelForCausalLM.from_pretrained(report.model)
    tokenizer = AutoTokenizer.from_pretrained(report.model)
    assert tokenizer.chat_template is None
    assert model.config.tie_word_embeddings
    names = json.loads((report.model / "heed.json").read_text())
    assert (names["kind"], names["steps"], names["seed"]) == ("base", 12, 0)
    losses = [r["loss"] for r in map(json.loads, run.metrics.read_text().splitlines()) if r["kind"] == "train"]
    assert losses[11] < losses[0]
    size = (report.model / "model.safetensors").stat().st_size
    assert size < 2 * report.num_parameters + 5_000, "tied weights are stored once, in two bytes each"


def test_tokens_that_the_corpus_never_held_get_the_mean(tmp_path: Path) -> None:
    report = stage.pretrain(recipe(), Run.create(tmp_path / "run"), documents, api.silent())
    weight = AutoModelForCausalLM.from_pretrained(report.model).get_input_embeddings().weight.float()
    tokenizer = AutoTokenizer.from_pretrained(report.model)
    unseen = [i for i in tokenizer.all_special_ids if i != tokenizer.eos_token_id]
    assert unseen
    rest = [i for i in range(len(weight)) if i not in unseen]
    for row in unseen:
        torch.testing.assert_close(weight[row], weight[rest].mean(dim=0), rtol=0.05, atol=1e-3)


def test_an_interrupted_pretraining_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    import os
    import signal

    whole = stage.pretrain(recipe(), Run.create(tmp_path / "whole"), documents, api.silent())

    def hear(step: int, of: int, report: object) -> None:
        if step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        stage.pretrain(recipe(), Run.create(tmp_path / "parts"), documents, Observer(lambda line: None, hear))
    parts = stage.pretrain(recipe(), Run.create(tmp_path / "parts"), documents, api.silent())
    assert (whole.model / "model.safetensors").read_bytes() == (parts.model / "model.safetensors").read_bytes()


def test_a_finished_pretraining_stays_as_it_is_and_gives_its_report_again(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run")
    report = stage.pretrain(recipe(), run, documents, api.silent())
    assert not run.checkpoints.exists()
    before = {str(p): p.read_bytes() for p in run.root.rglob("*") if p.is_file()}
    warned: list[str] = []
    observer = Observer(lambda line: None, lambda *a: None, warn=warned.append)
    assert stage.pretrain(recipe(), run, documents, observer) == report
    assert {str(p): p.read_bytes() for p in run.root.rglob("*") if p.is_file()} == before
    assert "is finished" in warned[0]
    other = load_recipe(PretrainRecipe, None, [*SETTINGS, "train.lr=0.02", "corpus.documents=9"])
    with pytest.raises(HeedError, match=r"finished with another recipe: corpus\.documents .*, train\.lr \(was 0\.01"):
        stage.pretrain(other, run, documents, api.silent())


def test_what_an_attempt_left_before_its_first_step_is_not_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another vocabulary, another shape: neither the tokenizer nor the first checkpoint of before may be used."""

    def killed(*args: object, **kwargs: object) -> None:
        raise RuntimeError("killed")

    run = Run.create(tmp_path / "run")
    other = load_recipe(PretrainRecipe, None, [*SETTINGS, "shape.vocab_size=280", "shape.hidden=16"])
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr("heedlm.train.stage.fit", killed)
        stage.pretrain(other, run, documents, api.silent())
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-000000"]
    report = stage.pretrain(recipe(), run, documents, api.silent())
    fresh = stage.pretrain(recipe(), Run.create(tmp_path / "fresh"), documents, api.silent())
    assert (report.model / "model.safetensors").read_bytes() == (fresh.model / "model.safetensors").read_bytes()


def test_a_begun_pretraining_refuses_another_recipe_with_the_keys(tmp_path: Path) -> None:
    import os
    import signal

    def hear(step: int, of: int, report: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    run = Run.create(tmp_path / "run")
    with pytest.raises(Interrupted):
        stage.pretrain(recipe(), run, documents, Observer(lambda line: None, hear))
    with pytest.raises(HeedError, match=r"begun with another recipe: shape\.hidden \(was 32, now 64\)"):
        stage.pretrain(load_recipe(PretrainRecipe, None, [*SETTINGS, "shape.hidden=64"]), run, documents, api.silent())


def test_a_file_of_documents_is_a_corpus(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents("file") * 2))
    chosen = load_recipe(PretrainRecipe, None, [*SETTINGS, f"corpus.source={path}"])
    report = api.pretrain(recipe=chosen, run=tmp_path / "run")
    assert report.outcome.position.step == 12
    path.write_text('{"text": "alone"}\n')
    with pytest.raises(HeedError, match="at least two"):
        api.pretrain(recipe=chosen, run=tmp_path / "other")


def test_every_document_of_a_file_is_met_in_turn(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": f"page {n}"}) + "\n" for n in range(450)))
    chosen = load_recipe(PretrainRecipe, None, ["train.max_steps=1", f"corpus.source={path}", "corpus.documents=100"])
    part = corpora.documents_of(chosen)
    met = [text for epoch in range(3) for text in part(f"epoch-{epoch}")]
    assert not set(met) & set(part("val"))
    assert len(set(met)) == 250
