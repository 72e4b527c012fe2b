import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.messages import Encoded
from heedlm.tokens.loader import Loader


def some(sizes: list[int]) -> list[Encoded]:
    return [Encoded(tuple(range(n)), (0.0,) + (1.0,) * (n - 1)) for n in sizes]


sizes = st.lists(st.integers(2, 30), min_size=1, max_size=40)


@given(sizes, st.integers(0, 3))
def test_an_epoch_sees_every_sequence_once(lengths: list[int], epoch: int) -> None:
    plan = Loader(some(lengths), 64, 32, 5).epoch_plan(epoch)
    assert sorted(i for step in plan for i in step) == list(range(len(lengths)))
    assert all(step for step in plan)
    assert all(sum(lengths[i] for i in step) <= 64 for step in plan)


@given(sizes)
def test_going_on_after_k_steps_gives_the_remaining_steps(lengths: list[int]) -> None:
    loader = Loader(some(lengths), 64, 32, 5)
    whole = [(b.tokens, b.weight_sum) for b in loader.batches(1)]
    for k in range(len(whole) + 1):
        assert [(b.tokens, b.weight_sum) for b in loader.batches(1, skip=k)] == whole[k:]


def test_epochs_differ_and_seeds_differ() -> None:
    loader = Loader(some([5] * 30), 20, 20, 0)
    assert loader.epoch_plan(0) == loader.epoch_plan(0)
    assert loader.epoch_plan(0) != loader.epoch_plan(1)
    assert loader.epoch_plan(0) != Loader(loader.sequences, 20, 20, 1).epoch_plan(0)


def test_a_step_is_cut_into_rows_of_micro_tokens_and_counted_before() -> None:
    loader = Loader(some([10] * 8), 80, 20, 0)
    (step,) = list(loader.batches(0))
    assert [len(batch.ids) for batch in step.micro_batches] == [20] * 4
    assert step.weight_sum == pytest.approx(sum(float(b.target_weight.sum()) for b in step.micro_batches)) == 72


def test_one_sequence_longer_than_a_step_makes_a_step_of_its_own() -> None:
    plan = Loader(some([100, 3, 3]), 10, 10, 0).epoch_plan(0)
    assert [0] in plan
    assert len(list(Loader(some([100, 3, 3]), 10, 10, 0).batches(0))) == 2


def test_sequences_that_teach_nothing_leave_no_batch() -> None:
    (step,) = list(Loader([Encoded((1, 2, 3), (0.0, 0.0, 0.0))], 10, 10, 0).batches(0))
    assert step.micro_batches == []
    assert step.weight_sum == 0
