import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heedlm.messages import Encoded
from heedlm.tokens.pack import TooLong, best_fit_rows, pack, target_weight_sum

lengths = st.lists(st.integers(1, 20), max_size=40)
sequences = st.lists(
    st.lists(st.tuples(st.integers(0, 99), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=12),
    min_size=1,
    max_size=8,
).map(lambda rows: [Encoded(tuple(i for i, _ in row), tuple(w for _, w in row)) for row in rows])


@given(lengths)
def test_every_sequence_is_placed_once_and_no_row_is_over(sizes: list[int]) -> None:
    rows = best_fit_rows(sizes, 20)
    assert sorted(i for row in rows for i in row) == list(range(len(sizes)))
    assert all(sum(sizes[i] for i in row) <= 20 for row in rows)


def test_rows_at_their_bounds() -> None:
    assert best_fit_rows([], 8) == []
    assert best_fit_rows([3], 8) == [[0]]
    assert best_fit_rows([8, 8], 8) == [[0], [1]]
    assert best_fit_rows([3, 5, 2], 5) == [[1], [0, 2]]


def test_a_sequence_longer_than_a_row_is_refused_not_kept() -> None:
    with pytest.raises(TooLong, match="row holds 8"):
        best_fit_rows([9], row_tokens=8)


@given(sequences)
def test_targets_are_the_weighted_tokens_shifted_once_inside_their_document(rows: list[Encoded]) -> None:
    batch = pack(rows)
    expected = []
    offset = 0
    for number, row in enumerate(rows):
        for place in range(1, len(row.ids)):
            if row.weights[place] > 0:
                expected.append((offset + place - 1, row.ids[place], row.weights[place], number))
        offset += len(row.ids)
    got = zip(
        batch.target_index.tolist(),
        batch.target_id.tolist(),
        batch.target_weight.tolist(),
        batch.target_row.tolist(),
        strict=True,
    )
    assert list(got) == expected
    assert batch.target_weight.sum() == pytest.approx(target_weight_sum(rows))


@given(sequences)
def test_positions_restart_and_no_target_crosses_a_document(rows: list[Encoded]) -> None:
    batch = pack(rows)
    starts = batch.starts.tolist()
    assert starts[-1] == len(batch.ids) == sum(len(row.ids) for row in rows)
    for begin, end in itertools.pairwise(starts):
        assert batch.positions[begin:end].tolist() == list(range(end - begin))
    lasts = {end - 1 for end in starts[1:]}
    assert not lasts & set(batch.target_index.tolist())


def test_rows_carry_the_numbers_they_are_given() -> None:
    batch = pack([Encoded((1, 2), (0.0, 1.0)), Encoded((3, 4), (0.0, 1.0))], [17, 4])
    assert batch.target_row.tolist() == [17, 4]
    assert batch.ids.dtype == torch.long
    assert batch.parents.tolist() == [-1, -1]
