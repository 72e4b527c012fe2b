"""Scores are those of the row alone, whatever the batch, the windows and the chunks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from heedlm.generate import cache as kv
from heedlm.generate import passes, scoring
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


def items(block: int, prompts: list[int], choices: list[list[int]]) -> tuple[list[list[int]], list[int]]:
    """Sequences of a task with choices: a block before all prompts, several continuations after each."""
    ids = some_ids([block, *prompts, *(length for some in choices for length in some)])
    shared, ids = ids[0], ids[1:]
    made, starts = [], []
    ends = iter(ids[len(prompts) :])
    for prompt, some in zip(ids, choices, strict=False):
        for _ in some:
            made.append([*shared, *prompt, *next(ends)])
            starts.append(block + len(prompt))
    return made, starts


def computed(model: PreTrainedModel, work: Callable[[], list[list[float]]]) -> tuple[list[list[float]], int]:
    """What `work` gives, and how many tokens it ran, padding included."""
    ran: list[int] = []
    hook = model.register_forward_pre_hook(
        lambda _module, _args, given: ran.append(given["input_ids"].numel()), with_kwargs=True
    )
    found = work()
    hook.remove()
    return found, sum(ran)


def test_choices_behind_one_prompt_have_the_scores_of_each_alone(
    family: str, tiny: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "_WORTH_SHARING", 1)
    monkeypatch.setattr(scoring, "_SEVERAL", 2)
    model = tiny(family)
    prompts = [5, 1, 9, 6, 9, 2]
    sequences, starts = items(40, prompts, [[1, 4], [3, 3, 1], [2], [1, 1], [6, 2, 2, 5], [4, 1]])
    expected = [alone(model, ids, start) for ids, start in zip(sequences, starts, strict=True)]
    for batch_size in (1, 2, 64):
        got, ran = computed(model, lambda: score_ids(model, sequences, starts, batch_size=batch_size))  # noqa: B023
        for row, other in zip(got, expected, strict=True):
            assert row == pytest.approx(other, abs=2e-4)
        # With a batch of one there is nothing that two rows share but the prompt of their item.
        if batch_size == 64 and kv.resumable(kv.new_cache(model)):
            assert ran < sum(map(len, sequences)) / 3


def test_the_examples_before_every_question_run_once_for_many_batches(llama: PreTrainedModel) -> None:
    """With one prompt per batch more than one would be the block again each time."""
    sequences, starts = items(100, [4 + n % 3 for n in range(20)], [[3, 3, 3]] * 20)
    expected = score_ids(llama, sequences, starts, batch_size=1)
    got, ran = computed(llama, lambda: score_ids(llama, sequences, starts, batch_size=5))
    for row, other in zip(got, expected, strict=True):
        assert row == pytest.approx(other, abs=2e-5)
    assert ran < 100 + 20 * (8 + 16 + 3 * 2)


def test_single_continuations_share_their_beginning_too(family: str, tiny: Build) -> None:
    model = tiny(family)
    sequences, starts = items(60, [7, 3, 8, 9, 4, 6, 5, 7, 9], [[5]] * 9)
    got, ran = computed(model, lambda: score_ids(model, sequences, starts))
    for row, ids, start in zip(got, sequences, starts, strict=True):
        assert row == pytest.approx(alone(model, ids, start), abs=2e-4)
    if kv.resumable(kv.new_cache(model)):
        assert ran < 60 + 9 * 30


@pytest.mark.parametrize("kind", ["llama", "gpt2"])  # learned positions: one beyond the last would fail
@pytest.mark.parametrize("length", [15, 16, 17, 18, 30])
def test_choices_at_the_end_of_the_context(kind: str, length: int, tiny: Build) -> None:
    model = tiny(kind, max_position_embeddings=16)
    sequences, starts = items(0, [length - 4, 2, length - 9], [[4, 1], [1, 12], [9, 9]])
    got = score_ids(model, sequences, starts)
    for row, ids, start in zip(got, sequences, starts, strict=True):
        assert row == pytest.approx(score_ids(model, [ids], [start])[0], abs=2e-4)
        assert len(row) == len(ids) - start


def test_continuations_too_long_for_their_logits_are_scored_one_by_one(
    llama: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequences, starts = items(0, [5, 6], [[30, 2, 3], [9, 8]])
    expected = score_ids(llama, sequences, starts)
    sizes: list[int] = []
    hook = llama.register_forward_hook(lambda module, args, out: sizes.append(out.logits.shape[:2].numel()))
    monkeypatch.setattr(scoring, "_LOGITS", 10 * 320)
    got = score_ids(llama, sequences, starts)
    hook.remove()
    assert max(sizes) <= 10
    for row, other in zip(got, expected, strict=True):
        assert row == pytest.approx(other, abs=2e-5)


@settings(max_examples=25, deadline=None)
@given(
    data=st.lists(
        st.tuples(st.integers(1, 12), st.lists(st.integers(0, 6), min_size=1, max_size=4)), min_size=1, max_size=9
    ),
    block=st.integers(0, 40),
    batch_size=st.integers(1, 6),
)
def test_however_sequences_share_their_beginnings_each_has_its_own_scores(
    llama: PreTrainedModel, data: list[tuple[int, list[int]]], block: int, batch_size: int
) -> None:
    sequences, starts = items(block, [length for length, _ in data], [some for _, some in data])
    got = score_ids(llama, sequences, starts, batch_size=batch_size)
    for row, ids, start in zip(got, sequences, starts, strict=True):
        assert row == pytest.approx(alone(llama, ids, start), abs=2e-5)
