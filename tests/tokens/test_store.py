import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.errors import HeedError
from heedlm.messages import Encoded
from heedlm.runs import disk_errors
from heedlm.tokens.flat import flat_of
from heedlm.tokens.loader import Loader
from heedlm.tokens.store import Joined, TokenFile, open_split, read_index
from heedlm.tokens.write import Split, sweep, workshop, write_store

sequences = st.lists(
    st.lists(st.tuples(st.integers(0, 2**31 - 1), st.sampled_from([0.0, 0.25, 1.0])), min_size=1, max_size=9),
    max_size=6,
).map(lambda rows: [Encoded(tuple(i for i, _ in row), tuple(w for _, w in row)) for row in rows])


def split(folder: Path, sequences: list[Encoded], rows: list[int], times: list[int] | None = None) -> Split:
    """Sequences with their rows, made in a folder that is gone before the store is read."""
    place = folder / "making"
    place.mkdir(exist_ok=True)
    return Split(flat_of(place, f"part{len(list(place.iterdir()))}", sequences, rows), times)


@given(sequences)
def test_what_goes_in_comes_out(tmp_path_factory: pytest.TempPathFactory, rows: list[Encoded]) -> None:
    folder = tmp_path_factory.mktemp("store") / "tokens"
    write_store(folder, "key", {"fact": 1}, {"train": split(folder.parent, rows, list(range(len(rows))))})
    found = open_split(folder, "train")
    assert isinstance(found, TokenFile)
    assert list(found) == rows
    assert found[:] == rows
    assert found.lengths() == [len(row.ids) for row in rows]
    assert [found.row_of(i) for i in range(len(rows))] == list(range(len(rows)))
    assert read_index(folder)["fact"] == 1


def test_indices_at_their_bounds(tmp_path: Path) -> None:
    row = Encoded((1, 2), (0.0, 1.0))
    write_store(tmp_path / "t", "k", {}, {"train": split(tmp_path, [row], [0])})
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
    write_store(folder, "old", {}, {"train": split(tmp_path, [Encoded((1,), (0.0,))], [0])})
    monkeypatch.setattr("heedlm.tokens.write.write_json", lambda *a: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(HeedError, match="No space left"):
        write_store(folder, "new", {}, {"train": split(tmp_path, [], [])})
    assert read_index(folder)["key"] == "old"
    assert {p.name for p in tmp_path.iterdir()} == {"t", "making"}


@given(sequences, st.data())
def test_a_sequence_comes_as_often_as_it_was_asked_for(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Encoded], data: st.DataObject
) -> None:
    times = [data.draw(st.integers(0, 4)) for _ in rows]
    folder = tmp_path_factory.mktemp("store") / "tokens"
    write_store(folder, "key", {}, {"train": split(folder.parent, rows, list(range(len(rows))), times)})
    found = TokenFile(folder, "train")
    comes = Counter(found.row_of(index) for index in range(len(found)))
    assert comes == Counter({row: count for row, count in enumerate(times) if count})
    assert all(found[index] == rows[found.row_of(index)] for index in range(len(found)))
    assert found.lengths() == [len(one.ids) for one in found]
    stored = [found.stored(index) for index in range(len(found))]
    assert stored[: len(comes)] == list(range(len(comes)))  # all of them once, in order
    assert (folder / "train.order.npy").exists() == (max(times, default=0) > 1)


def test_the_parts_of_a_conversation_are_one_unit_and_each_time_it_comes_another(tmp_path: Path) -> None:
    one = Encoded((1, 2), (0.0, 1.0))
    write_store(
        tmp_path / "t",
        "k",
        {},
        {
            "train": split(tmp_path, [one] * 4, [0, 0, 1, 2], [3, 3, 1, 1]),
            "replay": split(tmp_path, [one] * 2, [-1, -1]),
        },
    )
    train, replay = TokenFile(tmp_path / "t", "train"), TokenFile(tmp_path / "t", "replay")
    assert train.units() == [0, 0, 1, 2, 3, 3, 4, 4]
    assert replay.units() == [0, 1]
    assert Joined((train, replay)).units() == [0, 0, 1, 2, 3, 3, 4, 4, 5, 6]
    assert len(Joined((train, replay))) == 10


def test_one_row_that_comes_often_is_many_units(tmp_path: Path) -> None:
    write_store(tmp_path / "t", "k", {}, {"train": split(tmp_path, [Encoded((1, 2), (0.0, 1.0))], [0], [5])})
    assert TokenFile(tmp_path / "t", "train").units() == [0, 1, 2, 3, 4]
    loader = Loader(TokenFile(tmp_path / "t", "train"), 4, 4, 0)
    assert [len(step) for step in loader.epoch_plan(0)] == [2, 2, 1]


@given(sequences, st.integers(1, 3))
def test_sequences_go_to_the_disk_as_they_are_made(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Encoded], held: int
) -> None:
    folder = tmp_path_factory.mktemp("flat")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("heedlm.tokens.flat._HELD", held)
        made = flat_of(folder, "a", rows, range(len(rows)))
        if rows:
            assert (folder / "a.ids").stat().st_size >= 4 * (sum(made.lengths) - held - max(made.lengths) + 1)
    ids, weights = made.arrays()
    assert ids.tolist() == [i for row in rows for i in row.ids]
    assert weights.tolist() == [w for row in rows for w in row.weights]
    assert list(made.learned) == [sum(w > 0 for w in row.weights) for row in rows]


def test_many_sequences_are_copied_in_stretches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heedlm.tokens.write._COPIED", 3)
    rows = [Encoded((n, n), (0.0, 1.0)) for n in range(20)]
    times = [int(n % 5 != 2) for n in range(20)]
    write_store(tmp_path / "t", "k", {}, {"train": split(tmp_path, rows, list(range(20)), times)})
    assert list(TokenFile(tmp_path / "t", "train")) == [row for row, time in zip(rows, times, strict=True) if time]


def leave_half(folder: Path, error: BaseException, key: str = "k") -> None:
    with pytest.raises(type(error)), workshop(folder, key) as place:
        (place / "train.ids").write_bytes(b"half")
        raise error


def test_what_was_being_made_is_gone_once_it_stands_or_is_refused(tmp_path: Path) -> None:
    with workshop(tmp_path / "t", "k") as place:
        (place / "train.ids").write_bytes(b"whole")
    assert list(tmp_path.iterdir()) == []
    leave_half(tmp_path / "t", HeedError("No row is left."))
    assert list(tmp_path.iterdir()) == []


def test_what_was_cut_short_is_there_for_who_makes_the_same(tmp_path: Path) -> None:
    leave_half(tmp_path / "t", KeyboardInterrupt())
    leave_half(tmp_path / "t", MemoryError())
    with pytest.raises(HeedError, match="No space left"), workshop(tmp_path / "t", "k") as place:
        assert (place / "train.ids").read_bytes() == b"half"
        raise OSError(28, "No space left on device")
    with (
        pytest.raises(HeedError, match="No space left"),
        workshop(tmp_path / "t", "k") as place,
        disk_errors(place),  # as when the store itself is written
    ):
        raise OSError(28, "No space left on device")
    with workshop(tmp_path / "t", "k") as place:
        assert (place / "train.ids").read_bytes() == b"half"
    leave_half(tmp_path / "t", KeyboardInterrupt())
    (tmp_path / ".t.making" / "folder").mkdir()
    with workshop(tmp_path / "t", "other") as place:
        assert [path.name for path in place.iterdir()] == ["key"]
    (tmp_path / ".t.making").mkdir()  # of a version that had no keys
    (tmp_path / ".t.making" / "train.ids").write_bytes(b"half")
    with workshop(tmp_path / "t", "k") as place:
        assert [path.name for path in place.iterdir()] == ["key"]


def test_two_at_once_do_not_write_into_each_other(tmp_path: Path) -> None:
    with workshop(tmp_path / "t", "k") as place:
        with pytest.raises(HeedError, match="Another heed"), workshop(tmp_path / "t", "k"):
            pass
        sweep(tmp_path / "t")
        assert place.is_dir()
    (tmp_path / ".t.making").mkdir()
    (tmp_path / ".t.writing").mkdir()
    sweep(tmp_path / "t")
    assert list(tmp_path.iterdir()) == []
    sweep(tmp_path / "t")


@given(sequences, st.data())
def test_the_files_are_those_that_numpy_writes(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Encoded], data: st.DataObject
) -> None:
    times = [data.draw(st.integers(0, 2)) for _ in rows]
    folder = tmp_path_factory.mktemp("store") / "tokens"
    write_store(folder, "key", {}, {"train": split(folder.parent, rows, list(range(len(rows))), times)})
    for path in folder.glob("*.npy"):
        np.save(folder / "again.npy", np.load(path))
        assert path.read_bytes() == (folder / "again.npy").read_bytes()


@pytest.mark.parametrize("most", [100, 5_000, 30_000])
def test_a_disk_that_is_full_anywhere_is_told_and_no_signal_ends_the_process(tmp_path: Path, most: int) -> None:
    """In a process of its own, whose files may not grow beyond so many bytes."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path), str(most)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "No space left on the disk."), done.stderr
    assert not (tmp_path / "t").exists()


FULL = """
import errno, resource, signal, sys
from pathlib import Path
from heedlm.errors import HeedError
from heedlm.messages import Encoded
from heedlm.runs import NO_SPACE
from heedlm import runs
from heedlm.tokens.flat import flat_of
from heedlm.tokens.write import Split, write_store

folder, most = Path(sys.argv[1]), int(sys.argv[2])
rows = [Encoded((number, number), (0.0, 1.0)) for number in range(4000)]
(folder / "making").mkdir()
made = flat_of(folder / "making", "a", rows, range(len(rows)))
made.arrays()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
runs.NO_SPACE = (*NO_SPACE, errno.EFBIG)
try:
    write_store(folder / "t", "k", {}, {"train": Split(made)})
except HeedError as error:
    print(error.problems[0].what)
"""
