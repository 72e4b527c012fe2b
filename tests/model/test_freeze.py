from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.errors import HeedError
from heedlm.model.freeze import freeze
from tests.families import build


def frozen(family: str, *patterns: str, **more: object) -> set[str]:
    model = build(family, **more)
    freeze(model, patterns)
    return {n for n, p in model.named_parameters(remove_duplicate=False) if not p.requires_grad}


def test_a_pattern_is_whole_parts_of_a_name() -> None:
    assert frozen("llama", "embed_tokens") == {"model.embed_tokens.weight"}
    first = frozen("llama", "layers.0.*")
    assert first == frozen("llama", "layers.0") == frozen("llama", "model.layers.0")
    assert first == {name for name in frozen("llama", "layers.[0-1]") if ".layers.0." in name}
    assert len(first) == 9
    assert frozen("llama", "*norm*") == {name for name in frozen("llama", "layers.*", "norm") if "norm" in name}
    assert not frozen("llama")


def test_no_block_is_taken_for_another() -> None:
    """Ten blocks and more: `layers.1` is not `layers.10`."""
    names = frozen("llama", "layers.1", num_hidden_layers=12, hidden_size=16, intermediate_size=16)
    assert {name.split(".")[2] for name in names} == {"1"}


def test_a_tied_matrix_goes_by_both_names() -> None:
    for name in ("embed_tokens", "lm_head"):
        assert frozen("llama", name, tie_word_embeddings=True) == {"model.embed_tokens.weight", "lm_head.weight"}


def test_what_matches_nothing_is_refused_all_at_once_with_the_nearest_names() -> None:
    with pytest.raises(HeedError) as caught:
        frozen("llama", "embed_token", "layers.0", "layers.7.*")
    assert [p.where for p in caught.value.problems] == ["model.freeze"] * 2
    assert caught.value.problems[0].mend == "did you mean 'embed_tokens'?"
    assert "'layers.7.*'" in caught.value.problems[1].what


def test_something_must_be_left_to_train() -> None:
    with pytest.raises(HeedError, match="nothing is left"):
        frozen("llama", "*")
    with pytest.raises(HeedError, match="nothing is left"):
        frozen("llama", "model", "lm_head")
    assert "lm_head.weight" not in frozen("llama", "model")


def test_the_share_is_said() -> None:
    said: list[str] = []
    model = build("llama")
    freeze(model, ["embed_tokens"], said.append)
    assert said == ["0.01M weights in 1 parameters are frozen, as asked"]


@given(st.sets(st.sampled_from(["embed_tokens", "layers.0", "layers.1.mlp", "norm", "q_proj"]), min_size=1))
def test_patterns_freeze_what_each_of_them_freezes(patterns: set[str]) -> None:
    together = frozen("llama", *sorted(patterns))
    assert together == set().union(*(frozen("llama", one) for one in patterns))
