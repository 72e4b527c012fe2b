"""Tokens that were cut short in the making: who comes next goes on, and what comes of it is what an unbroken one makes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heedlm.errors import HeedError
from heedlm.messages import Example, Message
from heedlm.tokens import tokenise as room
from heedlm.tokens.rows import Rows
from tests.tokens.test_tokenise import LIMITS, make, rows

CHUNK = 4
LONG = Example("long", (Message("user", "Say " * 300), Message("assistant", "No.")), "rows.jsonl:99")
SPLITS = {"train": [*rows(9), LONG, *rows(22, "Tell")], "val": rows(5, "Name")}
CHUNKS = 8 + 2


class Cut(BaseException):
    """As a kill would, but in this process: nothing of ours catches it."""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heedlm.tokens.tokenise.CHUNK", CHUNK)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "tokens"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("heedlm.tokens.tokenise.CHUNK", CHUNK)
        make(folder, splits=SPLITS)
    return folder


def same(folder: Path, other: Path) -> bool:
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    return all((folder / name).read_bytes() == (other / name).read_bytes() for name in names)


def cut_after(chunks: int, folder: Path, patch: pytest.MonkeyPatch) -> list[int]:
    """Make tokens until so many chunks are noted; the numbers of rows that were looked at for it."""
    from heedlm.tokens.journal import Journal, Stretch

    seen: list[int] = []
    note, fit = Journal.note, room.fit_rows

    def counted(*given: object, **how: object) -> Rows:
        seen.append(len(given[2]))  # type: ignore[arg-type]
        return fit(*given, **how)  # type: ignore[arg-type]

    left = chunks

    def noted(self: Journal, stretch: Stretch) -> None:
        nonlocal left
        if left == 0:
            raise Cut
        left -= 1
        note(self, stretch)

    patch.setattr("heedlm.tokens.tokenise.fit_rows", counted)
    patch.setattr("heedlm.tokens.tokenise.Journal.note", noted)
    with pytest.raises(Cut):
        make(folder, splits=SPLITS)
    patch.undo()
    patch.setattr("heedlm.tokens.tokenise.CHUNK", CHUNK)
    return seen


@pytest.mark.parametrize("chunks", range(CHUNKS))
def test_cut_short_anywhere_it_goes_on_to_the_same_bytes(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, chunks: int
) -> None:
    cut_after(chunks, tmp_path / "t", monkeypatch)
    assert not (tmp_path / "t").exists()
    again: list[int] = []
    fit = room.fit_rows

    def counted(*given: object, **how: object) -> Rows:
        again.append(len(given[2]))  # type: ignore[arg-type]
        return fit(*given, **how)  # type: ignore[arg-type]

    monkeypatch.setattr("heedlm.tokens.tokenise.fit_rows", counted)
    said: list[str] = []
    make(tmp_path / "t", said, splits=SPLITS)
    assert sum(again) == sum(map(len, SPLITS.values())) - min(chunks, 8) * CHUNK - (CHUNK if chunks > 8 else 0)
    assert any("tokens: going on" in line for line in said) == (chunks > 0)
    assert same(tmp_path / "t", whole)
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_cut_short_again_and_again(tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(CHUNKS - 1):
        cut_after(1, tmp_path / "t", monkeypatch)
    make(tmp_path / "t", splits=SPLITS)
    assert same(tmp_path / "t", whole)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_a_power_cut_left_of_it_is_believed_as_far_as_it_is_whole(
    tmp_path_factory: pytest.TempPathFactory, whole: Path, data: st.DataObject
) -> None:
    """Any of its files may have lost its end, or hold something else there."""
    folder = tmp_path_factory.mktemp("cut") / "t"
    with pytest.MonkeyPatch.context() as patch:
        cut_after(data.draw(st.integers(1, CHUNKS - 1)), folder, patch)
        files = sorted(path for path in folder.with_name(".t.making").iterdir() if path.stat().st_size)
        for path in data.draw(st.lists(st.sampled_from(files), unique=True)):
            held = path.read_bytes()
            at = data.draw(st.integers(0, len(held) - 1))
            path.write_bytes(held[:at] + data.draw(st.sampled_from([b"", b"\0", b"{", b"\n", b"\xff" * 9])))
        make(folder, splits=SPLITS)
    assert same(folder, whole)
    assert [path.name for path in folder.parent.iterdir()] == ["t"]


def test_other_rows_or_limits_begin_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_after(5, tmp_path / "t", monkeypatch)
    other = {**SPLITS, "val": rows(6, "Name")}
    said: list[str] = []
    make(tmp_path / "t", said, splits=other)
    make(tmp_path / "plain", splits=other)
    assert not any("going on" in line for line in said)
    assert same(tmp_path / "t", tmp_path / "plain")


def test_a_refusal_is_the_same_for_who_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that do not fit are told with their places, those that an earlier process met too."""
    strict = replace(LIMITS, overflow="refuse")
    bad = {"train": [LONG, *rows(9), replace(LONG, id="other", source="rows.jsonl:100")]}
    with monkeypatch.context() as patch:
        patch.setattr("heedlm.tokens.tokenise.require_rows", lambda *_: (_ for _ in ()).throw(Cut()))
        with pytest.raises(Cut):
            make(tmp_path / "t", splits=bad, limits=strict)
    monkeypatch.setattr("heedlm.tokens.tokenise.CHUNK", CHUNK)
    with pytest.raises(HeedError) as caught:
        make(tmp_path / "t", splits=bad, limits=strict)
    assert [problem.where for problem in caught.value.problems] == ["rows.jsonl:99", "rows.jsonl:100"]
    assert list(tmp_path.iterdir()) == []


def test_what_was_left_when_the_store_stood_already_is_cleared_away(tmp_path: Path) -> None:
    make(tmp_path / "t", splits=SPLITS)
    (tmp_path / ".t.making").mkdir()
    make(tmp_path / "t", splits=SPLITS)
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


HELD_UP = """
import sys, threading
from pathlib import Path
from heedlm.tokens import tokenise as room
from tests.tokens.test_journal import CHUNK, SPLITS, make

fit = room.fit_rows

def held_up(template, tokenizer, examples, **how):
    if examples[0].id == sys.argv[2]:
        threading.Event().wait()
    return fit(template, tokenizer, examples, **how)

room.CHUNK, room.fit_rows = CHUNK, held_up
make(Path(sys.argv[1]), splits=SPLITS)
"""


def test_kill_9_and_go_on(tmp_path: Path, whole: Path) -> None:
    """A process of its own, killed when five chunks of six that it can make are on the disk, then one that is not held up."""
    folder, noted = tmp_path / "t", tmp_path / ".t.making" / "train.done"
    words = [sys.executable, "-c", HELD_UP, str(folder)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    at = SPLITS["train"][5 * CHUNK].id
    process = subprocess.Popen([*words, at], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        while not noted.is_file() or noted.read_bytes().count(b"\n") < 5:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert not folder.exists()
    assert [json.loads(line)["end"] for line in noted.read_text().splitlines()] == [4, 8, 12, 16, 20]
    done = subprocess.run([*words, "nobody"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert same(folder, whole)
    assert [path.name for path in tmp_path.iterdir()] == ["t"]
