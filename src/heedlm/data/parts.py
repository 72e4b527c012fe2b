"""What other machines made of their part of the rows: a file for each part, whole or not there.

A part is a stripe of one input: of its rows in blocks of `BLOCK`, every n-th block. The file holds the blocks one after
the other and ends with an account of them, so that neither a part that stops early nor one of other rows is taken for
a whole. Files are written by our own processes and read by nobody else: they are pickled.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from heedlm.data.examine import Examined, Examiner
from heedlm.data.row import Row
from heedlm.errors import HeedError, Problem

BLOCK = 200  # rows

Found: TypeAlias = "list[Examined | Problem]"
"""What one row gives."""


class Task(NamedTuple):
    """One part. number: of the input.   stripe: which of its `of` stripes.   files: that hold the rows, with their bytes.

    name: of the input in addresses.   how: what to look at.
    """

    number: int
    stripe: int
    of: int
    name: Path
    files: tuple[tuple[Path, int], ...]
    how: Examiner


class End(NamedTuple):
    """The account behind the blocks. read: rows of the whole input.   here: of this part.   problems: what ended the reading."""

    read: int
    here: int
    problems: tuple[Problem, ...]


def part_path(folder: Path, rank: int) -> Path:
    """Where the part of a task lies."""
    return folder / f"part-{rank:05d}.pickle"


def stripe_of(rows: Iterable[Row | Problem], stripe: int, of: int, end: list[End]) -> Iterator[list[Row | Problem]]:
    """The blocks of a stripe, in order; behind the last one `end` holds the account.

    What reading raises stands in the account: the rows before it count.
    """
    read = here = 0
    block: list[Row | Problem] = []
    problems: tuple[Problem, ...] = ()
    stream = iter(rows)
    while True:
        try:
            row = next(stream)
        except StopIteration:
            break
        except HeedError as error:
            problems = error.problems
            break
        ours = read // BLOCK % of == stripe
        read += 1
        if ours:
            block.append(row)
            here += 1
        if block and read % BLOCK == 0:
            yield block
            block = []
    if block:
        yield block
    end.append(End(read, here, problems))


def write_part(path: Path, blocks: Iterable[list[Found]], end: list[End]) -> End:
    """Write the blocks and then the account that `end` holds once they are through; the file appears when it is whole."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            for block in blocks:
                pickle.dump(block, file, pickle.HIGHEST_PROTOCOL)
            pickle.dump(end[0], file, pickle.HIGHEST_PROTOCOL)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return end[0]


def joined(paths: Sequence[Path], name: Path) -> Iterator[Found]:
    """What each row of an input gives, in the order of its rows, from its stripes; no more than a block of each is held.

    Raises HeedError as reading the rows here would, behind the rows before it; and where the parts do not make a whole.
    """
    ends: dict[int, End] = {}
    given = 0
    streams = [_blocks(path) for path in paths]
    while len(ends) < len(streams):
        for stripe, stream in enumerate(streams):
            block = None if stripe in ends else next(stream, None)
            if isinstance(block, End):
                ends[stripe] = block
            elif block is not None:
                given += len(block)
                yield from block
            elif stripe not in ends:
                raise _not_whole(name, f"part {paths[stripe].name} stops before its end")
    found = list(ends.values())
    if (
        len({one.read for one in found}) > 1
        or sum(one.here for one in found) != found[0].read
        or given != found[0].read
    ):
        seen = ", ".join(f"{one.read:,}" for one in found[:4])
        raise _not_whole(name, f"its parts saw {seen} rows in all and hold {given:,}")
    if found[0].problems:
        raise HeedError.of(found[0].problems)


def _not_whole(name: Path, what: str) -> HeedError:
    mend = "the file may have changed meanwhile: run the command again"
    return HeedError(f"What was made of the rows is not whole: {what}.", str(name), mend)


def _blocks(path: Path) -> Iterator[list[Found] | End]:
    with path.open("rb") as file:
        while True:
            try:
                block: list[Found] | End = pickle.load(file)
            except EOFError:
                return
            yield block
