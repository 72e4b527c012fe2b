"""What was made of each stretch of rows, noted as soon as it is done: who comes after a killed process goes on behind it.

Beside the two files of a split's `Flat` stands `NAME.done`, one JSON object per line and stretch: its account, the numbers
of its sequences, and the checksum of their tokens. A line that was cut off, and tokens that are not those of their line (a
power cut can lose either), end what is believed: from there on it is made again.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from heedlm.errors import Problem
from heedlm.tokens.flat import TOKEN, Flat, sum_of
from heedlm.tokens.proof import Proof


class Stretch(NamedTuple):
    """The account of some rows of a split. end: the number of the row behind them, from 0.   kept: of them, that fit.

    shortened: of those, that lost their oldest turns.   dropped: that do not fit.
    """

    end: int
    kept: int
    shortened: int
    proof: Proof
    dropped: tuple[Problem, ...]


class Journal:
    """A split that is being made. flat: its sequences.   done: the stretches that are, those of an earlier process first.

    Raises OSError where the files cannot be written.
    """

    def __init__(self, place: Path, name: str) -> None:
        self._path = place / f"{name}.done"
        self.done: list[Stretch] = []
        numbers = array("q"), array("q"), array("q")  # of each sequence: its length, learned tokens, row
        end = 0  # bytes of the journal that are believed
        for stretch, sequences, length in _believed(self._path, Flat.paths(place, name)):
            self.done.append(stretch)
            for held, more in zip(numbers, sequences, strict=True):
                held.extend(more)
            end += length
        self._path.touch()
        os.truncate(self._path, end)
        self.flat = Flat(place, name, zip(*numbers, strict=True))
        self._noted = len(self.flat)

    @property
    def rows(self) -> int:
        """Rows that are done, from the first one on."""
        return self.done[-1].end if self.done else 0

    def note(self, stretch: Stretch) -> None:
        """What `flat` was given since the last stretch is all that is made of these rows."""
        flat, first = self.flat, self._noted
        line = {
            "end": stretch.end,
            "kept": stretch.kept,
            "shortened": stretch.shortened,
            "proof": asdict(stretch.proof),
            "dropped": [asdict(problem) for problem in stretch.dropped],
            "sequences": [[*part[first:]] for part in (flat.lengths, flat.learned, flat.rows)],
            "sum": flat.settle(),  # the tokens first: a line stands for tokens that are there
        }
        with self._path.open("a", encoding="utf8") as file:
            file.write(json.dumps(line) + "\n")
        self._noted = len(flat)
        self.done.append(stretch)


def _believed(path: Path, files: tuple[Path, Path]) -> Iterator[tuple[Stretch, list[list[int]], int]]:
    """Each stretch that is whole, with three numbers of its sequences (lengths, learned, rows) and the bytes of its line."""
    if not all(one.is_file() for one in (path, *files)):
        return
    with path.open("rb") as lines, files[0].open("rb") as ids, files[1].open("rb") as weights:
        for line in lines:
            try:
                told = json.loads(line)
                lengths, learned, rows = sequences = told["sequences"]
                whole = line.endswith(b"\n") and len(lengths) == len(learned) == len(rows)
                whole = whole and _sum(ids, weights, sum(lengths)) == told["sum"]
                stretch = _stretch(told)
            except (ValueError, KeyError, TypeError):
                return
            if not whole:
                return
            yield stretch, sequences, len(line)


def _sum(ids: BinaryIO, weights: BinaryIO, tokens: int) -> str:
    """The checksum of the next tokens of both files."""
    return sum_of(ids.read(TOKEN * tokens), weights.read(TOKEN * tokens))


def _stretch(told: dict[str, Any]) -> Stretch:
    failures = tuple(Problem(**one) for one in told["proof"].pop("failures"))
    dropped = tuple(Problem(**one) for one in told["dropped"])
    return Stretch(told["end"], told["kept"], told["shortened"], Proof(**told["proof"], failures=failures), dropped)
