"""The journal: what was answered is there after any end, and what may have been paid counts."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heedlm.errors import HeedError
from heedlm.messages import Message, Reply, Request, Sampling, ToolCall
from heedlm.synth.journal import Journal, Spent, Tokens, key_of, reply_as_json, reply_of

MOST = Tokens(100, 50)


def opened(folder: Path) -> Journal:
    return Journal(folder / "record" / "journal.jsonl")


def ask(journal: Journal, key: str, text: str = "Yes.", told: bool = True) -> None:
    attempt = journal.sent(key, MOST)
    journal.got(key, attempt, Reply(text), Tokens(3, 2) if told else MOST, told, {"messages": []})


def test_an_empty_journal(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        assert (len(journal), journal.spent, journal.notes) == (0, Spent(), ())
        assert journal.reply("a") is None


def test_answers_and_what_they_cost_are_there_again(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        ask(journal, "a", "One.")
        ask(journal, "b", "Two.", told=False)
        journal.free("c", journal.sent("c", MOST), "busy")
        journal.unsure("c", journal.sent("c", MOST), "timeout")
        journal.give_up("d", "no answer")
        before = journal.spent
    with opened(tmp_path) as journal:
        assert journal.spent == before == Spent(4, Tokens(203, 102), unsure=1, guessed=1)
        assert [journal.reply(key) for key in "abc"] == [Reply("One."), Reply("Two."), None]
        assert [journal.failed(key) for key in "acd"] == [False, False, True]
        assert journal.sent("e", MOST) == 5


def test_a_call_under_way_at_the_end_counts_with_all_it_can_cost(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.sent("a", MOST)
        assert journal.spent == Spent(1)
    for _ in range(2):  # and once only, however often it is opened
        with opened(tmp_path) as journal:
            assert journal.spent == Spent(1, MOST, unsure=1)
            assert journal.reply("a") is None


def test_a_torn_last_line_is_put_aside(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        ask(journal, "a")
        ask(journal, "b")
    path = tmp_path / "record" / "journal.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with opened(tmp_path) as journal:
        assert "torn" in journal.notes[0]
        assert journal.reply("a") == Reply("Yes.")
        assert journal.reply("b") is None
        assert journal.spent == Spent(2, Tokens(103, 52), unsure=1)
        ask(journal, "b")
    with opened(tmp_path) as journal:
        assert journal.reply("b") == Reply("Yes.")
        assert journal.notes == ()


@settings(max_examples=60, deadline=None)
@given(
    events=st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["got", "free", "unsure", "killed"])), max_size=8
    ),
    cut=st.integers(0, 10**6),
)
def test_cut_anywhere_no_whole_answer_is_lost_and_no_cost_forgotten(
    events: list[tuple[str, str]], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    path = folder / "record" / "journal.jsonl"
    with opened(folder) as journal:
        for number, (key, how) in enumerate(events):
            attempt = journal.sent(key, MOST)
            if how == "got":
                journal.got(key, attempt, Reply(f"{number}\u2028é"), Tokens(1, 1), True, {})
            elif how != "killed":
                getattr(journal, how)(key, attempt, "why")
    whole = path.read_bytes()
    kept = whole[: cut % (len(whole) + 1)]
    path.write_bytes(kept)
    lines = [json.loads(line) for line in kept.decode("utf-8", "ignore").split("\n")[:-1]]
    tail = kept[kept.rfind(b"\n") + 1 :]
    if tail:
        with suppress(ValueError):
            lines.append(json.loads(tail))  # only its end is lost, so the line is whole
    with opened(folder) as journal:
        answers = {line["key"]: line["reply"]["text"] for line in lines if line["event"] == "got"}
        assert {key: journal.reply(key).text for key in answers} == answers  # type: ignore[union-attr]
        assert len(journal) == len(answers)
        sent = {line["attempt"] for line in lines if line["event"] == "sent"}
        got = {line["attempt"] for line in lines if line["event"] == "got"}
        free = {line["attempt"] for line in lines if line["event"] == "free"}
        lost = len(sent - got - free)
        assert journal.spent == Spent(len(sent), Tokens(len(got) + 100 * lost, len(got) + 50 * lost), unsure=lost)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{broken\n", "damaged line"),
        (b'{"heed_synth": 9, "event": "sent", "key": "a"}\n', "version 9"),
        (b'{"heed_synth": 1, "event": "sang", "key": "a"}\n', "no event"),
        (b'{"heed_synth": 1, "event": "got", "key": "a", "attempt": 7}\n', "no event"),
        (b"[1]\n", "no event"),
        (b"\n", "damaged"),
    ],
)
def test_a_damaged_line_in_the_middle_is_named(line: bytes, said: str, tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        ask(journal, "a")
    path = tmp_path / "record" / "journal.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + line + second)
    with pytest.raises(HeedError, match=said) as told:
        opened(tmp_path)
    assert told.value.problems[0].where == f"{path}:2"
    path.write_bytes(first + second)
    with opened(tmp_path) as journal:  # the lock was given back
        assert len(journal) == 1


def test_two_at_once_are_refused_and_a_killed_one_is_no_obstacle(tmp_path: Path) -> None:
    code = f"""
import sys
from contextlib import suppress
from pathlib import Path
from heedlm.synth.journal import Journal
journal = Journal(Path({str(tmp_path)!r}) / "record" / "journal.jsonl")
print("open", flush=True)
sys.stdin.read()
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "open\n"
    with pytest.raises(HeedError, match="Another heed is at work"):
        opened(tmp_path)
    other.kill()
    other.communicate()
    with opened(tmp_path) as journal:
        assert len(journal) == 0


def test_a_full_disk_leaves_no_half_of_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import os

    with opened(tmp_path) as journal:
        ask(journal, "a")
        write = os.write

        def fails(handle: int, data: Any, seen: list[int] = []) -> int:  # noqa: B006
            seen.append(1)
            if len(seen) == 1:
                return write(handle, bytes(data[:20]))
            raise OSError(errno.ENOSPC, "full")

        monkeypatch.setattr("heedlm.synth.journal.os.write", fails)
        with pytest.raises(HeedError, match="No space"):
            journal.sent("b", MOST)
        monkeypatch.undo()
        ask(journal, "b")
    with opened(tmp_path) as journal:
        assert (len(journal), journal.notes) == (2, ())


def test_what_comes_late_does_not_go_into_another_file(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        attempt = journal.sent("a", MOST)
    with (tmp_path / "other").open("w+b") as other:  # takes the number of the file that was closed
        with pytest.raises(OSError, match="Bad file"):
            journal.got("a", attempt, Reply("late"), Tokens(1, 1), True, {})
        with pytest.raises((OSError, ValueError)):
            journal.settle()
        assert other.read() == b""


def test_a_key_tells_calls_apart_by_all_that_is_asked() -> None:
    request = Request(messages=(Message("user", "Hello"),))
    base = key_of("m", request, Sampling())
    others = [
        key_of("n", request, Sampling()),
        key_of("m", Request(messages=(Message("system", "Hello"),)), Sampling()),
        key_of("m", Request(messages=(Message("user", "Hello "),)), Sampling()),
        key_of("m", Request(messages=(Message("user", "Hello"),), template_kwargs={"a": 1}), Sampling()),
        key_of("m", Request(messages=(Message("user", "Hello"),), tools=({"name": "x"},)), Sampling()),
        *(key_of("m", request, s) for s in (Sampling(seed=1), Sampling(temperature=0.1), Sampling(max_tokens=9))),
        *(key_of("m", request, s) for s in (Sampling(top_p=0.5), Sampling(top_k=5), Sampling(stop=("x",)))),
    ]
    assert len({base, *others}) == len(others) + 1
    assert base == key_of("m", Request(messages=(Message("user", "Hello"),)), Sampling())


@given(
    st.builds(
        Reply, text=st.text(), reasoning=st.none() | st.text(), stop_reason=st.sampled_from(["stop", "length", "error"])
    )
)
def test_a_reply_is_read_as_it_was_written(reply: Reply) -> None:
    assert reply_of(json.loads(json.dumps(reply_as_json(reply)))) == reply


def test_calls_of_tools_are_kept() -> None:
    reply = Reply("", tool_calls=(ToolCall("look", {"at": "Zürich"}, "c1"), ToolCall("stop", {})))
    assert reply_of(json.loads(json.dumps(reply_as_json(reply)))) == reply
