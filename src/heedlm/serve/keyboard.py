"""What a person types: lines with history and completion, several of which can be one message."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

QUOTES = '"""'
_KEPT = 1000  # lines of history


class Joined:
    """Lines, where one that ends in a backslash goes on in the next, and \"\"\" opens a message of many lines.

    more: told before a line is read whether it goes on with the one before.
    """

    def __init__(self, lines: Iterator[str], more: Callable[[bool], None] = lambda more: None) -> None:
        self._lines = lines
        self._more = more

    def __iter__(self) -> Joined:
        return self

    def __next__(self) -> str:
        self._more(False)
        line = next(self._lines)
        try:
            if line.lstrip().startswith(QUOTES):
                return self._quoted(line.lstrip().removeprefix(QUOTES))
            while line.endswith("\\") and not line.endswith("\\\\"):
                self._more(True)
                line = line[:-1] + "\n" + next(self._lines, "")
            return line
        finally:  # after Ctrl-C too: what was begun is forgotten
            self._more(False)

    def _quoted(self, line: str) -> str:
        """The text up to the closing marks, or up to the end of all lines."""
        lines = [line]
        while QUOTES not in lines[-1]:
            self._more(True)
            try:
                lines.append(next(self._lines))
            except StopIteration:
                return "\n".join(lines)
        return "\n".join([*lines[:-1], lines[-1].partition(QUOTES)[0]]).strip("\n")


class Keyboard:
    """Lines from the keyboard, with a prompt that tells who listens; Ctrl-D ends them.

    prompt: asked before each message.   words: what TAB completes.   history: a file of what was typed, for its owner alone; None keeps
    it in memory.
    """

    def __init__(self, prompt: Callable[[], str], words: Sequence[str], history: Path | None) -> None:
        self._prompt = prompt
        self._goes_on = False
        self._history = history
        self._readline = _readline()
        if self._readline is not None:
            self._begin(self._readline, words)

    def more(self, goes_on: bool) -> None:
        """Whether the next line goes on with the one before."""
        self._goes_on = goes_on

    def __iter__(self) -> Keyboard:
        return self

    def __next__(self) -> str:
        try:
            line = input("... " if self._goes_on else self._prompt())
        except EOFError:
            raise StopIteration from None
        self._remember()
        return line

    def _begin(self, readline: ModuleType, words: Sequence[str]) -> None:
        known = [f"/{word}" for word in words]
        readline.set_completer(lambda typed, place: [*(w for w in known if w.startswith(typed)), None][place])
        readline.set_completer_delims(" \t\n")
        readline.parse_and_bind("bind ^I rl_complete" if "libedit" in (readline.__doc__ or "") else "tab: complete")
        readline.clear_history()
        readline.set_history_length(_KEPT)
        if self._history is not None:
            try:
                self._history.parent.mkdir(parents=True, exist_ok=True)
                os.close(os.open(self._history, os.O_CREAT | os.O_WRONLY, 0o600))
                readline.read_history_file(self._history)
            except OSError:  # a home that cannot be written to, a history of another program
                self._history = None

    def _remember(self) -> None:
        """After each line: what is typed survives a closed window."""
        if self._history is not None and self._readline is not None:
            try:
                self._readline.write_history_file(self._history)
            except OSError:
                self._history = None


def history_file() -> Path:
    """Where what was typed is kept between conversations: under XDG_STATE_HOME, as programs of a terminal do."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "heed" / "chat_history"


def _readline() -> ModuleType | None:
    """The module from which `input` takes arrow keys; not on every platform."""
    try:
        import readline
    except ImportError:
        return None
    return readline
