"""The spool: every usable example on disk as a finished line, with a few numbers about each in memory.

What must be known about all examples before one can be placed (groups, duplicates, ids) is kept as numbers, the text and
its words are not: memory grows by some hundred bytes per example, whatever its length.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias

from heedlm.data.card import LENGTHS, SourceTally, Tally, about, count_dropped, count_flag, count_kept, reason_of
from heedlm.data.checks import Checks
from heedlm.data.clean.rules import Finding
from heedlm.data.crew import Looked
from heedlm.data.decontaminate import ShortItems
from heedlm.data.examine import Examined, Examiner
from heedlm.data.items import Item
from heedlm.data.languages import language
from heedlm.data.ledger import Ledger
from heedlm.data.licences import Licence
from heedlm.data.prompts.apply import NOT_MEANT, Prompting
from heedlm.data.row import BY_ROW
from heedlm.data.split import KeyList, Side
from heedlm.data.store import from_line, to_line
from heedlm.data.words import WordFile, words
from heedlm.errors import HeedError, Problem

DROPPED_VERSION = 1
FLAGGED_VERSION = 1
_SHOWN = 20  # problems shown when a run is refused

Look: TypeAlias = "Callable[[Sequence[Path], Sequence[Examiner]], AbstractContextManager[Looked]]"
"""Files and how to look at the rows of each -> what they give, for as long as a block lasts."""


class Input(NamedTuple):
    """A file to read. mapping: our field name -> the name in the file.   side: of its rows; None: shares decide.

    prompts: how its rows become conversations; None where they are conversations already.   licence: of rows that name
    none, with who says so.
    """

    file: Path
    mapping: Mapping[str, str]
    side: Side | None
    prompts: Prompting | None = None
    licence: Licence | None = None


class Spool:
    """The examples read so far, with dropped.jsonl and flagged.jsonl, all open for writing; a context manager.

    keys, sides: one per example, for `split.divide`.   words: of every example.   short: rows with a short item of an
    evaluation.   left_out: examples that were dropped since they were read, with the reason.   only_taught: examples that
    are nothing to be tested by.
    problems: the first broken rows.   broken: how many, by reason.
    """

    def __init__(self, folder: Path, inputs: Sequence[Input], tally: Tally, checks: Checks) -> None:
        self.inputs, self.tally = inputs, tally
        self.keys = KeyList()
        self.sides: list[Side | None] = []
        self.short: list[tuple[int, Item]] = []
        self.left_out: dict[int, Problem] = {}
        self.only_taught: set[int] = set()
        self.words = WordFile(folder / "words")
        self._checks = checks
        self._findings: dict[int, tuple[Finding, ...]] = {}
        self.problems: list[Problem] = []
        self.broken: Counter[str] = Counter()
        self._files, self._line_numbers = array("L"), array("L")
        self._by_row: set[int] = set()  # inputs whose places are rows, not lines
        self._lengths = array("L")  # one per name in LENGTHS and example
        self._shown = any(source.prompts is not None and source.prompts.few_shot for source in inputs)
        self._starts = array("Q")  # where rows are shown before others: of each line in the spool, in bytes
        self._forms = array("L")  # and the number of each example's forms among those there are
        self._known_forms: dict[tuple[str, ...], int] = {}
        self._shapes: list[str] = []
        self._first = Ledger()  # duplicate key -> the example that had it first
        self._ids = Ledger()  # hash of an id -> likewise; two ids of one hash cost a needless ending, and nothing else
        self._path = folder / "spool"
        self._spool = self._path.open("wb")
        self._dropped = (folder / "dropped.jsonl").open("wb")
        self._flagged = (folder / "flagged.jsonl").open("wb")

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for file in (self._dropped, self._flagged):
                file.flush()
                os.fsync(file.fileno())
        finally:
            self._dropped.close()
            self._flagged.close()
            self.words.close()
            self._spool.close()
            self._path.unlink(missing_ok=True)

    def add(self, number: int, found: Sequence[Examined | Problem]) -> None:
        """Take in what one row of input `number` gave."""
        for one in found:
            if isinstance(one, Problem):
                if reason_of(one) != NOT_MEANT:
                    self.broken[reason_of(one)] += 1
                    self.problems += [one] if len(self.problems) < _SHOWN else []
                self.drop(number, one)
            else:
                self._keep(number, one)

    def _keep(self, number: int, found: Examined) -> None:
        source, rules = self.inputs[number], self._checks.clean
        wrong = next((finding for finding in found.findings if rules[finding.rule] == "drop"), None)
        if wrong is not None and source.side is None:  # a val or test file is the user's: its rows are flagged only
            mend = f"mend the row, or keep such rows: --set data.clean.{wrong.rule}=flag"
            self.drop(number, Problem(f"{wrong.rule}: {wrong.what}", found.where, mend))
            return
        index = len(self.keys)
        first = self._first.first(found.duplicate, index)
        if first != index:
            same = self.where(first)
            mend = "nothing to do: one copy is kept"
            self.drop(number, Problem(f"duplicate: same conversation as {same}", found.where, mend))
            return
        name, line = found.id, found.line
        if self._ids.first(_hash(name), index) != index:
            name = f"{name}-{found.duplicate:016x}"
            line = to_line(dataclasses.replace(from_line(line, found.where), id=name))
            self.tally.renamed += 1
            self._ids.first(_hash(name), index)
        if found.findings:
            self._findings[index] = found.findings
        self.words.add(found.words)
        self.short += ((index, item) for item in found.short)
        self.keys.append(found.keys)
        self.sides.append("train" if source.side is None and found.mends else source.side)
        self._files.append(number)
        place = found.where.rpartition(":")[2]
        self._line_numbers.append(int(place.removeprefix(BY_ROW)))
        if place.startswith(BY_ROW):
            self._by_row.add(number)
        self._shapes.append(sys.intern(found.about.shape))
        self._lengths.extend(found.about.lengths)
        count_kept(self.tally, str(source.file), found.about)
        if found.only_taught:
            self.only_taught.add(index)
        if self._shown:
            self._forms.append(self._known_forms.setdefault(found.forms, len(self._known_forms)))
            self._starts.append(self._spool.tell())
        self._spool.write(line)

    def leave_out(self, index: int, problem: Problem) -> None:
        """Decide that an example stays out after all; the first reason counts."""
        self.left_out.setdefault(index, problem)

    def settle(self, index: int, line: bytes) -> bool:
        """Write down what is to be said about an example: whether it stays, and what was found in it.   line: its own."""
        number, problem = self._files[index], self.left_out.get(index)
        if problem is not None:
            example = from_line(line, problem.where)
            last = example.messages[-1].content
            taken_back = about(example, self._shapes[index], language(last, words(last)))
            count_kept(self.tally, str(self.inputs[number].file), taken_back, by=-1)
            self.drop(number, problem)
            return False
        for rule, what in self._findings.get(index, ()):
            masked = self._checks.clean[rule] == "mask"
            where = self.where(index)
            count_flag(self.tally, rule, where, what, masked=masked)
            flag = {"version": FLAGGED_VERSION, "where": where, "rule": rule, "what": what, "masked": masked}
            self._flagged.write(_line(flag))
        return True

    def drop(self, number: int, problem: Problem) -> None:
        """Count a row of input `number` as left out, and write down why."""
        count_dropped(self.tally, str(self.inputs[number].file), problem)
        row = {
            "version": DROPPED_VERSION,
            "where": problem.where,
            "reason": reason_of(problem),
            "what": problem.what,
            "mend": problem.mend,
        }
        self._dropped.write(_line(row))

    def where(self, index: int) -> str:
        """The place that example `index` came from."""
        number = self._files[index]
        return f"{self.inputs[number].file}:{BY_ROW if number in self._by_row else ''}{self._line_numbers[index]}"

    def number(self, index: int) -> int:
        """The number of the input that example `index` came from."""
        return self._files[index]

    def source(self, index: int) -> SourceTally:
        """The tally of the file that example `index` came from."""
        return self.tally.sources[str(self.inputs[self._files[index]].file)]

    def lengths(self, index: int) -> array[int]:
        """The lengths of example `index`, in the order of LENGTHS."""
        return self._lengths[len(LENGTHS) * index : len(LENGTHS) * (index + 1)]

    def forms(self) -> list[tuple[str, ...]]:
        """The forms of every example, in order (see `examine.Examined`); nothing where no source asks for `few_shot`."""
        known = list(self._known_forms)
        return [known[number] for number in self._forms]

    def prompts(self, index: int) -> Prompting | None:
        """How example `index` was made of its row."""
        return self.inputs[self._files[index]].prompts

    def line(self, index: int) -> bytes:
        """The line of one example."""
        self._spool.flush()
        with self._path.open("rb") as file:
            file.seek(self._starts[index])
            return file.readline()

    def lines(self) -> Iterator[bytes]:
        """The line of every example, in order."""
        self._spool.flush()
        with self._path.open("rb") as file:
            yield from file


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", errors="backslashreplace") + b"\n"


def read_inputs(
    spool: Spool,
    max_bad: float,
    checks: Checks,
    short: ShortItems,
    look: Look,
    on_progress: Callable[[str, int], None] | None,
) -> None:
    """Read every input into the spool. Raises HeedError when too much is broken, or nothing is left.

    look: who looks at the rows; the result is the same whoever it is.
    """
    fatal: list[Problem] = []
    files = [source.file for source in spool.inputs]
    with look(files, [_examiner(source, checks, short) for source in spool.inputs]) as looked:
        for number, source in enumerate(spool.inputs):
            counts = spool.tally.sources[str(source.file)] = SourceTally()
            counts.licence_by = source.licence.by if source.licence is not None else ""
            try:
                for found in looked(number):
                    counts.rows += 1
                    spool.add(number, found)
                    if on_progress is not None and counts.rows % 1000 == 0:
                        on_progress(f"reading {source.file.name}", spool.tally.rows)
            except HeedError as error:  # the rest of this file is lost; the others may hold problems too
                fatal += error.problems
    if fatal:
        raise HeedError.of([*fatal, *_listed(spool)])
    bad, rows = spool.broken.total(), spool.tally.rows
    if bad > max_bad * rows:
        counted = ", ".join(f"{count:,} x {reason}" for reason, count in spool.broken.most_common())
        enough = min(1.0, -(-bad * 10_000 // rows) / 10_000)  # rounded up, to two places of a per cent
        head = Problem(
            f"{bad:,} of {rows:,} rows are broken ({counted}); at most {max_bad:.4g} of the rows may be",
            ", ".join(spool.tally.sources),
            "mend the rows below" + (f", or leave them out: --set data.max_bad={enough:g}" if spool.keys else ""),
        )
        raise HeedError.of([head, *_listed(spool)])
    for side in ("test", "val", None):
        asked = [str(source.file) for source in spool.inputs if source.side == side]
        mended = side is None and "train" in spool.sides
        if asked and side not in spool.sides and not mended:
            mend = "name other data: it holds no row, or every row of it is broken or repeats another"
            raise HeedError(f"no usable row is left for {side or 'train'}", ", ".join(asked), mend)


def _examiner(source: Input, checks: Checks, short: ShortItems) -> Examiner:
    licence = source.licence.name if source.licence is not None else None
    return Examiner(source.mapping, checks.clean, checks.limits, short, source.prompts, licence)


def _listed(spool: Spool) -> list[Problem]:
    """The first problems, and how many more there are."""
    more = spool.broken.total() - len(spool.problems)
    rest = [Problem(f"and {more:,} more broken rows", "", "mend these first, then run again")] if more else []
    return [*spool.problems, *rest]
