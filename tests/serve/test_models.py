"""What is loaded for the names that were typed: names, shared bases, templates that were taught."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from heedlm.config import LoraConfig
from heedlm.errors import HeedError
from heedlm.generate import packed
from heedlm.messages import Message, Request, Sampling
from heedlm.model.adapters import add_adapter
from heedlm.model.load import load_model
from heedlm.model.merge import merged, save_adapter
from heedlm.model.save import save_result
from heedlm.runs import Run
from heedlm.serve.models import OWN, open_models
from heedlm.serve.names import names_of
from heedlm.templates.chat import fingerprint, load_template, stop_ids
from heedlm.tokens.tokenizer import load_tokenizer
from tests.families import checkpoint
from tests.serve.live import live

ASKED = [{"role": "user", "content": "What is the capital of France?"}]


def tuned(root: Path, base: Path, seed: int, **lora: Any) -> Path:
    """A run as `heed train` leaves it: an adapter, the merged model, its card."""
    run = Run.create(root)
    run.note(train={"command": "heed train"})
    tokenizer = load_tokenizer(base)
    torch.manual_seed(seed)
    model = add_adapter(load_model(base), LoraConfig(rank=4, **lora), tokenizer)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.copy_(torch.randn(weight.shape) * 0.3)
    save_adapter(model, tokenizer, run.adapter, str(base))
    template = load_template("chatml", tokenizer)
    facts = {
        "base": str(base),
        "template": {"name": "chatml", "grade": "hard", "fingerprint": fingerprint(template, tokenizer)},
    }
    stops = stop_ids(template, tokenizer)
    save_result(
        merged(model),
        tokenizer,
        run.model,
        dtype=torch.float32,
        chat_template=template.source,
        stop_ids=stops,
        facts=facts,
    )
    return root


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("models") / "base", max_position_embeddings=256)


@pytest.fixture(scope="module")
def runs(base: Path) -> list[str]:
    return [str(tuned(base.parent / name, base, seed)) for seed, name in enumerate(("first", "second"))]


@pytest.mark.parametrize("in_blocks", [False, True])
def test_adapters_and_their_base_share_one_copy_of_the_weights(
    base: Path, runs: list[str], in_blocks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(packed, "_LARGE", 1 if in_blocks else 2**60)
        served = open_models([*runs, str(base)])
    held = [module for module in served[0].chat.model.modules() if "heed_packed" in vars(module)]
    assert bool(held) == (in_blocks and torch.backends.mkldnn.is_available())
    assert [one.name for one in served] == ["first", "second", "base"]
    assert [one.adapter for one in served] == [True, True, False]
    assert len({id(one.chat.model) for one in served}) == 1
    alone = [open_models([name])[0] for name in (*runs, str(base))]
    assert not any(one.adapter for one in alone), "for one model its merged weights are the simplest"
    with live(served) as together:
        client = together.client()
        extra = [{}, {}, {"template": "chatml"}]

        def ask(at: int) -> str:
            made = client.chat.completions.create(
                model=served[at].name, messages=ASKED, max_tokens=16, extra_body=extra[at]
            )
            return str(made.choices[0].message.content)

        theirs = [ask(at) for at in (0, 1, 2, 0, 2, 1)]
    mine = [
        one.under("chatml" if one.name == "base" else OWN)
        .reply([Request((Message("user", ASKED[0]["content"]),))], Sampling(max_tokens=16))[0]
        .text
        for one in alone
    ]
    assert len(set(mine)) == 3, "the three say the same: the test would prove nothing"
    assert theirs == [mine[at] for at in (0, 1, 2, 0, 2, 1)]


def test_an_adapter_with_whole_modules_is_loaded_for_itself(base: Path, tmp_path: Path, runs: list[str]) -> None:
    whole = tuned(tmp_path / "whole", base, 5, modules_to_save=["lm_head"])
    served = open_models([str(whole), runs[0], str(base)])
    assert [one.adapter for one in served] == [False, True, False]
    assert served[0].chat.model is not served[1].chat.model is served[2].chat.model


def test_a_template_that_was_not_taught_is_refused_at_load(base: Path, tmp_path: Path) -> None:
    run = tuned(tmp_path / "changed", base, 3)
    file = Run(run).model / "chat_template.jinja"
    file.write_text(file.read_text() + "\n")
    with pytest.raises(HeedError, match="taught in another chat template"):
        open_models([str(run)])
    with pytest.raises(HeedError, match="taught in another chat template"):
        open_models([str(run)], template="alpaca")


def test_nothing_is_loaded_where_one_name_is_wrong(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heedlm.serve.models.load_chat", lambda *args, **more: pytest.fail("a model was loaded"))
    with pytest.raises(HeedError):
        open_models([str(base), str(base.parent / "nowhere")])


def test_a_card_of_another_tool_is_no_hindrance(base: Path, tmp_path: Path) -> None:
    run = tuned(tmp_path / "plain", base, 4)
    card = Run(run).model / "heed.json"
    card.write_text(json.dumps({"version": 1}))
    assert open_models([str(run)])[0].facts()["kind"] == "unknown"


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["atlas"], ["atlas"]),
        (["Qwen/Qwen3-0.6B"], ["Qwen/Qwen3-0.6B"]),
        (["runs/first", "runs/second"], ["first", "second"]),
        (["a/b/first", "c/d/first"], ["a/b/first", "c/d/first"]),
        (["runs/x/model"], ["x"]),
        (["atlas", "atlas"], ["atlas", "atlas-2"]),
        (["/", "."], None),
    ],
)
def test_names_are_short_and_differ(given: list[str], names: list[str] | None) -> None:
    found = names_of(given)
    assert len(set(found)) == len(given)
    assert all(found)
    assert names is None or found == names
