"""Rows of people: what was written is there, whole and once, whoever else writes, and what was withdrawn is not read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.data import events, human
from heedlm.data.human import About, Corrected, HumanRow
from heedlm.data.prepare import Source, prepare
from heedlm.data.sources import read_rows
from heedlm.data.store import read_split
from heedlm.errors import HeedError, Problem
from heedlm.messages import Message

ANN = About("Ann", "CC-BY-4.0", "training")
NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: text.strip() and "<think>" not in text
)


def row(asked: str = "Why is the sky blue?", said: str = "Air scatters blue light most.") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]}


def rows_of(store: Path) -> list[HumanRow]:
    rows, problems = human.read_human(store)
    assert problems == []
    return rows


def test_a_row_is_kept_with_who_wrote_it_and_when(tmp_path: Path) -> None:
    store = tmp_path / "deep" / "human.jsonl"
    there = NOON.astimezone(timezone(timedelta(hours=5)))
    written = human.add(store, row(), ANN, now=there)
    assert (written.time, written.where, written.notes) == ("2026-01-31T12:00:00Z", f"{store}:1", ())
    (found,) = rows_of(store)
    assert (found.id, found.row, found.about) == (written.id, row(), ANN)
    assert (found.added, found.changed, found.edits, found.corrects) == (written.time, written.time, 0, None)
    line = json.loads(store.read_text())
    assert list(line) == ["heed_human", "event", "id", "time", "author", "licence", "consent", "row"]
    assert human.add(store, row(), ANN, now=there).id != written.id, "the same again is another row"


def test_edits_and_withdrawals_are_events_and_the_last_word_counts(tmp_path: Path) -> None:
    store = tmp_path / "human.jsonl"
    one, two = (human.add(store, row(said=text), ANN, now=NOON).id for text in ("first", "second"))
    human.edit(store, one, row(said="better"), About("Bob", "CC0-1.0"), now=NOON + timedelta(days=1))
    first, _ = rows_of(store)
    assert (first.id, first.row, first.about, first.edits) == (one, row(said="better"), About("Ann", "CC0-1.0"), 1)
    assert first.editors == ("Bob",)
    assert human.as_row(first)["meta"]["edited_by"] == ["Bob"]
    assert (first.added[:10], first.changed[:10], first.where) == ("2026-01-31", "2026-02-01", f"{store}:3")
    human.withdraw(store, two, About("Ann"), why="no longer mine")
    assert [found.id for found in rows_of(store)] == [one]
    assert len(store.read_text().splitlines()) == 4, "nothing is ever taken out of the file"
    assert json.loads(store.read_text().splitlines()[3])["why"] == "no longer mine"
    for change in (lambda: human.edit(store, two, row(), ANN), lambda: human.withdraw(store, two, ANN)):
        with pytest.raises(HeedError, match="no row") as caught:
            change()
        assert one in caught.value.problems[0].mend
    assert len(store.read_text().splitlines()) == 4, "what is refused leaves no line"


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["add", "edit", "withdraw"]), st.integers(0, 9), TEXT, TEXT), min_size=1, max_size=12
)


@given(ACTIONS)
def test_what_is_read_is_what_a_plain_dictionary_would_hold(actions: list[tuple[str, int, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "human.jsonl"
        held: dict[str, Any] = {}
        for kind, which, asked, said in actions:
            content = row(asked, said)
            if kind == "add":
                held[human.add(store, content, ANN, now=NOON).id] = content
            elif held:
                name = sorted(held)[which % len(held)]
                if kind == "edit":
                    human.edit(store, name, content, ANN, now=NOON)
                    held[name] = content
                else:
                    human.withdraw(store, name, ANN, now=NOON)
                    del held[name]
        if store.exists():
            assert {found.id: found.row for found in rows_of(store)} == held
            assert store.read_bytes().count(b"\n") == len(store.read_text("utf8").split("\n")) - 1


@given(cut=st.integers(1, 100_000), more=TEXT)
def test_a_torn_last_line_is_put_aside_aloud_and_costs_no_other_row(cut: int, more: str) -> None:
    """The file is cut at any byte, as a power cut would; then somebody writes again."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "human.jsonl"
        ids = [human.add(store, row(f"Question {n}", "Ü" * n + "x"), ANN, now=NOON).id for n in range(4)]
        whole = store.read_bytes()
        kept = whole[: cut % len(whole)]
        store.write_bytes(kept)
        lines = kept.split(b"\n")
        torn = bool(lines[-1]) and lines[-1] + b"\n" not in whole
        alive = kept.count(b"\n") + bool(lines[-1] and not torn)
        rows, problems = human.read_human(store)
        assert [found.id for found in rows] == ids[:alive]
        assert [problem.what for problem in problems] == ["torn line: its writing was cut off"] * torn
        written = human.add(store, row(more), ANN, now=NOON)
        assert len(written.notes) == bool(lines[-1])
        assert [found.id for found in rows_of(store)] == [*ids[:alive], written.id]
        assert written.where == f"{store}:{alive + 1}"
        aside = store.with_name("human.jsonl.torn")
        assert aside.exists() == torn
        if torn:
            assert aside.read_bytes() == lines[-1] + b"\n"
            assert str(aside) in written.notes[0]


WRITER = """
import sys
from pathlib import Path
from heedlm.data import human
store, who, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for n in range(count):
    row = {"messages": [{"role": "user", "content": f"{who} {n}"}, {"role": "assistant", "content": "x" * 5000}]}
    made = human.add(store, row, human.About(who))
    if n % 3 == 0:
        human.edit(store, made.id, row, human.About(who))
    if n % 5 == 0:
        human.withdraw(store, made.id, human.About(who))
"""


def test_several_writers_at_once_lose_nothing_and_mix_nothing(tmp_path: Path) -> None:
    store, count = tmp_path / "human.jsonl", 20
    command = [sys.executable, "-c", WRITER, str(store)]
    writers = [subprocess.Popen([*command, who, str(count)]) for who in ("Ann", "Bob", "Cay")]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0]
    rows = rows_of(store)
    expected = [f"{who} {n}" for who in ("Ann", "Bob", "Cay") for n in range(count) if n % 5]
    assert sorted(found.row["messages"][0]["content"] for found in rows) == sorted(expected)
    assert len({found.id for found in rows}) == len(rows)
    assert not store.with_name("human.jsonl.torn").exists()


def test_a_writer_that_is_killed_blocks_nobody(tmp_path: Path) -> None:
    """It dies while it holds the lock, half a line written; the next one goes on at once and says what it found."""
    store = tmp_path / "human.jsonl"
    code = f"""
import os, signal
from heedlm.data import events
def half(handle, line):
    os.write(handle, line[: len(line) // 2])
    os.kill(os.getpid(), signal.SIGKILL)
events._write = half
from pathlib import Path
from heedlm.data import human
human.add(Path({str(store)!r}), {row()!r}, human.About("Ann"))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == -9
    assert human.read_human(store)[1]
    written = human.add(store, row(), ANN)
    assert "torn" in written.notes[0]
    assert [found.id for found in rows_of(store)] == [written.id]


def test_a_disk_that_is_full_leaves_no_half_of_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "human.jsonl"
    human.add(store, row(), ANN)
    before, write = store.read_bytes(), os.write

    def full(handle: int, data: Any) -> int:
        if len(data) < 50:
            raise OSError(28, "No space left on device")
        return write(handle, bytes(data)[: len(data) // 2])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(HeedError, match="No space left"):
        human.add(store, row(), ANN)
    monkeypatch.undo()
    assert store.read_bytes() == before
    assert human.add(store, row(), ANN).notes == ()


GOOD = {"heed_human": 1, "event": "add", "id": "a", "time": "2026-01-31T12:00:00Z", "author": "Ann", "row": row()}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{broken", "broken JSON"),
        ("[]", "broken JSON"),
        (json.dumps({**GOOD, "heed_human": 9}), "version 9"),
        (json.dumps({**GOOD, "id": "b", "author": ""}), "id, time or author"),
        (json.dumps({**GOOD, "id": "b", "event": "burn"}), "'burn' of row 'b'"),
        (json.dumps({**GOOD, "id": "b", "event": "edit"}), "'edit' of row 'b'"),
        (json.dumps({**GOOD, "event": "add"}), "'add' of row 'a'"),
        (json.dumps({**GOOD, "id": "b", "row": {"messages": "hi"}}), "does not fit"),
        (json.dumps({**GOOD, "id": "b", "row": [1]}), "does not fit"),
    ],
)
def test_a_line_that_hands_have_changed_is_named_and_costs_no_other_row(tmp_path: Path, line: str, says: str) -> None:
    store = tmp_path / "human.jsonl"
    store.write_text("".join(f"{one}\n" for one in (json.dumps(GOOD), line, json.dumps({**GOOD, "id": "c"}))))
    rows, (problem,) = human.read_human(store)
    assert [found.id for found in rows] == ["a", "c"]
    assert says in problem.what
    assert problem.where == f"{store}:2"
    assert problem.mend


@pytest.mark.parametrize(
    ("about", "says"),
    [
        (About(" "), "--author"),
        (About("A\nB"), "--author"),
        (About("Ann", licence=""), "--licence"),
        (About("Ann", consent="x" * 201), "--consent"),
    ],
)
def test_author_licence_and_consent_are_plain_lines(tmp_path: Path, about: About, says: str) -> None:
    with pytest.raises(HeedError) as caught:
        human.add(tmp_path / "human.jsonl", row(), about)
    assert caught.value.problems[0].where == says
    assert not (tmp_path / "human.jsonl").exists()


@pytest.mark.parametrize(
    ("bad", "corrects", "says"),
    [
        ({"messages": []}, None, "no answer"),
        ({"messages": [{"role": "user", "content": "a"}]}, None, "no answer"),
        ({"messages": row()["messages"], "meta": {}}, None, "nothing else: meta"),
        (row(said="The same."), Corrected(" The same."), "says the same"),
        (row(), Corrected(""), r"'rejected\[0\].content' is empty"),
    ],
)
def test_what_could_not_be_learnt_from_is_not_written(
    tmp_path: Path, bad: dict[str, Any], corrects: Corrected | None, says: str
) -> None:
    store = tmp_path / "human.jsonl"
    with pytest.raises(HeedError, match=says):
        human.add(store, bad, ANN, corrects=corrects)
    assert not store.exists()
    made = human.add(store, row(), ANN)
    with pytest.raises(HeedError, match=says):
        human.edit(store, made.id, bad, ANN, corrects=corrects)
    assert len(rows_of(store)) == 1


def test_a_store_is_a_source_and_the_card_counts_its_authors(tmp_path: Path) -> None:
    store = tmp_path / "human.jsonl"
    for n in range(6):
        human.add(store, row(f"Question {n}?"), ANN if n % 2 else About("Bob"), now=NOON)
    wrong = {
        "messages": [{"role": "user", "content": "Hm?"}, {"role": "assistant", "content": "Hm."}, *row()["messages"]]
    }
    made = human.add(store, wrong, ANN, corrects=Corrected("It is painted.", "atlas"), now=NOON)
    gone = human.add(store, row("Withdrawn?"), ANN)
    human.withdraw(store, gone.id, ANN)
    report = prepare([Source(store)], tmp_path / "out", val=None, test=None, seed=0)
    assert (report.rows_in, report.kept) == (7, 7)
    examples = {example.id: example for example in read_split(report.out / "train.jsonl")}
    fixed = examples[made.id]
    assert fixed.meta == {
        "by": "human",
        "author": "Ann",
        "written": "2026-01-31T12:00:00Z",
        "licence": "CC-BY-4.0",
        "consent": "training",
        "corrected_model": "atlas",
    }
    assert fixed.rejected == (Message("assistant", "It is painted."),)
    assert [message.weight for message in fixed.messages] == [None, 0.0, None, None], "what came before is given"
    assert fixed.source == f"{store}:7"
    assert not any("Withdrawn" in message.content for one in examples.values() for message in one.messages)
    card = json.loads((report.out / "card.json").read_text())["sources"][str(store)]
    assert card["authors"] == {"Ann": 4, "Bob": 3}
    assert card["consents"] == {"training": 4}
    assert card["licences"] == {"CC-BY-4.0": 4}
    page = (report.out / "card.md").read_text()
    assert "authors: Ann (4), Bob (3)" in page
    assert "consent: training (4)" in page


def test_a_torn_line_is_told_by_prepare_too(tmp_path: Path) -> None:
    store = tmp_path / "human.jsonl"
    human.add(store, row(), ANN)
    with store.open("ab") as file:
        file.write(b'{"heed_human": 1, "ev')
    with pytest.raises(HeedError) as caught:
        prepare([Source(store)], tmp_path / "out", val=None, test=None, seed=0)
    problem = caught.value.problems[1]
    assert problem.where == f"{store}:2"
    assert f"heed data list --store {store}" in problem.mend
    assert "torn" in events.repair(store)[0]
    assert events.repair(store) == ()
    assert not any(isinstance(found, Problem) for found in read_rows(store))


def test_a_store_that_is_not_there_or_may_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(HeedError, match="no such file"):
        human.read_human(tmp_path / "none.jsonl")
    with pytest.raises(HeedError, match="no such file"):
        human.withdraw(tmp_path / "none.jsonl", "a", ANN)
    with pytest.raises(HeedError, match="cannot be written"):
        human.add(tmp_path, row(), ANN)
    assert events.repair(tmp_path / "none.jsonl") == ()
