"""Rows of the cache: who stays where, and that layers hold what they were given."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heedlm.generate.cache import RoomyLayer, survivors


@settings(deadline=None)
@given(
    st.integers(0, 12).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)) if n else st.just(set())))
)
def test_survivors_are_the_others_once_each_and_only_move_down(case: tuple[int, set[int]]) -> None:
    num_rows, leaving = case
    kept = survivors(num_rows, sorted(leaving))
    assert sorted(kept) == [row for row in range(num_rows) if row not in leaving]
    assert all(row == place or row >= len(kept) for place, row in enumerate(kept))


@settings(deadline=None)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=5), st.integers(0, 2**31))
def test_a_layer_holds_every_column_it_was_given(widths: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    layer = RoomyLayer()
    given_keys, given_values = [], []
    for width in widths:
        given_keys.append(torch.randn(3, 2, width, 4, generator=generator))
        given_values.append(torch.randn(3, 2, width, 5, generator=generator))
        keys, values = layer.update(given_keys[-1], given_values[-1])
        assert torch.equal(keys, torch.cat(given_keys, -2))
        assert torch.equal(values, torch.cat(given_values, -2))
    assert layer.get_seq_length() == sum(widths)
    layer.keep_rows([2, 1], first=sum(widths) - 1)
    assert torch.equal(layer.keys, torch.cat(given_keys, -2)[[2, 1], :, -1:])
    assert torch.equal(layer.values, torch.cat(given_values, -2)[[2, 1], :, -1:])
    assert layer.get_seq_length() == 1


def test_joined_rows_end_together() -> None:
    long, short = RoomyLayer(), RoomyLayer()
    old, new = torch.randn(2, 1, 9, 4), torch.randn(1, 1, 3, 4)
    long.update(old, old)
    short.update(new, new)
    long.join(short)
    assert torch.equal(long.keys[:2], old)
    assert torch.equal(long.values[2:, :, 6:], new)
    assert long.get_seq_length() == 9
    step = torch.randn(3, 1, 1, 4)
    keys, _ = long.update(step, step)
    assert torch.equal(keys[:, :, 9:], step)


def test_a_longer_newcomer_pushes_the_others_to_the_right() -> None:
    short, long = RoomyLayer(), RoomyLayer()
    old, new = torch.randn(1, 1, 3, 4), torch.randn(1, 1, 200, 4)
    short.update(old, old)
    long.update(new, new)
    short.join(long)
    assert torch.equal(short.keys[:1, :, 197:], old)
    assert torch.equal(short.keys[1:], new)
