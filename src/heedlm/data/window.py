"""A window that moves over the text of a stream, so that values are decoded from a file of any length in little memory."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable
from typing import IO, Any

_CHUNK = 1 << 20  # bytes read at once; more while one value is longer than that
_SPACE = " \t\r\n\ufeff"
_MARGIN = 24  # characters behind a mistake: enough to tell it from a word cut in two, and to show what stands there


class Window:
    """Text from `position` on, as far as it was read.

    Bytes that are not UTF-8 become half characters. line: of `position`, counted from 1.
    """

    def __init__(self, head: bytes, stream: IO[bytes]) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        self._stream = stream
        self.text = self._decode(head)
        self.position = 0
        self._counted, self._line = 0, 1  # line ends were counted up to here
        self._let_go = 0  # characters of the first line of the window that stood before it
        self._at_end = False

    @property
    def line(self) -> int:
        self._line += self.text.count("\n", self._counted, self.position)
        self._counted = self.position
        return self._line

    def line_at(self, at: int) -> int:
        """The line of a place behind `position`."""
        return self.line + self.text.count("\n", self.position, at)

    def column_at(self, at: int) -> int:
        """The column of a place, counted from 1."""
        start = self.text.rfind("\n", 0, at)
        return at - start if start >= 0 else at + 1 + self._let_go

    def skip(self, more: str = "") -> bool:
        """Go on to the next character that is neither white space nor one of `more`; False at the end of the stream."""
        while True:
            while self.position < len(self.text):
                character = self.text[self.position]
                if character not in _SPACE and character not in more:
                    return True
                self.position += 1
            if not self._more():
                return False

    def value(self, decode: Callable[[str, int], tuple[Any, int]]) -> Any:
        """The value at `position`, behind which it then stands. Raises what `decode` raises; then nothing has moved."""
        while True:
            try:
                found, end = decode(self.text, self.position)
            except json.JSONDecodeError as error:
                cut = error.pos >= len(self.text) - _MARGIN or error.msg.startswith("Unterminated")
                if not cut or not self._more():
                    raise
            else:
                if end < len(self.text) or not self._more():  # a number at the end of the window may go on
                    self.position = end
                    return found

    def find(self, start_of: re.Pattern[str], inside: Callable[[str, int], bool], at: int) -> bool:
        """Go to the last character of the next match from `at` on that is not `inside` something; False if there is none."""
        while True:
            for found in start_of.finditer(self.text, at):
                if not inside(self.text, found.start()):
                    self.position = found.end() - 1
                    return True
            before = self.position
            if not self._more():
                return False
            at -= before - self.position

    def rest(self, at: int, but: str) -> bool:
        """Whether anything stands from `at` on to the end of the text but white space and characters of `but`."""
        return bool(self.text[at:].strip(_SPACE + but))

    def _more(self) -> bool:
        """Read on, and let go of what stands before `position`; False, and nothing has moved, at the end of the stream."""
        if self._at_end:
            return False
        data = self._stream.read(max(_CHUNK, len(self.text) - self.position))
        self._at_end = not data
        more = self._decode(data, not data)
        if self._at_end and not more:
            return False
        line, start = self.line, self.text.rfind("\n", 0, self.position)
        self._let_go = self.position - start - 1 if start >= 0 else self._let_go + self.position
        self.text = self.text[self.position :] + more
        self.position = self._counted = 0
        self._line = line
        return True
