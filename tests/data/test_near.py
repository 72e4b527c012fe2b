"""Near-duplicates are found as the definition says, one of each pair stays, and templated rows are left alone."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heedlm.data import near
from heedlm.data.words import WordFile, facts, line_of, told, words
from heedlm.messages import Example, Message

FILLERS = ("quickly", "gently", "rather", "often", "simply")
TOWN = (
    "the ferry leaves the old harbour in the morning and comes back when the lamps are lit and on the way it stops at each "
    "of the small islands where people wait on the pier with baskets of fruit and bread and fish for the market"
)


def row(asked: str, answered: str, system: str | None = None) -> Example:
    before = (Message("system", system),) if system is not None else ()
    return Example("id", (*before, Message("user", asked), Message("assistant", answered)), "x:1")


def filed(folder: Path, rows: list[Example]) -> WordFile:
    file = WordFile(folder / "words")
    for one in rows:
        file.add(line_of(one, told(one, [words(message.content) for message in one.messages])))
    return file


def triples(found: list[str]) -> list[tuple[str, ...]]:
    padded = [*found, "", ""]
    return [tuple(padded[place : place + 3]) for place in range(len(found))]


def run(grams: list[tuple[str, ...]], there: set[tuple[str, ...]]) -> int:
    longest = now = 0
    for gram in grams:
        now = 0 if gram in there else now + 1
        longest = max(longest, now)
    return longest


def alike(one: Example, other: Example, share: float) -> bool:
    """The definition, from the texts."""
    (asked, said), (there, told_) = ([m.content for m in e.messages[-2:]] for e in (one, other))
    if one.messages[:-2] != other.messages[:-2]:
        return False
    if any(facts(a, words(a)) != facts(b, words(b)) for a, b in ((asked, there), (said, told_))):
        return False
    if min(len(words(said)), len(words(told_))) < 15:
        return words(asked) == words(there) and said.split() == told_.split()
    q, r = triples(words(asked)), triples(words(there))
    a, b = set(triples(words(said))), set(triples(words(told_)))
    both = len(set(q) & set(r)) + len(a & b)
    everything = len(set(q) | set(r)) + len(a | b)
    near_enough = len(a & b) >= share * len(a | b) and both >= share * everything
    return near_enough and max(run(q, set(r)), run(r, set(q))) <= 5


def greedy(rows: list[Example], share: float) -> list[int]:
    """Rows left out when every row is compared with every kept one before it."""
    kept: list[Example] = []
    out = []
    for number, one in enumerate(rows):
        if any(alike(one, other, share) for other in kept):
            out.append(number)
        else:
            kept.append(one)
    return out


def changed(text: str, rng: random.Random, changes: int) -> str:
    found = text.split()
    for _ in range(changes):
        place, how = rng.randrange(len(found)), rng.choice(("in", "out", "other"))
        found[place : place + (how != "in")] = [] if how == "out" and len(found) > 1 else [rng.choice(FILLERS)]
    return " ".join(found)


WORD = st.sampled_from(["a", "b", "c", "d", "e", "Ada", "7", "not"])
TEXT = st.lists(WORD, min_size=0, max_size=40).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.tuples(TEXT, TEXT), max_size=12),
    seed=st.integers(0, 1 << 16),
    share=st.sampled_from([0.5, 0.8, 1.0]),
)
def test_the_search_finds_exactly_what_comparing_all_finds(tmp_path_factory, texts, seed, share):
    rng = random.Random(seed)
    rows = [row(asked, said) for asked, said in texts]
    rows += [row(one.messages[0].content, changed(one.messages[1].content or "a", rng, 1)) for one in rows]
    rows += [row(changed(one.messages[0].content or "a", rng, 1), one.messages[1].content) for one in rows[:8]]
    rng.shuffle(rows)
    file = filed(tmp_path_factory.mktemp("near"), rows)
    found = near.representatives(file, share, [None] * len(rows))
    assert [pair.row for pair in found.pairs] == greedy(rows, share)
    left_out = {pair.row for pair in found.pairs}
    for pair in found.pairs:
        assert alike(rows[pair.row], rows[pair.other], share), "every pair is verified"
        assert pair.other not in left_out, "what is kept in favour of is itself kept"
    across = near.across(file, share, [None if n in left_out else str(n) for n in range(len(rows))])
    assert across.pairs == []
    file.close()


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.tuples(TEXT, TEXT), max_size=10), seed=st.integers(0, 1 << 16))
def test_linked_rows_are_the_clusters_of_all_pairs(tmp_path_factory, texts, seed):
    rng = random.Random(seed)
    rows = [row(asked, said) for asked, said in texts]
    for _ in range(2):
        rows += [row(one.messages[0].content, changed(one.messages[1].content or "a", rng, 1)) for one in rows[:8]]
    file = filed(tmp_path_factory.mktemp("near"), rows)
    root = list(range(len(rows)))

    def find(number: int) -> int:
        while root[number] != number:
            number = root[number]
        return number

    for pair in near.linked(file, 0.8).pairs:
        assert alike(rows[pair.row], rows[pair.other], 0.8)
        root[find(pair.row)] = find(pair.other)
    for one in range(len(rows)):
        for other in range(one):
            if alike(rows[one], rows[other], 0.8):
                assert find(one) == find(other)
    file.close()


@pytest.mark.parametrize("number", [0, 1])
def test_none_and_one(tmp_path, number):
    file = filed(tmp_path, [row("Tell me of the ferry.", TOWN)] * number)
    assert near.representatives(file, 0.8, [None] * number) == ([], 0)


@pytest.mark.parametrize(
    ("asked", "answered", "found"),
    [
        ("Tell me of the ferry.", TOWN.replace("morning", "evening"), True),
        ("tell me of the  ferry", TOWN.upper().lower() + "!", True),
        ("Tell me of the ferry.", TOWN.replace("fruit", "seven 7 pears"), False),
        ("Tell me of the ferry.", TOWN.replace("the old", "the Ada old"), False),
        ("Tell me of the ferry.", TOWN.replace("leaves", "never leaves"), False),
        ("Do not tell me of the ferry.", TOWN, False),
        ("Would somebody here kindly say when boats go?", TOWN, False),
    ],
)
def test_what_counts_as_the_same(tmp_path, asked, answered, found):
    rows = [row("Tell me of the ferry.", TOWN), row(asked, answered)]
    assert bool(near.representatives(filed(tmp_path, rows), 0.8, [None] * 2).pairs) == found


def test_another_system_text_is_another_row(tmp_path):
    rows = [row("Tell me of the ferry.", TOWN, system=text) for text in ("Be brief.", "Be kind.")]
    assert near.representatives(filed(tmp_path, rows), 0.8, [None] * 2).pairs == []


def letters(number: int) -> str:
    return chr(97 + number % 26) + chr(97 + number // 26)


GUIDE = "Decide which kind of animal it is from the rules that follow, and give one word. " + TOWN


@pytest.mark.parametrize(
    "made",
    [
        lambda n: (f"What is the capital of Land{n}?", f"The capital of Land{n} is Town{n}."),
        lambda n: (f"{GUIDE} The word is {letters(n)}.", "Yes."),
        lambda n: (f"{GUIDE} How do {letters(n)} and also {letters(n + 1)} come to the lamp?", f"Sorry. {TOWN}"),
        lambda n: (f"Write to customer {n}.", f"Dear customer {n}, {TOWN}"),
        lambda n: (f"Is {n} odd?", "Yes." if n % 2 else "No."),
    ],
)
def test_rows_of_one_form_are_not_near_duplicates(tmp_path, made):
    rows = [row(*made(number)) for number in range(300)]
    assert near.representatives(filed(tmp_path, rows), 0.8, [None] * 300).pairs == []


def test_a_chain_does_not_delete_what_its_ends_do_not_share(tmp_path):
    """a ~ b ~ c, but not a ~ c: b goes, c stays. Deleting whole connected components would lose c."""
    chain = [TOWN, TOWN.replace("morning", "evening"), TOWN.replace("morning", "evening").replace("people", "children")]
    rows = [row("Tell me of the ferry.", text) for text in chain]
    assert alike(rows[0], rows[1], 0.8)
    assert alike(rows[1], rows[2], 0.8)
    assert not alike(rows[0], rows[2], 0.8)
    pairs = near.representatives(filed(tmp_path, rows), 0.8, [None] * 3).pairs
    assert [(pair.row, pair.other) for pair in pairs] == [(1, 0)]


def test_rows_of_one_fixed_file_stay_and_rows_of_train_give_way(tmp_path):
    rows = [row("Tell me of the ferry.", TOWN.replace("morning", word)) for word in ("morning", "evening", "summer")]
    file = filed(tmp_path, rows)
    assert [(p.row, p.other) for p in near.representatives(file, 0.8, ["test", "test", None]).pairs] == [(2, 0)]
    assert [(p.row, p.other) for p in near.representatives(file, 0.8, ["test", "val", None]).pairs] == [(1, 0), (2, 0)]
    assert [p.row for p in near.representatives(file, 0.8, [None] * 3, skip=lambda n: n == 0).pairs] == [2]


def test_a_row_like_hundreds_of_others_is_compared_with_some_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(near, "_COMPARED", 2)
    rows = [row(f"{TOWN} {' '.join(letters(6 * n + k) for k in range(6))} {TOWN}", TOWN) for n in range(20)]
    found = near.representatives(filed(tmp_path, rows), 0.8, [None] * 20)
    assert found == ([], 17)


def test_a_row_that_can_no_longer_be_found_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(near, "_POSTED", 1)
    rows = [row(f"{TOWN} {' '.join(letters(6 * n + k) for k in range(6))} {TOWN}", TOWN) for n in range(3)]
    assert near.representatives(filed(tmp_path, rows), 0.8, [None] * 3).unsure > 0


def test_a_thousand_copies_cost_no_more_than_a_thousand_comparisons(tmp_path):
    rng = random.Random(0)
    rows = [row("Tell me of the ferry.", changed(TOWN, rng, 1)) for _ in range(1000)]
    found = near.representatives(filed(tmp_path, rows), 0.8, [None] * 1000)
    assert len(found.pairs) >= 900
    assert found.unsure == 0
