"""Shared prefixes: every sequence in one tree, nothing saved that is not shared, and the best that two levels can save."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heedlm.messages import Encoded
from heedlm.tokens import prefix
from heedlm.tokens.prefix import Tree, computed_tokens, shared_prefixes


def encoded(*ids: int) -> Encoded:
    return Encoded(ids, (1.0,) * len(ids))


SEQUENCES = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=7).map(lambda x: encoded(*x)), max_size=7)


@pytest.fixture(autouse=True)
def _short_prefixes_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix, "MIN_PREFIX", 1)


def saved(trees: list[Tree]) -> int:
    return sum(tree.prefix * (len(tree.members) - 1) for tree in trees)


def best_possible(sequences: list[Encoded]) -> int:
    """The most that any set of disjoint groups saves, by trying all of them."""

    def common(members: tuple[int, ...]) -> int:
        least = min(len(sequences[i].ids) for i in members) - 1
        first = sequences[members[0]].ids
        return max(n for n in range(least + 1) if all(sequences[i].ids[:n] == first[:n] for i in members))

    def most(left: tuple[int, ...]) -> int:
        if not left:
            return 0
        first, rest = left[0], left[1:]
        options = [most(rest)]
        for size in range(1, len(rest) + 1):
            for others in combinations(rest, size):
                value = common((first, *others)) * size
                if value:
                    options.append(value + most(tuple(i for i in rest if i not in others)))
        return max(options)

    return most(tuple(range(len(sequences))))


@settings(max_examples=200, deadline=None)
@given(SEQUENCES)
def test_the_trees_are_a_partition_with_true_prefixes_and_save_the_most(sequences: list[Encoded]) -> None:
    trees = shared_prefixes(sequences)
    assert sorted(i for tree in trees for i in tree.members) == list(range(len(sequences)))
    for tree in trees:
        assert len({sequences[i].ids[: tree.prefix] for i in tree.members}) == 1
        assert all(len(sequences[i].ids) > tree.prefix for i in tree.members), "a branch holds at least one token"
        assert tree.prefix == 0 or len(tree.members) > 1
    assert saved(trees) == best_possible(sequences)


@given(SEQUENCES, st.integers(1, 12))
def test_a_tree_fits_a_row_wherever_its_longest_sequence_does(sequences: list[Encoded], row: int) -> None:
    lengths = [len(one.ids) for one in sequences]
    trees = shared_prefixes(sequences, row)
    assert sorted(i for tree in trees for i in tree.members) == list(range(len(sequences)))
    for tree in trees:
        assert computed_tokens(tree, lengths) <= max(row, *(lengths[i] for i in tree.members))


def test_none_one_and_two_alike() -> None:
    assert shared_prefixes([]) == []
    assert shared_prefixes([encoded(1, 2)]) == [Tree((0,), 0)]
    assert shared_prefixes([encoded(1, 2, 3), encoded(1, 2, 3)]) == [Tree((0, 1), 2)]


def test_a_prefix_one_token_too_short_is_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = [encoded(*range(8), 8), encoded(*range(8), 9)]
    monkeypatch.setattr(prefix, "MIN_PREFIX", 8)
    assert shared_prefixes(pair) == [Tree((0, 1), 8)]
    monkeypatch.setattr(prefix, "MIN_PREFIX", 9)
    assert shared_prefixes(pair) == [Tree((0,), 0), Tree((1,), 0)]


def test_a_long_chain_of_turns_is_no_recursion() -> None:
    chain = [encoded(*range(n)) for n in range(1, 3000)]
    trees = shared_prefixes(chain)
    assert sum(len(tree.members) for tree in trees) == len(chain)
    assert saved(trees) > 0
