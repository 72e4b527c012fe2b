"""The words of an example as numbers in a file, for all that compares texts by their words.

A word is a run of letters, digits and marks; scripts that write no spaces give one word per character. Case and
punctuation do not count, so that what differs in dress alone is equal. Memory stays flat: words are on disk, and a few
numbers about each example are not.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from heedlm.data.duplicates import squeeze
from heedlm.data.languages import ENGLISH
from heedlm.messages import Example

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# What parts words: white space, control characters, ASCII and Latin-1 signs, Indic, Arabic and CJK punctuation, arrows.
_SIGNS = (
    r"\s\x00-\x1f!-/:-@\[-`{-~\x7f-\xbf\u0964\u0965\u060c\u061b\u061f\u06d4\u2000-\u206f\u2190-\u21ff\u3000-\u303f×÷€"
)
# Thai, Lao, Burmese, Khmer, kana and Han: each character is a word.
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Signs that carry a meaning count as words: without them 2 + 2 and 2 - 2 are the same question.
_WORD = re.compile(rf"[+=<>%$€£^×÷]|[-*/](?= ?\d)|[{_UNSPACED}]|[^{_SIGNS}{_UNSPACED}]+")
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
# A capital inside a sentence, two letters or more, in the scripts that have capitals: mostly a name.
_NAME = re.compile(r"(?<=[\w,;:] )[A-Z\u00c0-\u00d6\u00d8-\u00de\u0391-\u03a9\u0410-\u042f][\w'’-]+")
_NEGATIONS = frozenset(
    [
        "not",
        "no",
        "never",
        "nor",
        "without",
        "cannot",
        "t",
        "nicht",
        "kein",
        "keine",
        "keinen",
        "pas",
        "jamais",
        "nunca",
        "não",
        "नहीं",
        "не",
        "нет",
    ]
)
_SHORT = 15  # words; a shorter answer says too little about whether two questions ask the same
_REMEMBERED = 1 << 19  # words whose number is remembered: some fifty megabytes at most
_GAP = ("", "")  # behind each turn, so that no sequence of up to three words runs from one turn into the next
GAP = len(_GAP)


def words(text: str) -> list[str]:
    """The words of a text, in lower case and compatibility form, in order."""
    text = text if text.isascii() else unicodedata.normalize("NFKC", text)
    return _WORD.findall(text.lower())


def facts(text: str, found: Sequence[str]) -> frozenset[str]:
    """What may not differ between two texts that say the same: numbers, names, negations; the first and last counted.

    found: the words of the text.   A name is told by its capital, so one that opens a sentence is missed, and in German
    every noun is one: where in doubt, texts differ.
    """
    line = " ".join(text.split())
    counted: dict[str, int] = {}
    for number in _NUMBER.findall(line):
        number = number.replace(",", "")
        counted[number] = counted.get(number, 0) + 1
    counted.update((word, found.count(word)) for word in _NEGATIONS.intersection(found))
    names = (name for name in _NAME.findall(line) if name.lower() not in ENGLISH)
    return frozenset(f"{count} x {what}" for what, count in counted.items()).union(names)


class _Numbers(dict[str, int]):
    """word -> 64 bits, the same in every run; Python's own hash of text is another in every process."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _REMEMBERED:
            self.clear()
            self[""] = 0
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        number = self[word] = int.from_bytes(digest, "big", signed=True) or 1  # 0 is the gap between parts
        return number


_numbers = _Numbers({"": 0})


def numbered(found: Iterable[str]) -> array[int]:
    """Words as 64-bit numbers; 0 stands for none, and for no word."""
    return array("q", map(_numbers.__getitem__, found))


class Told(NamedTuple):
    """The words of an example, with a gap behind each turn: empty words.

    asked: of user and tool turns.   answered: of assistant turns, thinking and calls too.
    """

    asked: list[str]
    answered: list[str]


def told(example: Example, contents: Sequence[Sequence[str]]) -> Told:
    """The words of an example; the system text is no part of them.   contents: the words of each message's content."""
    asked: list[str] = []
    answered: list[str] = []
    for message, content in zip(example.messages, contents, strict=True):
        if message.role == "assistant":
            if message.reasoning:
                answered += (*words(message.reasoning), *_GAP)
            answered += (*content, *_GAP)
            for call in message.tool_calls:
                answered += (*words(f"{call.name} {json.dumps(call.arguments, ensure_ascii=False)}"), *_GAP)
        elif message.role != "system":
            asked += (*content, *_GAP)
    return Told(asked, answered)


class Line(NamedTuple):
    """The words of an example as numbers, 0 for a gap; the first `asked` of them are asked.

    key: equal where nothing differs that must not (facts, system text, roles, tools).   whole: instead of a key where the
    answer is short: equal for equal question words and an equal answer. The other of the two is 0.
    """

    numbers: array[int]
    asked: int
    key: int
    whole: int


def line_of(example: Example, found: Told) -> Line:
    """The line of an example.   found: its words."""
    numbers = numbered(found.asked)
    asked = len(numbers)
    numbers.extend(numbered(found.answered))
    return Line(numbers, asked, *_keys(example, found))


class WordFile:
    """The words of many examples, added one by one, then read back in order or by index. Arrays as in `Line`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self.ends = array("Q")  # where the words of an example end in the file, gaps included
        self.asked = array("L")
        self.keys, self.wholes = array("Q"), array("Q")

    def __len__(self) -> int:
        return len(self.ends)

    def add(self, line: Line) -> None:
        """Take in the words of the next example."""
        line.numbers.tofile(self._file)
        self.ends.append((self.ends[-1] if self.ends else 0) + len(line.numbers))
        self.asked.append(line.asked)
        self.keys.append(line.key)
        self.wholes.append(line.whole)

    def read(self, first: int, last: int) -> npt.NDArray[np.uint64]:
        """The words of examples first..last (excluded)."""
        import numpy as np

        start = self.ends[first - 1] if first else 0
        self._file.flush()
        count = self.ends[last - 1] - start
        return np.fromfile(self._path, dtype=np.uint64, count=count, offset=8 * start)

    def chunks(self, size: int = 1 << 20) -> Iterable[range]:
        """Consecutive ranges of examples of about `size` words each."""
        first = 0
        for index, end in enumerate(self.ends):
            if end - (self.ends[first - 1] if first else 0) >= size:
                yield range(first, index + 1)
                first = index + 1
        if first < len(self.ends):
            yield range(first, len(self.ends))

    def close(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)


def _keys(example: Example, found: Told) -> tuple[int, int]:
    """The key of an example, or its whole where the answer is short; the other of the two is 0."""
    asked: list[str] = []
    answered: list[str] = []
    system: list[str] = []
    shape: list[str] = []
    for message in example.messages:
        shape.append(f"{message.role[0]}{'' if message.weight is None else message.weight}")
        kind = system if message.role == "system" else answered if message.role == "assistant" else asked
        kind.append(message.content)
    parts = [" ".join(shape), squeeze("\n".join(system))]
    if example.tools or example.template_kwargs:
        parts.append(json.dumps([example.tools, example.template_kwargs], sort_keys=True))
    if len(found.answered) - found.answered.count("") < _SHORT:  # equal words have equal facts
        whole = [*parts, *found.asked, *found.answered, squeeze("\n".join(answered))]
        return 0, _hash(whole) or 1
    for text, its_words in ((asked, found.asked), (answered, found.answered)):
        parts += ("", *sorted(facts("\n".join(text), its_words)))
    return _hash(parts), 0


def _hash(parts: Sequence[str]) -> int:
    text = "\x1f".join(parts)
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
