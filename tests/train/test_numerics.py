"""The numerical self-tests pass on every kind of architecture, and catch defects that are planted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from heedlm.messages import Batch, Encoded
from heedlm.model import attention
from heedlm.tokens import loader as loader_room
from heedlm.train import forward, loss, numerics
from heedlm.train.numerics import Comparison, compare, compare_all, documents, reloaded
from heedlm.train.probe import choose_packing
from tests.families import VOCABULARY, build, checkpoint


def failed(found: list[Comparison]) -> list[str]:
    return [one.name for one in found if not one.passed]


@pytest.mark.parametrize("name", ["llama", "gemma2", "mixtral", "gpt2", "bloom", "lfm2"])
def test_every_way_gives_the_same_and_what_does_not_apply_says_why(name: str) -> None:
    model = build(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = [*compare(model), reloaded(model)]
    assert not failed(found)
    packed = choose_packing(model).packed
    nothing_written_out = name in ("gpt2", "bloom")
    assert sum(one.difference is None for one in found) == (0 if packed else 3) + nothing_written_out
    assert all(one.note for one in found if one.difference is None)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_documents_share_a_stem_and_fit_the_context() -> None:
    rows = documents(VOCABULARY, 30)
    assert max(len(row.ids) for row in rows) <= 30
    assert len({row.ids[:15] for row in rows[::3]}) == 1
    assert documents(VOCABULARY, 30) == rows
    assert all(row.weights[0] == 0 and max(row.weights) > 0 for row in rows)


def leaking(layout: attention.Layout) -> attention.Layout:
    """All documents of a row but the first two become one: what two documents alone do not show."""
    if sum(group.num_docs for group in layout.groups) < 4:
        return layout
    tokens = torch.cat([group.tokens for group in layout.groups]).sort().values
    one = attention.Group(tokens, torch.arange(len(tokens)), 1, len(tokens))
    return attention.Layout((one,), layout.num_tokens)


def test_attention_that_leaks_behind_the_probe_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = attention.layout
    monkeypatch.setattr(attention, "layout", lambda *a, **k: leaking(honest(*a, **k)))
    model = build("llama")
    assert choose_packing(model).packed  # two documents: the probe sees nothing
    found = compare(model)
    assert "a document changed, logits of its neighbours" in failed(found)
    assert "packed rows or padded ones: gradients" in failed(found)


def test_attention_that_leaks_at_once_is_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = attention.layout

    def leaks(*given: Any, **named: Any) -> attention.Layout:
        made = honest(*given, **named)
        tokens = torch.cat([group.tokens for group in made.groups]).sort().values
        return attention.Layout((attention.Group(tokens, torch.arange(len(tokens)), 1, len(tokens)),), made.num_tokens)

    monkeypatch.setattr(attention, "layout", leaks)
    found = compare(build("llama"))
    assert not failed(found)  # padded rows are right
    assert any("see each other" in one.note for one in found)


def test_a_mean_of_means_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each micro-batch divided by its own weights, as other trainers did: accumulation changes the loss (pain 12)."""
    honest = loss.token_nll

    def own_mean(forwarded: Any, batch: Batch) -> loss.LossSum:
        found = honest(forwarded, batch)
        return found._replace(loss=found.loss / batch.target_weight.sum())

    taken = numerics.fit
    monkeypatch.setattr(numerics, "fit", lambda *a, **k: taken(*a, **{**k, "step_loss": own_mean}))
    names = failed(compare(build("llama")))
    assert "a step in one row or in several: loss" in names


def test_targets_shifted_across_documents_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = loader_room.pack

    def shifted(sequences: Any, *given: Any, **named: Any) -> Batch:
        batch = honest(sequences, *given, **named)
        return replace(batch, target_index=(batch.target_index + 1) % len(batch.ids))

    monkeypatch.setattr(loader_room, "pack", shifted)
    names = failed(compare(build("llama")))
    assert any("packed" in name or "one by one" in name or "shared" in name for name in names)


def test_a_head_that_forgets_its_scale_in_parts_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    head = forward._head

    def halved(model: Any, hidden: torch.Tensor) -> torch.Tensor:
        return head(model, hidden) * (0.5 if len(hidden) == 7 else 1.0)

    monkeypatch.setattr(forward, "_head", halved)
    assert "head and loss in parts or whole: loss" in failed(compare(build("llama")))


def test_a_missing_gradient_is_infinitely_far() -> None:
    a, b = {"w": torch.ones(3)}, {"w": torch.ones(3), "v": torch.ones(1)}
    assert numerics._apart(a, b)[0] == float("inf")
    assert numerics._apart(a, {"w": torch.tensor([1.0, 1.0, 2.0])}) == (0.5, "w")
    assert numerics._apart({"w": torch.tensor([float("nan")])}, {"w": torch.ones(1)})[0] == float("inf")


def test_a_row_alone_is_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numerics, "documents", lambda vocabulary, context: [Encoded((1, 2, 3), (0.0, 1.0, 0.5))])
    assert not failed(compare(build("llama")))


def test_one_process_and_two_agree_on_a_model_folder(tmp_path: Path) -> None:
    found = compare_all(checkpoint(tmp_path / "model"), torch.device("cpu"))
    assert not failed(found)
    assert sum("one process or two" in one.name for one in found) == 4


def test_processes_that_fail_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numerics.sys, "executable", "/bin/false")  # type: ignore[attr-defined]
    found = numerics.across_ranks(build("llama"), lambda line: None)
    assert len(found) == 2
    assert not any(one.passed for one in found)
