"""What is new, by the sequences that texts have in common."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from heedlm.synth.novelty import Pool

SEED = "Give three tips for staying healthy in the winter."
ORDER = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def test_nothing_is_like_an_empty_pool() -> None:
    assert Pool([], 0.5).take([]) == []
    assert Pool([], 0.5).take([SEED]) == [None]
    assert Pool([SEED], 0.5).take([]) == []


def test_another_number_or_case_is_not_new_another_topic_is() -> None:
    fresh = [
        "give three tips for staying healthy in the WINTER",
        "Give five tips for staying healthy in the winter.",
        "Name the rivers of Peru.",
        "Name the rivers of Peru!",
        "What is the capital of Chile?",
        "What is the capital of Norway?",
    ]
    same, number, new, again, chile, norway = Pool([SEED], 0.5).take(fresh)
    assert same is not None
    assert (same.text, same.similarity) == (SEED, 1.0)
    assert number is not None
    assert 0.5 <= number.similarity < 1
    assert new is None
    assert again is not None
    assert again.text == fresh[2]
    assert chile is None
    assert norway is None


def test_the_threshold_itself_is_not_new() -> None:
    """Twelve words give twelve sequences; another last word leaves 9 of 15 in common: 0.6."""
    one, other = " ".join(ORDER), " ".join([*ORDER[:-1], "thirteen"])
    like = Pool([one], 0.6).take([other])[0]
    assert like is not None
    assert like.similarity == 0.6
    assert Pool([one], 0.61).take([other]) == [None]


def test_what_was_left_out_is_no_longer_compared_with() -> None:
    pool = Pool([], 0.6)
    chain = [" ".join(ORDER), " ".join([*ORDER[:-1], "x"]), " ".join(["y", *ORDER[1:-1], "x"])]
    first, second, third = pool.take(chain)
    assert first is None
    assert second is not None
    assert third is None  # near the second, which is not there


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=9).map(" ".join), max_size=9), st.integers(0, 9)
)
def test_taking_in_parts_is_taking_at_once(texts: list[str], cut: int) -> None:
    pool = Pool(["a b c d e"], 0.5)
    parts = pool.take(texts[:cut]) + pool.take(texts[cut:])
    assert parts == Pool(["a b c d e"], 0.5).take(texts)
