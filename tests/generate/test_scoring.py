"""Scores are those of the row alone, whatever the batch, the windows and the chunks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from heedlm.generate import scoring
from heedlm.generate.scoring import score_ids

Build = Callable[..., PreTrainedModel]


def some_ids(lengths: list[int]) -> list[list[int]]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randint(4, 300, (length,), generator=generator).tolist() for length in lengths]


def alone(model: PreTrainedModel, ids: list[int], start: int) -> list[float]:
    with torch.no_grad():
        logprobs = model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    return [float(logprobs[at - 1, ids[at]]) for at in range(start, len(ids))]


def test_scores_in_a_batch_are_those_of_each_row_alone(family: str, tiny: Build) -> None:
    model = tiny(family)
    sequences = some_ids([2, 9, 30, 4, 17])
    starts = [1, 3, 25, 4, 1]
    for batch_size in (1, 2, 64):
        got = score_ids(model, sequences, starts, batch_size=batch_size)
        for row, ids, start in zip(got, sequences, starts, strict=True):
            assert row == pytest.approx(alone(model, ids, start), abs=2e-4)


def test_a_row_with_nothing_to_score_has_no_scores(llama: PreTrainedModel) -> None:
    assert score_ids(llama, [[5], [5, 6]], [1, 2]) == [[], []]
    assert score_ids(llama, [], []) == []


@settings(max_examples=20, deadline=None)
@given(length=st.integers(2, 70), start=st.integers(1, 69))
def test_a_text_longer_than_the_context_is_scored_once_each_with_half_a_context_at_least(
    tiny: Build, length: int, start: int
) -> None:
    model = tiny("llama", max_position_embeddings=16)
    ids = some_ids([length])[0]
    row = score_ids(model, [ids], [min(start, length)])[0]
    assert len(row) == max(0, length - start)
    for at, value in zip(range(start, length), row, strict=True):
        contexts = [
            alone(model, ids[begin : at + 1], at - begin)[0] for begin in range(max(0, at - 16), max(1, at - 7))
        ]
        assert min(abs(value - context) for context in contexts) < 2e-4


@pytest.mark.parametrize("length", [16, 17, 18])
def test_exactly_one_context_is_one_window(tiny: Build, length: int) -> None:
    model = tiny("llama", max_position_embeddings=16)
    passes: list[int] = []
    hook = model.register_forward_hook(lambda module, args, out: passes.append(1))
    score_ids(model, some_ids([length]), [1], batch_size=1)
    hook.remove()
    # 17 tokens are 16 inputs that predict 16 targets.
    assert len(passes) == (1 if length <= 17 else 2)


def test_logits_too_large_for_memory_are_made_in_pieces(
    family: str, tiny: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(family)
    sequences = some_ids([40, 12])
    expected = score_ids(model, sequences, [1, 5])
    sizes: list[int] = []
    hook = model.register_forward_hook(lambda module, args, out: sizes.append(out.logits.shape[1]))
    monkeypatch.setattr(scoring, "_LOGITS", 8 * 320)
    got = score_ids(model, sequences, [1, 5])
    hook.remove()
    recurrent = family in ("lfm2", "qwen3_5", "mamba")  # such a state is not sure to take several tokens at a time
    assert max(sizes) <= (39 if recurrent else 8)
    for row, other in zip(got, expected, strict=True):
        assert row == pytest.approx(other, abs=2e-4)
