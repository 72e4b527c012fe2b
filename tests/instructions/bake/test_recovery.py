"""The ratio and its interval: what it is at the ends, and whether it holds as often as it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.instructions.bake.recovery import recovery_of

SCORES = st.lists(st.tuples(*(st.sampled_from([0.0, 0.5, 1.0]) for _ in range(3))), min_size=1, max_size=30)


def test_all_of_it_and_half_of_it_and_none() -> None:
    plain, told = [0.0] * 40, [1.0] * 40
    whole = recovery_of(plain, told, told)
    assert whole is not None
    assert whole.value == 1.0
    assert whole.low < 1.0 < whole.high  # forty of forty do not prove the next one
    half = recovery_of(plain, told, [0.0, 1.0] * 20)
    assert half is not None
    assert half.value == 0.5
    assert 0.3 < half.low < 0.5 < half.high < 0.7
    none = recovery_of(plain, told, plain)
    assert none is not None
    assert none.value == 0.0


def test_where_the_text_gains_nothing_there_is_nothing_to_recover() -> None:
    assert recovery_of([1.0] * 9, [1.0] * 9, [1.0] * 9) is None
    assert recovery_of([1.0, 0.0], [0.0, 0.0], [1.0, 1.0]) is None


def test_a_gain_that_is_not_sure_leaves_the_ratio_open() -> None:
    found = recovery_of([0.0] * 10, [1.0] + [0.0] * 9, [1.0] + [0.0] * 9)
    assert found is not None
    assert found.high > 2


@given(SCORES)
def test_the_value_lies_in_its_interval_and_groups_of_one_change_nothing(rows: list[tuple[float, ...]]) -> None:
    plain, told, baked = (list(column) for column in zip(*rows, strict=True))
    found = recovery_of(plain, told, baked)
    assert (found is None) == (sum(told) - sum(plain) <= 1e-12)
    if found is not None:
        assert found.low <= found.value <= found.high
        assert found == recovery_of(plain, told, baked, groups=[f"g{number}" for number in range(len(rows))])


@pytest.mark.parametrize(("kept", "items"), [(0.95, 60), (0.8, 100), (0.5, 60)])
def test_the_interval_holds_as_often_as_it_says(kept: float, items: int) -> None:
    """Plain models score 0.1, told ones 0.9; of what the text gains, `kept` is kept."""
    draw = np.random.default_rng(5)
    held, runs = 0, 200
    for _ in range(runs):
        plain = (draw.random(items) < 0.1).astype(float)
        told = np.where(draw.random(items) < 8 / 9, 1.0, plain)
        baked = np.where((told > plain) & (draw.random(items) < kept), 1.0, plain)
        found = recovery_of(plain.tolist(), told.tolist(), baked.tolist())
        assert found is not None
        held += found.low <= kept <= found.high
    assert held / runs >= 0.92


def test_items_of_one_group_are_one_piece_of_evidence() -> None:
    plain, told = [0.0] * 60, [1.0] * 60
    baked = [1.0] * 30 + [0.0] * 30
    alone = recovery_of(plain, told, baked)
    together = recovery_of(plain, told, baked, groups=[number // 10 for number in range(60)])
    assert alone is not None
    assert together is not None
    assert together.value == alone.value
    assert together.high - together.low > 1.5 * (alone.high - alone.low)
