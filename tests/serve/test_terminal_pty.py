"""`heed chat` in a terminal: real keys, a real process."""

from __future__ import annotations

import json
import os
import select
import signal
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.families import checkpoint

pty = pytest.importorskip("pty")
pytest.importorskip("readline")
UP, END = b"\x1b[A", b"\x04"
PATIENCE = 240.0  # seconds: the machine may hold a process for minutes


class Terminal:
    """A process behind a terminal. shown: all that it has written."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self.shown = ""
        self.pid, self.end = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.environ.update(
                {"TERM": "dumb", "XDG_STATE_HOME": str(folder / "state"), "HF_HUB_OFFLINE": "1", "INPUTRC": "/dev/null"}
            )
            os.execv(sys.executable, [sys.executable, "-m", "heedlm", *arguments])

    def type(self, keys: bytes | str) -> None:
        os.write(self.end, keys.encode() if isinstance(keys, str) else keys)

    def until(self, text: str, seen: int = 0) -> str:
        """Read until `text` is shown behind place `seen`; everything that is shown."""
        limit = time.monotonic() + PATIENCE
        while text not in self.shown[seen:]:
            self._read(1.0)
            assert time.monotonic() < limit, self.shown
        return self.shown

    def interrupt(self, text: str, seen: int) -> str:
        """Ctrl-C, again every two seconds until `text` is shown: CPython's readline loses a signal that comes between its
        look for signals and its wait for the next key, and acts at that key (`readline_until_enter_or_signal`)."""
        limit = time.monotonic() + PATIENCE
        while text not in self.shown[seen:]:
            assert time.monotonic() < limit, self.shown
            self.type("\x03")
            for _ in range(20):
                if text not in self.shown[seen:]:
                    self._read(0.1)
        return self.shown

    def _read(self, seconds: float) -> None:
        ready, _, _ = select.select([self.end], [], [], seconds)
        if ready:
            try:
                self.shown += os.read(self.end, 4096).decode(errors="replace")
            except OSError:  # the process has left, and nothing more will come
                time.sleep(0.05)

    def leave(self) -> int:
        limit = time.monotonic() + PATIENCE
        while time.monotonic() < limit:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            self._read(0.2)
        os.kill(self.pid, signal.SIGKILL)
        raise AssertionError(f"it did not leave: {self.shown}")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("model"), max_position_embeddings=512)


@pytest.fixture
def terminal(model: Path, tmp_path: Path) -> Iterator[Terminal]:
    opened = Terminal(["chat", str(model), "--max-tokens", "3", "--author", "Ann"], tmp_path)
    yield opened
    try:
        os.kill(opened.pid, signal.SIGKILL)
        os.waitpid(opened.pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass
    os.close(opened.end)


def test_keys_history_lines_and_leaving(terminal: Terminal, tmp_path: Path) -> None:
    terminal.until("or /help")
    terminal.until("> ")
    terminal.type("first\\\r")
    terminal.until("... ")
    terminal.type("second\r")
    seen = len(terminal.until("\r\n> "))
    terminal.type("/sho\t")  # TAB completes
    terminal.until("/show", seen)
    terminal.type("\r")
    terminal.until("first\r\nsecond", seen)
    seen = len(terminal.until("tokens)\r\n> ", seen))
    terminal.type(UP + UP)  # the line before /show
    terminal.until("second", seen)
    terminal.type("\x15/save A better answer.\r")  # Ctrl-U clears the line
    seen = len(terminal.until("saved by Ann", seen))
    # Not before the prompt: between two lines the terminal is another, which keeps an end of input to itself.
    terminal.until("> ", seen)
    seen = len(terminal.interrupt("/quit leaves)\r\n> ", seen))
    terminal.type('"""\rhalf')
    terminal.until("... half", seen)
    terminal.interrupt("/quit leaves)\r\n> ", seen)  # what was begun is forgotten
    terminal.type(END)
    assert terminal.leave() == 0
    assert "Traceback" not in terminal.shown
    row = json.loads((tmp_path / "human.jsonl").read_text())["row"]["messages"]
    assert [turn["content"] for turn in row] == ["first\nsecond", "A better answer."]
    kept = tmp_path / "state" / "heed" / "chat_history"
    assert "second" in kept.read_text().splitlines()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_the_next_conversation_remembers_unless_told_not_to(model: Path, tmp_path: Path) -> None:
    kept = tmp_path / "state" / "heed" / "chat_history"
    kept.parent.mkdir(parents=True)
    kept.write_text("typed long ago\n")
    for more, found in (([], True), (["--no-history"], False)):
        opened = Terminal(["chat", str(model), "--max-tokens", "2", *more], tmp_path)
        seen = len(opened.until("> "))
        opened.type(UP + b"\r")
        if found:
            opened.until("typed long ago", seen)
            opened.until("\r\n> ", seen)
        opened.type("/quit\r")
        assert opened.leave() == 0
        assert ("typed long ago" in opened.shown) == found
        os.close(opened.end)
