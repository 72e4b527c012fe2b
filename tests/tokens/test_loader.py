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


class Rows(list[Encoded]):
    """Sequences that know which of them came from one row, as a token store does."""

    def __init__(self, sequences: list[Encoded], rows: list[int]) -> None:
        super().__init__(sequences)
        self._rows = rows

    def units(self) -> list[int]:
        return self._rows


@given(st.lists(st.tuples(st.integers(2, 30), st.integers(1, 4)), min_size=1, max_size=12), st.integers(0, 3))
def test_the_sequences_of_one_row_stay_in_one_step_where_they_fit(shapes: list[tuple[int, int]], epoch: int) -> None:
    lengths = [length for length, count in shapes for _ in range(count)]
    rows = [row for row, (_, count) in enumerate(shapes) for _ in range(count)]
    plan = Loader(Rows(some(lengths), rows), 64, 32, 5).epoch_plan(epoch)
    assert sorted(i for step in plan for i in step) == list(range(len(lengths)))
    assert all(step and sum(lengths[i] for i in step) <= 64 for step in plan)
    for row, (length, count) in enumerate(shapes):
        if length * count <= 64:
            assert len({at for at, step in enumerate(plan) for i in step if rows[i] == row}) == 1


def test_one_sequence_per_row_gives_the_order_of_plain_sequences() -> None:
    sequences = some([7] * 20)
    assert Loader(Rows(sequences, list(range(20))), 30, 30, 3).epoch_plan(2) == Loader(sequences, 30, 30, 3).epoch_plan(
        2
    )


def test_a_shared_prefix_is_computed_once_and_counted_for_everyone() -> None:
    head = tuple(range(100, 140))
    rows = [Encoded((*head, n, n + 1), (0.0,) * 40 + (1.0, 1.0)) for n in range(5)]
    (shared,) = list(Loader(rows, 1000, 1000, 0, share=True).batches(0))
    (plain,) = list(Loader(rows, 1000, 1000, 0).batches(0))
    assert [len(b.ids) for b in shared.micro_batches] == [40 + 5 * 2]
    assert (shared.tokens, shared.weight_sum) == (plain.tokens, plain.weight_sum) == (210, 10)
    one, other = shared.micro_batches[0], plain.micro_batches[0]
    assert sorted(zip(one.target_id.tolist(), one.target_row.tolist(), strict=True)) == sorted(
        zip(other.target_id.tolist(), other.target_row.tolist(), strict=True)
    )
    assert Loader(rows, 1000, 1000, 0).saving() == pytest.approx(1 - 50 / 210)
    assert Loader(some([10] * 4), 1000, 1000, 0).saving() == 0


def test_a_prefix_too_long_for_one_row_is_computed_once_per_row() -> None:
    rows = [Encoded((*range(100, 140), *range(n, n + 10)), (0.0,) * 40 + (1.0,) * 10) for n in range(6)]
    (step,) = list(Loader(rows, 1000, 75, 0, share=True).batches(0))
    assert sorted(len(b.ids) for b in step.micro_batches) == [70, 70]
    assert sum(len(b.target_id) for b in step.micro_batches) == 60


def test_an_error_while_making_a_batch_reaches_the_caller() -> None:
    class Broken(list[Encoded]):
        def __getitem__(self, index: int) -> Encoded:  # type: ignore[override]
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk is gone"):
        list(Loader(Broken(some([3, 3])), 10, 10, 0).batches(0))
