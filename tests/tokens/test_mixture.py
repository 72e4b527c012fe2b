"""How much of each source one epoch holds: exact, seeded, and moved by nothing else."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.errors import HeedError
from heedlm.tokens.mixture import REASONS, Mixed, Mixture, Portion, Stock, mix, told

Sizes = dict[str, list[int]]
sizes = st.dictionaries(
    st.sampled_from(["a.jsonl", "b.jsonl", "c.csv"]), st.lists(st.integers(1, 60), min_size=1, max_size=40), min_size=1
)
epochs = st.sampled_from([0.1, 0.5, 1.0, 1.5, 2.0, 3.7])
caps = st.one_of(st.none(), st.integers(1, 50))


def stock_of(sizes: Sizes, seed: int = 0, names: dict[str, list[str]] | None = None) -> Stock:
    stock = Stock(seed)
    for source, tokens in sizes.items():
        for number, count in enumerate(tokens):
            stock.add(source, names[source][number] if names else f"{source}-{number}", count, count // 2)
    return stock


def drawn(sizes: Sizes, portions: dict[str, Portion], seed: int = 0) -> tuple[Mixed, dict[str, Counter[str]]]:
    """The mixture, and by source how often each of its rows comes."""
    mixed = mix(stock_of(sizes, seed), Mixture(portions))
    names = [(source, f"{source}-{number}") for source, tokens in sizes.items() for number in range(len(tokens))]
    found: dict[str, Counter[str]] = {source: Counter() for source in sizes}
    for (source, name), times in zip(names, mixed.times, strict=True):
        if times:
            found[source][name] = times
    return mixed, found


def check(sizes: Sizes, mixed: Mixed, found: dict[str, Counter[str]]) -> None:
    """What an account says is what was drawn, and no row is lost."""
    assert len(mixed.times) == sum(map(len, sizes.values()))
    for source, tokens in sizes.items():
        account = mixed.accounts[source]
        assert account["seen"] == found[source].total()
        assert account["taken"] == len(found[source])
        assert account["rows"] == len(tokens)
        assert account["tokens"] == sum(tokens)
        of = {f"{source}-{number}": count for number, count in enumerate(tokens)}
        assert account["seen_tokens"] == sum(of[name] * times for name, times in found[source].items())
        assert account["seen_learned_tokens"] == sum(of[name] // 2 * times for name, times in found[source].items())
        left = account["left_out"]
        assert set(left) <= set(REASONS)
        assert account["taken"] + sum(one["rows"] for one in left.values()) == account["rows"]
        assert (
            sum(of[name] for name in found[source]) + sum(one["tokens"] for one in left.values()) == account["tokens"]
        )
        assert max(found[source].values(), default=0) - min(found[source].values(), default=0) <= 1
    assert sum(one["share"] for one in mixed.accounts.values()) == pytest.approx(1)
    assert sum(one["token_share"] for one in mixed.accounts.values()) == pytest.approx(1)


@given(sizes, st.integers(0, 3), st.data())
def test_every_row_is_drawn_or_left_out_under_a_reason_and_counts_are_exact(
    sizes: Sizes, seed: int, data: st.DataObject
) -> None:
    portions = {
        source: Portion(cap=data.draw(caps), epochs=data.draw(epochs)) for source in sizes if data.draw(st.booleans())
    }
    mixed, found = drawn(sizes, portions, seed)
    check(sizes, mixed, found)
    assert drawn(sizes, portions, seed)[0] == mixed
    for source, tokens in sizes.items():
        one = portions.get(source, Portion())
        rows = min(len(tokens), one.cap or len(tokens))
        wanted = Fraction(str(one.epochs)) * rows
        assert found[source].total() == max(1, int(wanted + Fraction(1, 2)))
        if one.epochs <= 1:
            assert set(found[source].values()) == {1}


@given(sizes, st.integers(0, 3), st.data())
def test_weights_are_kept_by_cutting_and_nothing_is_repeated_beyond_its_epochs(
    sizes: Sizes, seed: int, data: st.DataObject
) -> None:
    weights = {source: data.draw(st.sampled_from([0.5, 1, 1.5, 2, 7])) for source in sizes}
    many = {source: data.draw(epochs) for source in sizes}
    portions = {source: Portion(weight=weights[source], epochs=many[source]) for source in sizes}
    mixed, found = drawn(sizes, portions, seed)
    check(sizes, mixed, found)
    full = 0
    seen = {source: found[source].total() for source in sizes}
    for source, tokens in sizes.items():
        most = max(1, int(Fraction(str(many[source])) * len(tokens) + Fraction(1, 2)))
        assert seen[source] <= most
        full += seen[source] == most
    assert full  # the scarcest source gives all it has
    for one in sizes:
        for other in sizes:
            error = abs(seen[one] * weights[other] - seen[other] * weights[one])
            assert error <= 0.5 * (weights[one] + weights[other])  # to the nearest row


@given(sizes, st.integers(0, 3), st.integers(1, 30), st.integers(0, 30), st.booleans())
def test_a_larger_cap_holds_the_rows_of_a_smaller_one(
    sizes: Sizes, seed: int, cap: int, more: int, by_tokens: bool
) -> None:
    source = next(iter(sizes))
    field = "cap_tokens" if by_tokens else "cap"
    small, large = ({source: Portion(**{field: 60 * by_tokens + size})} for size in (cap, cap + more))
    few, many = drawn(sizes, small, seed)[1], drawn(sizes, large, seed)[1]
    assert set(few[source]) <= set(many[source])
    if not by_tokens:
        assert len(few[source]) == min(cap, len(sizes[source]))


@given(sizes, st.integers(0, 3), st.integers(1, 200))
def test_a_cap_of_tokens_is_reached_as_near_as_the_order_allows(sizes: Sizes, seed: int, cap: int) -> None:
    source, tokens = next(iter(sizes.items()))
    stock = stock_of(sizes, seed)
    order = [int(row) for row in stock.ordered(0)]
    if tokens[order[0]] > cap:
        with pytest.raises(HeedError, match="first row that is drawn"):
            mix(stock, Mixture({source: Portion(cap_tokens=cap)}))
        return
    mixed, found = drawn(sizes, {source: Portion(cap_tokens=cap)}, seed)
    check(sizes, mixed, found)
    seen = mixed.accounts[source]["seen_tokens"]
    assert seen <= cap
    rest = order[mixed.accounts[source]["taken"] :]
    assert not rest or seen + tokens[rest[0]] > cap


@given(sizes, st.integers(0, 3), st.integers(1, 30))
def test_other_sources_move_no_row(sizes: Sizes, seed: int, cap: int) -> None:
    source = next(iter(sizes))
    portions = {source: Portion(cap=cap, epochs=1.5)}
    alone = drawn({source: sizes[source]}, portions, seed)[1][source]
    assert drawn(sizes, portions, seed)[1][source] == alone
    other = {"z.jsonl": [5] * 7, **sizes}  # a source in front of it changes its number, not its rows
    assert drawn(other, {**portions, "z.jsonl": Portion(cap=2)}, seed)[1][source] == alone


@given(st.integers(2, 40), st.integers(0, 3))
def test_rows_that_are_added_move_no_other(count: int, seed: int) -> None:
    before = [int(row) for row in stock_of({"a": [3] * count}, seed).ordered(0)]
    after = [int(row) for row in stock_of({"a": [3] * (count + 1)}, seed).ordered(0)]
    assert [row for row in after if row < count] == before


def test_an_id_that_was_changed_for_a_namesake_elsewhere_keeps_its_place() -> None:
    plain = {"a": [str(number) for number in range(30)]}
    renamed = {"a": [f"{number}-{number:016x}" for number in range(30)]}
    first, second = (stock_of({"a": [3] * 30}, 1, names).ordered(0).tolist() for names in (plain, renamed))
    assert first == second


def test_ids_that_differ_in_such_an_ending_alone_are_told_apart_and_stable() -> None:
    names = {"a": [f"row-{number * 7919:016x}" for number in range(30)]}
    for seed in (0, 1):
        order = stock_of({"a": [3] * 30}, seed, names).ordered(0).tolist()
        assert sorted(order) == list(range(30))
        assert order != list(range(30))
    assert stock_of({"a": [3] * 30}, 0, names).ordered(0).tolist() != order


def test_another_seed_draws_other_rows() -> None:
    asked = {"a": Portion(cap=10)}
    assert drawn({"a": [3] * 100}, asked, 0)[1] != drawn({"a": [3] * 100}, asked, 1)[1]


def test_the_draw_is_fair() -> None:
    """Each of ten rows comes about half of the time where half of them are taken, over many seeds."""
    hits: Counter[str] = Counter()
    for seed in range(400):
        hits += drawn({"a": [3] * 10}, {"a": Portion(cap=5)}, seed)[1]["a"]
    assert hits.total() == 2000
    assert all(150 < count < 250 for count in hits.values())  # 200 give or take five standard errors


@pytest.mark.parametrize(
    ("portions", "said"),
    [
        ({"a": Portion(weight=2)}, "b has no weight, and a has one"),
        (
            {"a": Portion(weight=1), "b": Portion(weight=1), "gone": Portion(weight=1)},
            "gone has a weight and no training",
        ),
        ({"a": Portion(cap_tokens=2)}, "has 3 tokens, and cap_tokens is 2"),
    ],
)
def test_what_cannot_be_done_is_told_with_a_mend(portions: dict[str, Portion], said: str) -> None:
    with pytest.raises(HeedError, match=said) as caught:
        mix(stock_of({"a": [3] * 4, "b": [3] * 4}), Mixture(portions))
    assert all(problem.mend and problem.where.startswith("data.mixture.") for problem in caught.value.problems)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(HeedError) as caught:
        mix(stock_of({name: [3] for name in "abc"}), Mixture({"a": Portion(weight=2), "d": Portion(weight=1)}))
    assert len(caught.value.problems) == 3


def test_a_source_without_rows_that_is_only_capped_is_counted_as_such() -> None:
    account = mix(stock_of({"a": [3]}), Mixture({"gone": Portion(cap=5)})).accounts["gone"]
    assert (account["rows"], account["seen"], account["epochs"], account["share"]) == (0, 0, 0.0, 0.0)


def test_a_tiny_weight_leaves_out_all_and_says_so() -> None:
    mixed = mix(stock_of({"a": [3] * 4, "b": [3] * 4}), Mixture({"a": Portion(weight=1000), "b": Portion(weight=1)}))
    assert mixed.accounts["b"]["left_out"] == {"weight": {"rows": 4, "tokens": 12}}
    assert any("b: 0 of 4 rows" in line and "left out by weight 4" in line for line in told(mixed.accounts))


@pytest.mark.parametrize(
    ("portions", "lines"),
    [
        ({}, []),
        ({"a": Portion(epochs=2)}, ["  a: 4 of 4 rows, 8 with repeats, 24 tokens (100.0% of the rows, 100.0% of the tokens; 2 epochs)"]),
        ({"a": Portion(cap=1)}, ["  a: 1 of 4 rows, 3 tokens (100.0% of the rows, 100.0% of the tokens; 0.25 epochs); left out by cap 3"]),
    ],
)  # fmt: skip
def test_a_line_is_told_where_there_is_something_to_tell(portions: dict[str, Any], lines: list[str]) -> None:
    assert list(told(mix(stock_of({"a": [3] * 4}), Mixture(portions)).accounts)) == lines


def test_rows_too_long_are_counted_with_their_source() -> None:
    stock = stock_of({"a": [3] * 4})
    stock.leave_out("a")
    stock.leave_out("b")
    accounts = mix(stock, Mixture()).accounts
    assert [(one["too_long"], one["rows"]) for one in accounts.values()] == [(1, 4), (1, 0)]


def test_the_source_of_a_row_by_its_place() -> None:
    mixture = Mixture(source_of={"data/a.jsonl": "data"})
    places = ["data/a.jsonl:7", "b.csv:1", "hub:o/n:row 3", "c:d.jsonl:2"]
    assert [mixture.source(place) for place in places] == ["data", "b.csv", "hub:o/n", "c:d.jsonl"]
