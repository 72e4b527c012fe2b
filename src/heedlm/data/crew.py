"""Rows examined by several processes, in order.

The processes are started as commands of their own and fed through pipes: unlike those of `multiprocessing`, they neither
run the caller's script again nor copy its threads. They end when their pipe is closed, so none outlives a kill.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

from heedlm.data.examine import Examined, Examiner, examine
from heedlm.data.sources import Row, read_rows
from heedlm.errors import HeedError, Problem

_BATCH = 200  # rows sent at once
_WORTH = 8 << 20  # bytes of rows from which starting processes pays
_MOST = 8
_PACKED = (".gz", ".zst", ".parquet")  # their rows take about four times their bytes

Looked: TypeAlias = "Callable[[int], Iterator[list[Examined | Problem]]]"
"""From the number of an input to what each of its rows gives, in order."""


def crew_size(paths: Iterable[Path]) -> int:
    """How many processes are worth it for these files: one for a few rows, else one per core, eight at most."""
    if sum(map(unpacked_bytes, paths)) < _WORTH or not sys.executable:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST)


def unpacked_bytes(path: Path) -> int:
    """About how much text the rows of a file are."""
    return path.stat().st_size * (4 if path.suffix in _PACKED else 1)


@contextmanager
def looked_at_here(names: Sequence[Path], hows: Sequence[Examiner], size: int) -> Iterator[Looked]:
    """What the rows of each input give, looked at by `size` processes of this machine."""
    with Crew(size) as crew:
        yield lambda number: crew.examined(read_rows(names[number]), hows[number])


class Crew:
    """Processes that examine rows; a context manager.   size: 1 examines here, without another process."""

    def __init__(self, size: int) -> None:
        self._workers = [_Worker() for _ in range(size if size > 1 else 0)]
        self._free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._free.put(worker)
        self._threads = ThreadPoolExecutor(max(1, len(self._workers)))

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.end(at_once=kind is not None)
        self._threads.shutdown(wait=True, cancel_futures=True)

    def examined(self, rows: Iterator[Row | Problem], how: Examiner) -> Iterator[list[Examined | Problem]]:
        """What each row gives, in the order of the rows. Passes on what reading them raises, behind what came before."""
        if not self._workers:
            for row in rows:
                yield examine(row, how)
            return
        pending: deque[Future[list[list[Examined | Problem]]]] = deque()
        error: HeedError | None = None
        while error is None:
            batch: list[Row | Problem] = []
            try:
                for row in islice(rows, _BATCH):
                    batch.append(row)
            except HeedError as raised:  # told behind the rows that came before it
                error = raised
            if batch:
                pending.append(self._threads.submit(self._ask, batch, how))
            elif error is None:
                break
            if len(pending) > 2 * len(self._workers):
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
        if error is not None:
            raise error

    def _ask(self, batch: list[Row | Problem], how: Examiner) -> list[list[Examined | Problem]]:
        worker = self._free.get()
        try:
            return worker.ask(batch, how)
        finally:
            self._free.put(worker)


class _Worker:
    """One process, told how to look once and then given batches."""

    def __init__(self) -> None:
        here = str(Path(__file__).resolve().parents[2])
        paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "heedlm.data.crew"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        self._told: Examiner | None = None

    def ask(self, batch: list[Row | Problem], how: Examiner) -> list[list[Examined | Problem]]:
        """Send a batch and wait for what it gives."""
        sending, receiving = self._process.stdin, self._process.stdout
        assert sending is not None
        assert receiving is not None
        try:
            pickle.dump((None if how is self._told else how, batch), sending, pickle.HIGHEST_PROTOCOL)
            sending.flush()
            self._told = how
            found = pickle.load(receiving)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            what = "a process that looked at rows was ended from outside; the system does that when memory runs out"
            place = f"process {self._process.pid}, with rows from {batch[0].where} on"
            raise HeedError(what, place, "close other programs, then run the same command again") from error
        if isinstance(found, BaseException):
            raise found
        answer: list[list[Examined | Problem]] = found
        return answer

    def end(self, *, at_once: bool) -> None:
        """Close the pipes and wait; at_once: in the middle of a batch."""
        if at_once:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not at_once:
                pipe.close()
        self._process.wait()


def _work() -> None:
    """The other end: batches in, what they give out, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that feeds this one
    receiving, sending = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    how: Examiner | None = None
    while True:
        try:
            told, batch = pickle.load(receiving)
        except (EOFError, pickle.UnpicklingError):  # the pipe is closed, or was in the middle of a batch
            return
        how = told or how
        assert how is not None
        try:
            found: object = [examine(row, how) for row in batch]
        except Exception as error:  # noqa: BLE001  whatever it is, it belongs to the process that asked
            found = error
        try:
            pickle.dump(found, sending, pickle.HIGHEST_PROTOCOL)
            sending.flush()
        except BrokenPipeError:  # who asked was killed, and this is no news to anybody
            os._exit(1)


if __name__ == "__main__":
    _work()
