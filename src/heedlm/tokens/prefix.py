"""Find what sequences have in common at their beginning, so that it is computed once.

A system text, a few-shot block, one prompt with several answers, the turns of a conversation that had to be split: each
is a prefix with branches. Two levels are enough: a sequence continues at most one prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from heedlm.messages import Encoded

MIN_PREFIX = 16  # tokens; a shorter prefix costs more in small products than it saves


class Tree(NamedTuple):
    """members: indices of sequences that begin with the same `prefix` tokens; one member and 0 where nothing is shared.

    Every member has at least one token behind the prefix.
    """

    members: tuple[int, ...]
    prefix: int


def computed_tokens(tree: Tree, lengths: Sequence[int]) -> int:
    """Tokens of the tree when its prefix is computed once."""
    return sum(lengths[i] for i in tree.members) - tree.prefix * (len(tree.members) - 1)


def alone(count: int) -> list[Tree]:
    """Every sequence by itself."""
    return [Tree((i,), 0) for i in range(count)]


def shared_prefixes(sequences: Sequence[Encoded], row_tokens: int | None = None) -> list[Tree]:
    """Trees that save tokens, each sequence in exactly one; deterministic.

    In the order of their ids, sequences with a common beginning are neighbours, and the common lengths of neighbours form
    nested intervals. From the innermost outwards, what saves more as branches of the interval's prefix is joined to it.
    row_tokens: a tree of more computed tokens is cut into several, each with its own copy of the prefix.
    """
    order = sorted(range(len(sequences)), key=lambda i: (sequences[i].ids, i))
    common = [_common(sequences[a], sequences[b]) for a, b in pairwise(order)]
    trees = [Tree(tuple(order[i] for i in tree.members), tree.prefix) for tree in _best(common, len(order))]
    lengths = [len(one.ids) for one in sequences]
    if row_tokens is not None:
        trees = [part for tree in trees for part in _cut(tree, lengths, row_tokens)]
    return sorted(trees, key=lambda tree: min(tree.members))


def _common(a: Encoded, b: Encoded) -> int:
    """Tokens that both begin with, leaving each at least one behind them."""
    limit = min(len(a.ids), len(b.ids)) - 1
    if a.ids[:limit] == b.ids[:limit]:
        return limit
    low, high = 0, limit  # a[:low] == b[:low], a[:high] != b[:high]; slices compare in C
    while high - low > 1:
        middle = (low + high) // 2
        if a.ids[low:middle] == b.ids[low:middle]:
            low = middle
        else:
            high = middle
    return low


def _best(common: Sequence[int], count: int) -> list[Tree]:
    """Trees over `count` sequences in the order of their ids, whose neighbours share `common` tokens.

    Worked off with a stack: a chain of turns, each a prefix of the next, would be as deep as it is long.
    """
    open_intervals: list[tuple[int, list[Tree]]] = []  # the tokens shared by an interval, the trees inside it so far
    done: list[Tree] = []
    for at in range(count):
        depth = common[at] if at < count - 1 else 0
        trees = [Tree((at,), 0)]
        while open_intervals and open_intervals[-1][0] > depth:
            shared, before = open_intervals.pop()
            trees = _joined(before + trees, shared)
        if open_intervals and open_intervals[-1][0] == depth:
            open_intervals[-1][1].extend(trees)
        elif depth > 0:
            open_intervals.append((depth, trees))
        else:
            done.extend(trees)
    return done


def _joined(trees: list[Tree], shared: int) -> list[Tree]:
    """`trees`, or those of them that save less by themselves than as branches of one prefix of `shared` tokens, joined."""
    joining = [tree for tree in trees if shared * len(tree.members) > _saved(tree)]
    staying = [tree for tree in trees if shared * len(tree.members) <= _saved(tree)]
    gain = sum(shared * len(tree.members) - _saved(tree) for tree in joining) - shared
    if shared < MIN_PREFIX or gain <= 0:
        return trees
    members = tuple(member for tree in joining for member in tree.members)
    return [Tree(members, shared), *staying]


def _saved(tree: Tree) -> int:
    return tree.prefix * (len(tree.members) - 1)


def _cut(tree: Tree, lengths: Sequence[int], row_tokens: int) -> list[Tree]:
    """The tree in parts of at most `row_tokens` computed tokens, where the prefix with one branch fits at all."""
    if computed_tokens(tree, lengths) <= row_tokens:
        return [tree]
    parts: list[list[int]] = [[]]
    held = tree.prefix
    for member in tree.members:
        branch = lengths[member] - tree.prefix
        if parts[-1] and held + branch > row_tokens:
            parts.append([])
            held = tree.prefix
        parts[-1].append(member)
        held += branch
    return [Tree(tuple(part), tree.prefix if len(part) > 1 else 0) for part in parts]
