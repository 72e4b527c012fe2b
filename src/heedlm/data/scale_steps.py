"""The steps of preparing that look at one row at a time, as steps of datatrove.

    rows of a stripe -> what each gives -> a file

They run wherever its executor puts them. What they are to do stands in a file of the folder that all machines share.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from datatrove.pipeline.base import PipelineStep

from heedlm.data.examine import examine
from heedlm.data.parts import End, Found, Task, part_path, stripe_of, write_part
from heedlm.data.row import Row
from heedlm.data.sources import rows_in
from heedlm.errors import HeedError, Problem

PLAN = "plan.pickle"


class _Step(PipelineStep):  # type: ignore[misc]  # datatrove is not among what is installed for development
    """A step that knows the folder of the work.   here: where the command was started, which names are relative to."""

    type = "heed"

    def __init__(self, folder: str, here: str) -> None:
        super().__init__()
        self.folder, self.here = folder, here

    def task(self, rank: int) -> Task:
        """What this rank is to do. Raises OSError where the folder is not to be seen from this machine."""
        with (Path(self.folder) / PLAN).open("rb") as file:
            tasks: list[Task] = pickle.load(file)
        return tasks[rank]


class ReadRows(_Step):
    """Blocks of rows, each with where it came from; the last thing is the account."""

    name = "rows"

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[list[Row | Problem] | End]:
        task, end = self.task(rank), list[End]()
        os.chdir(self.here)
        for file, size in task.files:
            there = file.stat().st_size if file.is_file() else None
            if there != size:
                seen = "is not there" if there is None else f"has {there:,} bytes there, {size:,} here"
                raise HeedError(f"{file} {seen}: all machines must see the same files")
        rows = rows_in(task.name, [file for file, _ in task.files])
        for block in stripe_of(rows, task.stripe, task.of, end):
            self.stat_update("rows", value=len(block))
            yield block
        yield end[0]


class ExamineRows(_Step):
    """What each row of a block gives."""

    name = "look at rows"

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[list[Found] | End]:
        how = self.task(rank).how
        for block in data:
            yield block if isinstance(block, End) else [examine(row, how) for row in block]


class WritePart(_Step):
    """The file of a part, whole or not there."""

    name = "write"

    def run(self, data: Iterable[list[Found] | End], rank: int = 0, world_size: int = 1) -> None:
        end: list[End] = []

        def blocks() -> Iterator[list[Found]]:
            for block in data:
                if isinstance(block, End):
                    end.append(block)
                else:
                    yield block

        written = write_part(part_path(Path(self.folder), rank), blocks(), end)
        self.stat_update("written", value=written.here)
