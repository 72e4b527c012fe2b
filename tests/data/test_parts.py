"""Parts of an input, put together again, are the whole of it in its order; anything else is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.data.parts import BLOCK, End, Found, joined, part_path, stripe_of, write_part
from heedlm.data.row import Row
from heedlm.errors import HeedError, Problem

NAME = Path("rows.jsonl")


def rows(count: int, *, breaks: bool = False) -> Iterator[Row]:
    for number in range(count):
        yield Row({"n": number}, f"rows.jsonl:{number + 1}")
    if breaks:
        raise HeedError("archive is damaged or cut off", "rows.jsonl", "fetch it again")


def parts(folder: Path, count: int, of: int, *, breaks: bool = False) -> list[Path]:
    """The parts of so many rows, each row telling where it was."""
    made = []
    for stripe in range(of):
        end: list[End] = []
        blocks = stripe_of(rows(count, breaks=breaks), stripe, of, end)
        path = part_path(folder, stripe)
        write_part(path, ([[Problem(row.where)] for row in block] for block in blocks), end)  # type: ignore[union-attr]
        made.append(path)
    return made


def told(found: Iterator[Found]) -> list[str]:
    return [one.what for row in found for one in row if isinstance(one, Problem)]


@given(count=st.sampled_from([0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 5 * BLOCK + 7]), of=st.integers(1, 8))
def test_parts_make_the_whole_in_its_order(tmp_path_factory, count, of):
    made = parts(tmp_path_factory.mktemp("parts"), count, of)
    assert told(joined(made, NAME)) == [f"rows.jsonl:{number + 1}" for number in range(count)]


@pytest.mark.parametrize("of", [1, 3])
@pytest.mark.parametrize("count", [0, 1, BLOCK, 2 * BLOCK + 5])
def test_what_ends_the_reading_is_raised_behind_the_rows_before_it(tmp_path, count, of):
    made = parts(tmp_path, count, of, breaks=True)
    seen: list[str] = []
    with pytest.raises(HeedError, match="cut off") as raised:
        for found in joined(made, NAME):
            seen += [one.what for one in found if isinstance(one, Problem)]
    assert len(seen) == count
    assert [problem.mend for problem in raised.value.problems] == ["fetch it again"]  # once, not once per part


def test_a_part_that_stops_early_is_no_whole(tmp_path):
    made = parts(tmp_path, 3 * BLOCK, 2)
    made[1].write_bytes(made[1].read_bytes()[:-40])
    with pytest.raises(Exception, match=r"truncated|stops before its end|ran out"):
        list(joined(made, NAME))


def test_parts_of_different_readings_are_no_whole(tmp_path):
    made = parts(tmp_path, 3 * BLOCK, 2)
    other = tmp_path / "other"
    other.mkdir()
    more = parts(other, 3 * BLOCK + 1, 2)
    with pytest.raises(HeedError, match="saw 600, 601 rows") as raised:
        list(joined([made[0], more[1]], NAME))
    assert "run the command again" in raised.value.problems[0].mend


def test_the_same_part_twice_is_no_whole(tmp_path):
    made = parts(tmp_path, 4 * BLOCK, 2)
    with pytest.raises(HeedError, match="not whole"):
        list(joined([made[0], made[0], made[0]], NAME))


def test_a_part_that_fails_leaves_no_file(tmp_path):
    def blocks() -> Iterator[list[Found]]:
        yield [[Problem("one")]]
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError):
        write_part(part_path(tmp_path, 0), blocks(), [])
    assert not list(tmp_path.iterdir())
