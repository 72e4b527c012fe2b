from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.errors import HeedError
from heedlm.messages import Encoded
from heedlm.tokens.store import TokenFile, open_split, read_index, write_store

sequences = st.lists(
    st.lists(st.tuples(st.integers(0, 2**31 - 1), st.sampled_from([0.0, 0.25, 1.0])), min_size=1, max_size=9),
    max_size=6,
).map(lambda rows: [Encoded(tuple(i for i, _ in row), tuple(w for _, w in row)) for row in rows])


@given(sequences)
def test_what_goes_in_comes_out(tmp_path_factory: pytest.TempPathFactory, rows: list[Encoded]) -> None:
    folder = tmp_path_factory.mktemp("store") / "tokens"
    write_store(folder, "key", {"fact": 1}, {"train": (rows, list(range(len(rows))))})
    found = open_split(folder, "train")
    assert isinstance(found, TokenFile)
    assert list(found) == rows
    assert found[:] == rows
    assert found.lengths() == [len(row.ids) for row in rows]
    assert [found.row_of(i) for i in range(len(rows))] == list(range(len(rows)))
    assert read_index(folder)["fact"] == 1


def test_indices_at_their_bounds(tmp_path: Path) -> None:
    row = Encoded((1, 2), (0.0, 1.0))
    write_store(tmp_path / "t", "k", {}, {"train": ([row], [0])})
    found = TokenFile(tmp_path / "t", "train")
    assert found[-1] == row
    with pytest.raises(IndexError):
        found[1]
    assert open_split(tmp_path / "t", "val") is None


def test_a_store_that_is_not_there_or_of_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HeedError, match="not tokenised"):
        read_index(tmp_path)
    (tmp_path / "index.json").write_text('{"version": 99}')
    with pytest.raises(HeedError, match="version 99"):
        read_index(tmp_path)


def test_an_interrupted_write_leaves_the_store_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "t"
    write_store(folder, "old", {}, {"train": ([Encoded((1,), (0.0,))], [0])})
    monkeypatch.setattr("heedlm.tokens.store.write_json", lambda *a: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(HeedError, match="No space left"):
        write_store(folder, "new", {}, {"train": ([], [])})
    assert read_index(folder)["key"] == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["t"]
