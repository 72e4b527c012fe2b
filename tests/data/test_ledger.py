"""A table of names with the number each was first given."""

from __future__ import annotations

import random
import sys

from hypothesis import given
from hypothesis import strategies as st

from heedlm.data.ledger import Ledger

names = st.lists(st.one_of(st.integers(0, 9), st.integers(0, 2**64 - 1), st.integers(0, 40).map(lambda n: n << 40)))


@given(names)
def test_it_remembers_what_a_dict_would(names: list[int]) -> None:
    ledger, known = Ledger(), dict[int, int]()
    for number, name in enumerate(names):
        assert ledger.first(name, number) == known.setdefault(name, number)
    assert len(ledger) == len(known)


def test_it_grows_and_takes_little() -> None:
    rng = random.Random(3)
    many = [rng.randrange(2**64) for _ in range(20_000)]
    ledger = Ledger()
    assert [ledger.first(name, number) for number, name in enumerate(many)] == list(range(20_000))
    assert [ledger.first(name, 7) for name in many] == list(range(20_000))
    held = sys.getsizeof(ledger._names) + sys.getsizeof(ledger._numbers)
    assert held < 45 * len(ledger)


def test_names_that_fall_on_one_place_are_told_apart() -> None:
    ledger = Ledger()
    alike = [number << 50 for number in range(1, 600)]
    assert [ledger.first(name, number) for number, name in enumerate(alike)] == list(range(599))
    assert [ledger.first(name, 0) for name in alike] == list(range(599))
