"""Adapters saved, loaded by a process that knows nothing of us, merged: the same logits each time, and the tie kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from heedlm.config import LoraConfig
from heedlm.errors import HeedError
from heedlm.model.adapters import add_adapter, tied_matrix
from heedlm.model.load import load_model
from heedlm.model.merge import merged, merged_onto, save_adapter
from heedlm.model.vocabulary import make_room
from heedlm.tokens.tokenizer import load_tokenizer
from tests.families import FAMILIES, checkpoint
from tests.model.test_adapters import shaken

IDS = torch.arange(30)[None]
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    **{family: (family, {}, {}) for family in sorted(FAMILIES)},
    "rslora": ("llama", {"rslora": True}, {}),
    "dora": ("llama", {"dora": True}, {}),
    "dora conv1d": ("gpt2", {"dora": True}, {}),
    "tied, head in full": ("llama", {"modules_to_save": ["lm_head"]}, {"tie_word_embeddings": True}),
    "tied, embedding in full": ("gpt2", {"modules_to_save": ["wte"]}, {}),
    "tied, rows": ("gemma2", {"tokens": ["<|im_end|>"]}, {}),
    "untied, rows": ("llama", {"tokens": ["<|im_end|>"]}, {}),
    "untied, head targeted": ("llama", {"targets": ["lm_head", "embed_tokens"]}, {}),
    "untied, both in full": ("neox", {"modules_to_save": ["lm_head", "embed_in"]}, {}),
}
# What a person does who has the adapter's folder, its base, and peft; heed is not there.
ELSEWHERE = """
import json, sys
import torch, peft
from transformers import AutoModelForCausalLM, AutoTokenizer
assert not [name for name in sys.modules if name.startswith("heedlm")]
for job in json.loads(sys.argv[1]):
    base = AutoModelForCausalLM.from_pretrained(job["base"], dtype=torch.float32)
    if job["grown"]:
        base.resize_token_embeddings(len(AutoTokenizer.from_pretrained(job["adapter"])))
    model = peft.PeftModel.from_pretrained(base, job["adapter"]).eval()
    with torch.no_grad():
        torch.save(model(torch.tensor(job["ids"])).logits, job["out"])
"""


def trained(folder: Path, case: str) -> tuple[Any, Any]:
    """A model with adapters of this case over the checkpoint in `folder`, its tokenizer beside it."""
    family, config, more = CASES[case]
    tokenizer = load_tokenizer(checkpoint(folder, family, **more))
    torch.manual_seed(0)
    return shaken(add_adapter(load_model(folder), LoraConfig(rank=4, **config), tokenizer)), tokenizer


class Job(NamedTuple):
    """An adapter folder, its base, and the logits that whoever loads the two must get."""

    name: str
    base: Path
    adapter: Path
    ids: torch.Tensor
    logits: torch.Tensor
    grown: bool = False


def of_case(folder: Path, case: str) -> Job:
    model, tokenizer = trained(folder / "base", case)
    save_adapter(model, tokenizer, folder / "adapter", "base")
    return Job(case, folder / "base", folder / "adapter", IDS, model(IDS).logits)


def with_added_tokens(folder: Path, tied: bool) -> Job:
    """Two tokens that the base does not have, in a tokenizer that does."""
    tokenizer = load_tokenizer(checkpoint(folder / "base", "llama", tie_word_embeddings=tied))
    tokenizer.add_tokens(["<|new|>", "<|other|>"], special_tokens=True)
    model = load_model(folder / "base")
    added = make_room(model, tokenizer)
    assert added == [len(tokenizer) - 2, len(tokenizer) - 1]
    adapted: Any = shaken(add_adapter(model, LoraConfig(rank=4), tokenizer, added=added))
    save_adapter(adapted, tokenizer, folder / "adapter", "base", grown=True)
    assert "resize_token_embeddings" in (folder / "adapter" / "README.md").read_text()
    ids = torch.tensor([[5, added[0], 9, added[1], 7]])
    logits = adapted(ids).logits
    plain = merged(adapted)
    torch.testing.assert_close(plain(ids).logits, logits, rtol=1e-4, atol=1e-4)
    assert (tied_matrix(plain) is not None) == tied
    return Job(f"added tokens, tied {tied}", folder / "base", folder / "adapter", ids, logits, grown=True)


@torch.no_grad()
def test_a_fresh_process_with_peft_alone_gets_the_same_logits(tmp_path: Path) -> None:
    """Of every family and kind of adapter; added tokens travel with theirs (pain 16)."""
    jobs = [of_case(tmp_path / str(number), case) for number, case in enumerate(CASES)]
    jobs += [with_added_tokens(tmp_path / f"tied-{tied}", tied) for tied in (True, False)]
    asked = [
        {
            "base": str(j.base),
            "adapter": str(j.adapter),
            "ids": j.ids.tolist(),
            "grown": j.grown,
            "out": f"{j.adapter}.pt",
        }
        for j in jobs
    ]
    subprocess.run([sys.executable, "-W", "ignore", "-c", ELSEWHERE, json.dumps(asked)], check=True, timeout=200)
    apart = {j.name: float((torch.load(f"{j.adapter}.pt") - j.logits).abs().max() / j.logits.abs().max()) for j in jobs}
    assert {name: gap for name, gap in apart.items() if gap > 1e-6} == {}


@torch.no_grad()
@pytest.mark.parametrize("case", list(CASES))
def test_merged_it_is_a_plain_model_with_the_same_logits_and_the_same_tie(case: str, tmp_path: Path) -> None:
    model, _ = trained(tmp_path / "base", case)
    base = load_model(tmp_path / "base")
    adapted = model(IDS).logits
    scale = float(adapted.abs().max())
    assert float((adapted - base(IDS).logits).abs().max()) > 1e-2 * scale
    plain = merged(model)
    assert float((plain(IDS).logits - adapted).abs().max()) < 2e-5 * scale
    assert (tied_matrix(plain) is None) == (tied_matrix(base) is None)
    assert plain.config.tie_word_embeddings == base.config.tie_word_embeddings
    assert plain.state_dict().keys() == base.state_dict().keys()


def test_saving_and_reading_back_changes_nothing_in_the_model(tmp_path: Path) -> None:
    for case in ("mixtral", "dora", "tied, head in full", "untied, rows"):
        model, tokenizer = trained(tmp_path / case / "base", case)
        before = {name: (p.requires_grad, p.clone()) for name, p in model.named_parameters()}
        save_adapter(model, tokenizer, tmp_path / case / "adapter", "base")
        after = dict(model.named_parameters())
        assert after.keys() == before.keys()
        assert all(p.requires_grad == before[n][0] and torch.equal(p, before[n][1]) for n, p in after.items())
        assert {path.name for path in (tmp_path / case).iterdir()} == {"base", "adapter"}


def test_an_adapter_that_does_not_read_back_is_not_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import PeftModel

    model, tokenizer = trained(tmp_path / "base", "llama")
    whole = PeftModel.save_pretrained

    def damaged(self: Any, folder: Path, **options: Any) -> None:
        whole(self, folder, **options)
        file = Path(folder) / "adapter_model.safetensors"
        weights = load_file(file)
        name = min(weights)
        save_file({**weights, name: weights[name] + 1e-3}, file)

    monkeypatch.setattr(PeftModel, "save_pretrained", damaged)
    with pytest.raises(HeedError, match="does not read back"):
        save_adapter(model, tokenizer, tmp_path / "adapter", "base")
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_the_folder_holds_what_a_person_needs(tmp_path: Path) -> None:
    model, tokenizer = trained(tmp_path / "base", "llama")
    save_adapter(model, tokenizer, tmp_path / "adapter", "ORG/NAME")
    names = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "README.md"} <= names
    card = (tmp_path / "adapter" / "README.md").read_text()
    assert "They belong to `ORG/NAME`" in card
    assert "resize_token_embeddings" not in card


@torch.no_grad()
def test_an_adapter_is_merged_onto_a_base_in_full_precision(tmp_path: Path) -> None:
    """What becomes of an adapter that was trained over four bits."""
    model, tokenizer = trained(tmp_path / "base", "tied, head in full")
    adapted = model(IDS).logits
    save_adapter(model, tokenizer, tmp_path / "adapter", "base")
    plain = merged_onto(load_model(tmp_path / "base"), tmp_path / "adapter")
    torch.testing.assert_close(plain(IDS).logits, adapted, rtol=1e-4, atol=1e-4)
    assert tied_matrix(plain) is not None


def test_a_merge_that_would_part_head_and_embedding_is_refused(tmp_path: Path) -> None:
    """peft alone does this in silence when a tied matrix is trained without its option for it."""
    import peft

    model = load_model(checkpoint(tmp_path / "base", "llama", tie_word_embeddings=True))
    settings = peft.LoraConfig(
        r=2,
        target_modules=["q_proj"],
        modules_to_save=["embed_tokens"],
        ensure_weight_tying=False,
        task_type="CAUSAL_LM",
    )
    with pytest.raises(HeedError, match="part head and embedding"), pytest.warns(UserWarning, match="tied"):
        merged(shaken(peft.get_peft_model(model, settings)))


def test_what_is_merged_loads_as_any_model(tmp_path: Path) -> None:
    model, tokenizer = trained(tmp_path / "base", "tied, rows")
    plain = merged(model)
    plain.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert AutoTokenizer.from_pretrained(tmp_path / "model").get_vocab() == tokenizer.get_vocab()
    assert torch.equal(again(IDS).logits, plain(IDS).logits)
