"""Nothing asked on one side is answered on another, and nobody moves when rows are added."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.data.split import SIDES, KeyList, Keys, divide, keys_of, opening_question, prove, sizes_of
from heedlm.errors import HeedError
from heedlm.messages import Example, Message

KEYS = st.lists(st.builds(Keys, st.integers(0, 30), st.integers(0, 60)), max_size=60)
SHARES = st.floats(0, 0.49)


def asked(
    question: str, *, group: str | None = None, system: str | None = None, answer: str = "a", more: tuple[str, ...] = ()
) -> Example:
    messages = [Message("system", system)] if system is not None else []
    messages += [Message("user", question), Message("assistant", answer)]
    for index, text in enumerate(more):
        messages.append(Message("assistant" if index % 2 else "user", text))
    return Example("id", tuple(messages), "x:1", group=group)


@given(keys=KEYS, val=SHARES, test=SHARES, seed=st.integers(0, 5), data=st.data())
def test_no_group_and_no_prompt_stands_on_two_sides(keys, val, test, seed, data):
    fixed = data.draw(st.lists(st.sampled_from([None, None, "val", "test"]), min_size=len(keys), max_size=len(keys)))
    division = divide(keys, val=val, test=test, seed=seed, fixed=fixed)
    kept = [(key, side) for key, side, leak in zip(keys, *division, strict=True) if leak is None]
    proof = prove([key for key, _ in kept], [side for _, side in kept])
    assert (proof.groups_on_two_sides, proof.prompts_on_two_sides) == (0, 0)
    for side, given_side, leak in zip(division.sides, fixed, division.leaks, strict=True):
        assert given_side in (None, side)
        assert leak is None or SIDES.index(leak) > SIDES.index(side), (
            "what is left out is held by a better protected side"
        )


@given(
    keys=st.lists(st.integers(0, 1 << 63), min_size=3, max_size=40, unique=True),
    val=SHARES,
    test=SHARES,
    seed=st.integers(0, 5),
)
def test_with_three_groups_every_side_that_was_asked_for_gets_one(keys, val, test, seed):
    sides = set(divide([Keys(key, key) for key in keys], val=val, test=test, seed=seed).sides)
    assert sides == {"train"} | ({"val"} if val else set()) | ({"test"} if test else set())


def test_a_side_nobody_moves_from_when_rows_are_added():
    old = [keys_of(asked(f"question {index}")) for index in range(500)]
    new = [keys_of(asked(f"another {index}")) for index in range(1500)]
    before = divide(old, val=0.1, test=0.2, seed=3).sides
    after = divide([*new, *old], val=0.1, test=0.2, seed=3).sides
    assert after[len(new) :] == before


def test_the_shares_are_about_what_was_asked_for_and_the_seed_matters():
    keys = [keys_of(asked(f"question {index}")) for index in range(5000)]
    sides = divide(keys, val=0.1, test=0.2, seed=1).sides
    assert abs(sides.count("val") / 5000 - 0.1) < 0.02
    assert abs(sides.count("test") / 5000 - 0.2) < 0.02
    assert sides != divide(keys, val=0.1, test=0.2, seed=2).sides


@pytest.mark.parametrize("number", [0, 1, 2])
def test_fewer_than_three_groups_are_divided_without_being_forced(number):
    keys = [Keys(index, index) for index in range(number)]
    assert len(divide(keys, val=0.1, test=0.1, seed=0).sides) == number


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is the capital of Chad?", "what is  the capital of chad"),
        ("What is the capital of Chad?", "What is the capital of Chad"),
        ("चाड की राजधानी क्या है?", "चाड की राजधानी क्या है ।"),
        ("Ｃａｐｉｔａｌ？", "capital"),
    ],
)
def test_the_same_question_in_other_clothes_is_the_same_group(one, other):
    assert keys_of(asked(one)).group == keys_of(asked(other)).group


def test_another_question_is_another_group():
    assert keys_of(asked("2 + 2")).group != keys_of(asked("2 - 2")).group


def test_a_system_text_does_not_make_it_another_question_and_later_turns_do_not_either():
    plain = asked("What is the capital of Chad?")
    assert keys_of(plain).group == keys_of(asked("What is the capital of Chad?", system="Answer in capitals.")).group
    assert (
        keys_of(plain).group == keys_of(asked("What is the capital of Chad?", more=("And of Mali?", "Bamako."))).group
    )
    assert opening_question(plain.messages) == "what is the capital of chad"


def test_a_group_field_wins_over_the_question():
    one, other = asked("One?", group="country:Chad"), asked("Other?", group="country:Chad")
    assert keys_of(one).group == keys_of(other).group != keys_of(asked("One?")).group
    assert keys_of(asked("x", group="country")).group != keys_of(asked("country")).group


def test_the_same_prompt_in_two_groups_stays_only_where_it_is_protected():
    keys = [keys_of(asked("Same?", group=f"g{index}")) for index in range(40)]
    division = divide(keys, val=0.3, test=0.3, seed=0)
    assert set(division.sides) == set(SIDES)
    for side, leak in zip(division.sides, division.leaks, strict=True):
        assert (leak is None) == (side == "test")


def test_rows_whose_group_is_in_a_fixed_file_leave_train():
    keys = [Keys(1, 10), Keys(1, 11), Keys(2, 12), Keys(3, 13)]
    division = divide(keys, val=0, test=0, seed=0, fixed=["test", None, None, "val"])
    assert division.sides == ["test", "train", "train", "val"]
    assert division.leaks == [None, "test", None, None]


@pytest.mark.parametrize(("val", "test"), [(-0.1, 0), (0, 1.0), (0.5, 0.5), (float("nan"), 0)])
def test_impossible_shares_are_refused(val, test):
    with pytest.raises(HeedError, match=r"share of|together"):
        divide([], val=val, test=test, seed=0)


@given(keys=KEYS, seed=st.integers(0, 5), data=st.data())
def test_keys_kept_as_numbers_are_divided_and_proved_as_any(keys, seed, data):
    held = KeyList()
    for key in keys:
        held.append(key)
    assert list(held) == keys == held[:]
    division = divide(held, val=0.2, test=0.1, seed=seed)
    assert division == divide(keys, val=0.2, test=0.1, seed=seed)
    indices = data.draw(st.lists(st.integers(0, len(keys) - 1), unique=True)) if keys else []
    assert list(held.chosen(indices)) == [keys[index] for index in indices]
    assert sorted(sizes_of(held, indices)) == sorted(Counter(keys[index].group for index in indices).values())


@given(keys=KEYS, data=st.data())
def test_the_proof_counts_what_stands_on_two_sides(keys, data):
    sides = data.draw(st.lists(st.sampled_from(SIDES), min_size=len(keys), max_size=len(keys)))
    proof = prove(keys, sides)
    for name, of, two in (
        ("group", proof.groups, proof.groups_on_two_sides),
        ("prompt", None, proof.prompts_on_two_sides),
    ):
        there = {}
        for key, side in zip(keys, sides, strict=True):
            there.setdefault(getattr(key, name), set()).add(side)
        assert of in (None, len(there))
        assert two == sum(len(found) > 1 for found in there.values())


@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=5), seed=st.integers(0, 50))
def test_every_source_that_is_large_enough_has_a_group_on_each_side(sizes, seed):
    keys = [Keys(place, place) for place in range(sum(sizes))]
    sources = [number for number, size in enumerate(sizes) for _ in range(size)]
    sides = divide(keys, val=0.1, test=0.2, seed=seed, sources=sources).sides
    plain = divide(keys, val=0.1, test=0.2, seed=seed).sides
    for number, size in enumerate(sizes):
        own = [side for side, source in zip(sides, sources, strict=True) if source == number]
        assert size < 5 or "test" in own
        assert size < 10 or "val" in own
        assert size < 5 or "train" in own
    moved = sum(one != other for one, other in zip(sides, plain, strict=True))
    assert moved <= 2 * len(sizes)  # all but these lie where their hash says, whatever the other sources are


def test_a_group_of_two_sources_stays_together():
    keys = [Keys(place // 2, place) for place in range(40)]
    division = divide(keys, val=0.1, test=0.2, seed=0, sources=[place % 2 for place in range(40)])
    assert all(division.sides[place] == division.sides[place + 1] for place in range(0, 40, 2))
    assert set(division.sides) == {"train", "val", "test"}
